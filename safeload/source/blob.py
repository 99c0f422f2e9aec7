"""The bytes of an artifact at random access: in memory, or in a file that was opened once.

Rule: nothing is opened by name, and a read gives exactly what was asked for or raises; a container that announces more
than there is never gets memory for it. Whoever judges bytes and uses them later keeps what was read: a second read of a
file may see other bytes, so only bytes whose content nothing depends on (those of arrays) are read when they are needed.
"""

from __future__ import annotations

import io
import math
import os
from typing import TYPE_CHECKING, Any, Literal

from safeload.errors import FormatError, TruncatedError
from safeload.facts import forks
from safeload.source.memory import private_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.source.unpacking import Budget

__all__ = ["Blob", "FileBlob", "MemoryBlob"]

_CHUNK = 1 << 20
_HEAD = 1 << 10
_ONE_READ = 1 << 30  # a system call gives at most 2 GiB


class Blob:
    """Bytes at random access. ``size`` is their number; offsets count from the blob's own start.

    ``budget``: what they count for, if they were unpacked, and what is inside of them.
    """

    size: int
    budget: Budget | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes.

        Raises:
            TruncatedError: there are fewer.
        """
        self.check(offset, size)
        return self._read(offset, size)

    def view(self, offset: int, size: int) -> memoryview:
        """Exactly ``size`` bytes: of the memory itself, or read into private, writable memory.

        Raises:
            TruncatedError: there are fewer.
        """
        self.check(offset, size)
        return self._view(offset, size)

    def read_into(self, offset: int, memory: memoryview) -> None:
        """Fill ``memory``, writable and of bytes, with the bytes at ``offset``.

        Raises:
            TruncatedError: there are fewer.
        """
        self.check(offset, memory.nbytes)
        memory[:] = self._view(offset, memory.nbytes)

    def mapped(self, offset: int, size: int) -> memoryview:
        """:meth:`view`, but of a file a copy-on-write mapping; see :meth:`memmap` for what that means."""
        return self.view(offset, size)

    def memmap(self, offset: int, dtype: Any, shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> Any:
        """An array whose bytes begin at ``offset``, of a file as a copy-on-write ``numpy.memmap``.

        Its pages are read when they are used, so whoever can write the file can change what was not used yet. Only for
        where the caller asked for that; bytes in memory are taken as they are.

        Raises:
            TruncatedError: it reaches beyond the end.
        """
        import numpy as np

        return np.frombuffer(self.view(offset, _extent(dtype, shape)), dtype).reshape(shape, order=order)

    def slice(self, offset: int, size: int) -> Blob:
        """A part as a blob of its own; shares the bytes.

        Raises:
            TruncatedError: it reaches beyond the end.
        """
        self.check(offset, size)
        part = self._slice(offset, size)
        if self.budget is not None:
            part.budget = self.budget
        return part

    def kept(self) -> Blob:
        """The same bytes, in memory."""
        blob = MemoryBlob(self._read(0, self.size))
        blob.budget = self.budget
        return blob

    def head(self, size: int) -> bytes:
        """The first bytes, at most ``size``."""
        return self._read(0, min(size, self.size))

    def tail(self, size: int) -> bytes:
        """The last bytes, at most ``size``."""
        size = min(size, self.size)
        return self._read(self.size - size, size)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """All bytes in order, a piece at a time."""
        for offset in range(0, self.size, _CHUNK):
            yield self._read(offset, min(_CHUNK, self.size - offset))

    def file(self) -> io.BufferedReader:
        """A seekable binary file of its own position, for libraries that read files."""
        return io.BufferedReader(_BlobFile(self))

    def check(self, offset: int, size: int) -> None:
        """Raise unless ``offset`` and ``size`` are inside."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise TruncatedError("the artifact ends before it is complete: it announces more bytes than there are")

    def unchanged(self) -> None:
        """Raise if somebody wrote to the bytes since they were opened."""

    def release(self) -> None:
        """Nobody needs the bytes for now: memory that can be filled again may go."""

    def _read(self, offset: int, size: int) -> bytes:
        raise NotImplementedError

    def _view(self, offset: int, size: int) -> memoryview:
        raise NotImplementedError

    def _slice(self, offset: int, size: int) -> Blob:
        raise NotImplementedError


class MemoryBlob(Blob):
    """A blob in memory that nobody else changes."""

    __slots__ = ("_bytes", "_memory", "size")

    def __init__(self, data: Any) -> None:
        self._memory = memoryview(data).cast("B")
        self.size = self._memory.nbytes
        whole = self._memory.obj
        self._bytes = whole if type(whole) is bytes and len(whole) == self.size else None

    def head(self, size: int) -> bytes:
        """See :meth:`Blob.head`."""
        return self._bytes[:size] if self._bytes is not None else super().head(size)

    def _read(self, offset: int, size: int) -> bytes:
        if self._bytes is not None:
            return self._bytes[offset : offset + size]
        return bytes(self._memory[offset : offset + size])

    def _view(self, offset: int, size: int) -> memoryview:
        return self._memory[offset : offset + size]

    def _slice(self, offset: int, size: int) -> Blob:
        return MemoryBlob(self._memory[offset : offset + size])


