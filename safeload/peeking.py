"""What a pickle holds, for a format whose structure is told by pickles (PyTorch before 1.6). Loads nothing.

Rule: globals and what calls would return are inert stand-ins; the format gives the same pickles out as streams, so that they are
judged like all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.analysis.census import take_census
from safeload.errors import SafeloadError
from safeload.formats.blob_source import BlobSource
from safeload.pickles import broken_judgement

if TYPE_CHECKING:
    from safeload.formats.blob import Blob
    from safeload.verdict import Options

__all__ = ["PickleLook"]

# The first bytes of some honest files (the length of a header, a date) are whole pickles of a number.
_TRIFLE = 9


class PickleLook:
    """See :class:`safeload.formats.base.PickleReader`."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def size(self, blob: Blob, offset: int) -> int:
        """The length of the pickle at ``offset``."""
        return take_census(BlobSource(blob, offset, skims=True), self._options.limits, None).size

    def acts(self, blob: Blob) -> bool:
        """Whether a program that unpickles ``blob`` would import or call something, or end without an error."""
        try:
            return self.size(blob, 0) > _TRIFLE
        except SafeloadError as error:
            return broken_judgement(error, self._options) is not None

    def value(self, blob: Blob) -> Any:
        """What the pickle holds."""
        from safeload.analysis.hashing import KeyWalk
        from safeload.analysis.trace import Tracer

        options = self._options
        census = take_census(BlobSource(blob), options.limits, None)
        KeyWalk(options.limits).walk(census.code, census.buffers)
        tracer = Tracer(options.limits, encoding="latin1")
        return tracer.trace(census.code, census.protocol, census.buffers)
