"""What libhdf5 will walk of an object is looked at before it walks it: the trees that an object header points to.

libhdf5 follows the children of a B-tree wherever they lead: a node that is its own child ends the process (stack overflow), nodes that
share their children take time without end, and each attribute in a header is looked for from its beginning. Rule: in a tree of the
first kind every node is one level below its parent and has one parent, so the walk is no longer than the file; one of the
second kind is not deeper than any real one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from safeload.errors import FormatError, LimitExceededError
from safeload.formats.hdf5.headers import messages

if TYPE_CHECKING:
    from safeload.formats.hdf5.library import Library

__all__ = ["ARRAYS", "BY_BTREE", "check_object"]

_LINK_INFO, _LAYOUT, _ATTRIBUTE, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 0x02, 0x08, 0x0C, 0x11, 0x15
_SHARED = 0x02
_GROUP_NODES, _CHUNK_NODES = 0, 1
_MOST_ATTRIBUTES = 4_096
_MOST_LEVELS = 16
_CHUNKED = 2
# Indexes of a chunked layout of version 4 and later. Some have a place for every chunk, stored or not.
BY_BTREE = 5
ARRAYS = frozenset({2, 3, 4})


def check_object(library: Library, address: int) -> int:
    """Check what hangs on the object header at ``address``.

    Returns:
        The number of the index that a chunked dataset of the newer kind has, otherwise 0.

    Raises:
        FormatError: a tree in it is none. LimitExceededError: it has more attributes than libhdf5 finds in useful time.
    """
    attributes = index = 0
    width = library.offset_size
    for kind, flags, body in messages(library.blob, library.start + address, library.start, width):
        if kind == _ATTRIBUTE:
            attributes += 1
        elif kind in (_SYMBOL_TABLE, _LAYOUT, _LINK_INFO, _ATTRIBUTE_INFO):
            if flags & _SHARED:
                raise FormatError("an object header in the HDF5 file shares what belongs to one object")
            if kind == _SYMBOL_TABLE:
                _check_tree(library, _number(body, 0, width), _GROUP_NODES, library.length_size)
            elif kind == _LAYOUT:
                index = max(index, _check_layout(library, body))
            else:
                _check_dense(library, body, extra=8 if kind == _LINK_INFO else 2)
    if attributes > _MOST_ATTRIBUTES:
        raise LimitExceededError(
            f"an object in the HDF5 file has more than {_MOST_ATTRIBUTES:,} attributes in its header; write it with "
            "libver='latest', which has an index for them",
            code="limit.attributes",
        )
    return index


def _check_layout(library: Library, body: bytes) -> int:
    width = library.offset_size
    version = body[0] if len(body) > 3 else 0
    if version in (1, 2):
        rank, kind, at = body[1], body[2], 8
    elif version == 3:
        rank, kind, at = body[2], body[1], 3
    else:
        if version > 3 and body[1] == _CHUNKED and len(body) > 4:
            at = 5 + body[3] * body[4]
            index = int.from_bytes(body[at : at + 1], "little")
            if index == BY_BTREE:
                _check_depth(library, _number(body, at + 7, width))
            return index
        return 0
    if kind == _CHUNKED:
        _check_tree(library, _number(body, at, width), _CHUNK_NODES, 8 + 8 * rank)
    return 0


def _check_dense(library: Library, body: bytes, extra: int) -> None:
    """Links or attributes in a heap: a tree by name, and perhaps one by the order of creation."""
    width = library.offset_size
    flags = body[1] if len(body) > 1 else 0
    at = 2 + (extra if flags & 1 else 0) + width
    for place in (at, at + width) if flags & 2 else (at,):
        _check_depth(library, _number(body, place, width))


def _number(body: bytes, at: int, width: int) -> int | None:
    """An address; ``None`` for one that is not set."""
    found = body[at : at + width]
    if len(found) < width:
        raise FormatError("an object header in the HDF5 file is broken")
    return None if found == b"\xff" * width else int.from_bytes(found, "little")


def _check_tree(library: Library, address: int | None, kind: int, key: int) -> None:
    """A B-tree of version 1."""
    blob, width = library.blob, library.offset_size
    waiting: list[tuple[int, int | None]] = [] if address is None else [(address, None)]
    seen: set[int] = set()
    while waiting:
        place, level = waiting.pop()
        at = library.start + place
        head = blob.read(at, 8)
        count = struct.unpack_from("<H", head, 6)[0]
        if place in seen or head[:4] != b"TREE" or head[4] != kind or (level is not None and head[5] != level):
            raise FormatError("a B-tree in the HDF5 file is none", code="hdf5.tree")
        seen.add(place)
        if head[5]:
            start, step = 8 + 2 * width + key, key + width
            table = blob.read(at + start, count * step)
            waiting += [
                (int.from_bytes(table[entry : entry + width], "little"), head[5] - 1)
                for entry in range(0, count * step, step)
            ]


def _check_depth(library: Library, address: int | None) -> None:
    """A B-tree of version 2, which announces its depth."""
    if address is None:
        return
    head = library.blob.read(library.start + address, 14)
    if head[:4] != b"BTHD" or struct.unpack_from("<H", head, 12)[0] > _MOST_LEVELS:
        raise FormatError("a B-tree in the HDF5 file is none, or deeper than any real one", code="hdf5.tree")
