"""Streams with array bytes between their opcodes, as joblib writes them.

joblib pickles a description in place of each array (``NumpyArrayWrapper``), and the bytes of the array follow right behind its
BUILD; of an array of objects, a pickle of its own follows. Its reader notices the BUILD in a pure-Python unpickler and reads on from
the file. Here the tracing C unpickler is given the stream piece by piece, so that after each BUILD its trace tells whether it was one of a
description; the census leaves the bytes out, and puts "drop the description, push the array" into the canonical code. From then
on the stream is judged and loaded like any other: an array is judged as the array that numpy itself would have pickled.

Rules: what follows a description is measured by its judged dtype and shape, and has to be there. Every description is followed by its
array, right behind a frame: a file whose frames and arrays interleave otherwise would be read differently by joblib. The bytes of an
array are never parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.engine.census import PieceCensus, take_census
from safeload.engine.collector import pause
from safeload.errors import FormatError, LimitExceededError, LoadError
from safeload.pipeline.joblib.places import (
    MOST_PADDING,
    RECONSTRUCT,
    ArrayPlace,
    ObjectStream,
    as_numpy_would,
    check_described,
    descriptions,
)
from safeload.pipeline.known_clean import MAX_BYTES, Judgements, Place
from safeload.pipeline.rebuild import resolve_all, run, unpickler_for
from safeload.pipeline.stream import new_tracer
from safeload.pipeline.verdict import Judgement, decide
from safeload.policy.rules.layouts import Layouts
from safeload.program import ARRAY_WRAPPERS, Kind, producer
from safeload.source.blob import MemoryBlob
from safeload.source.blob_source import BlobSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeload.audit import Operation
    from safeload.engine.census import Census
    from safeload.limits import Limits
    from safeload.pipeline.request import JudgeOptions
    from safeload.policy.rules.layouts import Layout
    from safeload.source.blob import Blob

__all__ = ["judge_arrays", "load_arrays"]

_OLD_WRAPPERS = frozenset(
    f"{package}.{module}.{name}"
    for package in ("joblib", "sklearn.externals.joblib")
    for module in ("numpy_pickle", "numpy_pickle_compat")
    for name in ("NDArrayWrapper", "ZNDArrayWrapper")
)


def judge_arrays(blob: Blob, options: JudgeOptions, operation: Operation, *, skims: bool = False) -> Judgement:
    """Judge a stream with array bytes in it.

    Args:
        blob: the stream, from its first byte on.
        options: how it is judged.
        operation: the audit operation that this is part of.
        skims: long literals are not read: what is judged will not be loaded.

    Raises:
        SafeloadError: it is no such stream, or beyond a limit.
    """
    place = None if skims else _place(blob, options)
    known = None if place is None else place.known
    if known is not None:
        with operation.child("decide", action="cached", verdict="clean", policy_digest=options.policy.digest):
            return known
    judgement = _judged(blob, options, operation, skims=skims)
    if place is not None and not judgement.findings and not judgement.probes and _is_light(judgement.census):
        census, _, spellings, constructed = judgement[:4]
        place.keep(Judgement(census, None, spellings, constructed))
    return judgement


def _judged(blob: Blob, options: JudgeOptions, operation: Operation, *, skims: bool) -> Judgement:
    with operation.child("analyse"), pause:
        walk = _ArrayWalk(blob, options, skims=skims)
        walk.run()
    with operation.child("decide"):
        return decide(walk.census, walk.tracer, options)


# Clean judgements of this process: the code, where the arrays lie, and the names.
judgements: Judgements[Judgement] = Judgements(entries=32)
_MOST_KEPT = 1 << 22


def _place(blob: Blob, options: JudgeOptions) -> Place[Judgement] | None:
    """Where the judgement is kept; ``None`` if it is not worth keeping."""
    if not isinstance(blob, MemoryBlob) or blob.size > MAX_BYTES:
        return None
    return judgements.place(blob.view(0, blob.size), *options.cache_key())


def _is_light(census: Census) -> bool:
    """Whether it is small, and holds nothing that a loaded object could change or that is judged as a stream of its own."""
    literals = 0
    for item in census.buffers:
        if type(item) is bytes:
            literals += len(item)
        elif not isinstance(item, ArrayPlace) or item.objects is not None:
            return False
    return len(census.code) + literals <= _MOST_KEPT


class _ArrayWalk:
    """Census and trace of one stream, in step."""

    def __init__(self, blob: Blob, options: JudgeOptions, *, skims: bool) -> None:
        self.blob = blob
        self.skims = skims
        self.limits: Limits = options.limits
        self.tracer = new_tracer(options, makes_classes=False)
        self.options = options
        self.pieces = PieceCensus(BlobSource(blob, skims=skims), self.limits)
        self._layouts = Layouts(self.tracer.uses)
        self._judged = 0  # buffers that the tracer has seen
        self._shown: list[Any] = []
        self._unread: dict[int, Callable[[], bytes]] = {}  # in arrays of objects
        self._arrays = 0
        self._begun = False

    def run(self) -> None:
        """Walk to the end.

        Raises:
            SafeloadError: it does not fit together, or is beyond a limit.
        """
        protocol = self.blob.head(2)
        declared = protocol[1] if len(protocol) == 2 and protocol[0] == 0x80 else 0
        self.tracer.trace_pieces(self._next, declared, iter(_Shown(self._shown)))
        if descriptions(self.tracer.uses) != self._arrays:
            raise FormatError(
                "the file describes an array where its bytes cannot follow; joblib would read something else here",
                code="format.array",
            )

    @property
    def census(self) -> Census:
        """The census of the whole stream."""
        census = self.pieces.census
        assert census is not None  # noqa: S101 - the trace ran to STOP
        return census._replace(mutable=True, unread={**census.unread, **self._unread})

    def _next(self) -> bytes:
        """The next piece for the unpickler, which has executed all before it."""
        pushed = self._array() if self._begun else b""
        self._begun = True
        if self.pieces.census is not None:
            raise FormatError("not a well-formed pickle: it goes on behind its end")
        code = pushed + self.pieces.piece()
        buffers = self.pieces.buffers[self._judged :]
        self._judged += len(buffers)
        self._shown += (item for item in buffers if not isinstance(item, ArrayPlace))
        return code

    def _array(self) -> bytes:
        """If the last opcode described an array: leave its bytes out and push it."""
        uses = self.tracer.uses
        if not self.tracer.builds or not uses or uses[-1].kind is not Kind.STATE:
            return b""
        use = uses[-1]
        if use.name in _OLD_WRAPPERS:
            raise FormatError(
                "this file was written by joblib 0.9 or older, with arrays in files of their own; load it with that joblib "
                "in a sandbox and save it again",
                code="format.joblib-old",
            )
        if use.name not in ARRAY_WRAPPERS:
            return b""
        self._arrays += 1
        if self._arrays > self.limits.max_members:
            raise LimitExceededError(
                f"the file holds more than max_members={self.limits.max_members:,} arrays", code="limit.members"
            )
        state = use.args[0]
        check_described(state)
        layout = self._layouts.of(state["shape"], state["dtype"])
        if layout.has_objects:
            return self._objects()
        return self._numbers(state, layout)

    def _numbers(self, state: dict[str, Any], layout: Layout) -> bytes:
        where = self.pieces.where
        padding = self._padding(state, where)
        size = layout.length * layout.itemsize
        if where + padding + size > self.blob.size:
            raise FormatError(
                f"the file describes an array of {size:,} bytes and ends before; it is incomplete",
                code="format.truncated",
            )
        self._shown.append(as_numpy_would(self.tracer, state, size))
        return self.pieces.skip(padding + size, ArrayPlace(where + padding, size))

    def _padding(self, state: dict[str, Any], where: int) -> int:
        """Since joblib 1.2 a byte says how many bytes follow it so that the array is aligned."""
        alignment = state.get("numpy_array_alignment_bytes")
        if alignment is None:
            return 0
        length = self.blob.read(where, 1)[0]
        if type(alignment) is not int or length > MOST_PADDING:
            raise FormatError("the alignment of an array is not what joblib writes", code="format.array")
        return 1 + length

    def _objects(self) -> bytes:
        """An array of objects: a pickle of its own, judged as part of this one."""
        where = self.pieces.where
        census = take_census(BlobSource(self.blob, where, skims=self.skims), self.limits)
        self._unread.update(census.unread)
        tracer = self.tracer.beside()
        array = tracer.trace(census.code, census.protocol, census.buffers)
        if producer(array) not in {RECONSTRUCT, "numpy.core.multiarray._reconstruct"}:
            raise FormatError("what follows the description of an array of objects is no array", code="format.array")
        self._shown.append(array)
        return self.pieces.skip(census.size, ArrayPlace(where, 0, ObjectStream(census, dict(tracer.spellings))))


class _Shown:
    """An iterator over a list that grows while it is iterated."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self._next = 0

    def __iter__(self) -> Iterator[Any]:
        while self._next < len(self._items):
            self._next += 1
            yield self._items[self._next - 1]


