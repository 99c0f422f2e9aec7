"""A stream that is already in memory, in the shape that the C unpickler reads without calling back."""

from __future__ import annotations

__all__ = ["CodeFeed"]


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
