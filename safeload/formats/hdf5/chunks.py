"""The stored bytes of a dataset, unpacked here and not by libhdf5.

libhdf5 (2.0 as well) does not look whether a chunk unpacks to as many bytes as a chunk has: a short one is read beyond its
end, a long one takes as much memory as it likes. Rules: every chunk that is read has exactly its size after every
filter; a filter that is not listed here is never applied; nothing is unpacked beyond the size of a chunk.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from safeload.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXPANDING", "FILTERS", "Filter", "check_filters", "unpack"]

DEFLATE, SHUFFLE, FLETCHER32, SZIP, NBIT, SCALEOFFSET, LZF = 1, 2, 3, 4, 5, 6, 32000
FILTERS = {
    DEFLATE: "gzip", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", SZIP: "szip", NBIT: "nbit", SCALEOFFSET: "scaleoffset",
    LZF: "lzf",
}  # fmt: skip
EXPANDING = frozenset({DEFLATE, SZIP, NBIT, SCALEOFFSET, LZF})
# The other filters are left to libhdf5, after it was checked that their input suffices.
_OWN = frozenset({DEFLATE, SHUFFLE, FLETCHER32, LZF})
_SCALEOFFSET_HEAD = 21


class Filter(NamedTuple):
    """One filter of a pipeline: its number and its parameters, in the order in which it was applied to write."""

    number: int
    values: tuple[int, ...]


def check_filters(filters: Sequence[Filter], *, elements: int, size: int) -> None:
    """Check the pipeline of a dataset whose chunks have ``elements`` of ``size`` bytes.

    Raises:
        FormatError: a filter is not known, or is not used in the way of the HDF5 library.
    """
    for found in filters:
        if found.number not in FILTERS:
            raise FormatError(
                f"the HDF5 file needs the user-defined filter {found.number}, which is a plugin; write it again with gzip",
                code="hdf5.filter",
            )
    if sum(found.number in EXPANDING for found in filters) > 1:
        raise FormatError(
            "a dataset in the HDF5 file is compressed twice; no usual writer does that", code="hdf5.filter"
        )
    for found in filters:
        values = found.values
        if found.number == SHUFFLE and values and not 0 < values[0] <= size:
            _contradiction()
        if found.number == SCALEOFFSET and (len(values) < 5 or values[2] != elements or values[4] != size):
            _contradiction()
        if found.number == NBIT:
            _check_nbit(values, elements, size)


def _check_nbit(values: tuple[int, ...], elements: int, size: int) -> None:
    atomic = len(values) == 8 and values[0] == 8 and values[3] == 1
    if not atomic:
        raise FormatError(
            "the HDF5 file uses the nbit filter on a type other than numbers, which safeload does not read",
            code="hdf5.filter",
        )
    if values[2] != elements or values[4] != size or not 0 < values[6] + values[7] <= 8 * size:
        _contradiction()


def _contradiction() -> NoReturn:
    raise FormatError("a filter in the HDF5 file contradicts the dataset that it belongs to", code="hdf5.filter")


def unpack(data: Any, filters: Sequence[Filter], mask: int, *, elements: int, size: int) -> bytes | memoryview | None:
    """The bytes of a chunk.

    Args:
        data: as it is stored. filters: the pipeline, as checked by :func:`check_filters`.
        mask: bit ``i``: filter ``i`` was not applied to this chunk.
        elements: in a chunk. size: of one.

    Returns:
        The bytes; ``None`` if only libhdf5 can unpack them, and it can do so safely.

    Raises:
        FormatError: they are not exactly as many as they have to be.
    """
    expected = elements * size
    result = data
    for index in reversed(range(len(filters))):
        found = filters[index]
        if mask >> index & 1:
            continue
        if found.number not in _OWN:
            _check_input(result, found, elements, size)
            if any(filters[rest].number != SHUFFLE and not mask >> rest & 1 for rest in range(index)):
                raise FormatError(
                    "the HDF5 file combines filters in a way that safeload does not read", code="hdf5.filter"
                )
            return None
        # What checksums add before the compression is a few bytes.
        result = _undo(found, result, expected + 4 * len(filters))
    if len(result) != expected:
        raise FormatError("a chunk in the HDF5 file unpacks to another size than it has", code="hdf5.chunk")
    return memoryview(result)


def _undo(found: Filter, data: Any, most: int) -> Any:
    if found.number == DEFLATE:
        return _inflated(data, most)
    if found.number == FLETCHER32:
        return _summed(data)
    if found.number == LZF:
        return _unpacked_lzf(bytes(data), most)
    if not found.values:  # text has them so, where the filter is not applied
        _contradiction()
    return _unshuffled(data, found.values[0])


def _inflated(data: Any, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        result = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise FormatError("a compressed chunk in the HDF5 file is broken", code="hdf5.chunk") from error
    if not unpacker.eof and len(result) <= most:
        raise FormatError("a compressed chunk in the HDF5 file is incomplete", code="hdf5.chunk")
    return result


def _summed(data: Any) -> Any:
    """Without the checksum, which has to be right; libhdf5 accepts both orders of its bytes."""
    if len(data) < 4:
        raise FormatError("a checksum is missing in the HDF5 file", code="hdf5.chunk")
    body, stored = data[:-4], bytes(data[-4:])
    found = _fletcher32(body)
    swapped = (found & 0x00FF00FF) << 8 | found >> 8 & 0x00FF00FF
    if int.from_bytes(stored, "little") not in (found, swapped):
        raise FormatError("a checksum in the HDF5 file is wrong; fetch it again", code="hdf5.chunk")
    return body


def _fletcher32(data: Any) -> int:
    """The checksum of H5checksum.c over big-endian 16-bit words: sums modulo 65535, never 0 after the first word."""
    import numpy as np

    even = len(data) // 2 * 2
    words = np.frombuffer(data, ">u2", even // 2).astype(np.uint64)
    if len(data) % 2:
        words = np.append(words, np.uint64(data[-1] << 8))
    first = second = 0
    for start in range(0, len(words), 1 << 15):
        block = words[start : start + (1 << 15)]
        count = len(block)
        second += count * first + int((block * np.arange(count, 0, -1, dtype=np.uint64)).sum())
        first += int(block.sum())
    first, second = (_folded(value) for value in (first, second))
    return second << 16 | first


def _folded(value: int) -> int:
    return (value - 1) % 65535 + 1 if value else 0


def _unshuffled(data: Any, size: int) -> Any:
    """Bytes that were written first bytes first; what is left over stands at the end as it is."""
    import numpy as np

    count = len(data) // size
    if size < 2 or count < 2:
        return data
    planes = np.frombuffer(data, np.uint8, count * size).reshape(size, count)
    result = np.empty(len(data), np.uint8)
    result[: count * size].reshape(count, size)[...] = planes.T
    result[count * size :] = np.frombuffer(data, np.uint8, offset=count * size)
    shuffled: memoryview = result.data
    return shuffled


def _unpacked_lzf(data: bytes, most: int) -> bytes:
    """LibLZF's format: literals and references back into the output."""
    result, at, end = bytearray(), 0, len(data)
    while at < end:
        control = data[at]
        at += 1
        if control < 32:
            if at + control + 1 > end:
                _broken_lzf()
            result += data[at : at + control + 1]
            at += control + 1
        else:
            length = control >> 5
            if length == 7:
                length += data[at] if at < end else _broken_lzf()
                at += 1
            if at >= end:
                _broken_lzf()
            back = len(result) - ((control & 31) << 8) - data[at] - 1
            at += 1
            if back < 0:
                _broken_lzf()
            length += 2
            while length > 0:  # a reference may reach into what it writes itself
                piece = result[back : back + length]
                result += piece
                back += len(piece)
                length -= len(piece)
        if len(result) > most:
            break
    return bytes(result)


def _broken_lzf() -> NoReturn:
    raise FormatError("a compressed chunk in the HDF5 file is broken", code="hdf5.chunk")


def _check_input(data: Any, found: Filter, elements: int, size: int) -> None:
    """Whether what libhdf5 will read of ``data`` is there, and what it will write is a chunk."""
    if found.number == SZIP:
        enough = len(data) >= 4 and int.from_bytes(data[:4], "little") == elements * size
    elif found.number == NBIT:
        enough = len(data) * 8 >= elements * found.values[6]
    else:
        bits = int.from_bytes(data[:4], "little")
        enough = bits <= 8 * size and len(data) >= _SCALEOFFSET_HEAD + -(-elements * bits // 8)
    if not enough:
        raise FormatError("a compressed chunk in the HDF5 file is incomplete", code="hdf5.chunk")
