"""NumPy's arrays, scalars and dtypes in JSON.

Rule: what a text says about an array must be exactly what its bytes are: their number follows from shape and dtype, and a dtype is the one
that is written like this. No dtype with objects is ever made.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from safeload.formats.jsontext.form import SURROGATE, MisfitError, base64_of, bytes_of, mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.formats.jsontext.writer import Writer

__all__ = ["READ", "write_numpy"]

_TEXT = re.compile(
    r"[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][0-9]{1,10}|[mM]8(?:\[[0-9]{0,10}[a-zA-Z]{1,2}\])?)",
    re.ASCII,
)
_SCALARS: Final = frozenset(
    {*np.sctypeDict.values(), np.bool_, np.str_, np.bytes_, np.void, np.datetime64, np.timedelta64} - {np.object_}
)
_EXACT = frozenset({"<f2", "<f4", "<f8", ">f2", ">f4", ">f8"})  # those that a double holds
_MAX_DIMENSIONS = 64
_ORDERS: Final[tuple[Any, ...]] = ("C", "F")


def write_numpy(value: Any, _writer: Writer) -> Any:
    """The node of an array, a scalar or a dtype; ``None`` if it is none of them.

    Raises:
        MisfitError: it cannot be written without loss.
    """
    if type(value) is np.ndarray:
        return _write_array(value)
    if type(value) in _SCALARS:
        return _write_scalar(value)
    if isinstance(value, np.dtype):
        return mark("dtype", _dtype_node(value))
    if isinstance(value, np.ndarray):
        name = type(value).__name__
        raise MisfitError(f"JSON has no form for numpy.{name}; convert it: numpy.asarray(array)")
    return None


def _write_array(array: Any) -> Any:
    node = _dtype_node(array.dtype)
    if not array.dtype.itemsize:
        raise MisfitError("an array of items without bytes cannot be written")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return mark("ndarray", base64_of(array.tobytes(order=order)), dtype=node, shape=list(array.shape), order=order)


def _read_array(node: dict[str, Any]) -> Any:
    dtype = _dtype_of(node["dtype"])
    shape: Any = node["shape"]
    order: Any = node["order"]
    if type(shape) is not list or len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise MisfitError("shape is a list of lengths")
    if order not in _ORDERS:
        raise MisfitError("order is C or F")
    layout: Literal["C", "F"] = "C" if order == "C" else "F"
    data = bytes_of(node["v"])
    if not dtype.itemsize:
        raise MisfitError("items of no bytes make no array")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise MisfitError("shape and dtype announce another number of bytes than there are")
    try:
        if not data:
            return np.empty(tuple(shape), dtype, order=layout)
        array = np.frombuffer(bytearray(data), dtype).reshape(tuple(shape), order=layout)
    except (ValueError, TypeError, OverflowError, MemoryError):
        raise MisfitError("NumPy has no array of this shape") from None
    _check_items(array)
    return array


def _check_items(array: Any) -> None:
    """Bytes that no item of NumPy's has.

    Others than 0 and 1 as booleans make NumPy count wrong, and write behind an array's end; a number beyond Unicode raises a
    SystemError when the text is looked at.
    """
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _check_items(array[name])
    elif dtype.kind == "b" and array.size and (array.view(np.uint8) > 1).any():
        raise MisfitError("a boolean is a byte of 0 or 1")
    elif dtype.kind == "U" and array.size:
        letters = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(dtype.byteorder))
        if (letters > sys.maxunicode).any():
            raise MisfitError("a character beyond Unicode")


def _write_scalar(value: Any) -> Any:
    kind = type(value)
    if kind is np.str_:
        text = str.__str__(value)  # str() would drop NULs at the end
        return mark("scalar", base64_of(text.encode("utf-8", "surrogatepass")), dtype="U")
    if kind is np.bytes_:
        return mark("scalar", base64_of(bytes(value)), dtype="S")
    node = _dtype_node(value.dtype)
    if value.dtype.kind in "biu" or (type(node) is str and node in _EXACT and np.isfinite(value)):
        return mark("scalar", value.item(), dtype=node)
    if not value.dtype.itemsize:
        raise MisfitError("a scalar without bytes cannot be written")
    return mark("scalar", base64_of(value.tobytes()), dtype=node)


def _read_scalar(node: dict[str, Any]) -> Any:
    content = node["v"]
    if type(node["dtype"]) is str and node["dtype"] in ("U", "S"):
        data = bytes_of(content)
        try:
            return np.bytes_(data) if node["dtype"] == "S" else np.str_(data.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise MisfitError("this is no encoded string") from None
    dtype = _dtype_of(node["dtype"])
    if dtype.kind in "biu" or type(content) is float:
        return _read_number(content, dtype)
    if not dtype.itemsize:
        raise MisfitError("a scalar has bytes")
    data = bytes_of(content)
    if len(data) != dtype.itemsize:
        raise MisfitError("the dtype announces another number of bytes than there are")
    array = np.frombuffer(bytearray(data), dtype)
    _check_items(array)
    return array[0]


def _read_number(content: Any, dtype: Any) -> Any:
    wanted = {"b": bool, "f": float}.get(dtype.kind, int)
    if type(content) is not wanted or dtype.kind not in "biuf":
        raise MisfitError("a number of the dtype is expected here")
    try:
        with np.errstate(all="ignore"):
            value = dtype.type(content)
    except (OverflowError, ValueError):
        raise MisfitError("the number is out of the dtype's range") from None
    if value.item() != content:
        raise MisfitError("the number is none that the dtype can hold")
    return value


def _dtype_node(dtype: Any) -> Any:
    """How a dtype is written: NumPy's text for it, or its parts."""
    if dtype.hasobject:
        raise MisfitError("arrays of objects cannot be written; write array.tolist()")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": _dtype_node(base), "shape": list(shape)}
    if dtype.names is None:
        if not _TEXT.fullmatch(dtype.str) or np.dtype(dtype.str) != dtype:
            raise MisfitError("JSON has no form for this dtype")
        return dtype.str
    if dtype.type is not np.void:
        raise MisfitError("dtypes of records cannot be written")
    titles = [(*dtype.fields[name], None)[2] for name in dtype.names]
    if not all(map(_is_text, [*dtype.names, *(title for title in titles if title is not None)])):
        raise MisfitError("names and titles of a dtype's fields are strings without lone surrogates")
    node: dict[str, Any] = {
        "names": list(dtype.names),
        "formats": [_dtype_node(dtype.fields[name][0]) for name in dtype.names],
        "offsets": [dtype.fields[name][1] for name in dtype.names],
        "itemsize": dtype.itemsize,
    }
    if any(title is not None for title in titles):
        node["titles"] = titles
    if dtype.isalignedstruct:
        node["aligned"] = True
    return node


