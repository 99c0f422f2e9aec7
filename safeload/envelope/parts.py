"""The payload on its way into an envelope: parts in memory, or a file of known length, cut into chunks unjoined."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

from safeload.source.steady import SteadyRead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FileSource", "MemorySource", "Payload", "Source", "as_source"]

Buffer: TypeAlias = Any  # bytes, bytearray, memoryview, PickleBuffer, array …
Payload: TypeAlias = "Buffer | Sequence[Buffer] | BinaryIO"
Piece: TypeAlias = "bytes | memoryview"


class MemorySource:
    """Parts that are in memory; their bytes are never copied here."""

    stable = True  # pieces stay valid and unchanged while the source lives

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self.parts = [_octets(part) for part in parts]
        self.size = sum(len(part) for part in self.parts)

    def chunks(self, chunk_size: int) -> Iterator[list[Piece]]:
        """The payload in chunks of ``chunk_size`` bytes (the last may be shorter), each as a list of pieces."""
        pieces: list[Piece] = []
        room = chunk_size
        for part in self.parts:
            at = 0
            while at < len(part):
                piece = memoryview(part)[at : at + room]
                pieces.append(piece)
                at += len(piece)
                room -= len(piece)
                if not room:
                    yield pieces
                    pieces, room = [], chunk_size
        if pieces:
            yield pieces


class FileSource:
    """A binary file that holds exactly ``size`` bytes from where it stands."""

    stable = False

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self._steady = SteadyRead(file)

    def chunks(self, chunk_size: int) -> Iterator[list[Piece]]:
        """The file in chunks; each is valid until the next is asked for.

        Raises:
            OSError: the file is shorter or longer than announced: it changed while it was read.
            FormatError: it was written to meanwhile.
        """
        buffer = memoryview(bytearray(min(chunk_size, self.size)))
        left = self.size
        while left:
            view = buffer[: min(left, chunk_size)]
            fill(self.file, view)
            left -= len(view)
            self._steady.take(view)
            yield [view]
        if self.file.read(1):
            raise OSError("the source is longer than announced: it changed while it was read; try again")
        self._steady.finish()


class Source(Protocol):
    """What gives a payload of known size in chunks."""

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        ...

    @property
    def stable(self) -> bool:
        """Whether pieces stay valid and unchanged while the source lives."""
        ...

    def chunks(self, chunk_size: int) -> Iterator[list[Piece]]:
        """The payload in chunks of ``chunk_size`` bytes, the last one shorter; nothing for an empty payload."""
        ...


def fill(file: Any, view: memoryview) -> None:
    """Read until ``view`` is full.

    Raises:
        OSError: the file ends before.
    """
    while view:
        if hasattr(file, "readinto"):
            count = file.readinto(view)
        else:
            data = file.read(len(view))
            count = len(data)
            view[:count] = data
        if not count:
            raise OSError("the source ended early: it changed while it was read; try again")
        view = view[count:]


def as_source(payload: Payload | Source, *, length: int | None = None) -> Source:
    """A source for ``payload``: a bytes-like object, a sequence of them, or a binary file.

    Args:
        payload: what to seal.
        length: bytes to read from a file; needed for one that is no regular file, because the length is signed in
            front.

    Raises:
        TypeError: none of these.
        ValueError: the length of a file is not known.
    """
    if isinstance(payload, MemorySource | FileSource):
        return payload
    if isinstance(payload, list | tuple):
        return MemorySource(payload)
    if hasattr(payload, "read"):
        file: Any = payload
        if length is None:
            length = _length_left(payload)
        return FileSource(file, length)
    if isinstance(payload, str):
        raise TypeError("a payload is bytes; encode text, or give an open file")
    return MemorySource([payload])


def _length_left(file: Any) -> int:
    try:
        if isinstance(file, io.BytesIO):
            return len(file.getbuffer()) - file.tell()
        status = os.fstat(file.fileno())
        # Only a plain file object: a wrapper (gzip …) reports the descriptor of what it wraps.
        raw = getattr(file, "raw", file)
        if stat.S_ISREG(status.st_mode) and type(raw) is io.FileIO:
            return max(0, status.st_size - int(file.tell()))
    except (OSError, AttributeError):
        pass
    raise ValueError("the length of this source is not known; give length=, or read it into memory first")


def _octets(part: Buffer) -> Piece:
    if type(part) is bytes:
        return part
    view = memoryview(part)
    if view.format == "B" and view.ndim == 1 and view.c_contiguous:
        return view
    if not view.c_contiguous:
        return view.tobytes()
    return view.cast("B")
