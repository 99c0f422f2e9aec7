"""zlib data, one stream. ``zlib.decompress`` ignores what follows and other readers go on, so nothing may follow."""

from __future__ import annotations

from safeload.formats.compressed import Compressed
from safeload.source.unpacking import Inflate

__all__ = ["FORMAT"]

FORMAT = Compressed("zlib", (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), lambda: Inflate(15), several=False, weak=True)
