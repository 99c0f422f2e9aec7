"""Where the bytes of a pickle stream come from: memory, a seekable file, or something that only flows.

Rule: a source never consumes a byte behind the stream that was asked for, because the next pickle, or something
else, may follow in the same file, pipe or socket; and it never waits for a byte that is not needed. Bytes are read
once; nothing is ever opened again. Announced lengths are not believed: memory is taken as bytes arrive.
"""

from __future__ import annotations

import io
import os
from typing import Any

from safeload.errors import FormatError, LimitExceededError
from safeload.source.memory import private_memory

__all__ = ["BytesSource", "FileSource", "FlowSource", "source_for_file"]

_FIRST_READ = 1 << 16
# An announced length beyond this is read in steps, unless the file is known to be so long: read(n) allocates n bytes.
_READ_STEP = 1 << 25
# A flow is looked at in pieces of this size; needed bytes beyond it are read without a look.
_PEEK = 1 << 13


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
        """See :class:`~safeload.engine.census.StreamSource`."""
        end = start + size
        return (self.data[start:end], end) if end <= len(self.data) else None

    def finish(self, size: int) -> None:
        """Nothing to leave behind."""

    def abandon(self, at: int | None) -> None:
        """Nothing to leave behind."""


class FileSource:
    """A stream in a seekable binary file, from the current position on.

    Reads ahead in growing steps; :meth:`finish` puts the position right behind the stream.
    """

    __slots__ = ("_at_hand", "_stamp", "data", "dropped", "file", "origin")

    def __init__(self, file: Any, origin: int) -> None:
        self.file = file
        self.origin = origin
        self._stamp: tuple[int, int] | None = None
        # So much may be asked for in one read: not more than there is.
        self._at_hand = 0
        if type(file) is io.BytesIO:
            self._at_hand = file.seek(0, os.SEEK_END)
            file.seek(origin)
        elif (stamp := _stamp(file)) is not None:
            self._stamp = stamp
            self._at_hand = stamp[0]
        self.dropped = 0  # bytes of the stream that came before data[0]
        self.data = b""

    def more(self, size: int) -> bool:
        """Read until ``data`` has ``size`` bytes, and some more where they are at hand."""
        missing = size - len(self.data)
        if missing <= 0:
            return True
        ahead = max(missing, min(max(len(self.data), _FIRST_READ), _READ_STEP))
        chunk = _read_fully(self.file, ahead, missing, self._at_hand)
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
        data = _read_all(self.file, limit, self._at_hand)
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
        literal = _read_fully(self.file, size, size, self._at_hand)
        if len(literal) < size:
            return None
        self.dropped += end
        self.data = b""
        return literal, 0

    def take_mutable(self, start: int, size: int) -> tuple[memoryview | bytes, int] | None:
        """:meth:`take` into writable memory where that saves a copy."""
        reads_into = getattr(self.file, "readinto", None)
        if start + size <= len(self.data) or size > self._at_hand or reads_into is None:
            return self.take(start, size)
        self.file.seek(self.origin + self.dropped + start)
        memory = private_memory(size)
        filled = 0
        while filled < size:
            count = reads_into(memory[filled:])
            if not count:
                return None
            filled += count
        self.dropped += start + size
        self.data = b""
        return memory, 0

    def finish(self, size: int) -> None:
        """Leave the file right behind the first ``size`` bytes of the stream."""
        self.file.seek(self.origin + size)

    def abandon(self, at: int | None) -> None:
        """Leave the file where a broken stream stopped making sense, or at its end (``None``).

        At least one byte was consumed, so that a program that goes on after an error comes to an end.
        """
        if at is not None:
            self.file.seek(self.origin + max(1, at))


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
        missing = size - len(self.data)
        if missing <= 0:
            return True
        self._consume(self.looked)
        if self.peek is not None and missing < _PEEK:
            chunk = self._look(missing)
            if len(chunk) >= missing:
                self.looked = len(chunk)
                self.data += chunk
                return True
        chunk = _read_fully(self.file, missing, missing)
        self.data += chunk
        return len(chunk) >= missing

    def _look(self, size: int) -> bytes:
        """What is buffered, at best ``size`` bytes or more; waits for one byte at most."""
        try:
            return _as_bytes(self.peek(size))  # type: ignore[misc]
        except (NotImplementedError, AttributeError):
            self.peek = None
            return b""

    def more_than(self, size: int) -> bool:
        """Whether anything follows the first ``size`` bytes of the stream; waits for the end of the flow."""
        return self.more(size - self.dropped + 1)

    def take(self, start: int, size: int) -> tuple[bytes, int] | None:
        """See :class:`~safeload.engine.census.StreamSource`."""
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
        left = min(self.looked, max(0, behind))
        self._consume(self.looked - left)
        if left:
            del self.data[-left:]  # seen, and left where it was; what was consumed behind a break stays

    def abandon(self, at: int | None) -> None:
        """Consume a broken stream up to where it stopped making sense, at least one byte; or all that was seen."""
        self.finish(self.dropped + len(self.data) if at is None else max(1, at))

    def _consume(self, size: int) -> None:
        self.looked = 0
        if size > 0:
            _read_fully(self.file, size, size)


