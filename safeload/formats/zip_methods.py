"""How the entries of a zip archive are compressed, as CPython's ``zipfile`` reads them.

Rule: an entry unpacks to exactly the size that the directory announces, and uses up exactly its packed bytes.
"""

from __future__ import annotations

import struct
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.source.memory import private_memory
from safeload.source.unpacking import Inflate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeload.formats.zip_directory import ZipEntry
    from safeload.source.blob import Blob

__all__ = ["METHODS", "unpacked", "unpacked_pieces"]

_INPUT = 1 << 17
_OUTPUT = 1 << 20


class _Lzma:
    """The header that zip puts before LZMA data: a version, and the properties of the filter."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: Any = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return self._inner is None or bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return b"" if self._inner is None else bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._inner is not None:
            return bytes(self._inner.decompress(data, max_length))
        self._head += data
        if len(self._head) < 9:
            return b""
        version, size, props = struct.unpack_from("<HHB", self._head)
        dictionary = int.from_bytes(self._head[5:9], "little")
        if size != 5 or props >= 9 * 5 * 5 or dictionary > _MAX_DICTIONARY or not version:
            raise FormatError("an LZMA entry of the zip archive has properties that no writer uses", code="format.zip")
        import lzma

        lc, rest = props % 9, props // 9
        lp, pb = rest % 5, rest // 5
        chosen = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}
        self._inner = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen])
        return bytes(self._inner.decompress(self._head[9:], max_length))


_MAX_DICTIONARY = 1 << 28


def _bzip2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _deflate() -> Any:
    return Inflate(-15)


METHODS: MappingProxyType[int, Callable[[], Any]] = MappingProxyType({8: _deflate, 12: _bzip2, 14: _Lzma})


def unpacked(packed: Blob, entry: ZipEntry) -> memoryview:
    """The bytes of a compressed entry, in memory of their own; errors as :func:`unpacked_pieces`."""
    if entry.method == _DEFLATED and entry.size <= _OUTPUT and packed.size <= _INPUT:
        return memoryview(bytearray(_inflated(packed, entry)))  # an array may keep it
    memory = private_memory(entry.size)
    filled = 0
    for piece in unpacked_pieces(packed, entry):
        memory[filled : filled + len(piece)] = piece
        filled += len(piece)
    return memory


def unpacked_pieces(packed: Blob, entry: ZipEntry) -> Iterator[bytes]:
    """The bytes of a compressed entry, a piece at a time.

    Raises:
        FormatError: the data are damaged, or of another size than announced.
    """
    decompressor = METHODS[entry.method]()
    filled = offset = 0
    try:
        while not decompressor.eof:
            data = b""
            if decompressor.needs_input:
                data = packed.read(offset, min(_INPUT, packed.size - offset))
                offset += len(data)
            piece = decompressor.decompress(data, min(_OUTPUT, entry.size - filled + 1))
            filled += len(piece)
            if filled > entry.size:
                _damaged()
            yield piece
            if not piece and not data and offset == packed.size:
                break
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(_DAMAGED, code="format.zip") from error
    # Raw LZMA may end without a marker: then the size is the end.
    ended = decompressor.eof or entry.method == _LZMA
    if not ended or decompressor.unused_data or offset != packed.size or filled != entry.size:
        _damaged()


def _inflated(packed: Blob, entry: ZipEntry) -> bytes:
    """A small entry in one call: an archive can have a hundred thousand of them."""
    inner = zlib.decompressobj(-15)
    try:
        data = inner.decompress(packed.read(0, packed.size), entry.size + 1)
    except zlib.error as error:
        raise FormatError(_DAMAGED, code="format.zip") from error
    if len(data) != entry.size or not inner.eof or inner.unused_data:
        _damaged()
    return data


_DEFLATED, _LZMA = 8, 14
_DAMAGED = "an entry of the zip archive is damaged, or has another size than it announces; fetch the file again"


def _damaged() -> NoReturn:
    raise FormatError(_DAMAGED, code="format.zip")
