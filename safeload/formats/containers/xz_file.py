"""xz: streams one behind the other, and zeros in fours behind the last one, as its specification says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.formats.compressed import Compressed

if TYPE_CHECKING:
    from safeload.source.unpacking import Decompressor

__all__ = ["FORMAT"]

# What xz -9 needs is 65 MiB; a stream may ask for 4 GiB.
MEMORY = 1 << 28


def _decompressor() -> Decompressor:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)


FORMAT = Compressed("xz", (b"\xfd7zXZ\x00",), _decompressor, padding=4)
