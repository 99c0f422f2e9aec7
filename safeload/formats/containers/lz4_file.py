"""lz4 frames one behind the other. Needs the package lz4 (``safeload[lz4]``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.formats.compressed import Compressed, missing_extra

if TYPE_CHECKING:
    from safeload.source.unpacking import Decompressor

__all__ = ["FORMAT"]


def _decompressor() -> Decompressor:
    try:
        from lz4.frame import LZ4FrameDecompressor
    except ImportError as error:
        missing_extra("lz4", "lz4", error)
    made: Decompressor = LZ4FrameDecompressor()
    return made


FORMAT = Compressed("lz4", (b"\x04\x22\x4d\x18",), _decompressor)
