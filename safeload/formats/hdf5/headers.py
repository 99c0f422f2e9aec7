"""Object headers, and the attributes in them, read without libhdf5.

libhdf5 takes (and zeroes) the memory that a variable length announces before it looks whether so much is there, up to
gigabytes for one attribute of a small file; so lengths are looked at here first. Rule: what is not found here is
not asked of libhdf5.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from safeload.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.source.blob import Blob

__all__ = ["attribute_bytes", "messages"]

_ATTRIBUTE, _CONTINUATION, _ATTRIBUTE_INFO = 0x0C, 0x10, 0x15
_SHARED = 0x02
_MAX_BLOCKS = 4_096
_MAX_BLOCK = 1 << 26


def attribute_bytes(blob: Blob, address: int, base: int, offset_size: int) -> dict[bytes, bytes]:
    """The data of the attributes in the object header at ``address``, by name.

    Those that are stored elsewhere (densely, or shared between objects) are missing.

    Raises:
        FormatError: the object header is not one.
    """
    found: dict[bytes, bytes] = {}
    for kind, flags, body in messages(blob, base + address, base, offset_size):
        if kind == _ATTRIBUTE_INFO and _is_dense(body, offset_size):
            return {}  # libhdf5 looks nowhere else, whatever stands in the header
        if kind == _ATTRIBUTE and not flags & _SHARED:
            name, data = _attribute(body)
            if name in found:
                raise FormatError("an object in the HDF5 file has two attributes of one name")
            found[name] = data
    return found


def _is_dense(body: bytes, offset_size: int) -> bool:
    """Whether an attribute info message names a heap of attributes."""
    at = 4 if len(body) > 1 and body[1] & 1 else 2
    return body[at : at + offset_size] != b"\xff" * offset_size


def messages(blob: Blob, at: int, base: int, offset_size: int) -> Iterator[tuple[int, int, bytes]]:
    """The messages of the object header at ``at``: kind, flags, body.

    Raises:
        FormatError: the object header is not one.
    """
    head = blob.read(at, min(40, blob.size - at)) if 0 <= at < blob.size else b""
    if head[:4] == b"OHDR":
        start, size, creation = _second(head, at)
        second = True
    elif len(head) >= 16 and head[0] == 1:
        start, size, creation, second = at + 16, struct.unpack_from("<I", head, 8)[0], 0, False
    else:
        raise FormatError("an object header in the HDF5 file is broken")
    blocks, visited = [(start, size)], set[int]()
    while blocks:
        start, size = blocks.pop(0)
        if start in visited or len(visited) >= _MAX_BLOCKS or size > _MAX_BLOCK:
            raise FormatError("an object header in the HDF5 file runs in circles or is too large")
        visited.add(start)
        for kind, flags, body in _split(blob.read(start, size), second=second, creation=creation):
            if kind == _CONTINUATION:
                if len(body) < 2 * offset_size:
                    raise FormatError("an object header in the HDF5 file is broken")
                where = base + int.from_bytes(body[:offset_size], "little")
                length = int.from_bytes(body[offset_size : offset_size + 8], "little")
                blocks.append((where + 4, length - 8) if second else (where, length))
            else:
                yield kind, flags, body


def _second(head: bytes, at: int) -> tuple[int, int, int]:
    """Where the messages of a header of version 2 begin, their size, and bytes of the creation order in each."""
    flags = head[5]
    start = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    return at + start + width, int.from_bytes(head[start : start + width], "little"), 2 if flags & 0x04 else 0


def _split(block: bytes, *, second: bool, creation: int) -> Iterator[tuple[int, int, bytes]]:
    at, step = 0, (4 + creation) if second else 8
    while at + step <= len(block):
        if second:
            kind, size, flags = block[at], int.from_bytes(block[at + 1 : at + 3], "little"), block[at + 3]
        else:
            kind, size, flags = *struct.unpack_from("<HH", block, at), block[at + 4]
        at += step
        if at + size > len(block):
            raise FormatError("a message in an object header of the HDF5 file reaches beyond it")
        yield kind, flags, block[at : at + size]
        at += size


def _attribute(body: bytes) -> tuple[bytes, bytes]:
    """Name and data of an attribute message."""
    if len(body) < 9 or body[0] not in (1, 2, 3):
        raise FormatError("an attribute in the HDF5 file is broken")
    version = body[0]
    at = 9 if version == 3 else 8
    parts = []
    for size in struct.unpack_from("<HHH", body, 2):
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    if at > len(body):
        raise FormatError("an attribute in the HDF5 file is broken")
    return parts[0].partition(b"\0")[0], body[at:]
