"""Bytes that flow (a pipe, a socket) at random access: what has arrived is kept.

Rule: nothing is read that was not asked for, because the other end may be waiting for an answer; memory is taken as bytes arrive.
"""

from __future__ import annotations

from typing import Any

from safeload.errors import LimitExceededError, TruncatedError
from safeload.source.blob import Blob

__all__ = ["FlowBlob"]

_STEP = 1 << 24
_UNKNOWN = 1 << 62


class FlowBlob(Blob):
    """A blob whose size nobody knows: it begins with ``seen`` and goes on in ``file``.

    Raises:
        TruncatedError: the flow ends before what is read.
        LimitExceededError: more than ``limit`` bytes were asked for.
    """

    def __init__(self, seen: bytes | bytearray, file: Any, limit: int) -> None:
        self.size = _UNKNOWN
        self._file = file
        self._limit = limit
        self._data = bytearray(seen)

    def head(self, size: int) -> bytes:
        """What has arrived, at most ``size``: whoever wants to recognise a format has to do with it."""
        return bytes(self._data[:size])

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(self._view(offset, size))

    def _view(self, offset: int, size: int) -> memoryview:
        self._fill(offset + size)
        # A copy: a view would keep the buffer from growing.
        return memoryview(self._data[offset : offset + size])

    def _fill(self, end: int) -> None:
        if end > self._limit:
            raise LimitExceededError(
                f"the artifact has more than max_artifact_bytes={self._limit:,} bytes; raise Limits(max_artifact_bytes=...)",
                code="limit.artifact-bytes",
                stage="read",
            )
        while len(self._data) < end:
            chunk = self._file.read(min(_STEP, end - len(self._data)))
            if not chunk:
                raise TruncatedError("Ran out of input: the flow ends before the artifact is complete")
            self._data += chunk
