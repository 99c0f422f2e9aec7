"""Unpacked bytes: in memory while they are few, beyond that in a temporary file without a name.

Rule: a small file can unpack to a large one, so memory does not grow with what comes out. The file has no name, is readable by this
user only and gone with the last blob that shows a part of it. What came out of an encrypted envelope is never put there.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from safeload.errors import LimitExceededError
from safeload.source.blob import FileBlob, MemoryBlob

if TYPE_CHECKING:
    from safeload.source.blob import Blob

__all__ = ["Spill"]


class Spill:
    """Takes bytes piece by piece and becomes a blob of them.

    Args:
        memory: so many are kept in memory; ``None``: all.
    """

    __slots__ = ("_data", "_file", "_memory", "size")

    def __init__(self, memory: int | None) -> None:
        self._memory = memory
        self._data = bytearray()
        self._file: Any = None
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Append ``piece``.

        Raises:
            LimitExceededError: there is no room for a temporary file.
        """
        self.size += len(piece)
        if self._file is None and (self._memory is None or self.size <= self._memory):
            self._data += piece
            return
        try:
            if self._file is None:
                self._file = _nameless()
                _write(self._file, self._data)
                self._data = bytearray()
            _write(self._file, piece)
        except OSError as error:
            raise LimitExceededError(
                "what the artifact unpacks to does not fit into the directory for temporary files: let TMPDIR name a larger one, or "
                "raise Limits(max_unpacked_memory=...)",
                code="limit.temporary-space",
                stage="read",
            ) from error

    def blob(self) -> Blob:
        """All that was written. Nothing can be added then."""
        return MemoryBlob(self._data) if self._file is None else FileBlob(self._file, 0, self.size)


class _Nameless(io.FileIO):
    """A file that is closed when nobody needs it any more; nobody has to."""

    def __del__(self) -> None:
        self.close()


def _nameless() -> _Nameless:
    import tempfile

    with tempfile.TemporaryFile() as file:
        return _Nameless(os.dup(file.fileno()), "r+b")


def _write(file: io.FileIO, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
