"""A stream that is already in memory, in the shape that the C unpickler reads without calling back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CodeFeed"]


class CodeFeed:
    """A canonical stream in the shape of a file whose whole content is already buffered.

    ``peek`` hands the C unpickler the stream as one buffer, so it never calls back for more.

    A stream can come in pieces instead, each ending where an opcode does. The unpickler reads opcode by opcode out of the
    buffer it has, and first reports what it consumed and then asks for more only where the next opcode is not in it
    (``_Unpickler_ReadFromFile`` and ``_Unpickler_SkipConsumed`` in Modules/_pickle.c). So when it asks, every opcode of
    the pieces before was executed.
    """

    __slots__ = ("_next_piece", "code", "failure", "pos")

    def __init__(self, code: bytes = b"", next_piece: Callable[[], bytes] | None = None) -> None:
        self.feed(code, next_piece)

    def feed(self, code: bytes, next_piece: Callable[[], bytes] | None = None) -> None:
        """Use this feed, and the unpickler that reads it, for another stream.

        Args:
            code: the stream, or its first piece.
            next_piece: called when all before was executed; returns the next piece, or nothing at the end.
        """
        self.code = code
        self.pos = 0
        self._next_piece = next_piece
        self.failure: BaseException | None = None  # what next_piece raised; the unpickler calls much of that EOFError

    @property
    def exhausted(self) -> bool:
        """Whether everything that was handed out was consumed."""
        return self.pos == len(self.code)

    def peek(self, _size: int) -> bytes:
        """All that was not consumed yet."""
        if self._next_piece is not None and self.pos == len(self.code):
            try:
                self.code = self._next_piece()
            except BaseException as error:
                self.failure = error
                raise
            self.pos = 0
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
