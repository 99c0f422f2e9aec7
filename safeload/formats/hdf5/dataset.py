"""A dataset of an HDF5 file: judged by what it announces, read in a box.

Rules: nothing is read through libhdf5 before its bytes were unpacked and measured here; numbers are not read through it at
all; what a dataset announces is set against what is stored for it before memory is taken. The dataset stays open from its
judgement to its reading, so that what was judged is what is read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError, LimitExceededError, LoadError
from safeload.formats.hdf5.box import box_of
from safeload.formats.hdf5.chunks import Filter, check_filters, unpack
from safeload.formats.hdf5.guard import ARRAYS, BY_BTREE
from safeload.formats.hdf5.types import Layout, layout_of, same_bytes
from safeload.source.unpacking import LARGE_FROM, RATIO_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.formats.hdf5.box import Box
    from safeload.formats.hdf5.heap import Heap
    from safeload.formats.hdf5.library import Library
    from safeload.limits import Limits

__all__ = ["Dataset", "check_announced"]

_MAX_RANK = 32
_MOST_PLACES = 1 << 24
# Elements of variable length: a few more than a file has room for, with what the global heap needs for one.
_MOST_ELEMENTS = 1 << 16
_LEAST_ELEMENT = 16


def check_announced(announced: int, stored: int, limits: Limits) -> None:
    """Refuse what announces much more than is stored for it.

    Raises:
        LimitExceededError: more than ``max_unpacked_bytes``, or than ``max_ratio`` (``max_large_ratio``) times what
            is stored.
    """
    if announced > max(limits.max_unpacked_bytes, stored):
        raise LimitExceededError(
            f"the HDF5 file announces {announced:,} bytes of arrays, over max_unpacked_bytes={limits.max_unpacked_bytes:,}; "
            "raise Limits(max_unpacked_bytes=...), or read a part with member= and index=",
            code="limit.unpacked-bytes",
        )
    for name, start in (("max_ratio", RATIO_FROM), ("max_large_ratio", LARGE_FROM)):
        ratio: int = getattr(limits, name)
        if announced > start and announced > ratio * stored:
            raise LimitExceededError(
                f"the HDF5 file announces {announced:,} bytes of arrays and stores {stored:,}, a ratio over "
                f"{name}={ratio}; if that is meant raise Limits({name}=...), or read a part with member= and index=",
                code="limit.ratio",
            )


# Place, and offset in the file, stored bytes, filter mask.
_Index = dict[int, list[tuple[tuple[int, ...], tuple[int, int, int]]]]


def _too_many_elements() -> NoReturn:
    raise LimitExceededError(
        "the HDF5 file announces more data of variable length than it can store; read a part with member= and index=",
        code="limit.elements",
    )


class Dataset:
    """One dataset.

    Args:
        library: the file. heap: its data of variable length. identifier: the open ``DatasetID``. limits: bounds.
        index: of its chunks, as :func:`~safeload.formats.hdf5.guard.check_object` found it.

    Raises:
        FormatError: it is not one that safeload reads.
    """

    def __init__(self, library: Library, heap: Heap, identifier: Any, limits: Limits, index: int = 0) -> None:
        self._library = library
        self._heap = heap
        self._id = identifier
        self._limits = limits
        h5d, h5s = library.h5py.h5d, library.h5py.h5s
        properties = identifier.get_create_plist()
        self._kind = properties.get_layout()
        # Before anything else is asked: a virtual dataset looks for its sources when it is asked for its shape.
        if self._kind == h5d.VIRTUAL:
            raise FormatError("a virtual dataset, which takes its data from other files", code="hdf5.virtual-dataset")
        if properties.get_external_count():
            raise FormatError("a dataset that stores its data in other files", code="hdf5.external-storage")
        datatype = identifier.get_type()
        self._datatype = datatype
        self.layout: Layout = layout_of(library, datatype)
        self.dtype: Any = datatype.dtype
        self._same = self.dtype.subdtype is None and same_bytes(library, datatype, self.dtype)
        space = identifier.get_space()
        self.empty: bool = space.get_simple_extent_type() == h5s.NULL
        self.shape: tuple[int, ...] = () if self.empty else tuple(map(int, space.shape))
        if len(self.shape) > _MAX_RANK:
            raise FormatError("a dataset of more dimensions than HDF5 has")
        self._chunk: tuple[int, ...] = ()
        if self._kind == h5d.CHUNKED:
            self._chunk = tuple(map(int, properties.get_chunk()))
            if index in ARRAYS and self._places > max(_MOST_PLACES, library.blob.size):
                raise LimitExceededError(
                    "a dataset in the HDF5 file has places for more chunks than the file has bytes", code="limit.chunks"
                )
        self._index: _Index | None = None
        if index == BY_BTREE:  # libhdf5 would visit a chunk as often as the tree leads to it
            self._index = self._chunk_index()
            self.stored = sum(size for row in self._index.values() for _, (_, size, _) in row)
        else:
            self.stored = int(identifier.get_storage_size())  # libhdf5 visits every place
        self._filters = tuple(
            Filter(found[0], tuple(map(int, found[2])))
            for found in map(properties.get_filter, range(properties.get_nfilters()))
        )
        if self._chunk:
            check_filters(self._filters, elements=math.prod(self._chunk), size=self.layout.size)
        elif self._filters:
            raise FormatError("a dataset without chunks has filters, which no writer makes", code="hdf5.filter")
        if self.layout.lengths and (
            self._kind == h5d.COMPACT or properties.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED
        ):
            raise FormatError(
                "a dataset of variable length that is stored in its header or has a fill value, which safeload does not read",
                code="format.unsupported",
            )
        if self.layout.lengths and math.prod(self._chunk) > max(_MOST_PLACES, library.blob.size):
            _too_many_elements()
        self._properties = properties

    @property
    def rows(self) -> int:
        """Of the first axis, that are read together at no more cost than one."""
        return self._chunk[0] if self._chunk else 1

    @property
    def _places(self) -> int:
        """Chunks that there can be."""
        return math.prod(-(-whole // length) for whole, length in zip(self.shape, self._chunk, strict=True))

    @property
    def announced(self) -> int:
        """Bytes of the whole array in memory."""
        return 0 if self.empty else math.prod(self.shape) * int(self.dtype.itemsize)

    def read(self, index: Any = None, *, mmap: bool = False) -> Any:
        """The array, or ``array[index]``; a scalar as NumPy's scalar, text as ``str``, an empty dataset as ``None``.

        Raises:
            FormatError: what is stored is not what was announced.
            LimitExceededError: it is more than a limit allows.
            LoadError: (an IndexError or TypeError too) ``index`` does not fit the array.
        """
        if self.empty:
            return None
        try:
            box = box_of(self.shape, index)
        except (TypeError, IndexError) as error:
            raise LoadError.wrap(error) from error
        size = math.prod(box.shape) * int(self.dtype.itemsize)
        check_announced(size, self.stored, self._limits)
        array = self._read(box, mmap=mmap)
        if array.dtype.kind == "b":
            import numpy as np

            array = array.view(np.uint8) != 0  # a byte that is neither 0 nor 1 would be both
        if box.inner is not None:
            array = array[box.inner]
        return array[()] if getattr(array, "shape", None) == () else array

    def _read(self, box: Box, *, mmap: bool) -> Any:
        import numpy as np

        h5d = self._library.h5py.h5d
        if not math.prod(box.shape):
            return np.empty(box.shape, self.dtype)
        if self._kind == h5d.CHUNKED:
            return self._chunked(box)
        if self._kind == h5d.CONTIGUOUS:
            return self._contiguous(box, mmap=mmap)
        if self.stored != math.prod(self.shape) * self.layout.size:
            raise FormatError("a dataset in the HDF5 file is not as large as it announces")
        return self._through_library(box)

    def _contiguous(self, box: Box, *, mmap: bool) -> Any:
        offset = self._id.get_offset()
        if offset is None:
            return self._filled(box.shape)
        if self.stored != math.prod(self.shape) * self.layout.size:
            raise FormatError("a dataset in the HDF5 file is not as large as it announces")
        row = math.prod(self.shape[1:]) * self.layout.size
        first, last = box.bounds[0] if box.bounds else (0, 1)
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        blob = self._library.blob
        blob.check(offset + first * row, (last - first) * row)
        if mmap and self._same:
            array = blob.memmap(offset + first * row, self.dtype, shape)
        elif not self._decodes:
            return self._through_library(box)
        else:
            array = self._decoded(blob.view(offset + first * row, (last - first) * row)).reshape(shape)
        if shape[1:] != box.shape[1:]:
            array = array[(slice(None), *(slice(*bound) for bound in box.bounds[1:]))]
        return array if array.flags.writeable and (mmap or array.flags.c_contiguous) else array.copy()

    @property
    def _decodes(self) -> bool:
        """Whether elements are made here, and not by libhdf5's conversions."""
        return self._same or bool(self.layout.lengths)

    def _decoded(self, data: Any) -> Any:
        """Elements from their bytes in the file."""
        import numpy as np

        if self._same:
            return np.frombuffer(data, self.dtype)
        self._check_lengths(data)
        return self._heap.decoded(self._datatype, np.frombuffer(data, np.uint8).reshape(-1, self.layout.size))

    def _chunked(self, box: Box) -> Any:
        elements, size = math.prod(self._chunk), self.layout.size
        result = self._filled(box.shape) if self._decodes else None
        for place, (offset, packed, mask) in self._chunks(box):
            check_announced(elements * size, packed, self._limits)
            data = unpack(self._library.blob.view(offset, packed), self._filters, mask, elements=elements, size=size)
            if data is None and self.layout.lengths:
                raise FormatError("data of variable length behind a filter for numbers", code="hdf5.filter")
            if data is None:
                result = None  # libhdf5 unpacks it; the other chunks are measured all the same
            elif result is not None:
                self._place(result, self._decoded(data).reshape(self._chunk), place, box)
        return self._through_library(box) if result is None else result

    def _place(self, result: Any, chunk: Any, place: tuple[int, ...], box: Box) -> None:
        """Copy the part of a chunk that is in the box."""
        source, target = [], []
        for start, length, whole, (low, high) in zip(place, self._chunk, self.shape, box.bounds, strict=True):
            begin, end = max(start, low), min(start + length, high, whole)
            source.append(slice(begin - start, end - start))
            target.append(slice(begin - low, end - low))
        result[tuple(target)] = chunk[tuple(source)]

    def _filled(self, shape: tuple[int, ...]) -> Any:
        """An array of the fill value."""
        import numpy as np

        if self.layout.lengths:
            return self._decoded(bytes(math.prod(shape) * self.layout.size)).reshape(shape)
        fill = np.zeros((), self.dtype)
        if self._properties.fill_value_defined() == self._library.h5py.h5d.FILL_VALUE_USER_DEFINED:
            self._properties.get_fill_value(fill)
        if not fill.tobytes().strip(b"\0"):
            return np.zeros(shape, self.dtype)
        return np.full(shape, fill, self.dtype)

    def _chunks(self, box: Box) -> Iterator[tuple[tuple[int, ...], tuple[int, int, int]]]:
        """The stored chunks that touch the box: place, and (offset in the file, stored bytes, filter mask)."""
        if self._index is None:
            self._index = self._chunk_index()
        (low, high), length = box.bounds[0], self._chunk[0]
        rows = range(low // length, -(-high // length))
        chosen = rows if len(rows) < len(self._index) else [row for row in self._index if row in rows]
        for place, found in (item for row in chosen for item in self._index.get(row, ())):
            if all(
                start < high and start + length > low
                for start, length, (low, high) in zip(place, self._chunk, box.bounds, strict=True)
            ):
                yield place, found

    def _chunk_index(self) -> _Index:
        """The stored chunks by their row of chunks, so that reading in pieces does not look at all of them each time."""
        index: dict[tuple[int, ...], tuple[int, int, int]] = {}
        most = self._places
        problems: list[FormatError] = []

        def note(info: Any) -> bool | None:
            place = tuple(map(int, info.chunk_offset))
            wrong = any(start % length for start, length in zip(place, self._chunk, strict=True))
            if wrong or place in index or len(index) >= most or info.byte_offset is None:
                problems.append(
                    FormatError("the index of the chunks of a dataset in the HDF5 file is broken", code="hdf5.chunk")
                )
                return True
            index[place] = int(info.byte_offset), int(info.size), int(info.filter_mask)
            return None

        self._id.chunk_iter(note)
        if not problems and sum(size for _, size, _ in index.values()) > self._library.blob.size:
            problems.append(
                FormatError("chunks of a dataset in the HDF5 file store more than the file", code="hdf5.overlap")
            )
        if problems:
            raise problems[0]
        rows: _Index = {}
        for place, stored in index.items():
            rows.setdefault(place[0] // self._chunk[0], []).append((place, stored))
        return rows

    def _check_lengths(self, data: Any) -> None:
        """Check the variable lengths in the bytes of some elements against what is there."""
        import numpy as np

        total = 0
        rows = np.frombuffer(data, np.uint8).reshape(-1, self.layout.size)
        for at, unit in self.layout.lengths:
            lengths = np.ascontiguousarray(rows[:, at : at + 4]).view("<u4").astype(np.uint64)
            if lengths.size and int(lengths.max()) * unit > self._library.blob.size:
                raise FormatError("a variable length in the HDF5 file is larger than the file")
            total += int(lengths.sum()) * unit
            self._heap.elements += int(np.count_nonzero(lengths))
        self._heap.announced += total
        self._heap.places += len(rows)
        size = self._library.blob.size
        # Each of them is stored: only who lets many share their bytes has more than the file has room for. Empty ones are not.
        if self._heap.elements > _MOST_ELEMENTS + size // _LEAST_ELEMENT or self._heap.places > _MOST_PLACES + size:
            _too_many_elements()
        check_announced(self._heap.announced, self._library.blob.size, self._limits)

    def _through_library(self, box: Box) -> Any:
        """For what libhdf5 has to convert; its bytes were measured before."""
        import numpy as np

        dataset = self._library.h5py.Dataset(self._id)
        value = dataset[tuple(slice(*bound) for bound in box.bounds)]
        return value if isinstance(value, np.ndarray) else _scalar_array(value, self.dtype)


def _scalar_array(value: Any, dtype: Any) -> Any:
    import numpy as np

    array = np.empty((), dtype)
    array[()] = value
    return array
