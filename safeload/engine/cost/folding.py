"""A stream with its repetitions left out: what is traced and judged in place of two hundred trees that are spelled alike.

The key walk has found segments that match a *model* (:mod:`~safeload.engine.cost.repeats`): closed, apart, each leaving one object
with its state set. Here all matches of a model are laid side by side, and every number becomes a column. A column that never
changes is part of the model. Columns that change in the same way are one *variable*. The folded stream has

* the model as it stands,
* *corners*: matches in which each variable has the least or the greatest value of its class, in all combinations of two, so that a
  rule that compares numbers with bounds, or with each other, meets its worst case. If nothing varies there is one all the same:
  what adds up from one repetition to the next is seen in the second,
* in place of every other match the model's object from the memo, and as many memo slots filled.

Strings and single bytes are the same in all of them, or the match is not folded. Longer bytes are not compared: the argument rules
that :mod:`safeload.policy.decision` lets judge a folded stream do not look at them. Rule: what is folded has to be clean to count. Any
finding, any error, any rule that is not known to judge numbers by their bounds means that the stream is judged once more, in full.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeload.engine.cost.patterns import Found
    from safeload.engine.cost.repeats import Repeats, Template

__all__ = ["LEFT_OUT", "Folded", "Repetition", "fold"]

# What the pieces count that stand where segments were left out.
LEFT_OUT = -1

# So many variables take up to twice as many corners, and two.
_MAX_VARIABLES = 12
# It is not worth it below so many matches in place of which nothing is traced.
_WORTH = 8
_MEMOIZE = b"\x94"
_LONG_BINGET = 0x6A

_INTEGERS, _NATURALS, _FLOATS = b"KMJ", b"KM", b"G"
# The least and the greatest of a class, as they are spelled.
_SMALL = (b"K\x00", b"M\xff\xff")
_NATURAL = (b"K\x00", b"J\xff\xff\xff\x7f")
_INTEGER = (b"J\x00\x00\x00\x80", b"J\xff\xff\xff\x7f")
_FLOAT = (b"G" + struct.pack(">d", -1.7976931348623157e308), b"G" + struct.pack(">d", 1.7976931348623157e308))


class Piece(NamedTuple):
    """Some code. ``counts``: it stands for so many segments, itself among them, or fills places (:data:`LEFT_OUT`); else 0."""

    code: bytes
    counts: int


class Folded(NamedTuple):
    """What to trace in place of a stream, in pieces that each end where an opcode does, and the buffers that they take.

    Attributes:
        pieces, buffers: see there.
        repetitions: what was left out.
        origins: of a buffer that a model or a corner takes, the number of the repetition, of the corner (the model is -1) and of
            the buffer among those that it takes.
    """

    pieces: list[Piece]
    buffers: list[Any]
    repetitions: list[Repetition]
    origins: dict[int, tuple[int, int, int]]


class Repetition:
    """A model, its matches that can be folded, and its corners.

    Attributes:
        template: what the key walk knows.
        matches: where each match begins, the buffers that are taken before, and what the pattern found.
        numbers: the literals of the model; ``rows``: those of the matches; ``corners``: what stands for the first of these.
        variables: the columns of each variable.
    """

    def __init__(self, code: bytes, sizes: Sequence[int], template: Template) -> None:
        start, end, taken, slots = template.model
        self.template = template
        self.matches = template.found
        self.numbers: tuple[bytes, ...] = ()
        self.rows: list[tuple[bytes, ...]] = []
        self.corners: list[list[bytes]] = []
        self.variables: list[list[int]] = []
        pattern = template.pattern
        model = pattern.match(code, start, sizes, taken, slots) if pattern is not None else None
        if pattern is None or model is None or model.end != end:
            self.matches = []
            return
        self.numbers = groups = model.literals
        rows = [found.literals for _, _, found in self.matches]
        if pattern.texts:
            texts = sorted(pattern.texts)
            alike = [all(row[n] == groups[n] for n in texts) for row in rows]
            self.matches = list(itertools.compress(self.matches, alike))
            rows = list(itertools.compress(rows, alike))
        variables = _variables([groups, *rows])
        if variables is None or len(rows) < 4 * len(variables) + _WORTH:
            self.matches = []
        else:
            self.rows = rows
            self.variables = [columns for columns, _ in variables]
            self.corners = list(_corners(groups, variables))

    @property
    def left_out(self) -> list[tuple[int, int, Found]]:
        """The matches in place of which nothing is traced."""
        return self.matches[len(self.corners) :]

    @property
    def saved(self) -> int:
        """Bytes that need not be traced."""
        return sum(found.end - pos for pos, _, found in self.left_out)


def _variables(rows: Sequence[tuple[bytes, ...]]) -> list[tuple[list[int], tuple[bytes, bytes]]] | None:
    """The columns of each variable and its bounds; ``None`` if something varies that has none, or too many things do."""
    varying: dict[tuple[bytes, ...], list[int]] = {}
    for number, column in enumerate(zip(*rows, strict=True)):
        if column.count(column[0]) != len(column):
            varying.setdefault(column, []).append(number)
    if len(varying) > _MAX_VARIABLES:
        return None
    variables = []
    for column, numbers in varying.items():
        bounds = _bounds(column)
        if bounds is None:
            return None
        variables.append((numbers, bounds))
    return variables


def _corners(
    model: tuple[bytes, ...], variables: Sequence[tuple[list[int], tuple[bytes, bytes]]]
) -> Iterator[list[bytes]]:
    """What to put in place of the model's literals, for each corner."""
    for choice in _choices(len(variables)):
        corner = list(model)
        for (columns, bounds), high in zip(variables, choice, strict=True):
            for number in columns:
                corner[number] = bounds[high]
        yield corner


