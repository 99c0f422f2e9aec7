"""A stream with its repetitions left out: what is traced and judged in place of two hundred trees that are spelled alike.

The key walk has found segments that match a *model* (:mod:`~safeload.analysis.repeats`): closed, apart, each leaving one object
with its state set. Here all matches of a model are laid side by side, and every number becomes a column. A column that never
changes is part of the model. Columns that change in the same way are one *variable*. The folded stream has

* the model as it stands,
* *corners*: matches in which each variable has the least or the greatest value of its class, in all combinations of two, so that a
  rule that compares numbers with bounds, or with each other, meets its worst case,
* in place of every other match the model's object from the memo, and as many memo slots filled.

Strings are the same in all of them, or the match is not folded. Bytes are not compared: the argument rules that
:mod:`safeload.policy.decision` lets judge a folded stream do not look at them. Rule: what is folded has to be clean to count. Any
finding, any error, any rule that is not known to judge numbers by their bounds means that the stream is judged once more, in full.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.analysis.nodes import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeload.analysis.patterns import Found
    from safeload.analysis.repeats import Repeats, Template

__all__ = ["Folded", "fold"]

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
    """Some code; ``counts`` is not 0 if it stands for so many segments, itself among them."""

    code: bytes
    counts: int


class Folded(NamedTuple):
    """What to trace in place of a stream, in pieces that each end where an opcode does, and the buffers that they take."""

    pieces: list[Piece]
    buffers: list[Any]


class _Repetition:
    """A model, its matches that can be folded, and its corners."""

    def __init__(self, code: bytes, sizes: Sequence[int], template: Template) -> None:
        self.template = template
        self.start, self.end, self._taken = template.model
        self.matches = template.found
        self.corners: list[list[bytes]] = []
        pattern = template.pattern
        model = pattern.match(code, self.start, sizes, self._taken) if pattern is not None else None
        if pattern is None or model is None or model.end != self.end:
            self.matches = []
            return
        groups = _groups(model)
        rows = [_groups(found) for _, _, found in self.matches]
        if pattern.texts:
            texts = sorted(pattern.texts)
            alike = [all(row[n] == groups[n] for n in texts) for row in rows]
            self.matches = list(itertools.compress(self.matches, alike))
            rows = list(itertools.compress(rows, alike))
        corners = _corners(groups, [groups, *rows])
        if corners is None or len(rows) < 2 * len(corners) + _WORTH:
            self.matches = []
        else:
            self.corners = corners

    @property
    def saved(self) -> int:
        """Bytes that need not be traced."""
        return sum(found.end - pos for pos, _, found in self.matches[len(self.corners) :])


def _groups(found: Any) -> tuple[bytes, ...]:
    return tuple([group for piece in found.pieces for group in piece.groups()])


def _corners(model: tuple[bytes, ...], rows: Sequence[tuple[bytes, ...]]) -> list[list[bytes]] | None:
    """What to put in place of the model's numbers, for each corner; ``None`` if there are none, or too many."""
    variables: dict[tuple[bytes, ...], list[int]] = {}
    for number, column in enumerate(zip(*rows, strict=True)):
        if column.count(column[0]) != len(column):
            variables.setdefault(column, []).append(number)
    bounds = [found for found in map(_bounds, variables) if found is not None]
    if len(bounds) > _MAX_VARIABLES or len(bounds) < len(variables):
        return None
    corners = []
    for choice in _choices(len(bounds)):
        corner = list(model)
        for columns, bound, high in zip(variables.values(), bounds, choice, strict=True):
            for number in columns:
                corner[number] = bound[high]
        corners.append(corner)
    return corners


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
    if not count:
        return
    yield (False,) * count
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
    sizes = [size_of(buffer) for buffer in buffers]
    candidates = [_Repetition(code, sizes, each) for each in repeats.patterned if each.slot >= 0 and each.found]
    spans: list[_Span] = []
    for repetition in sorted(candidates, key=lambda each: each.saved, reverse=True):
        if repetition.matches:
            more = sorted([*spans, *_spans(code, repetition)], key=lambda span: span.start)
            if all(one.end <= other.start for one, other in itertools.pairwise(more)):
                spans = more
    return _joined(code, buffers, spans) if spans else None


class _Span(NamedTuple):
    """A segment of the stream and what stands for it; ``drops``: the buffers that it would have taken."""

    start: int
    end: int
    piece: Piece
    drops: range = range(0)


def _spans(code: bytes, repetition: _Repetition) -> Iterator[_Span]:
    template, corners, matches = repetition.template, repetition.corners, repetition.matches
    left_out = matches[len(corners) :]
    yield _Span(repetition.start, repetition.end, Piece(code[repetition.start : repetition.end], 1 + len(left_out)))
    for corner, (pos, _, found) in zip(corners, matches, strict=False):
        yield _Span(pos, found.end, Piece(_with_numbers(code, pos, found, corner), 1))
    filler = bytes([_LONG_BINGET]) + template.slot.to_bytes(4, "little") + _MEMOIZE * template.memoized
    for pos, taken, found in left_out:
        yield _Span(pos, found.end, Piece(filler, 0), range(taken, found.taken))


def _with_numbers(code: bytes, pos: int, found: Found, numbers: Sequence[bytes]) -> bytes:
    """The code of a match with these literals in place of its own."""
    parts: list[bytes] = []
    spans = (piece.span(number + 1) for piece in found.pieces for number in range(piece.re.groups))
    for (start, end), number in zip(spans, numbers, strict=True):
        parts += code[pos:start], number
        pos = end
    parts.append(code[pos : found.end])
    return b"".join(parts)


def _joined(code: bytes, buffers: Sequence[Any], spans: Sequence[_Span]) -> Folded:
    """Adjacent pieces that stand for nothing are one."""
    pieces: list[Piece] = []
    plain: list[bytes] = []
    kept: list[Any] = []
    pos = taken = 0
    for start, end, piece, drops in spans:
        plain.append(code[pos:start])
        pos = end
        if piece.counts:
            pieces += Piece(b"".join(plain), 0), piece
            plain = []
        else:
            plain.append(piece.code)
            kept += buffers[taken : drops.start]
            taken = drops.stop
    pieces.append(Piece(b"".join([*plain, code[pos:]]), 0))
    return Folded(pieces, [*kept, *buffers[taken:]])