def load_arrays(judgement: Judgement, options: JudgeOptions, blob: Blob, *, mmap: bool = False) -> Any:
    """Rebuild a stream that :func:`judge_arrays` found clean.

    Args:
        judgement: its judgement.
        options: as it was judged under.
        blob: the same bytes.
        mmap: map the arrays instead of reading them.

    Raises:
        LoadError: an allowed object could not be rebuilt.
    """
    reader = _ArrayReader(judgement, options, blob, mmap=mmap)
    unpickler = unpickler_for(
        judgement,
        options,
        resolve_all(judgement, options.policy, dict.fromkeys(ARRAY_WRAPPERS, reader.wrapper)),
        buffers=reader.buffers(),
        persistent_load=options.persistent_load,
    )
    with pause:
        return run(unpickler)


class _ArrayReader:
    """Makes the arrays of one load, each when the unpickler asks for it."""

    def __init__(self, judgement: Judgement, options: JudgeOptions, blob: Blob, *, mmap: bool) -> None:
        self._judgement = judgement
        self._options = options
        self._blob = blob
        self._mmap = mmap
        self._state: dict[str, Any] = {}

        class Wrapper:
            """Stands for joblib's description: hands over what it is told."""

            __slots__ = ()

            def __setstate__(_self, state: dict[str, Any]) -> None:  # noqa: N805 - self is the reader
                self._state = state

        self.wrapper = Wrapper

    def buffers(self) -> Iterator[Any]:
        """What the NEXT_BUFFER opcodes push."""
        for item in self._judgement.census.buffers:
            if not isinstance(item, ArrayPlace):
                yield bytearray(item) if type(item) is memoryview else item
            elif item.objects is not None:
                yield self._objects(item.objects)
            else:
                yield self._array(item)

    def _objects(self, stream: ObjectStream) -> Any:
        judgement = self._judgement._replace(census=stream.census, spellings=stream.spellings)
        resolved = resolve_all(judgement, self._options.policy, states=False)
        return run(unpickler_for(judgement, self._options, resolved, buffers=stream.census.buffers))

    def _array(self, place: ArrayPlace) -> Any:
        import numpy as np

        state = self._state
        dtype, shape = state["dtype"], state["shape"]
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            _disagree()
        if self._mmap:
            return self._blob.memmap(place.offset, dtype, shape, state["order"])
        # numpy's own memory: aligned, writable, and in large pages where the system has them.
        memory = np.empty(place.size, np.uint8)
        if place.size:
            self._blob.read_into(place.offset, memory.data)
        # Not numpy.empty, which makes items of one character of those that have none.
        array = memory.view(dtype) if dtype.itemsize else np.ndarray(shape, dtype)
        array = array.reshape(shape, order=state["order"])
        if not dtype.isnative:
            array = array.byteswap().view(dtype.newbyteorder("="))
        return array


def _disagree() -> NoReturn:
    raise LoadError("an array is not what it was judged to be", code="policy.disagreement")
