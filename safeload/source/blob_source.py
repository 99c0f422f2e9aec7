"""A pickle stream inside a blob, for the census.

Rule: a source that only skims (for a scan) gives a long literal its size and not its bytes, so that the memory of a scan does
not grow with the arrays in a file; what was skimmed is judged, and never loaded. Who judges can read one (:meth:`BlobSource.later`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from safeload.source.blob import FileBlob
from safeload.source.flow import FlowBlob
from safeload.source.unpacking import weight_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.source.blob import Blob

__all__ = ["BlobSource"]

_FIRST_READ = 1 << 16
_READ_STEP = 1 << 25


class BlobSource:
    """A stream in ``blob`` from ``start`` on; see :class:`~safeload.engine.census.StreamSource`."""

    __slots__ = ("_blob", "_dropped", "_flows", "_last", "_made", "_skims", "_start", "data")

    def __init__(self, blob: Blob, start: int = 0, *, skims: bool = False) -> None:
        self._blob = blob
        self._start = start
        self._skims = skims
        self._flows = isinstance(blob, FlowBlob)
        self._dropped = 0
        self._last = (0, 0)
        self._made = 0  # memory that the objects take, of unpacked bytes
        self.data = b""

    def more(self, size: int) -> bool:
        """Read until ``data`` has ``size`` bytes, and some more."""
        missing = size - len(self.data)
        if missing <= 0:
            return True
        at = self._start + self._dropped + len(self.data)
        left = self._blob.size - at
        if missing > left:
            return False
        ahead = missing
        if not self._flows:
            ahead = min(left, max(missing, min(max(len(self.data), _FIRST_READ), _READ_STEP)))
        data = self._blob.read(at, ahead)
        if self._blob.budget is not None and self._blob.size > _FIRST_READ:
            self._made += weight_of(data)
            self._blob.budget.check_objects(self._made)
        self.data += data
        return True

    def more_than(self, size: int) -> bool:
        """Whether anything follows the first ``size`` bytes of the stream."""
        return self._start + size < self._blob.size

    def take(self, start: int, size: int) -> tuple[bytes, int] | None:
        """The literal of ``size`` bytes at ``data[start]``; skimming, as many zeros, which take no memory."""
        at = self._start + self._dropped + start
        if at + size > self._blob.size:
            return None
        literal = bytes(size) if self._skims else self._blob.read(at, size)
        self._last = at, size
        self._drop(start + size)
        return literal, 0

    def later(self) -> Callable[[], bytes] | None:
        """What reads the literal that was taken last, if zeros stand for it."""
        return functools.partial(self._blob.read, *self._last) if self._skims else None

    def ends_before(self, size: int) -> bool:
        """Whether there are less than ``size`` bytes of ``data`` to come."""
        return self._start + self._dropped + size > self._blob.size

    def take_mutable(self, start: int, size: int) -> tuple[memoryview | bytes, int] | None:
        """:meth:`take`, into memory that the object can keep where the bytes have to be read anyway."""
        if self._skims or not isinstance(self._blob, FileBlob):
            return self.take(start, size)
        at = self._start + self._dropped + start
        if at + size > self._blob.size:
            return None
        memory = self._blob.view(at, size)
        self._drop(start + size)
        return memory, 0

    def skip(self, start: int, size: int) -> int | None:
        """Leave out the ``size`` bytes at ``data[start]``: the index in (the new) ``data`` of what follows them.

        ``None`` if there are fewer.
        """
        end = start + size
        if self._start + self._dropped + end > self._blob.size:
            return None
        if end <= len(self.data):
            return end
        self._drop(end)
        return 0

    def finish(self, size: int) -> None:
        """Nothing to leave behind."""

    def abandon(self, at: int | None) -> None:
        """Nothing to leave behind."""

    def _drop(self, size: int) -> None:
        self._dropped += size
        self.data = self.data[size:] if size < len(self.data) else b""
