"""Writing plain data: Python's own types, NumPy arrays, pandas frames.

It runs on both sides. What the jailed side writes is never trusted because this module wrote it: an artifact that runs there
can write what it likes. Rule: exact types only; what is no plain data is an error that names the type, or is described.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import sys
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from safeload.sandbox.data.layout import ALIGN, BODY_AT, DEPTH, HEAD, MAGIC, VERSION, NotPlainError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Encoder", "encode"]

_SIMPLE = frozenset((str, bool, type(None)))
_INT_LIMIT = 1 << 63
_MAX_VALUES = 20_000_000
_DESCRIBED_DEPTH = 4


def encode(value: Any, write: Callable[[int, Any], None], limit: int, *, describe: bool = False) -> int:
    """Write ``value`` by ``write(offset, bytes-like)``, at most ``limit`` bytes.

    Returns:
        Where it ends.

    Raises:
        NotPlainError: it holds something that is no plain data, and ``describe`` is off.
        TooLargeError: it needs more room, or nests too deep.
    """
    encoder = Encoder(write, limit, describe=describe)
    tree = json.dumps(encoder.node(value, DEPTH), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    offset, length = encoder.blob(tree.encode("utf-8", "surrogatepass"))
    write(0, HEAD.pack(MAGIC, VERSION, offset, length, offset + length))
    return offset + length


class Encoder:
    """Turns objects into nodes of the tree, and puts raw bytes where they belong."""

    def __init__(self, write: Callable[[int, Any], None], limit: int, *, describe: bool) -> None:
        self._write = write
        self._limit = limit
        self._describe = describe
        self._place = BODY_AT
        self._values = 0
        self._open: set[int] = set()
        self._numpy: Any = sys.modules.get("numpy")

    def blob(self, data: Any) -> list[int]:
        """Write raw bytes; where they stand, and how many."""
        view = memoryview(data).cast("B")
        offset, length = self._place, len(view)
        self._place = (offset + length + ALIGN - 1) // ALIGN * ALIGN
        if self._place > self._limit:
            raise TooLargeError(f"the data needs more than {self._limit:,} bytes")
        self._write(offset, view)
        return [offset, length]

    def node(self, value: Any, depth: int) -> Any:
        """The tree's node for ``value``."""
        kind = type(value)
        self._values += 1
        if self._values > _MAX_VALUES:
            raise TooLargeError(f"the data has more than {_MAX_VALUES:,} values")
        if kind in _SIMPLE:
            return value
        if kind is int:
            return value if -_INT_LIMIT <= value < _INT_LIMIT else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind in _CONTAINERS:
            return self._inside(value, depth, _CONTAINERS[kind])
        leaf = _LEAVES.get(kind)
        if leaf is not None:
            return leaf(self, value)
        if self._numpy is not None:
            if kind is self._numpy.ndarray:
                return self._array(value, depth)
            if isinstance(value, self._numpy.generic) and kind.__module__ == "numpy":
                return {"$scalar": self._array(self._numpy.asarray(value), depth)["$array"]}
        if kind.__module__.partition(".")[0] == "pandas":
            from safeload.sandbox.data.frames import frame_node

            node = frame_node(value, lambda part: self.node(part, depth - 1))
            if node is not None:
                return node
        return self._other(value, depth)

    def _inside(self, value: Any, depth: int, write: Callable[[Encoder, Any, int], Any]) -> Any:
        if id(value) in self._open:
            raise NotPlainError("a container that contains itself")
        if depth <= 0:
            raise TooLargeError(f"the data nests deeper than {DEPTH} levels")
        self._open.add(id(value))
        try:
            return write(self, value, depth - 1)
        finally:
            self._open.discard(id(value))

    def _list(self, value: Any, depth: int) -> list[Any]:
        kinds = set(map(type, value))
        # One pass in C for the usual long list; the others go value by value.
        if kinds <= _SIMPLE or (kinds == {float} and all(map(math.isfinite, value))):
            self._values += len(value)
            return list(value)
        if kinds == {int} and min(value) >= -_INT_LIMIT and max(value) < _INT_LIMIT:
            self._values += len(value)
            return list(value)
        return [self.node(part, depth) for part in value]

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return dict(zip(value, self._list(list(value.values()), depth), strict=True))
        return {"$map": [[self.node(key, depth), self.node(part, depth)] for key, part in value.items()]}

    def _array(self, array: Any, depth: int) -> dict[str, Any]:
        numpy = self._numpy
        if array.dtype.hasobject:
            if array.dtype != object:
                raise NotPlainError("numpy.ndarray of records with objects")
            parts = self._inside(array, depth, lambda _, value, left: self._list(value.ravel().tolist(), left))
            return {"$objects": [list(array.shape), parts]}
        if array.dtype.subdtype is not None or (array.dtype.metadata or array.dtype.kind not in "biufcSUVMm"):
            raise NotPlainError(f"numpy.ndarray of {array.dtype.name}")
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        flat = numpy.ascontiguousarray(array.T if order == "F" else array).reshape(-1)
        raw = flat.view(numpy.uint8) if flat.nbytes else b""
        return {"$array": [_description(array.dtype), list(array.shape), order, *self.blob(raw)]}

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if not self._describe:
            raise NotPlainError(name)
        state = getattr(value, "__dict__", None)
        if type(state) is not dict or depth <= DEPTH - _DESCRIBED_DEPTH or id(value) in self._open:
            return {"$described": [name, {}]}
        named = {key: part for key, part in state.items() if type(key) is str}
        return {"$described": [name, self._inside(value, depth, lambda _, __, left: self.node(named, left))]}


