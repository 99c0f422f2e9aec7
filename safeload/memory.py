"""Memory that only this process can see, for bytes that were read once and must not change under a reader."""

from __future__ import annotations

__all__ = ["private_memory"]

_MAPPED_FROM = 1 << 20


def private_memory(size: int) -> memoryview:
    """``size`` writable bytes, zeroed lazily for large sizes.

    ``bytearray(n)`` writes every page once before it is filled; an anonymous private mapping does not. Huge pages are not
    asked for: in a process with a fragmented heap the kernel's search for them takes ten times what they save.

    Raises:
        MemoryError, OSError, OverflowError: there is not so much memory.
    """
    if size < _MAPPED_FROM:
        return memoryview(bytearray(size))
    import mmap

    if not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
