"""A stream with arrays between its opcodes, judged at once: all its arrays are known, or so it seems.

Every array that the trace comes to has to be where its description puts it. So has every array of the repetitions that are left
out of the trace (:mod:`safeload.engine.cost.folding`): its size is computed from its own numbers, in the way that the corners have
shown. Rule: the slightest disagreement, and the stream is walked array by array (:mod:`safeload.pipeline.joblib.walk`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from safeload.engine.census import Census
from safeload.engine.cost.folding import Folded, Piece, fold
from safeload.engine.cost.hashing import KeyWalk
from safeload.errors import FormatError
from safeload.pipeline.joblib.arrayguess import number
from safeload.pipeline.joblib.places import ArrayPlace, as_numpy_would, check_described, descriptions
from safeload.pipeline.stream import new_tracer
from safeload.policy.rules.layouts import Layouts
from safeload.program import ARRAY_WRAPPERS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeload.engine.census import PieceCensus
    from safeload.engine.cost.folding import Repetition
    from safeload.pipeline.joblib.arrayguess import Guess
    from safeload.pipeline.request import JudgeOptions

__all__ = ["WholeWalk"]


class _Described(NamedTuple):
    """What a traced description says of its array."""

    shape: tuple[int, ...]
    itemsize: int
    padded: bool


class WholeWalk:
    """Key walk and trace of one stream.

    Attributes:
        census: of the whole stream. ``tracer``: what it does.
    """

    def __init__(self, begin: PieceCensus, guess: Guess, options: JudgeOptions) -> None:
        places = [ArrayPlace(place.offset, place.size) for place in guess.places]
        code = begin.so_far() + guess.code
        self.census = Census(
            code, [*begin.buffers, *places], guess.end, begin.protocol, has_code=True, mutable=True, unread=begin.unread
        )
        self.tracer = new_tracer(options)
        self._limits = options.limits
        self._padded = {id(place): guessed.padded for place, guessed in zip(places, guess.places, strict=True)}
        self._layouts = Layouts(self.tracer.uses)
        self._arrays = 0
        self._described: dict[tuple[int, int, int], _Described] = {}

    def run(self) -> bool:
        """Walk to the end; whether all arrays are where they should be.

        Raises:
            SafeloadError: it does not fit together, or is beyond a limit; or it is not the stream that was guessed.
        """
        code, buffers = self.census.code, self.census.buffers
        if len(code) > self._limits.max_stream_bytes:
            return False
        keys = KeyWalk(self._limits)
        keys.walk(code, [item.size if isinstance(item, ArrayPlace) else item for item in buffers])
        learned = keys.learned
        folded = fold(code, buffers, learned) if learned is not None else None
        folded = folded or Folded([Piece(code, 0)], buffers, [], {})
        self.tracer.trace_folded(folded, self.census.protocol, self._answers(folded))
        return descriptions(self.tracer.uses) == self._arrays and all(
            self._holds(repetition, index) for index, repetition in enumerate(folded.repetitions)
        )

    def _answers(self, folded: Folded) -> Iterator[Any]:
        """What the NEXT_BUFFER opcodes push, each when it is its turn."""
        for index, item in enumerate(folded.buffers):
            yield self._array(item, folded.origins.get(index)) if isinstance(item, ArrayPlace) else item

    def _array(self, place: ArrayPlace, origin: tuple[int, int, int] | None) -> Any:
        use = self.tracer.uses[-1] if self.tracer.uses else None
        if use is None or use.kind is not Kind.STATE or use.name not in ARRAY_WRAPPERS:
            _disagree()
        state = use.args[0]
        check_described(state)
        layout = self._layouts.of(state["shape"], state["dtype"])
        alignment = state.get("numpy_array_alignment_bytes")
        padded = alignment is not None
        if layout.has_objects or (padded and type(alignment) is not int):
            _disagree()
        if padded is not self._padded.get(id(place), padded):
            _disagree()
        if origin is not None:
            self._described[origin] = _Described(state["shape"], layout.itemsize, padded)
        if (origin is None or origin[1] < 0) and layout.length * layout.itemsize != place.size:
            _disagree()
        self._arrays += 1
        # Two arrays of one byte, or of none, are not the same bytes.
        return as_numpy_would(self.tracer, state, max(place.size, 2))

    def _holds(self, repetition: Repetition, index: int) -> bool:
        """Whether the arrays of what was left out have the sizes that their descriptions say."""
        rows = repetition.rows[len(repetition.corners) :]
        for each in range(repetition.template.buffers):
            model = self._described.get((index, -1, each))
            if model is None:
                continue  # no array: bytes of the stream
            extents = self._extents(repetition, index, each, model)
            if extents is None:
                return False
            for (_, taken, _), row in zip(repetition.left_out, rows, strict=True):
                place = self.census.buffers[taken + each]
                if not isinstance(place, ArrayPlace) or self._padded.get(id(place), model.padded) is not model.padded:
                    return False
                lengths = (extent if column < 0 else number(row[column]) for extent, column in extents)
                if math.prod(lengths, start=model.itemsize) != place.size:
                    return False
        return True

    def _extents(
        self, repetition: Repetition, index: int, each: int, model: _Described
    ) -> list[tuple[int, int]] | None:
        """For each axis its length in the model, and the column of literals that it is, or -1 if it never changes."""
        corners = [self._described.get((index, corner, each)) for corner in range(len(repetition.corners))]
        shapes = [model.shape]
        for described in corners:
            if described is None or described._replace(shape=model.shape) != model:
                return None
            shapes.append(described.shape)
        if len(set(map(len, shapes))) > 1:
            return None
        spelled: Sequence[Sequence[bytes]] = [repetition.numbers, *repetition.corners]
        columns = {
            tuple(number(row[variable[0]]) for row in spelled): variable[0]
            for variable in repetition.variables
            if repetition.numbers[variable[0]][:1] != b"G"
        }
        extents = []
        for lengths in zip(*shapes, strict=True):
            column = columns.get(lengths, -1)
            if column < 0 and len(set(lengths)) > 1:
                return None
            extents.append((lengths[0], column))
        return extents


def _disagree() -> NoReturn:
    raise FormatError("the file describes other arrays than it seemed to", code="format.array")
