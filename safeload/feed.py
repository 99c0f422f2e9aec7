"""A stream that is already in memory, in the shape that the C unpickler reads without calling back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CodeFeed", "PieceFeed"]


class CodeFeed:
    """A canonical stream in the shape of a file whose whole content is already buffered.

    ``peek`` hands the C unpickler the stream as one buffer, so it never calls back for more.
    """

    __slots__ = ("code", "pos")

    def __init__(self, code: bytes = b"") -> None:
        self.code = code
        self.pos = 0

    def feed(self, code: bytes) -> None:
        """Use this feed, and the unpickler that reads it, for another stream."""
        self.code = code
        self.pos = 0

    def peek(self, _size: int) -> bytes:
        """All that was not consumed yet."""
        return self.code[self.pos :] if self.pos else self.code

    def read(self, size: int = -1) -> bytes:
        """Consume ``size`` bytes."""
        start = self.pos
        self.pos = len(self.code) if size < 0 else min(len(self.code), start + size)
        return b"" if size > len(self.code) else self.code[start : self.pos]

    def readline(self) -> bytes:
        """Consume a line; the census has seen that every text opcode is complete."""
        end = self.code.find(b"\n", self.pos) + 1 or len(self.code)
        start, self.pos = self.pos, end
        return self.code[start:end]


class PieceFeed(CodeFeed):
    """A stream that is handed over in pieces, each of which ends where an opcode ends.

    The C unpickler asks for more only when it has executed all that it was given (CPython, Modules/_pickle.c,
    ``_Unpickler_ReadFromFile``: it looks ahead with ``peek`` and never beyond what that returned). So ``next_piece`` is called
    exactly when every opcode of the pieces before has been executed. Rule: no piece is empty, and the last ends with STOP.
    """

    __slots__ = ("next_piece",)

    def __init__(self, next_piece: Callable[[], bytes]) -> None:
        super().__init__()
        self.next_piece = next_piece

    def _refill(self) -> None:
        if self.pos == len(self.code):
            self.feed(self.next_piece())

    def peek(self, size: int) -> bytes:
        """What is left of the piece, or the next one."""
        self._refill()
        return super().peek(size)

    def read(self, size: int = -1) -> bytes:
        """Consume ``size`` bytes."""
        if size:
            self._refill()
        return super().read(size)

    def readline(self) -> bytes:
        """Consume a line."""
        self._refill()
        return super().readline()
