"""zstd frames one behind the other. Needs the package zstandard (``safeload[zstd]``)."""

from __future__ import annotations

from typing import Any

from safeload.formats.compressed import Compressed, missing_extra

__all__ = ["FORMAT"]

# What zstd --ultra -22 needs; a frame may ask for more.
_WINDOW = 1 << 27


class _Decompressor:
    """zstandard's, which gives out everything at once: so it is given little. A block of 4 bytes can unpack to 128 KiB."""

    feed = 1 << 8
    needs_input = True

    def __init__(self) -> None:
        try:
            from zstandard import ZstdDecompressor
        except ImportError as error:
            missing_extra("zstd", "zstd", error)
        self._inner: Any = ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:  # noqa: ARG002
        return bytes(self._inner.decompress(data))


FORMAT = Compressed("zstd", (b"(\xb5/\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))), _Decompressor)
