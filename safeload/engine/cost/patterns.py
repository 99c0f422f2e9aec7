"""A template as regular expressions, which see at once what :meth:`repeats.Template.match` sees part by part.

One expression reaches up to each literal whose length may differ, or whose bytes left the stream. They match less than the
template does: a short literal of another length, an integer of another width, are left to the slow way. What matches is kept as it
was spelled, number by number, for :mod:`~safeload.engine.cost.folding`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from safeload.engine.cost.nodes import ROUNDED
from safeload.engine.cost.segments import BUFFER, END, EXACT, NUMBER, PUT, Part
from safeload.engine.opcodes import LITERAL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Found", "Pattern"]

_LONG1 = 0x8A
_BYTES = b"\x42\x8e\x96"  # BINBYTES, BINBYTES8, BYTEARRAY8: of any length, and nobody looks at what they hold
_SHORT_BYTES = 0x43
_SHORT_TEXTS = b"\x8c\x55\x58\x54"  # SHORT_BINUNICODE, SHORT_BINSTRING, BINUNICODE, BINSTRING
_LONGEST_TEXT = 255
# Bytes up to this length may be a constant that a rule asks for (the type code of an empty array), or one object in many places.
_TINY = 1
# Integers that are not negative are spelled with as few bytes as they need, so one template has all three spellings.
_INTEGER = rb"(K.|M..|J....)"
_FLOAT = rb"(G.{8})"
_PUT = rb"(q.|r....)"


class Found(NamedTuple):
    """What a pattern matched: where it ends, how many buffers are taken then, and what each of its expressions saw.

    ``groups``: the number of the expression and of the group of each number and string.
    """

    end: int
    taken: int
    pieces: list[re.Match[bytes]]
    groups: list[tuple[int, int]]

    @property
    def literals(self) -> tuple[bytes, ...]:
        """The numbers and strings, as they are spelled."""
        pieces = [piece.groups() for piece in self.pieces]
        return tuple([pieces[piece][group] for piece, group in self.groups])


class _Step(NamedTuple):
    """An expression, and the literal behind it: the width of its length (0: out-of-band), and the size of its class."""

    expression: re.Pattern[bytes]
    kind: int
    width: int
    size: int


class UnsuitableError(Exception):
    """A literal of the template is too long to be compared, or of an opcode that is rare."""


class Pattern:
    """The parts of one template.

    Attributes:
        texts: which of the literals are not numbers, but strings, names perhaps, or tiny bytes: they have to be the same.
    """

    __slots__ = ("_groups", "_put_groups", "_puts", "_steps", "texts")

    def __init__(self, parts: Sequence[Part], puts: Sequence[int]) -> None:
        self._steps: list[_Step] = []
        self._puts = puts
        self._put_groups: list[tuple[int, int]] = []
        self._groups: list[tuple[int, int]] = []
        self.texts: set[int] = set()
        source, groups = [], 0
        for part in parts:
            source.append(re.escape(part.run))
            if part.kind in (END, BUFFER) or (part.opcode in _BYTES and part.length > _TINY):
                if part.kind != END:
                    source.append(re.escape(bytes([part.opcode])))
                self._steps.append(
                    _Step(
                        re.compile(b"(?s)" + b"".join(source)), part.kind, LITERAL_LENGTH.get(part.opcode, 0), part.size
                    )
                )
                source, groups = [], 0
                continue
            literal, grouped = _literal(part)
            source.append(literal)
            if part.kind == PUT:
                self._put_groups.append((len(self._steps), groups))
            elif grouped:
                if part.kind != NUMBER:
                    self.texts.add(len(self._groups))
                self._groups.append((len(self._steps), groups))
            groups += grouped

    @classmethod
    def of(cls, parts: Sequence[Part], puts: Sequence[int]) -> Pattern | None:
        """The pattern for ``parts``, or ``None`` if there is none; ``puts``: memo slots that are filled before each PUT."""
        try:
            return cls(parts, puts)
        except UnsuitableError:
            return None

    def match(self, code: bytes, pos: int, sizes: Sequence[int], taken: int, slots: int) -> Found | None:
        """What matches at ``pos``, while ``taken`` of the buffers of these ``sizes`` are taken, and ``slots`` of the memo filled."""
        last = len(code) - 1  # there is a STOP behind every segment
        pieces = []
        for expression, kind, width, size in self._steps:
            piece = expression.match(code, pos, last)
            if piece is None:
                return None
            pieces.append(piece)
            pos = piece.end()
            if kind == BUFFER:
                if taken >= len(sizes) or sizes[taken] <= _TINY or ROUNDED[sizes[taken].bit_length()] != size:
                    return None
                taken += 1
            elif kind != END:
                length = int.from_bytes(code[pos : pos + width], "little")
                if length <= _TINY or (length if kind == EXACT else ROUNDED[length.bit_length()]) != size:
                    return None
                pos += width + length
        if pos > last or not self._puts_in_order(pieces, slots):
            return None
        return Found(pos, taken, pieces, self._groups)

    def _puts_in_order(self, pieces: Sequence[re.Match[bytes]], slots: int) -> bool:
        """Whether each PUT fills the next slot."""
        for (piece, group), before in zip(self._put_groups, self._puts, strict=True):
            if int.from_bytes(pieces[piece][group + 1][1:], "little") != slots + before:
                return False
        return True


def _literal(part: Part) -> tuple[bytes, bool]:
    """The expression for a number or a short literal, and whether it is a group."""
    opcode, length = part.opcode, part.length
    if part.kind == PUT:
        return _PUT, True
    if part.kind == NUMBER:
        if opcode == _LONG1:
            return b"(%b.{%d})" % (re.escape(bytes([opcode, length - 2])), length - 2), True
        return (_FLOAT if opcode == 0x47 else _INTEGER), True
    head = re.escape(bytes([opcode]))
    if opcode == _SHORT_BYTES:
        literal = head + re.escape(bytes([length]))
        return (literal + b".{%d}" % length, False) if length > _TINY else (literal + b"(.{%d})" % length, True)
    if opcode not in _SHORT_TEXTS or length > _LONGEST_TEXT:
        raise UnsuitableError
    return head + re.escape(length.to_bytes(LITERAL_LENGTH[opcode], "little")) + b"(.{%d})" % length, True