def _bounds(column: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The least and the greatest value of a class that has all of these."""
    kinds = {item[0] for item in column}
    if kinds <= set(_NATURALS):
        return _SMALL
    if kinds <= set(_INTEGERS):
        return _INTEGER if any(item[0] == 0x4A and item[4] >= 0x80 for item in column) else _NATURAL
    return _FLOAT if kinds == set(_FLOATS) else None


def _choices(count: int) -> Iterator[tuple[bool, ...]]:
    """Low or high for each variable, so that any two have all four combinations."""
    yield (False,) * count
    if count:
        yield (True,) * count
    if count > 1:
        for one in range(count):
            yield tuple(number == one for number in range(count))
            yield tuple(number != one for number in range(count))


def fold(code: bytes, buffers: Sequence[Any], repeats: Repeats) -> Folded | None:
    """The folded stream; ``None`` if it is not worth it.

    Args:
        code: a canonical stream.
        buffers: what its NEXT_BUFFER opcodes push.
        repeats: what a key walk of the same stream has learned.
    """
    candidates = [Repetition(code, repeats.sizes, each) for each in repeats.patterned if each.slot >= 0 and each.found]
    spans: list[_Span] = []
    repetitions: list[Repetition] = []
    for repetition in sorted(candidates, key=lambda each: each.saved, reverse=True):
        if repetition.matches:
            more = sorted([*spans, *_spans(code, repetition, len(repetitions))], key=lambda span: span.start)
            if all(one.end <= other.start for one, other in itertools.pairwise(more)):
                spans = more
                repetitions.append(repetition)
    return _joined(code, buffers, spans, repetitions) if spans else None


class _Span(NamedTuple):
    """A segment of the stream, the buffers that it takes, and what stands for it: of which repetition, and which corner."""

    start: int
    end: int
    takes: range
    piece: Piece
    repetition: int
    corner: int = -1


def _spans(code: bytes, repetition: Repetition, number: int) -> Iterator[_Span]:
    template, left_out = repetition.template, repetition.left_out
    start, end, taken, _ = template.model
    model = Piece(code[start:end], 1 + len(left_out))
    yield _Span(start, end, range(taken, taken + template.buffers), model, number)
    for index, (corner, (pos, taken, found)) in enumerate(zip(repetition.corners, repetition.matches, strict=False)):
        piece = Piece(_with_literals(code, pos, found, corner), 1)
        yield _Span(pos, found.end, range(taken, found.taken), piece, number, index)
    filler = bytes([_LONG_BINGET]) + template.slot.to_bytes(4, "little") + _MEMOIZE * template.memoized
    for pos, taken, found in left_out:
        yield _Span(pos, found.end, range(taken, found.taken), Piece(filler, LEFT_OUT), number)


def _with_literals(code: bytes, pos: int, found: Found, spelled: Sequence[bytes]) -> bytes:
    """The code of a match with these literals in place of its own."""
    parts: list[bytes] = []
    spans = (found.pieces[piece].span(group + 1) for piece, group in found.groups)
    for (start, end), literal in zip(spans, spelled, strict=True):
        parts += code[pos:start], literal
        pos = end
    parts.append(code[pos : found.end])
    return b"".join(parts)


def _joined(code: bytes, buffers: Sequence[Any], spans: Sequence[_Span], repetitions: list[Repetition]) -> Folded:
    """Fillers that follow each other are one piece."""
    pieces: list[Piece] = []
    fillers: list[bytes] = []
    kept: list[Any] = []
    origins: dict[int, tuple[int, int, int]] = {}
    pos = taken = 0
    for start, end, takes, piece, repetition, corner in spans:
        left_out = piece.counts == LEFT_OUT
        if fillers and (start > pos or not left_out):
            pieces.append(Piece(b"".join(fillers), LEFT_OUT))
            fillers = []
        pieces.append(Piece(code[pos:start], 0))
        kept += buffers[taken : takes.start]
        pos, taken = end, takes.stop
        if left_out:
            fillers.append(piece.code)
            continue
        pieces.append(piece)
        for number, index in enumerate(takes):
            origins[len(kept)] = repetition, corner, number
            kept.append(buffers[index])
    pieces += Piece(b"".join(fillers), LEFT_OUT), Piece(code[pos:], 0)
    return Folded([piece for piece in pieces if piece.code], [*kept, *buffers[taken:]], repetitions, origins)
