"""gzip: streams one behind the other, and zeros behind the last one, as Python's ``gzip`` reads them."""

from __future__ import annotations

from safeload.formats.compressed import Compressed
from safeload.source.unpacking import Inflate

__all__ = ["FORMAT"]

FORMAT = Compressed("gzip", (b"\x1f\x8b",), lambda: Inflate(31), padding=1)
