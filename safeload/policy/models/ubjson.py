"""Reads the serialized boosters of XGBoost, to see whether its own reader can be given them.

XGBoost's reader of Universal Binary JSON copies from the buffer without asking whether it has ended, and recurses for every level: a
truncated buffer is a segmentation fault of the process (tried with 3.2). So the buffer is walked here first. Rule: only what
XGBoost writes is accepted, arrays are views that cost what their bytes cost, and no count is believed before the bytes are there.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import Any

from safeload.facts.strict_json import strict_json

__all__ = ["parse"]

_MAX_DEPTH = 32  # a model has eight levels
_NUMBERS = {0x69: ">b", 0x55: ">B", 0x49: ">h", 0x6C: ">i", 0x4C: ">q", 0x64: ">f", 0x44: ">d"}
_FORMATS = {mark: struct.Struct(code) for mark, code in _NUMBERS.items()}
_SINGLE = {0x54: True, 0x46: False, 0x4E: None}
_LENGTH = _FORMATS[0x4C]


def parse(data: bytes) -> Any:
    """The document in ``data``: UBJSON, or the JSON text of XGBoost 1.0 to 1.5.

    Arrays of numbers with one type come back as :class:`array.array`, everything else as in :mod:`json`.

    Raises:
        ValueError: it is neither, it ends too early, or something follows it.
    """
    if data[:1] != b"{":
        raise ValueError("it is in XGBoost's old binary format, whose reader trusts the file; save the model as JSON")
    if data[:2] == b"{L" or data == b"{}":
        reader = _Reader(data)
        document = reader.value(0)
        if reader.position != len(data):
            raise ValueError("something follows the document")
        return document
    return strict_json(data)


class _Reader:
    """A position in a buffer."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def value(self, depth: int) -> Any:
        """The value that starts here."""
        mark = self._mark()
        if mark == 0x7B:  # {
            return self._object(depth + 1)
        if mark == 0x5B:  # [
            return self._array(depth + 1)
        if mark == 0x53:  # S
            return self._text()
        if mark in _SINGLE:
            return _SINGLE[mark]
        if mark in _FORMATS:
            return self._number(_FORMATS[mark])
        raise ValueError(f"it has the unknown type {mark:#04x}")

    def _mark(self) -> int:
        if self.position >= len(self._data):
            raise ValueError("it ends too early")
        self.position += 1
        return self._data[self.position - 1]

    def _take(self, size: int) -> bytes:
        start = self.position
        if not 0 <= size <= len(self._data) - start:
            raise ValueError("it ends too early")
        self.position = start + size
        return self._data[start : start + size]

    def _number(self, kind: struct.Struct) -> Any:
        return kind.unpack(self._take(kind.size))[0]

    def _length(self) -> int:
        if self._mark() != 0x4C:  # L: XGBoost writes no other kind of length
            raise ValueError("a length is not a 64-bit integer")
        return int(self._number(_LENGTH))

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8")

    def _object(self, depth: int) -> dict[str, Any]:
        _check_depth(depth)
        found: dict[str, Any] = {}
        while True:
            if self._peek() == 0x7D:  # }
                self.position += 1
                return found
            key = self._text()
            if key in found:
                raise ValueError("a key is repeated")
            found[key] = self.value(depth)

    def _peek(self) -> int:
        if self.position >= len(self._data):
            raise ValueError("it ends too early")
        return self._data[self.position]

    def _array(self, depth: int) -> Any:
        _check_depth(depth)
        if self._peek() == 0x24:  # $: all items have the type that follows
            self.position += 1
            return self._numbers()
        if self._peek() == 0x23:  # #: the number of items
            self.position += 1
            count = self._length()
            if not 0 <= count <= len(self._data) - self.position:
                raise ValueError("an array has more items than the document has bytes")
            return [self.value(depth) for _ in range(count)]
        items = []
        while self._peek() != 0x5D:  # ]
            items.append(self.value(depth))
        self.position += 1
        return items

    def _numbers(self) -> array[Any]:
        kind = _FORMATS.get(self._mark())
        if kind is None or self._mark() != 0x23:
            raise ValueError("an array has items of an unknown type")
        numbers = array(kind.format[1:])
        numbers.frombytes(self._take(self._length() * kind.size))
        if sys.byteorder == "little":
            numbers.byteswap()
        return numbers


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("it nests too deeply")