def _description(dtype: Any) -> Any:
    """A dtype as text, or as its size and its fields: name, type string, shape, offset."""
    if dtype.fields is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        kind, offset = dtype.fields[name][:2]
        base, shape = kind.subdtype or (kind, ())
        if base.fields is not None or base.metadata:
            raise NotPlainError("numpy.ndarray of nested records")
        fields.append([name, base.str, list(shape), offset])
    return [dtype.itemsize, fields]


def _sequence(tag: str) -> Callable[[Encoder, Any, int], Any]:
    return lambda encoder, value, depth: {tag: encoder._list(list(value), depth)}  # noqa: SLF001


_CONTAINERS: dict[type, Callable[[Encoder, Any, int], Any]] = {
    list: Encoder._list,  # noqa: SLF001
    dict: Encoder._dict,  # noqa: SLF001
    tuple: _sequence("$tuple"),
    set: _sequence("$set"),
    frozenset: _sequence("$frozenset"),
    OrderedDict: lambda encoder, value, depth: {
        "$ordered": [[encoder.node(key, depth), encoder.node(part, depth)] for key, part in value.items()]
    },
}
_LEAVES: dict[type, Callable[[Encoder, Any], Any]] = {
    bytes: lambda encoder, value: {"$bytes": encoder.blob(value)},
    bytearray: lambda encoder, value: {"$bytearray": encoder.blob(value)},
    complex: lambda _, value: {"$complex": [value.real.hex(), value.imag.hex()]},
    dt.date: lambda _, value: {"$date": value.isoformat()},
    dt.time: lambda _, value: _clock("$time", value),
    dt.datetime: lambda _, value: _clock("$datetime", value),
    dt.timedelta: lambda _, value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    decimal.Decimal: lambda _, value: {"$decimal": str(value)},
    uuid.UUID: lambda _, value: {"$uuid": value.hex},
    range: lambda _, value: {"$range": [hex(value.start), hex(value.stop), hex(value.step)]},
}


def _clock(tag: str, value: Any) -> dict[str, str]:
    if value.tzinfo is not None and type(value.tzinfo) is not dt.timezone:
        raise NotPlainError(f"{type(value).__module__}.{type(value).__qualname__} with a named time zone")
    return {tag: value.isoformat()}
