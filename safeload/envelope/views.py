"""Where the bytes of an envelope are read from: memory, a regular file by position, or a pipe from front to back.

Rule: a file is opened once and read by its descriptor; nothing reopens a path. Bytes that were verified are the bytes
that were read into private memory, so a file that changes meanwhile can make an envelope fail, never change what was
verified.
"""

from __future__ import annotations

import io
import os
import stat
from typing import Any, TypeAlias

from safeload.envelope.failures import refused
from safeload.errors import LimitExceededError
from safeload.facts import forks
from safeload.source.memory import private_memory

__all__ = ["FileView", "MemoryView", "SequentialView", "View", "open_descriptor", "payload_memory", "view_of"]


def payload_memory(size: int) -> memoryview:
    """``size`` writable bytes that only this process can see.

    Raises:
        LimitExceededError: there is not so much memory.
    """
    try:
        return private_memory(size)
    except (OSError, OverflowError, MemoryError):
        raise LimitExceededError(
            f"there is no memory for a payload of {size} bytes; use decrypt_to, or lower Limits.max_artifact_bytes",
            code="limit.memory",
            stage="verify",
        ) from None


class MemoryView:
    """An envelope in (private) memory."""

    seekable = True

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.size: int | None = len(self._data)

    def read_bytes(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``."""
        return bytes(self._data[offset : offset + size])

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill ``out`` from ``offset``."""
        out[:] = self.piece(offset, len(out), out)

    def piece(self, offset: int, size: int, scratch: memoryview) -> memoryview:  # noqa: ARG002 - other views need it
        """``size`` bytes from ``offset``, here without a copy."""
        piece = self._data[offset : offset + size]
        if len(piece) < size:
            _shortened()
        return piece

    def ends_at(self, size: int) -> bool:
        """Whether nothing follows the first ``size`` bytes."""
        return self.size == size


class FileView:
    """A regular file, read by position from several threads.

    Args:
        descriptor: of the file; the caller keeps it open.
        base: where the envelope starts in it.
    """

    seekable = True

    def __init__(self, descriptor: int, base: int = 0) -> None:
        self._descriptor = descriptor
        self._base = base
        self._lock = forks.lock()
        self.size: int | None = max(0, os.fstat(descriptor).st_size - base)

    def read_bytes(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``."""
        parts: list[bytes] = []
        got = 0
        while got < size and (data := self._read_at(size - got, self._base + offset + got)):
            parts.append(data)  # one, unless the kernel gives less at once (2 GiB)
            got += len(data)
        return b"".join(parts)

    def _read_at(self, size: int, position: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, position)
        with self._lock:  # Windows: moving and reading are two steps
            os.lseek(self._descriptor, position, os.SEEK_SET)
            return os.read(self._descriptor, size)

    def _read_into_at(self, out: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [out], position)
        data = self._read_at(len(out), position)
        out[: len(data)] = data
        return len(data)

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill ``out`` from ``offset``.

        Raises:
            EnvelopeError: the file has become shorter (code ``envelope.changed``).
        """
        position = self._base + offset
        while out:
            count = self._read_into_at(out, position)
            if not count:
                _shortened()
            out = out[count:]
            position += count

    def piece(self, offset: int, size: int, scratch: memoryview) -> memoryview:
        """``size`` bytes from ``offset``, read into ``scratch``."""
        out = scratch[:size]
        self.read_into(offset, out)
        return out

    def ends_at(self, size: int) -> bool:
        """Whether nothing follows the first ``size`` bytes."""
        return self.size == size


class SequentialView:
    """A pipe, a socket's file or a decompressor: read once, from front to back, never more than asked for."""

    seekable = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._at = 0
        self.size: int | None = None

    def read_bytes(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes; ``offset`` is where the last read ended."""
        assert offset == self._at, "a sequential source cannot seek"  # noqa: S101
        parts = []
        left = size
        while left > 0 and (data := self._file.read(min(left, 1 << 24))):
            # A hostile header announces any size: memory grows with what really arrives.
            parts.append(bytes(data))
            left -= len(data)
        self._at += size - left
        return b"".join(parts)

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill ``out``."""
        data = self.read_bytes(offset, len(out))
        if len(data) < len(out):
            _cut_off(self._at)
        out[:] = data

    def piece(self, offset: int, size: int, scratch: memoryview) -> memoryview:  # noqa: ARG002
        """``size`` bytes from ``offset``."""
        data = self.read_bytes(offset, size)
        if len(data) < size:
            _cut_off(self._at)
        return memoryview(data)

    def ends_at(self, size: int) -> bool:
        """Whether the source ends here; reads one byte to see."""
        assert size == self._at, "everything was read"  # noqa: S101
        return not self._file.read(1)


View: TypeAlias = "MemoryView | FileView | SequentialView"


def _shortened() -> None:
    refused("changed", "the envelope became shorter while it was read; wait until its writer is done and try again")


def _cut_off(size: int) -> None:
    refused("truncated", f"the envelope ends after {size} bytes, before its announced end; fetch it again")


def view_of(file: Any) -> View:
    """How to read the binary file object ``file`` from where it stands.

    Raises:
        TypeError: it cannot be read, or gives text.
    """
    if type(file) is io.BytesIO:
        return MemoryView(file.getvalue()[file.tell() :])
    # Only a plain file is read by descriptor: gzip and other wrappers report the descriptor of what they wrap.
    raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
    if type(raw) is io.FileIO:
        descriptor = raw.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            if type(file) is io.BufferedRandom:
                file.flush()
            return FileView(descriptor, file.tell())
    if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
        raise TypeError('an envelope is read from a binary file; open it with mode "rb"')
    return SequentialView(file)


def open_descriptor(path: str | os.PathLike[str]) -> int:
    """A descriptor of the regular file at ``path``.

    Raises:
        OSError: it cannot be opened (missing, no permission).
        EnvelopeError: it is a directory, pipe or device (code ``envelope.not-a-file``).
    """
    # O_NONBLOCK: a pipe in the file's place must not hang the reader. It has no effect on regular files.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or device"
        refused("not-a-file", f"{os.fspath(path)} is {kind}, not a file; open a pipe yourself and pass the open file")
    return descriptor
