"""Data of variable length: the global heap of an HDF5 file, read without libhdf5.

libhdf5's own reader of that heap loops or crashes on some broken ones, and takes what a length announces before it looks. Rules:
an element is a slice of an object that was found in its collection; collections are walked once, and together not
further than the file is long a few times over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError
from safeload.formats.hdf5.types import same_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.formats.hdf5.library import Library

__all__ = ["Heap"]

_SIGNATURE = b"GCOL\x01"
_OVERLAP = 4
_SMALL = 1 << 20


class Heap:
    """The global heap of an open file.

    Attributes:
        places, elements, announced: of data of variable length in datasets so far, those that are not empty, and their bytes;
            counted by who reads them.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._collections: dict[int, tuple[memoryview, dict[int, tuple[int, int]]]] = {}
        self._left = _OVERLAP * library.blob.size + _SMALL
        self.elements = self.places = self.announced = 0

    def decoded(self, datatype: Any, rows: Any) -> Any:
        """Elements of a datatype with variable lengths in it.

        Args:
            datatype: an h5py ``TypeID`` that :func:`~safeload.formats.hdf5.types.layout_of` accepted.
            rows: their bytes as they lie in the file: uint8, of shape (elements, bytes of one).
        """
        import numpy as np

        from safeload.formats.hdf5.types import layout_of

        h5t = self._library.h5py.h5t
        kind = datatype.get_class()
        if kind == h5t.STRING and datatype.is_variable_str():
            return self._texts(rows)
        if kind == h5t.VLEN:
            return self._sequences(datatype, rows)
        layout = layout_of(self._library, datatype)
        if not layout.lengths:
            return self._fixed(datatype, rows)
        if kind != h5t.COMPOUND:
            raise FormatError("arrays of variable-length data inside a datatype", code="format.unsupported")
        result = np.empty(len(rows), datatype.dtype)
        at = end = 0
        order = sorted(range(datatype.get_nmembers()), key=datatype.get_member_offset)
        for index in order:
            member = datatype.get_member_type(index)
            inner = layout_of(self._library, member)
            at += int(datatype.get_member_offset(index)) - end
            end = int(datatype.get_member_offset(index)) + inner.memory
            name = datatype.get_member_name(index).decode("utf-8", "surrogateescape")
            result[name] = self.decoded(member, rows[:, at : at + inner.size])
            at += inner.size
        return result

    def _fixed(self, datatype: Any, rows: Any) -> Any:
        import numpy as np

        dtype = datatype.dtype
        if dtype.subdtype is not None or not (
            same_bytes(self._library, datatype, dtype) or (dtype.kind in "SV" and not dtype.names)
        ):
            raise FormatError("numbers of an unusual kind beside variable-length data", code="format.unsupported")
        return np.ascontiguousarray(rows).view(dtype).reshape(len(rows))

    def _texts(self, rows: Any) -> Any:
        import numpy as np

        result = np.full(len(rows), "", object)
        texts: dict[tuple[int, int], str] = {}  # elements that share their bytes share a text
        for place, size, address, number in self._elements(rows):
            text = texts.get((address, number))
            if text is None:
                found = bytes(self._object(size, address, number)).partition(b"\0")[0]
                text = texts[address, number] = found.decode("utf-8", "surrogateescape")
            result[place] = text
        return result

    def _elements(self, rows: Any) -> Iterator[tuple[int, int, int, int]]:
        """Of each element that is not empty: its place, a count, the address of a collection, and the number of an object in it."""
        import numpy as np

        width = self._library.offset_size
        fields: Any = {
            "names": ["n", "at", "i"],
            "formats": ["<u4", f"<u{width}", "<u4"],
            "offsets": [0, 4, 4 + width],
            "itemsize": 8 + width,
        }
        table = np.ascontiguousarray(rows).view(np.dtype(fields)).reshape(-1)
        places = np.flatnonzero(table["n"])
        table = table[places]
        return zip(places.tolist(), table["n"].tolist(), table["at"].tolist(), table["i"].tolist(), strict=True)

    def _sequences(self, datatype: Any, rows: Any) -> Any:
        import numpy as np

        base = datatype.get_super()
        unit = int(base.get_size())
        result = np.empty(len(rows), object)
        nothing = self._fixed(base, np.zeros((0, unit), np.uint8))
        nothing.flags.writeable = False
        result.fill(nothing)  # an array without items can be the same one everywhere
        for place, count, address, number in self._elements(rows):
            data = np.frombuffer(self._object(count * unit, address, number), np.uint8).reshape(-1, unit)
            result[place] = self._fixed(base, data).copy()
        return result

    def _object(self, size: int, address: int, number: int) -> memoryview:
        """The bytes that an element refers to: all of an object, as libhdf5 takes it."""
        known = self._collections.get(address)
        if known is None:
            known = self._collections[address] = self._collection(address)
        found = known[1].get(number)
        if found is None or found[1] != size:
            raise FormatError("data of variable length in the HDF5 file is not where it is said to be")
        return known[0][found[0] : found[0] + size]

    def _collection(self, address: int) -> tuple[memoryview, dict[int, tuple[int, int]]]:
        """A collection in memory, and where its objects are in it."""
        blob, width = self._library.blob, self._library.length_size
        start = self._library.start + address
        head = blob.read(start, 8 + width)
        size = int.from_bytes(head[8:], "little")
        self._left -= size
        if head[:5] != _SIGNATURE or self._left < 0:
            raise FormatError("the heap of the HDF5 file is broken")
        data = blob.view(start, size)
        objects: dict[int, tuple[int, int]] = {}
        at = 8 + width
        while at + 8 + width <= size:
            number = int.from_bytes(data[at : at + 2], "little")
            length = int.from_bytes(data[at + 8 : at + 8 + width], "little")
            begin = at + 8 + width
            if not number:
                break
            if begin + length > size or number in objects:
                raise FormatError("the heap of the HDF5 file is broken")
            objects[number] = begin, length
            at = begin + -(-length // 8) * 8
        return data, objects
