"""Where the bytes of a pickle stream come from: memory, a seekable file, or something that only flows.

Rule: a source never consumes a byte behind the stream that was asked for, because the next pickle, or something
else, may follow in the same file, pipe or socket. Bytes are read once; nothing is ever opened again.
"""

from __future__ import annotations

import os
from typing import Any

from safeload.errors import FormatError, LimitExceededError

__all__ = ["BytesSource", "FileSource", "FlowSource", "source_for_file"]

_FIRST_READ = 1 << 16
_READ_STEP = 1 << 25


class BytesSource:
    """A stream in memory, from its first byte on."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def more(self, size: int) -> bool:
        """Whether ``data`` has ``size`` bytes; it cannot grow."""
        return size <= len(self.data)

    def more_than(self, size: int) -> bool:
        """Whether anything follows the first ``size`` bytes."""
        return len(self.data) > size

    def take(self, start: int, size: int) -> tuple[bytes, int] | None:
        """See :class:`~safeload.analysis.census.StreamSource`."""
        end = start + size
        return (self.data[start:end], end) if end <= len(self.data) else None


class FileSource:
    """A stream in a seekable binary file, from the current position on.

    Reads ahead in growing steps; :meth:`finish` puts the position right behind the stream.
    """

    __slots__ = ("_stamp", "data", "dropped", "file", "origin")

    def __init__(self, file: Any, origin: int) -> None:
        self.file = file
        self._stamp = _stamp(file)
        self.origin = origin
        self.dropped = 0  # bytes of the stream that came before data[0]
        self.data = b""

    def more(self, size: int) -> bool:
        """Read until ``data`` has ``size`` bytes, and some more where they are at hand."""
        missing = size - len(self.data)
        if missing <= 0:
            return True
        ahead = max(missing, min(max(len(self.data), _FIRST_READ), _READ_STEP))
        chunk = _read_fully(self.file, ahead, missing)
        self.data = self.data + chunk if self.data else chunk
        return len(chunk) >= missing

    def more_than(self, size: int) -> bool:
        """Whether anything follows the first ``size`` bytes of the stream.

        Raises:
            FormatError: somebody wrote to the file since reading began.
        """
        more = self.more(size - self.dropped + 1)
        self._check_unchanged()
        return more

    def rest(self, limit: int) -> bytes:
        """All bytes from the start of the stream to the end of the file.

        Raises:
            LimitExceededError: there are more than ``limit``.
        """
        self.file.seek(self.origin)
        data = _read_all(self.file, limit)
        self._check_unchanged()
        return data

    def _check_unchanged(self) -> None:
        if _stamp(self.file) != self._stamp:
            raise FormatError(
                "the file changed while it was read; nothing of it was loaded. Load a copy that nobody writes to",
                code="format.changed",
            )

    def take(self, start: int, size: int) -> tuple[bytes, int] | None:
        """A long literal goes from the file into its own object, without a copy in between."""
        end = start + size
        if end <= len(self.data):
            return self.data[start:end], end
        self.file.seek(self.origin + self.dropped + start)
        literal = _read_fully(self.file, size, size)
        if len(literal) < size:
            return None
        self.dropped += end
        self.data = b""
        return literal, 0

    def finish(self, size: int) -> None:
        """Leave the file right behind the first ``size`` bytes of the stream."""
        self.file.seek(self.origin + size)


class FlowSource:
    """A stream from a pipe, a socket or any object with ``read`` and ``readline``.

    With ``peek`` whatever is buffered is looked at before it is consumed; without it exactly what is
    needed is read, as CPython does.
    """

    __slots__ = ("data", "dropped", "file", "looked", "peek")

    def __init__(self, file: Any) -> None:
        self.file = file
        self.peek = getattr(file, "peek", None)
        self.looked = 0  # bytes at the end of data that were seen but not consumed
        self.dropped = 0
        self.data = bytearray()

    def more(self, size: int) -> bool:
        """Read until ``data`` has ``size`` bytes; blocks only for bytes that are needed."""
        while (missing := size - len(self.data)) > 0:
            self._consume(self.looked)
            chunk = b""
            if self.peek is not None:
                try:
                    chunk = self.peek(missing)
                except (NotImplementedError, AttributeError):
                    self.peek = None
            if chunk:
                self.looked = len(chunk)
            else:
                chunk = self.file.read(missing)
                if not chunk:
                    return False
            self.data += chunk
        return True

    def more_than(self, size: int) -> bool:
        """Whether anything follows the first ``size`` bytes of the stream; waits for the end of the flow."""
        return self.more(size - self.dropped + 1)

    def take(self, start: int, size: int) -> tuple[bytes, int] | None:
        """See :class:`~safeload.analysis.census.StreamSource`."""
        end = start + size
        if end <= len(self.data):
            return bytes(self.data[start:end]), end
        self._consume(self.looked)
        have = bytes(self.data[start:])
        rest = _read_fully(self.file, size - len(have), size - len(have))
        if len(have) + len(rest) < size:
            return None
        self.dropped += end
        self.data = bytearray()
        return b"".join((have, rest)), 0

    def rest(self, limit: int) -> bytes:
        """All bytes from the start of the stream to the end of the flow."""
        self._consume(self.looked)
        return b"".join((self.data, _read_all(self.file, limit - len(self.data))))

    def finish(self, size: int) -> None:
        """Consume what was looked at, up to the stream's end."""
        behind = self.dropped + len(self.data) - size
        self._consume(self.looked - behind)
        self.looked = 0

    def _consume(self, size: int) -> None:
        if size > 0:
            _read_fully(self.file, size, size)
        self.looked = 0


def source_for_file(file: Any) -> FileSource | FlowSource:
    """The source for an open binary file at its current position.

    Raises:
        TypeError: ``file`` has no ``read`` or ``readline``.
    """
    if not callable(getattr(file, "read", None)) or not callable(getattr(file, "readline", None)):
        raise TypeError("file must have 'read' and 'readline' attributes")
    try:
        if file.seekable():
            return FileSource(file, file.tell())
    except (AttributeError, OSError, ValueError):
        pass
    return FlowSource(file)


def _stamp(file: Any) -> tuple[int, int] | None:
    """Size and time of change of an open file; ``None`` for what is no file of the operating system."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _read_all(file: Any, limit: int) -> bytes:
    chunks = []
    left = limit
    while chunk := file.read(min(left + 1, 1 << 30)):
        left -= len(chunk)
        if left < 0:
            raise LimitExceededError(
                f"the artifact is larger than max_artifact_bytes={limit:,}; raise Limits(max_artifact_bytes=...)",
                code="limit.artifact-bytes",
                stage="read",
            )
        chunks.append(chunk)
    return bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks)


def _read_fully(file: Any, wanted: int, needed: int) -> bytes:
    """Up to ``wanted`` bytes; fewer than ``needed`` only at the end (raw files may return short reads)."""
    chunk = file.read(wanted)
    if chunk is None:
        raise BlockingIOError("the file is in non-blocking mode and has no data")
    if not isinstance(chunk, bytes):
        if not isinstance(chunk, (bytearray, memoryview)):
            raise TypeError(f"read() returned {type(chunk).__name__}, not bytes: open the file in binary mode ('rb')")
        chunk = bytes(chunk)
    if len(chunk) >= needed or not chunk:
        return chunk
    chunks = [chunk]
    have = len(chunk)
    while have < needed:
        chunk = file.read(wanted - have)
        if not chunk:
            break
        chunks.append(bytes(chunk))
        have += len(chunk)
    return b"".join(chunks)
