"""Memory that only this process can see, for bytes that were read once and must not change under a reader."""

from __future__ import annotations

import contextlib

__all__ = ["private_memory"]

_MAPPED_FROM = 1 << 20
# From this size on large pages are asked for, as numpy does for its arrays: filling 100 MB takes a third of the time.
_HUGE_FROM = 1 << 22


def private_memory(size: int) -> memoryview:
    """``size`` writable bytes, zeroed lazily for large sizes.

    ``bytearray(n)`` writes every page once before it is filled; an anonymous private mapping does not.

    Raises:
        MemoryError, OSError, OverflowError: there is not so much memory.
    """
    if size < _MAPPED_FROM:
        return memoryview(bytearray(size))
    import mmap

    if not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(bytearray(size))
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
