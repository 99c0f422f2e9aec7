"""npz files: zip archives of npy files, as ``numpy.savez`` and ``numpy.savez_compressed`` write them.

A load gives a dict of all arrays, or with ``member=`` one array, without reading the others.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError
from safeload.formats.archives import no_member
from safeload.formats.base import NO, SPECIFIC, Stream
from safeload.formats.detect import is_zip
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, Parts, SplitRequest
    from safeload.formats.npy_header import Header
    from safeload.formats.zip_reader import ZipEntry, ZipReader
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]

_SUFFIX = ".npy"


class _Npz:
    name = "npz"

    begins = b"P"

    def recognise(self, blob: Blob) -> int:
        if not is_zip(blob):
            return NO
        from safeload.formats.zip_reader import zip_names

        names = zip_names(blob)
        return SPECIFIC if names is not None and all(name.endswith(_SUFFIX) for name in names) else NO

    def split(self, blob: Blob, request: SplitRequest) -> _Split:
        from safeload.formats.npy_header import read_header
        from safeload.formats.zip_reader import ZipReader

        reader = ZipReader(blob, request.limits, budget=request.budget)
        arrays: list[_Array] = []
        streams: list[Stream] = []
        for entry in _chosen(reader.entries, request):
            if not request.loading:
                reader.verify(entry)
            # A stored entry is checked when it is read whole, an unpacked one when that happens.
            content = reader.open(entry, verify=bool(entry.method))
            header = read_header(content)
            number = None
            if header.dtype.hasobject:
                content = reader.private(entry)
                number = len(streams)
                streams.append(Stream(entry.name, content.slice(header.data, content.size - header.data)))
            elif header.data + header.size != content.size:
                raise FormatError("bytes follow an array in the npz file", code="format.trailing")
            arrays.append(_Array(entry, header, content if entry.method or number is not None else None, number))
            if not request.loading:
                content.release()
        return _Split(reader, arrays, tuple(streams), request)


def _chosen(entries: Sequence[ZipEntry], request: SplitRequest) -> Sequence[ZipEntry]:
    """All of them, or the one that was asked for; numpy knows each with and without ``.npy``."""
    names = [_key(entry) for entry in entries]
    if request.part.member is None:
        if request.part.index is not None:
            raise FormatError(
                "index= is of one array, and this file holds several: name it with member=", code="format.member"
            )
        return entries
    wanted = [entry for entry in entries if request.part.member in (entry.name, _key(entry))]
    if not wanted:
        no_member(names, "npz")
    if len(wanted) > 1:
        raise FormatError("two arrays of the npz file can be meant; programs take different ones", code="format.member")
    return wanted


def _key(entry: ZipEntry) -> str:
    return entry.name.removesuffix(_SUFFIX)


class _Array(NamedTuple):
    """One array: ``content`` if it was unpacked or is to be judged, ``stream`` the number of its pickle."""

    entry: ZipEntry
    header: Header
    content: Blob | None
    stream: int | None


class _Split:
    container = "npz"
    members = ()
    findings = ()

    def __init__(
        self, reader: ZipReader, arrays: Sequence[_Array], streams: tuple[Stream, ...], request: SplitRequest
    ) -> None:
        self._reader = reader
        self._arrays = arrays
        self.streams = streams
        self._request = request

    def rebuild(self, parts: Parts) -> Any:
        """A dict of arrays, or the one that was asked for."""
        if self._request.part.member is not None:
            return self._rebuilt(self._arrays[0], parts, self._request)
        return {_key(array.entry): self._rebuilt(array, parts, self._request) for array in self._arrays}

    def _rebuilt(self, array: _Array, parts: Parts, request: SplitRequest) -> Any:
        from safeload.formats.npy_array import array_of, checked_object_array

        if array.stream is not None:
            objects = checked_object_array(parts.stream(array.stream), array.header)
            return objects if request.part.index is None else objects[request.part.index]
        if request.part.mmap and not array.entry.method:
            content = self._reader.open(array.entry, verify=False)  # whoever maps does not want it read
            return array_of(content, array.header, index=request.part.index, mmap=True)
        content = array.content or MemoryBlob(self._reader.view(array.entry))
        return array_of(content, array.header, index=request.part.index)


class _Codec:
    """``compress``: ``True``, or a level from 1 to 9, for what ``numpy.savez_compressed`` writes."""

    name = reads = "npz"
    number = 9
    code = False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        import zipfile

        """A mapping of names to arrays. Arrays of objects are pickled, as numpy does."""
        import numpy as np

        if not isinstance(obj, Mapping) or not all(type(key) is str for key in obj):
            raise TypeError("codec='npz' writes a dict of arrays with names; for one array use codec='npy'")
        level = _level(request.compress)
        method = zipfile.ZIP_STORED if level is None else zipfile.ZIP_DEFLATED
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method, compresslevel=level) as archive:
            for key, value in obj.items():
                with archive.open(key + _SUFFIX, "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(value), allow_pickle=True)
        return (file.getvalue(),)


def _level(compress: Any) -> int | None:
    if compress is None or compress is False or compress == 0:
        return None
    if compress is True:
        return 6
    if type(compress) is int and 1 <= compress <= 9:
        return compress
    raise ValueError("compress= of codec='npz' is True, False, or a level from 0 to 9")


FORMAT = _Npz()
CODECS = (_Codec(),)
