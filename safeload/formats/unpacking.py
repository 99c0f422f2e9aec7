"""Decompression under limits: a piece at a time, and never a byte more than the limits allow.

Rules: what an archive announces about sizes only ever lowers a bound; all parts of one artifact draw on one
:class:`Budget`, however deeply they are nested; what was unpacked is in private memory and stays what it is.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from safeload.errors import LimitExceededError
from safeload.formats.blob import Blob, MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.limits import Limits

__all__ = ["RATIO_FROM", "Budget", "Decompressor", "Inflate", "LazyBlob", "check_ratio"]

# The ratio says nothing about small results: a page of zeros is no bomb.
RATIO_FROM = 1 << 26


class Decompressor(Protocol):
    """What bz2, lzma and lz4 have. One may have ``feed`` as well: give it at most so many bytes at a time."""

    @property
    def eof(self) -> bool:
        """Whether the stream ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more data."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""
        ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most ``max_length`` bytes more."""
        ...


class Inflate:
    """zlib's decompressor with the interface of the others. ``wbits`` as for ``zlib.decompressobj``."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """See :class:`Decompressor`."""
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """See :class:`Decompressor`."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """See :class:`Decompressor`."""
        rest = self._inner.unconsumed_tail
        out = self._inner.decompress(rest + data if rest else data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


class Budget:
    """What the compressed parts of one artifact may still unpack to, together.

    Args:
        limits: the bounds.
        packed: bytes of the whole artifact if known: many parts, each too small for :func:`check_ratio`, are a bomb as well.
    """

    __slots__ = ("_left", "_limit", "_limits", "packed")

    def __init__(self, limits: Limits, packed: int | None = None) -> None:
        self._limits = limits
        self._limit = self._left = limits.max_unpacked_bytes
        self.packed = packed

    def spend(self, size: int) -> None:
        """Note ``size`` more bytes.

        Raises:
            LimitExceededError: they are too many.
        """
        self._left -= size
        if self._left < 0:
            raise LimitExceededError(
                f"the artifact unpacks to more than max_unpacked_bytes={self._limit:,}; if it is meant to be so large raise "
                "Limits(max_unpacked_bytes=...)",
                code="limit.unpacked-bytes",
                stage="read",
            )
        if self.packed is not None:
            check_ratio(self._limit - self._left, self.packed, self._limits)


def check_ratio(unpacked: int, packed: int, limits: Limits) -> None:
    """Refuse what packs suspiciously well.

    Raises:
        LimitExceededError: over 64 MiB come of less than the ``max_ratio``-th part.
    """
    if unpacked > RATIO_FROM and unpacked > packed * limits.max_ratio:
        _bomb(limits)


def _bomb(limits: Limits) -> NoReturn:
    raise LimitExceededError(
        f"the compressed data unpacks to more than max_ratio={limits.max_ratio:,} times its size, as a decompression bomb does; "
        "if it is meant to be so raise Limits(max_ratio=...)",
        code="limit.ratio",
        stage="read",
    )


class LazyBlob(Blob):
    """Bytes that are unpacked when they are first looked at.

    Args:
        size: how many there will be.
        unpack: gives exactly them, in memory that nobody else changes.
    """

    __slots__ = ("_unpack", "_unpacked", "size")

    def __init__(self, size: int, unpack: Callable[[], Any]) -> None:
        self.size = size
        self._unpack = unpack
        self._unpacked: MemoryBlob | None = None

    def release(self) -> None:
        """See :meth:`Blob.release`."""
        self._unpacked = None

    def _memory(self) -> MemoryBlob:
        if self._unpacked is None:
            self._unpacked = MemoryBlob(self._unpack())
        return self._unpacked

    def _read(self, offset: int, size: int) -> bytes:
        return self._memory().read(offset, size)

    def _view(self, offset: int, size: int) -> memoryview:
        return self._memory().view(offset, size)

    def _slice(self, offset: int, size: int) -> Blob:
        return self._memory().slice(offset, size)
