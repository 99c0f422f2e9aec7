"""The attributes of an HDF5 object, read into memory with the tree.

Rule: an attribute is as large as its datatype and its shape say only if so much is in the file; one of variable length is
read after its lengths were seen in the object header.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.formats.hdf5.headers import attribute_bytes
from safeload.formats.hdf5.types import ReferenceTypeError, layout_of

if TYPE_CHECKING:
    from safeload.formats.hdf5.heap import Heap
    from safeload.formats.hdf5.library import Library
    from safeload.formats.hdf5.types import Layout
    from safeload.limits import Limits

__all__ = ["Read", "read_attributes"]


class Read(NamedTuple):
    """Attributes by name, the bytes of all attributes so far, what could not be read and why, and what is left out."""

    values: dict[str, Any]
    total: int
    problems: list[tuple[str, Exception]]
    left_out: list[str]


def read_attributes(library: Library, heap: Heap, identifier: Any, address: int, limits: Limits, total: int) -> Read:
    """The attributes of an open object, whose header is at ``address``; ``total`` bytes of others were read before.

    Raises:
        LimitExceededError: all attributes together are too many bytes, or too many.
    """
    read = Read({}, total, [], [])
    names = _names(library, identifier, limits)
    headers: dict[bytes, bytes] | None = None
    for raw in names:
        name = raw.decode("utf-8", "surrogateescape")
        try:
            attribute = library.h5py.h5a.open(identifier, raw)
            datatype = attribute.get_type()
            layout = layout_of(library, datatype)
            size = layout.size * _points(library, attribute)
            if size > library.blob.size:
                raise FormatError("an attribute in the HDF5 file is larger than the file")
            data = b""
            if layout.lengths and size:
                if headers is None:
                    headers = attribute_bytes(library.blob, address, library.start, library.offset_size)
                data = _located(headers.get(raw), size)
                size += _announced(data, layout, library.blob.size)
            read = read._replace(total=read.total + size)
            if read.total > limits.max_stream_bytes:
                raise LimitExceededError(
                    f"the attributes of the HDF5 file have more than max_stream_bytes={limits.max_stream_bytes:,} bytes",
                    code="limit.attributes",
                )
            if layout.lengths:
                read.values[name] = _decoded(heap, attribute, datatype, layout, data)
            else:
                read.values[name] = _value(library, identifier, raw)
        except LimitExceededError:
            raise
        except ReferenceTypeError:
            read.left_out.append(name)
        except (SafeloadError, TypeError, ValueError, NotImplementedError, OSError) as error:
            read.problems.append((name, error))
    return read


def _names(library: Library, identifier: Any, limits: Limits) -> list[bytes]:
    found: list[bytes] = []

    def note(name: bytes) -> bool | None:
        found.append(name)
        return True if len(found) > limits.max_members else None

    library.h5py.h5a.iterate(identifier, note)
    if len(found) > limits.max_members:
        raise LimitExceededError(
            f"an object in the HDF5 file has more than max_members={limits.max_members:,} attributes",
            code="limit.members",
        )
    if len(set(found)) != len(found):
        raise FormatError("an object in the HDF5 file has two attributes of one name")
    return found


def _points(library: Library, attribute: Any) -> int:
    space = attribute.get_space()
    if space.get_simple_extent_type() == library.h5py.h5s.NULL:
        return 0
    return math.prod(map(int, space.shape))


def _located(data: bytes | None, size: int) -> bytes:
    """The bytes of an attribute, without what fills up its message."""
    if data is None:
        raise FormatError(
            "an attribute of variable length that is stored apart from its object, which safeload does not read",
            code="format.unsupported",
        )
    if len(data) < size:
        raise FormatError("an attribute in the HDF5 file is not as large as it announces")
    return data[:size]


def _announced(data: bytes, layout: Layout, most: int) -> int:
    """The bytes that the variable lengths in an attribute announce."""
    total = 0
    for element in range(0, len(data), layout.size):
        for at, unit in layout.lengths:
            length = int.from_bytes(data[element + at : element + at + 4], "little") * unit
            total += length
            if length > most:
                raise FormatError("a variable length in the HDF5 file is larger than the file")
    return total


def _decoded(heap: Heap, attribute: Any, datatype: Any, layout: Layout, data: bytes) -> Any:
    """The value of an attribute with variable lengths, which libhdf5 is not asked for."""
    import numpy as np

    shape = attribute.shape
    if shape is None:
        return None
    rows = np.frombuffer(data, np.uint8).reshape(-1, layout.size)
    array = heap.decoded(datatype, rows)
    return array.reshape(shape) if shape else array[0]


def _value(library: Library, identifier: Any, raw: bytes) -> Any:
    """The value as h5py gives it: text as ``str``, a null dataspace as ``None``."""
    import numpy as np

    value = library.h5py.AttributeManager(_Owner(identifier))[raw]
    if isinstance(value, library.h5py.Empty):
        return None
    if isinstance(value, np.bytes_):
        return bytes(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return value.view(np.uint8) != 0
    return value


class _Owner:
    """As much of an h5py object as its attributes need."""

    def __init__(self, identifier: Any) -> None:
        self.id = identifier
