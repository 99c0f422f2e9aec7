"""Looks at pickles that nobody has asked to load: those that tell a format's structure, and files that are something else as well.

What a pickle holds, for a format whose structure is told by pickles (PyTorch before 1.6): globals and what calls would return are
inert stand-ins, and the format gives the same pickles out as streams, so that they are judged like all others. Whether a
file of another format would act as a pickle. Loads nothing. Rule: in doubt it would act.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from safeload.analysis.census import take_census
from safeload.analysis.others import PUSHES
from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.formats.blob_source import BlobSource

if TYPE_CHECKING:
    from safeload.formats.blob import Blob
    from safeload.verdict import Options

__all__ = ["PickleLook"]

# The first bytes of some honest files (the length of a header, a date) are whole pickles of a number.
_TRIFLE = 9
_FIRST = frozenset(bytes([opcode]) for opcode in PUSHES)
_END = b"N."  # behind what made sense: whether the unpickler comes so far


class PickleLook:
    """See :class:`safeload.formats.base.PickleReader`."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def size(self, blob: Blob, offset: int) -> int:
        """The length of the pickle at ``offset``."""
        return take_census(BlobSource(blob, offset, skims=True), self._options.limits, None).size

    def acts(self, blob: Blob) -> bool:
        """Whether a program that unpickles ``blob`` would import or call something, or end without an error."""
        if blob.head(1)[:1] not in _FIRST:
            return False
        try:
            return self.size(blob, 0) > _TRIFLE
        except SafeloadError as error:
            return self._acts_before(error)

    def _acts_before(self, error: SafeloadError) -> bool:
        """Whether it imports or calls something before the place where a census stopped, or may do so behind it."""
        from safeload.analysis.hashing import KeyWalk
        from safeload.analysis.trace import Tracer
        from safeload.program import Kind

        if error.broken_stream is None:
            return True
        code, protocol, buffers = error.broken_stream
        tracer = Tracer(self._options.limits, encoding="latin1")
        stop: SafeloadError | None = None
        try:
            with contextlib.suppress(FormatError):
                KeyWalk(self._options.limits).walk(code(), buffers)
            tracer.trace(code() + _END, protocol, buffers)
        except SafeloadError as stopped:
            stop = stopped
        if tracer.uses:  # without an answer to a persistent id every unpickler stops there
            return tracer.uses[0].kind is not Kind.PERSISTENT
        return error.others_go_on if stop is None else isinstance(stop, LimitExceededError)

    def value(self, blob: Blob) -> Any:
        """What the pickle holds."""
        from safeload.analysis.hashing import KeyWalk
        from safeload.analysis.trace import Tracer

        options = self._options
        census = take_census(BlobSource(blob), options.limits, None)
        KeyWalk(options.limits).walk(census.code, census.buffers)
        tracer = Tracer(options.limits, encoding="latin1")
        return tracer.trace(census.code, census.protocol, census.buffers)
