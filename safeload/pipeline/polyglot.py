"""Looks at pickles that nobody has asked to load: those that tell a format's structure, and files that are something else as well.

What a pickle holds, for a format whose structure is told by pickles (PyTorch before 1.6): globals and what calls would return are
inert stand-ins, and the format gives the same pickles out as streams, so that they are judged like all others. Whether a
file of another format would act as a pickle. Loads nothing. Rule: in doubt it would act.
"""

from __future__ import annotations

import contextlib
import io
import pickletools
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.engine.census import take_census
from safeload.engine.leniency import PUSHES
from safeload.errors import LimitExceededError, SafeloadError
from safeload.formats.pickled_bytes import ACTS, IMPORTS
from safeload.pipeline.stream import literals_of
from safeload.program import Kind
from safeload.source.blob_source import BlobSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.pipeline.request import JudgeOptions
    from safeload.program import Use
    from safeload.source.blob import Blob

__all__ = ["PickleLook"]

# The first bytes of some honest files (the length of a header, a date) are whole pickles of a number.
_TRIFLE = 9
_FIRST = frozenset(bytes([opcode]) for opcode in PUSHES)
_LOOKED_AT = 1 << 20
_FEW = 64
# Opcodes that give something that could be called: GLOBAL, INST, STACK_GLOBAL, PERSID, BINPERSID.
_NAMING = (b"c", b"i", b"\x93", b"P", b"Q")
_MOST_STOPS = 1_000
_NUMBERS = (b"I", b"L", b"F", b"g", b"p")  # C reads them up to a zero byte
_PROTO = b"\x80"
_END = b"N."  # behind what made sense: whether the unpickler comes so far


class _Reading(NamedTuple):
    """What an unpickler does with a file, as far as is known, and whether it may go on and act where that ends."""

    uses: list[Use]
    goes_on: bool


class PickleLook:
    """See :class:`safeload.formats.base.PickleReader`."""

    def __init__(self, options: JudgeOptions) -> None:
        self._options = options

    def size(self, blob: Blob, offset: int) -> int:
        """The length of the pickle at ``offset``."""
        return take_census(BlobSource(blob, offset, skims=True), self._options.limits, None).size

    def acts(self, blob: Blob, stopped: SafeloadError | None = None) -> bool:
        """Whether a program that unpickles ``blob`` would import or call something, or end without an error.

        ``stopped``: what a judgement of it has raised, if there was one.
        """
        if blob.head(1)[:1] not in _FIRST:
            return False
        if stopped is None or stopped.stopped_at is None:  # no census was taken, or it came to the end
            try:
                return self.size(blob, 0) > _TRIFLE
            except SafeloadError as error:
                stopped = error
        if _is_inert(stopped):
            return False
        reading = self._read_on(blob, stopped)
        if reading.uses:  # without an answer to a persistent id every unpickler stops there
            return reading.uses[0].kind is not Kind.PERSISTENT
        return reading.goes_on

    def comes_so_far(self, error: SafeloadError) -> bool:
        """Whether an unpickler comes to the place where a census stopped at a limit, and meets it there."""
        if not error.others_go_on or error.broken_stream is None:
            return False
        code, protocol, buffers = error.broken_stream
        # What is about to be memoized has to be on the stack, as what is returned has.
        end = b"." if error.code == "limit.memo-index" else _END
        _, stop = self._traced(code() + end, protocol, buffers)
        return stop is None or isinstance(stop, LimitExceededError)

    def acts_beside(self, blob: Blob, error: SafeloadError, known: set[tuple[Kind, str]]) -> bool:
        """Whether a program that unpickles a joblib file would do more than what is ``known`` of it.

        ``error`` is where a census stops that takes the bytes of the first array for opcodes. An array of objects is a pickle with
        a memo of its own, so that such a program finds another module's name there, under a name that is known.
        """
        reading = self._read_on(blob, error)
        names = {(kind, _attribute(name)) for kind, name in known}
        more = {use.kind for use in reading.uses if (use.kind, _attribute(use.name)) not in names}
        return bool(more - {Kind.REFERENCE, Kind.PERSISTENT}) or reading.goes_on

    def _read_on(self, blob: Blob, error: SafeloadError) -> _Reading:
        """Read as unpicklers do that take more than a census, which stopped with ``error`` at the first stream of ``blob``.

        One pickle inside of another, as that of an array of objects in a joblib file, is no end for them.
        """
        code, buffers, at = b"", list[Any](), 0
        stopped: SafeloadError | None = error
        protocol = error.broken_stream[1] if error.broken_stream is not None else 0
        for _ in range(_MOST_STOPS):
            if stopped is None or stopped.broken_stream is None:
                break
            code += stopped.broken_stream[0]()
            buffers += stopped.broken_stream[2]
            if stopped.stopped_at is None:  # the stream is whole
                stopped = None
                break
            at += stopped.stopped_at
            if not stopped.others_go_on or blob.read(at, 1) != _PROTO:
                break
            try:
                census = take_census(BlobSource(blob, at, skims=True), self._options.limits, None)
                code, stopped = code + census.code, None
                buffers += census.buffers
            except SafeloadError as another:
                stopped = another
        uses, stop = self._traced(code if stopped is None else code + _END, protocol, buffers)
        if stop is not None:
            return _Reading(uses, goes_on=isinstance(stop, LimitExceededError))
        goes_on = stopped is not None and stopped.others_go_on
        return _Reading(uses, goes_on=goes_on and _acts_somehow(blob.read(at, min(_LOOKED_AT, blob.size - at))))

    def _traced(self, code: bytes, protocol: int, buffers: Iterable[Any]) -> tuple[list[Use], SafeloadError | None]:
        """What a stream does, and what stops the unpickler before its end, if anything does."""
        from safeload.engine.trace import Tracer

        spending = self._options.spending
        if spending is not None:
            with contextlib.suppress(LimitExceededError):  # whoever goes on to the next stream asks first
                spending.judge(len(code), traced=False)
        tracer = Tracer(self._options.limits, encoding="latin1")
        try:
            tracer.trace(code, protocol, literals_of(buffers))
        except SafeloadError as stop:
            return tracer.uses, stop
        return tracer.uses, None

    def value(self, blob: Blob) -> Any:
        """What the pickle holds."""
        from safeload.engine.trace import Tracer

        options = self._options
        census = take_census(BlobSource(blob), options.limits, None)
        tracer = Tracer(options.limits, encoding="latin1")
        return tracer.trace(census.code, census.protocol, census.buffers)


def _is_inert(stopped: SafeloadError) -> bool:
    """Whether too little made sense to act: a few opcodes, none of which imports, where every other unpickler stops as well."""
    if stopped.others_go_on or stopped.broken_stream is None:
        return False
    code = stopped.broken_stream[0]()
    return len(code) <= _FEW and not any(opcode in code for opcode in _NAMING)


def _attribute(name: str) -> str:
    return name.partition(":")[2] or name.rpartition(".")[2]


def _acts_somehow(data: bytes) -> bool:
    """Whether opcodes import and act: by pickletools, which reads numbers, frames and memo indices in more ways than the census."""
    file = io.BytesIO(data)
    imports = acts = False
    for _ in range(_MOST_STOPS):
        behind = file.tell()
        try:
            for opcode, _argument, _at in pickletools.genops(file):
                behind = file.tell()
                imports = imports or opcode.name in IMPORTS
                acts = acts or opcode.name in ACTS
                if imports and acts:
                    return True
        except Exception:  # noqa: BLE001 - genops raises what it likes
            if data[behind : behind + 1] not in _NUMBERS:
                return False
        else:
            return False
    return True
