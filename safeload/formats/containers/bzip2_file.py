"""bzip2: streams one behind the other. Python's ``bz2`` ignores what follows them and ``bzip2`` does not, so nothing may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.formats.compressed import Compressed

if TYPE_CHECKING:
    from safeload.source.unpacking import Decompressor

__all__ = ["FORMAT"]


def _decompressor() -> Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


FORMAT = Compressed("bzip2", (b"BZh",), _decompressor, weak=True)
