"""Decompression under limits: a piece at a time, and never a byte more than the limits allow.

Rules: what an archive announces about sizes only ever lowers a bound; all parts of one artifact draw on one
:class:`Budget`, however deeply they are nested; what was unpacked is in private memory and stays what it is.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NoReturn, Protocol

from safeload.errors import LimitExceededError
from safeload.source.blob import Blob

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.limits import Limits

__all__ = ["LARGE_FROM", "RATIO_FROM", "Budget", "Decompressor", "Inflate", "LazyBlob", "check_ratio", "weight_of"]

# The ratio says nothing about small results: a page of zeros is no bomb. Large ones are, at a ratio that a small one may have.
RATIO_FROM = 1 << 26
LARGE_FROM = 1 << 30
# Memory that judging a pickle takes for each byte of its opcodes, and in addition for those that make the largest objects of the
# fewest bytes: sets, lists, dicts, marks, tuples, calls. A pickle of sets takes the most for its size.
_PER_BYTE = 16
_HEAVY = tuple(
    (opcode, size)
    for size, opcodes in (
        (216, (b"\x8f", b"\x91")),
        (56, (b"]", b"}", b"(l", b"(d")),
        (32, (b"((",)),
        (96, (b"\x85", b"\x86", b"\x87")),
        (200, (b")R", b"tR", b"\x85R", b"\x86R", b"\x87R", b"\x81")),
    )
    for opcode in opcodes
)
_MOST_PER_BYTE = 224


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
        spills: what is large may be put into a temporary file.

    Attributes:
        memory: how many unpacked bytes of one part are kept in memory; ``None``: all.
    """

    __slots__ = ("_left", "_limit", "_limits", "_objects", "memory", "packed")

    def __init__(self, limits: Limits, packed: int | None = None, *, spills: bool = True) -> None:
        self.memory = limits.max_unpacked_memory if spills else None
        self._objects = 0
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

    def check_objects(self, weight: int) -> None:
        """Refuse an unpacked stream of this :func:`weight_of`: a short one can make more objects than there is memory for.

        Raises:
            LimitExceededError: they take too much memory.
        """
        if weight > max(self._limits.max_unpacked_objects, (self.packed or 0) * _MOST_PER_BYTE):
            raise LimitExceededError(
                "the pickle in the compressed data makes objects of more than max_unpacked_objects="
                f"{self._limits.max_unpacked_objects:,} bytes, far more than a pickle of the compressed size could, as a decompression "
                "bomb does; if it is meant to be so raise Limits(max_unpacked_objects=...)",
                code="limit.unpacked-objects",
                stage="read",
            )

    def spend_objects(self, weight: int) -> None:
        """:meth:`check_objects` for all streams together; note one more."""
        self._objects += weight
        self.check_objects(self._objects)


def weight_of(code: bytes) -> int:
    """An estimate of the memory that the objects take which these opcodes make, in bytes; of text it is too high."""
    return _PER_BYTE * len(code) + sum(size * code.count(opcode) for opcode, size in _HEAVY)


def check_ratio(unpacked: int, packed: int, limits: Limits) -> None:
    """Refuse what packs suspiciously well.

    Raises:
        LimitExceededError: over 64 MiB come of less than the ``max_ratio``-th part, or over 1 GiB of less than the
            ``max_large_ratio``-th.
    """
    if unpacked > RATIO_FROM and unpacked > packed * limits.max_ratio:
        _bomb("more", f"max_ratio={limits.max_ratio:,}")
    if unpacked > LARGE_FROM and unpacked > packed * limits.max_large_ratio:
        _bomb("more than 1 GiB and more", f"max_large_ratio={limits.max_large_ratio:,}")


def _bomb(what: str, limit: str) -> NoReturn:
    raise LimitExceededError(
        f"the compressed data unpacks to {what} than {limit} times its size, as a decompression bomb does; "
        f"if it is meant to be so raise Limits({limit.partition('=')[0]}=...)",
        code="limit.ratio",
        stage="read",
    )


class LazyBlob(Blob):
    """Bytes that are unpacked when they are first looked at.

    Args:
        size: how many there will be.
        unpack: gives a blob of exactly them, which nobody else changes.
        budget: that they count for.
    """

    __slots__ = ("_unpack", "_unpacked", "size")

    def __init__(self, size: int, unpack: Callable[[], Blob], budget: Budget) -> None:
        self.size = size
        self.budget = budget
        self._unpack = unpack
        self._unpacked: Blob | None = None

    def release(self) -> None:
        """See :meth:`Blob.release`."""
        self._unpacked = None

    def _whole(self) -> Blob:
        if self._unpacked is None:
            self._unpacked = self._unpack()
        return self._unpacked

    def _read(self, offset: int, size: int) -> bytes:
        return self._whole().read(offset, size)

    def _view(self, offset: int, size: int) -> memoryview:
        return self._whole().view(offset, size)

    def _slice(self, offset: int, size: int) -> Blob:
        return self._whole().slice(offset, size)