def _is_text(name: object) -> bool:
    return type(name) is str and not SURROGATE.search(name)


def _dtype_of(node: Any, *, alone: bool = False) -> Any:
    """The dtype that is written as ``node``; that of a subarray only where it is ``alone``, without an array."""
    try:
        dtype = _made_dtype(node)
        if dtype.hasobject or _dtype_node(dtype) != node or (dtype.subdtype is not None and not alone):
            raise MisfitError("this is not how the dtype is written")
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
        raise MisfitError("this is no dtype") from None
    return dtype


def _made_dtype(node: Any) -> Any:
    if type(node) is str and _TEXT.fullmatch(node):
        return np.dtype(node)
    if type(node) is not dict:
        raise TypeError
    if node.keys() == {"base", "shape"}:
        if not all(type(length) is int for length in node["shape"]):
            raise TypeError
        return np.dtype((_made_dtype(node["base"]), tuple(node["shape"])))
    if not node.keys() - {"aligned", "titles"} == {"names", "formats", "offsets", "itemsize"}:
        raise TypeError
    if not all(type(name) is str for name in node["names"]):
        raise TypeError
    if not all(title is None or type(title) is str for title in node.get("titles", ())):
        raise TypeError
    if not all(type(number) is int for number in [*node["offsets"], node["itemsize"]]):
        raise TypeError
    parts: Any = {**node, "formats": [_made_dtype(part) for part in node["formats"]]}
    aligned = parts.pop("aligned", False) is True
    return np.dtype(parts, align=aligned)


READ: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "ndarray": _read_array,
    "scalar": _read_scalar,
    "dtype": lambda node: _dtype_of(node["v"], alone=True),
}
