"""What kind of artifact is this? Decided by its bytes, never by its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safeload.source.blob import Blob

__all__ = [
    "HEAD",
    "NPY_MAGIC",
    "begins_safetensors",
    "has_tar_magic",
    "is_more_than_tar",
    "is_pickle_head",
    "is_tar",
    "is_torch_legacy",
    "is_zip",
    "known_container",
    "looks_like_pickle_head",
    "tar_sum_holds",
]

# Bytes from the start that are enough to decide.
HEAD = 264

NPY_MAGIC = b"\x93NUMPY"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"]\x00", "lzma"),
    (b"(\xb5/\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"x\x01", "zlib"),
    (b"x\x5e", "zlib"),
    (b"x\x9c", "zlib"),
    (b"x\xda", "zlib"),
    (b"ZF", "joblib-zf"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (NPY_MAGIC, "npy"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"GGUF", "gguf"),
)
_LFS = b"version https://git-lfs.github.com/spec/"


def known_container(head: bytes) -> str | None:
    """The container that ``head`` (at least :data:`HEAD` bytes where there are as many) begins; ``None`` if unknown.

    ``"git-lfs-pointer"`` is the text that stands in a checkout for a file that was not fetched.
    """
    if head.startswith(_LFS):
        return "git-lfs-pointer"
    return "tar" if head[257:262] == b"ustar" else _by_magic(head)


_FIRST = frozenset(magic[0] for magic, _ in _MAGIC)


def _by_magic(head: bytes) -> str | None:
    if not head or head[0] not in _FIRST:
        return None
    name = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    return name if name not in _WEAK or _unpacks(head, name) else None


# Magic that text begins with as well: a look whether the bytes behind it can be unpacked tells.
_WEAK = frozenset({"zlib", "lzma", "bzip2"})
# Where these bytes are the name of the first file in a tar archive, nobody takes the archive for what they could begin.
_NAMES = frozenset({"gguf", "7z", "rar"})
_ZF = re.compile(rb"ZF\s*[-+]?(?:0[xX])?[0-9a-fA-F_]+\s*")
_ZF_SIZE = 21


def is_more_than_tar(head: bytes) -> bool:
    """Whether a tar archive with this ``head`` is something else too: the name of its first file can be anything."""
    name = _by_magic(head)
    if name == "joblib-zf":
        return _ZF.fullmatch(head[:_ZF_SIZE]) is not None
    return (name is not None and name not in _NAMES) or is_torch_legacy(head) or begins_safetensors(head)


def _unpacks(head: bytes, name: str) -> bool:
    if name == "bzip2":
        return head[4:10] in _BZIP2_BLOCKS
    if name == "lzma" and int.from_bytes(head[1:5], "little") > _LZMA_MEMORY:
        return _is_lzma_size(int.from_bytes(head[1:5], "little"))
    import lzma
    import zlib

    inner: Any = zlib.decompressobj() if name == "zlib" else lzma.LZMADecompressor(lzma.FORMAT_ALONE)
    try:
        return bool(inner.decompress(head, HEAD)) or inner.eof or len(head) >= HEAD
    except (zlib.error, lzma.LZMAError):
        return False


# A dictionary above this is not unpacked (containers.lzma_file), but a program that unpacks it anyway may be there.
_LZMA_MEMORY = 1 << 28


def _is_lzma_size(size: int) -> bool:
    """Whether a dictionary is as large as encoders make it and liblzma wants it: 2^n, 2^n + 2^(n-1), or all."""
    ones = size.bit_count()
    return size == 0xFFFFFFFF or ones == 1 or (ones == 2 and bool(size & size << 1))


# The magic of a block, and of the end of a file without one.
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")


def looks_like_pickle_head(head: bytes) -> bool:
    """Whether ``head`` starts with PROTO 2 to 5: nothing but a pickle does."""
    return len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5


# A PyTorch file before 1.6 is a series of pickles, and the first one is this number; framed from protocol 4 on.
_TORCH_MAGIC = re.compile(rb"\x80[\x02-\x05](?:\x95\x0d\x00{7})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)


def is_torch_legacy(head: bytes) -> bool:
    """Whether ``head`` begins a PyTorch file from before 1.6."""
    return _TORCH_MAGIC.match(head) is not None


def begins_safetensors(head: bytes) -> bool:
    """Whether ``head`` is a small length and the brace of a JSON object, as safetensors files begin."""
    return head[4:9] == b"\0\0\0\0{" and any(head[:4])


def is_pickle_head(head: bytes) -> bool:
    """Whether ``head`` can begin nothing but a pickle, so that no container needs to be looked for."""
    return looks_like_pickle_head(head) and not is_torch_legacy(head) and not begins_safetensors(head)


def is_zip(blob: Blob) -> bool:
    """Whether the bytes begin as a zip archive; for :meth:`Format.recognise`."""
    return blob.head(4) in (b"PK\x03\x04", b"PK\x05\x06")


def has_tar_magic(blob: Blob) -> bool:
    """Whether the first block says that it is a tar header. Archives from before POSIX do not: see :func:`is_tar`."""
    return blob.head(HEAD)[257:262] == b"ustar"


def is_tar(blob: Blob) -> bool:
    """Whether the first block is a tar header, by its sum; for :meth:`Format.recognise`."""
    block = blob.head(_TAR_BLOCK)
    return len(block) == _TAR_BLOCK and any(block) and tar_sum_holds(block)


_TAR_BLOCK = 512
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")


def tar_sum_holds(block: bytes) -> bool:
    """Whether the sum in a header of a tar archive is that of its bytes."""
    match = _OCTAL.fullmatch(block[148:156])
    if match is None or not match[1]:
        return False
    return int(match[1], 8) == sum(block[:148]) + 8 * 0x20 + sum(block[156:])
