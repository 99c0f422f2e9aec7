"""Is a segment of a stream closed and apart, and which are its literals?

The simulation knows only where a value comes from. Rule: what it does not understand makes no template
(:mod:`~safeload.engine.cost.repeats` says what must hold, and why).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.engine.cost.nodes import ENCODE, ROUNDED, SCALARS, Node
from safeload.engine.opcodes import LITERAL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ARRAY",
    "BUFFER",
    "BYTEARRAY8",
    "END",
    "EXACT",
    "LITERAL",
    "MADE",
    "MEMO_READS",
    "NEXT_BUFFER",
    "NUMBER",
    "NUMBERS",
    "PUT",
    "TEXT",
    "OpenSegmentError",
    "Part",
    "Segment",
    "put_into",
    "short_long",
    "text_at",
]

# Literals: a number; what is pushed as bytes, by class or by exact length; BYTEARRAY8; NEXT_BUFFER; a PUT into the next memo slot.
NUMBER, TEXT, EXACT, ARRAY, BUFFER, PUT, END = range(7)
NUMBERS = {0x4B: 2, 0x4D: 3, 0x4A: 5, 0x47: 9}  # BININT1, BININT2, BININT, BINFLOAT, with their arguments
_TEXTS = b"\x8c\x43\x55\x58\x42\x54\x8d\x8e"  # what is pushed as bytes
_LONG1, BYTEARRAY8, NEXT_BUFFER = 0x8A, 0x96, 0x97
_LONGEST = 7  # bytes of a LONG1 that weighs one
MEMO_READS = {0x68: 1, 0x6A: 4}  # BINGET, LONG_BINGET
_PUTS = {0x71: 1, 0x72: 4}  # BINPUT, LONG_BINPUT
_MAX_OPCODES = 2_000

# What a simulated stack holds, and what is known of it: items, if it is a tuple; the value; the number of the part.
MADE, READ, LITERAL, PLAIN, _COUNT = range(5)
_EMPTY = b"]}\x8f"
_CONSTANTS = b")N\x88\x89"  # the empty tuple is one object everywhere
_FROM_MARK = b"tdl\x91"
_INTO = b"eu\x90"  # APPENDS, SETITEMS, ADDITEMS
_CALLS = b"R\x81\x92"


class Part(NamedTuple):
    """The bytes that come next, and the literal behind them: its kind, the size of its class, its opcode and length."""

    run: bytes
    kind: int
    size: int
    opcode: int = 0
    length: int = 0


class OpenSegmentError(Exception):
    """The segment is not closed, not apart, or has opcodes that no template has."""


class Segment:
    """Simulates one segment.

    Attributes:
        parts: the opcodes and literals.
        stack: what it leaves on the stack: a tag, and what is known.
        reads: the memo slots that it reads, and what they hold.
        memoized: the memo slots that it fills. ``puts``: by the number of a part that is a PUT, those that it has filled before.
        steps: opcodes that were simulated.
    """

    def __init__(self, memo: Mapping[int, Any], before: int, sizes: Sequence[int]) -> None:
        self.parts: list[Part] = []
        self.stack: list[tuple[int, Any]] = []
        self.reads: dict[int, Any] = {}
        self.memoized = self.steps = 0
        self.puts: dict[int, int] = {}
        self._memo = memo
        self._before = before  # memo slots that were filled before the segment
        self._sizes = iter(sizes)
        self._marks: list[list[tuple[int, Any]]] = []

    def run(self, code: bytes, pos: int, end: int) -> None:
        """Simulate the opcodes from ``pos`` to ``end``, which the walk has understood.

        Raises:
            OpenSegmentError: it is not closed or not apart.
        """
        run = pos
        while pos < end and self.steps < _MAX_OPCODES:
            self.steps += 1
            opcode = code[pos]
            behind = self._literal(code, pos, run)
            if behind:
                run = pos = behind
                continue
            width = MEMO_READS.get(opcode, 0)
            if width:
                self._read(int.from_bytes(code[pos + 1 : pos + 1 + width], "little"))
            else:
                self._step(opcode)
            pos += 1 + width
        if pos != end or self._marks or not self.stack or any(tag == _COUNT for tag, _ in self.stack):
            raise OpenSegmentError
        self.parts.append(Part(code[run:pos], END, 0))

    def _literal(self, code: bytes, pos: int, run: int) -> int:
        """Push the literal at ``pos``; returns the position behind it, 0 if there is none."""
        opcode, length = code[pos], 0
        if opcode in _PUTS:
            return self._put(code, pos, run)
        if opcode in NUMBERS or opcode == _LONG1:
            kind, tag = NUMBER, _COUNT
            behind = pos + (NUMBERS.get(opcode) or short_long(code, pos, _LONGEST))
            if behind == pos:
                raise OpenSegmentError
        elif opcode == NEXT_BUFFER:
            kind, tag, behind, length = BUFFER, MADE, pos + 1, next(self._sizes, -1)
            if length < 0:
                raise OpenSegmentError
        elif opcode in _TEXTS or opcode == BYTEARRAY8:
            kind, tag = (TEXT, LITERAL) if opcode != BYTEARRAY8 else (ARRAY, MADE)
            start, behind = text_at(code, pos)
            length = behind - start
        else:
            return 0
        self.stack.append((tag, len(self.parts) if tag == LITERAL else None))
        size = ROUNDED[length.bit_length()]
        self.parts.append(Part(code[run:pos], kind, size, opcode, behind - pos if kind == NUMBER else length))
        return behind

    def _put(self, code: bytes, pos: int, run: int) -> int:
        """A PUT into the next slot, which is MEMOIZE in older protocols."""
        behind = put_into(code, pos, self._before + self.memoized)
        if not behind:
            raise OpenSegmentError
        self.puts[len(self.parts)] = self.memoized
        self.memoized += 1
        self.parts.append(Part(code[run:pos], PUT, 0, code[pos], behind - pos))
        return behind

    def _read(self, slot: int) -> None:
        if slot >= self._before or slot not in self._memo:
            raise OpenSegmentError
        value = self.reads[slot] = self._memo[slot]
        self.stack.append((READ, value))

    def _step(self, opcode: int) -> None:
        """One opcode that is no literal and no memo reference."""
        stack = self.stack
        if opcode == 0x94:  # MEMOIZE; at the start of the segment, of what is below it
            self.memoized += 1
        elif opcode == 0x28:
            self._marks.append(stack)
            self.stack = []
        elif opcode in _CONSTANTS:
            stack.append((PLAIN, None))
        elif opcode == 0x30:  # POP, of what the segment has pushed above its last mark
            self._take(1)
        elif opcode in _EMPTY:
            stack.append((MADE, []))
        elif opcode in _FROM_MARK:
            self._close()
            self.stack.append((MADE, stack if opcode == 0x74 else None))
        elif opcode in _INTO:
            self._close()
            self._changes()
        elif 0x85 <= opcode <= 0x87:  # TUPLE1, TUPLE2, TUPLE3
            stack.append((MADE, self._take(opcode - 0x84)))
        elif opcode in _CALLS:
            (_, callee), *arguments = self._take(3 if opcode == 0x92 else 2)
            self._call(callee, arguments)
        elif opcode in (0x61, 0x62, 0x73, 0x98):  # APPEND, BUILD, SETITEM, READONLY_BUFFER
            self._take({0x73: 2, 0x98: 0}.get(opcode, 1))
            self._changes()
        else:
            raise OpenSegmentError

    def _call(self, callee: Any, arguments: list[tuple[int, Any]]) -> None:
        """A call of what the memo held before. What is known of a scalar's hash depends on its literal's length."""
        if type(callee) is not Node or callee.name == ENCODE:
            raise OpenSegmentError
        if callee.name in SCALARS and (len(arguments) > 1 or arguments[0][0] != READ):
            items = arguments[0][1]
            if len(arguments) > 1 or not items or len(items) != 2 or items[0][0] != READ:
                raise OpenSegmentError
            tag, part = items[1]
            if tag == LITERAL:
                known = self.parts[part]
                self.parts[part] = known._replace(kind=EXACT, size=known.length)
            elif tag != READ:
                raise OpenSegmentError
        self.stack.append((MADE, None))

    def _close(self) -> None:
        if not self._marks:
            raise OpenSegmentError
        self.stack = self._marks.pop()

    def _take(self, count: int) -> list[tuple[int, Any]]:
        """What the segment pushed last."""
        start = len(self.stack) - count
        if start < 0:
            raise OpenSegmentError
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _changes(self) -> None:
        """What gets parts, keys or a state has to be made by the segment."""
        if not self.stack or self.stack[-1][0] != MADE:
            raise OpenSegmentError


def short_long(code: bytes, pos: int, longest: int) -> int:
    """The length of the LONG1 at ``pos`` with its argument; 0 if it is none, or its number has more bytes."""
    if code[pos] != _LONG1 or pos + 1 >= len(code) or code[pos + 1] > min(longest, _LONGEST):
        return 0
    return 2 + code[pos + 1]


def put_into(code: bytes, pos: int, slot: int) -> int:
    """The position behind the PUT at ``pos``; 0 if it is none, or of another slot."""
    width = _PUTS.get(code[pos])
    if width is None or int.from_bytes(code[pos + 1 : pos + 1 + width], "little") != slot:
        return 0
    return pos + 1 + width


def text_at(code: bytes, pos: int) -> tuple[int, int]:
    """Where the bytes of the literal at ``pos`` begin and end; behind the code if there is none."""
    if code[pos] not in _TEXTS and code[pos] != BYTEARRAY8:
        return 0, len(code)
    start = pos + 1 + LITERAL_LENGTH[code[pos]]
    return start, start + int.from_bytes(code[pos + 1 : start], "little")
