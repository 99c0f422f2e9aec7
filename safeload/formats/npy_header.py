"""The header of an npy file, as ``numpy.lib.format`` writes it (versions 1.0 to 3.0), read without ``eval``.

Rules: the header is text of known characters with one meaning; a dtype is built from simple type strings and from fields that lie
one behind the other, so no two of them can share bytes and none lies outside of its item; a shape needs as many bytes as there are.
"""

from __future__ import annotations

import ast
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from safeload.errors import FormatError, TruncatedError
from safeload.facts.type_strings import MAX_ITEM, type_string
from safeload.formats.detect import NPY_MAGIC as MAGIC

if TYPE_CHECKING:
    from safeload.source.blob import Blob

__all__ = ["Header", "literal", "read_header"]

_MAX_HEADER = 1 << 20
_HEAD = 512
_MAX_DEPTH = 16
_MAX_FIELDS = 1 << 16
_MAX_DIMENSIONS = 64

# What numpy writes for everything but structured dtypes.
_PLAIN = re.compile(
    r"\{'descr': '([^'\\]{1,24})', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \}\s*", re.ASCII
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>u?(?:'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*"))|(?P<number>\d{1,20})L?"""
    r"""|(?P<word>True|False|None)\b|(?P<mark>[{}()\[\],:]))""",
    re.ASCII,
)
_WORDS = {"True": True, "False": False, "None": None}
_CLOSING = {"(": ")", "[": "]"}


class Header(NamedTuple):
    """What is announced: ``data`` is where the array begins in the blob, ``size`` how many bytes it takes if they are no pickle."""

    dtype: Any
    shape: tuple[int, ...]
    fortran: bool
    data: int

    @property
    def items(self) -> int:
        """The number of items."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """The bytes that the items take."""
        return self.items * int(self.dtype.itemsize)


def read_header(blob: Blob, start: int = 0) -> Header:
    """The header at ``start``.

    Raises:
        FormatError: numpy does not write such a header, or announces more than there is.
    """
    head = blob.read(start, min(_HEAD, blob.size - start))
    version = tuple(head[6:8])
    if not head.startswith(MAGIC) or version not in ((1, 0), (2, 0), (3, 0)):
        _malformed("it is not of a version from 1.0 to 3.0")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    begin = 8 + width
    if len(head) < begin or start + begin + length > blob.size:
        raise TruncatedError("the array's header ends before it is complete; fetch the file again")
    if length > _MAX_HEADER:
        _malformed("it is longer than any that numpy writes")
    raw = head[begin : begin + length] if begin + length <= len(head) else blob.read(start + begin, length)
    try:
        text = raw.decode("utf-8" if version == (3, 0) else "latin1")
    except UnicodeDecodeError:
        _malformed("it is no text")
    dtype, fortran, shape = _parsed(text)
    header = Header(dtype, shape, fortran, start + begin + length)
    if not dtype.hasobject and header.data + header.size > blob.size:
        raise TruncatedError(
            "the array announces more items than there are bytes; the file is incomplete, fetch it again"
        )
    return header


def _parsed(text: str) -> tuple[Any, bool, tuple[int, ...]]:
    match = _PLAIN.fullmatch(text)
    if match is not None:
        shape = tuple(int(size) for size in match[3].replace(" ", "").split(",") if size)
        return _dtype(match[1]), match[2] == "True", _shape(shape)
    found = literal(text)
    if type(found) is not dict or found.keys() != {"descr", "fortran_order", "shape"}:
        _malformed("it does not say what numpy says")
    if type(found["fortran_order"]) is not bool:
        _malformed("the order is neither true nor false")
    return _dtype(found["descr"]), found["fortran_order"], _shape(found["shape"])


def _malformed(what: str) -> NoReturn:
    raise FormatError(f"the array's header is not one that numpy writes: {what}", code="format.npy")


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or len(shape) > _MAX_DIMENSIONS or any(type(size) is not int for size in shape):
        _malformed("the shape is no tuple of sizes")
    if any(size >= 1 << 62 for size in shape):
        _malformed("the shape is too large")
    return shape


def _dtype(descr: Any) -> Any:
    import numpy as np

    try:
        dtype = _Descr().dtype(descr, 0)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError("the array has a type that numpy does not know", code="format.npy") from error
    if not isinstance(dtype, np.dtype):
        _malformed("the type is none")
    return dtype


class _Descr:
    """Makes a dtype of what ``numpy.lib.format.dtype_to_descr`` made of one."""

    def __init__(self) -> None:
        self._fields = 0

    def dtype(self, descr: Any, depth: int) -> Any:
        import numpy as np

        if depth > _MAX_DEPTH:
            _malformed("the type nests too deeply")
        if type(descr) is str:
            if type_string(descr) is None:
                _malformed("the type is unknown")
            return np.dtype(descr)
        if type(descr) is tuple and len(descr) == 2:
            return self._several(descr[0], descr[1], depth)
        if type(descr) is list:
            return self._structure(descr, depth)
        _malformed("the type is unknown")

    def _several(self, descr: Any, shape: Any, depth: int) -> Any:
        import numpy as np

        inner = self.dtype(descr, depth + 1)
        sizes = (shape,) if type(shape) is int else _shape(shape)
        if inner.itemsize * math.prod(sizes) > MAX_ITEM:
            _malformed("an item is too large")
        return np.dtype((inner, shape))

    def _structure(self, fields: list[Any], depth: int) -> Any:
        import numpy as np

        made: dict[str, list[Any]] = {"names": [], "formats": [], "offsets": [], "titles": []}
        offset = 0
        self._fields += len(fields)
        if self._fields > _MAX_FIELDS:
            _malformed("the type has too many fields")
        for field in fields:
            if type(field) is not tuple or not 2 <= len(field) <= 3:
                _malformed("a field is malformed")
            inner = self._several(*field[1:], depth) if len(field) == 3 else self.dtype(field[1], depth + 1)
            title, name = field[0] if type(field[0]) is tuple and len(field[0]) == 2 else (None, field[0])
            if type(name) is not str or type(title) not in (str, type(None)):
                _malformed("a field's name is no text")
            if name or inner.type is not np.void or inner.names is not None:  # otherwise padding
                for key, value in zip(made, (name, inner, offset, title), strict=True):
                    made[key].append(value)
            offset += int(inner.itemsize)
            if offset > MAX_ITEM:
                _malformed("an item is too large")
        return np.dtype({**made, "itemsize": offset})  # type: ignore[call-overload]


def literal(text: str) -> Any:
    """A Python literal of dicts, lists, tuples, strings, whole numbers, booleans and ``None``; nothing else is read.

    Raises:
        FormatError: it is something else, nests too deeply, or names a key twice.
    """
    return _Literal(text).whole()


class _Literal:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Any:
        found = self._value(0)
        if self._text[self._at :].strip(" \t\n"):
            _malformed("something follows it")
        return found

    def _token(self) -> tuple[str, str]:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            _malformed("it has characters that do not belong there")
        self._at = match.end()
        return match.lastgroup, match[match.lastgroup]

    def _value(self, depth: int) -> Any:
        if depth > 2 * _MAX_DEPTH + 2:
            _malformed("it nests too deeply")
        kind, found = self._token()
        if kind == "word":
            return _WORDS[found]
        if kind == "number":
            return int(found)
        if kind == "text":
            return _string(found)
        if found == "{":
            return self._dict(depth)
        if found in _CLOSING:
            return self._sequence(_CLOSING[found], depth)
        _malformed("a value is missing")

    def _peek(self) -> str:
        at = self._at
        found = self._token()[1]
        self._at = at
        return found

    def _sequence(self, closing: str, depth: int) -> Any:
        items: list[Any] = []
        comma = True
        while self._peek() != closing:
            if not comma:
                _malformed("a comma is missing")
            items.append(self._value(depth + 1))
            comma = self._peek() == ","
            if comma:
                self._token()
        self._token()
        if closing == "]":
            return items
        return tuple(items) if comma or len(items) != 1 else items[0]

    def _dict(self, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        comma = True
        while self._peek() != "}":
            key = self._value(depth + 1) if comma else None
            if type(key) is not str or key in found or self._token()[1] != ":":
                _malformed("a key is malformed")
            found[key] = self._value(depth + 1)
            comma = self._peek() == ","
            if comma:
                self._token()
        self._token()
        return found


def _string(text: str) -> str:
    try:
        found = ast.literal_eval(text)  # one string literal and nothing around it
    except (SyntaxError, ValueError):
        _malformed("a string is malformed")
    if type(found) is not str:
        _malformed("a string is malformed")
    return found