def source_for_file(file: Any) -> FileSource | FlowSource:
    """The source for an open binary file at its current position.

    Raises:
        TypeError: ``file`` has no ``read`` or ``readline``.
    """
    read, readline = getattr(file, "read", None), getattr(file, "readline", None)
    if not callable(read) or not callable(readline):
        raise TypeError("file must have 'read' and 'readline' attributes")
    try:
        if file.seekable() and _seeks_cheaply(file):
            return FileSource(file, file.tell())
    except (AttributeError, OSError, ValueError):
        pass
    return FlowSource(file)


def _seeks_cheaply(file: Any) -> bool:
    """Decompressing files are seekable too, but going back means to begin again; they have ``peek`` instead."""
    return not hasattr(file, "peek") or isinstance(getattr(file, "raw", None), io.FileIO)


def _stamp(file: Any) -> tuple[int, int] | None:
    """Size and time of change of an open file; ``None`` for what is no file of the operating system."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _read_all(file: Any, limit: int, at_hand: int = 0) -> bytes:
    chunks = []
    left = limit
    step = at_hand + 1 if 0 < at_hand < limit else _READ_STEP
    while chunk := _read(file, min(left + 1, step)):
        left -= len(chunk)
        if left < 0:
            raise LimitExceededError(
                f"the artifact is larger than max_artifact_bytes={limit:,}; raise Limits(max_artifact_bytes=...)",
                code="limit.artifact-bytes",
                stage="read",
            )
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _read_fully(file: Any, wanted: int, needed: int, at_hand: int = 0) -> bytes:
    """Up to ``wanted`` bytes; fewer than ``needed`` only at the end (raw files may return short reads)."""
    step = max(_READ_STEP, at_hand)
    chunk = _read(file, min(wanted, step))
    if len(chunk) >= needed or not chunk:
        return chunk
    chunks = [chunk]
    have = len(chunk)
    while have < needed and (chunk := _read(file, min(wanted - have, max(step, have)))):
        chunks.append(chunk)
        have += len(chunk)
    return b"".join(chunks)


def _read(file: Any, size: int) -> bytes:
    return _as_bytes(file.read(size))


def _as_bytes(chunk: Any) -> bytes:
    """What a file returned, if it is bytes."""
    if type(chunk) is bytes:
        return chunk
    if chunk is None:
        raise BlockingIOError("the file is in non-blocking mode and has no data")
    if not isinstance(chunk, (bytes, bytearray, memoryview)):
        raise TypeError(f"read() returned {type(chunk).__name__}, not bytes: open the file in binary mode ('rb')")
    return bytes(chunk)
