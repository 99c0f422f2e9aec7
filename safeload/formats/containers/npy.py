"""npy files, as ``numpy.save`` writes them and ``numpy.load`` reads them.

A file can hold several arrays one behind the other: ``numpy.load(path)`` takes the first, and so does a load; all of them are
judged. Rule: nothing but arrays follows an array.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LimitExceededError
from safeload.formats.base import NO, SPECIFIC, Stream
from safeload.formats.detect import NPY_MAGIC as MAGIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, Parts, SplitRequest
    from safeload.formats.npy_header import Header
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]


class _Npy:
    name = "npy"

    begins = MAGIC[:1]

    def recognise(self, blob: Blob) -> int:
        return SPECIFIC if blob.head(len(MAGIC)) == MAGIC else NO

    def split(self, blob: Blob, request: SplitRequest) -> _Split:
        if request.part.member is not None:
            raise FormatError(
                "an npy file is one array and has no members; load it without member=", code="format.member"
            )
        from safeload.formats.npy_header import read_header

        first = read_header(blob)
        header = first
        streams: list[Stream] = []
        for _ in range(request.limits.max_members):
            if header.dtype.hasobject:
                streams.append(Stream("", blob.slice(header.data, blob.size - header.data)))
                break
            end = header.data + header.size
            if end == blob.size or not request.whole:
                break
            if blob.read(end, min(len(MAGIC), blob.size - end)) != MAGIC:
                raise FormatError(
                    "bytes follow the array, and they are no array; cut them off if they are not meant to be there",
                    code="format.trailing",
                )
            header = read_header(blob, end)
        else:
            raise LimitExceededError(
                f"the file holds more than max_members={request.limits.max_members:,} arrays", code="limit.members"
            )
        return _Split(blob, first, tuple(streams), request)


class _Split:
    container = "npy"
    members = ()
    findings = ()

    def __init__(self, blob: Blob, header: Header, streams: tuple[Stream, ...], request: SplitRequest) -> None:
        self.blob = blob
        self.header = header
        self.streams = streams
        self.request = request

    @property
    def before_streams(self) -> int:
        """Where the first array ends, not counting its pickle: the next one may follow, in a file that is open."""
        return self.header.data if self.header.dtype.hasobject else self.header.data + self.header.size

    def rebuild(self, parts: Parts) -> Any:
        from safeload.formats.npy_array import array_of, checked_object_array

        """The first array, or the part of it that was asked for."""
        request = self.request
        if not self.header.dtype.hasobject:
            return array_of(self.blob, self.header, index=request.part.index, mmap=request.part.mmap)
        array = checked_object_array(parts.stream(0), self.header)
        return array if request.part.index is None else array[request.part.index]


class _Codec:
    """What ``numpy.save`` writes."""

    name = reads = "npy"
    number = 8
    code = False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        """An array, or what numpy makes one of. Arrays of objects are pickled, as numpy does."""
        import numpy as np

        if request.compress:
            raise ValueError("npy files are not compressed; write codec='npz' with compress=True")
        array = np.asanyarray(obj)
        header = io.BytesIO()
        flags = array.flags
        if array.dtype.hasobject or array.dtype.names is not None or not flags.forc or not array.size * array.itemsize:
            np.lib.format.write_array(header, array, allow_pickle=True)
            return (header.getvalue(),)
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
        items = np.asarray(array if flags.c_contiguous else array.T).reshape(-1)
        return header.getvalue(), items.view(np.uint8).data


FORMAT = _Npy()
CODECS = (_Codec(),)
