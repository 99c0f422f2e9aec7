"""The older format of lzma ("alone"), one stream. It has no magic: the usual properties, and a start that can be unpacked.

joblib knows it by these properties and nothing else, whatever the dictionary's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.formats.compressed import Compressed

if TYPE_CHECKING:
    from safeload.source.unpacking import Decompressor

__all__ = ["FORMAT"]

_MEMORY = 1 << 28


def _decompressor() -> Decompressor:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)


FORMAT = Compressed("lzma", (b"]\x00",), _decompressor, several=False, weak=True)
