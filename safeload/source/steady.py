"""Whether a file stays what it is while it is read by somebody who signs it.

Rule: a signature says that these bytes were the file. A read that another program writes into can return the start of one version and
the end of another, which never were a file together, and a signature would vouch for the mix. Size and times tell of most
writes; they have a coarse clock, and a single long write changes them at its start only, so a file that was written to a moment ago
is read twice and both have to give the same.
"""

from __future__ import annotations

import io
import os
import stat
import time
import zlib
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["SteadyRead", "read_steady"]

# Nanoseconds. No write call takes longer than what it writes into memory; clocks of file systems tick every few milliseconds, or seconds.
_RECENT = 2_000_000_000
_STEP = 1 << 20


class SteadyRead:
    """One read of an open file from where it stands; made before its first byte.

    Anything but a regular file (a pipe, memory, what decompresses) is read once, and nothing is said of it.
    """

    __slots__ = ("_descriptor", "_recent", "_size", "_stamp", "_start", "_sum")

    def __init__(self, file: Any) -> None:
        raw = getattr(file, "raw", file)
        self._descriptor = raw.fileno() if isinstance(raw, io.FileIO) and not raw.closed else -1
        self._stamp = self._stamped()
        self._start = 0 if self._stamp is None else int(file.tell())
        self._recent = self._stamp is not None and abs(time.time_ns() - self._stamp[1]) < _RECENT
        self._size = self._sum = 0

    def take(self, piece: bytes | memoryview) -> None:
        """Note what was read next."""
        if self._recent:
            self._sum = zlib.crc32(piece, self._sum)
            self._size += len(piece)

    def finish(self) -> None:
        """Check that what was read was the file.

        Raises:
            FormatError: somebody has written to it meanwhile.
        """
        if self._stamped() != self._stamp or (self._recent and self._read_again() != self._sum):
            raise FormatError(
                "the file changed while it was read; nothing was signed. Sign a copy that nobody writes to",
                code="format.changed",
            )

    def _stamped(self) -> tuple[int, int, int] | None:
        if self._descriptor < 0:
            return None
        status = os.fstat(self._descriptor)
        return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else None

    def _read_again(self) -> int:
        """The sum of the same bytes as they are now. It is no guard against a forger, who could have written the file as well."""
        if not hasattr(os, "pread"):
            return self._sum
        found = done = 0
        while done < self._size:
            piece = os.pread(self._descriptor, min(_STEP, self._size - done), self._start + done)
            if not piece:
                return -1
            found = zlib.crc32(piece, found)
            done += len(piece)
        return found


def read_steady(file: BinaryIO) -> bytes:
    """The rest of an open file.

    Raises:
        FormatError: somebody has written to it meanwhile.
    """
    steady = SteadyRead(file)
    data = file.read()
    steady.take(data)
    steady.finish()
    return data