class FileBlob(Blob):
    """A blob in an open, seekable binary file, from ``start`` on. The file stays the caller's, who closes it.

    Args:
        file: the open file.
        start: where the blob begins in the file; ``None``: at its position.
        size: its length; ``None``: to the end of the file.
    """

    __slots__ = ("_descriptor", "_file", "_first", "_lock", "_stamp", "_start", "size")

    def __init__(self, file: Any, start: int | None = None, size: int | None = None) -> None:
        self._file = file
        self._first = b""
        self._descriptor = _descriptor(file)
        self._lock = forks.lock()
        self._start = file.tell() if start is None else start
        self._stamp = self._stamped()
        self.size = self._end() - self._start if size is None else size
        self.size = max(0, self.size)

    def unchanged(self) -> None:
        """Raise if somebody wrote to the file since the blob was made.

        Raises:
            FormatError: size or time of the file differ.
        """
        if self._stamped() != self._stamp:
            raise FormatError(
                "the file changed while it was read; nothing of it was loaded. Load a copy that nobody writes to",
                code="format.changed",
            )

    def head(self, size: int) -> bytes:
        """See :meth:`Blob.head`. Every format asks for it, to recognise what is its own."""
        if size > _HEAD:
            return super().head(size)
        if not self._first:
            self._first = super().head(_HEAD)
        return self._first[:size]

    def _stamped(self) -> tuple[int, int] | None:
        if self._descriptor is None:
            return None
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def _end(self) -> int:
        if self._stamp is not None:
            return self._stamp[0]
        position = self._file.tell()
        end: int = self._file.seek(0, os.SEEK_END)
        self._file.seek(position)
        return end

    def _read(self, offset: int, size: int) -> bytes:
        if self._descriptor is not None and hasattr(os, "pread") and size <= _ONE_READ:
            data = os.pread(self._descriptor, size, self._start + offset)
            if len(data) == size:
                return data
        return bytes(self._view(offset, size))

    def read_into(self, offset: int, memory: memoryview) -> None:
        """See :meth:`Blob.read_into`."""
        size = memory.nbytes
        self.check(offset, size)
        filled = 0
        while filled < size:
            count = self._into(memory[filled:] if filled else memory, self._start + offset + filled)
            if not count:
                raise TruncatedError("the file became shorter while it was read; load it again", code="format.changed")
            filled += count

    def _view(self, offset: int, size: int) -> memoryview:
        memory = private_memory(size)
        self.read_into(offset, memory)
        return memory

    def _into(self, memory: memoryview, at: int) -> int:
        if self._descriptor is not None and hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [memory], at)
        with self._lock:
            position = self._file.tell()
            self._file.seek(at)
            try:
                data = self._file.read(min(len(memory), _CHUNK))
            finally:
                self._file.seek(position)
        memory[: len(data)] = data
        return len(data)

    def mapped(self, offset: int, size: int) -> memoryview:
        """See :meth:`Blob.mapped`."""
        self.check(offset, size)
        if self._descriptor is None or not size:
            return self.view(offset, size)
        import mmap

        begin = self._start + offset
        before = begin % mmap.ALLOCATIONGRANULARITY
        mapping = mmap.mmap(self._descriptor, size + before, access=mmap.ACCESS_COPY, offset=begin - before)
        return memoryview(mapping)[before:]

    def memmap(self, offset: int, dtype: Any, shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> Any:
        """See :meth:`Blob.memmap`."""
        size = _extent(dtype, shape)
        self.check(offset, size)
        if self._descriptor is None or not size:
            return super().memmap(offset, dtype, shape, order)
        import numpy as np

        return np.memmap(self._file, dtype, "c", self._start + offset, shape, order)

    def _slice(self, offset: int, size: int) -> Blob:
        part: FileBlob = object.__new__(FileBlob)
        part._file, part._descriptor, part._lock, part._stamp = self._file, self._descriptor, self._lock, self._stamp
        part._first, part._start, part.size = b"", self._start + offset, size
        return part


def _descriptor(file: Any) -> int | None:
    """The descriptor of a real file; what is in memory or decompresses has none that gives its bytes."""
    raw = getattr(file, "raw", file)
    return raw.fileno() if isinstance(raw, io.FileIO) else None


def _extent(dtype: Any, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * int(dtype.itemsize)


class _BlobFile(io.RawIOBase):
    """A read-only raw file over a blob."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blob.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), max(0, self._blob.size - self._position))
        if size:
            memoryview(buffer)[:size] = self._blob.view(self._position, size)
            self._position += size
        return size
