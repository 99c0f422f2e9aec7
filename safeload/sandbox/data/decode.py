"""Reading plain data that an enemy may have written.

Rules, each against an attack:

* the tree's length and the number of its values are bounded before it is parsed: three bytes of ``[],`` become eighty of list;
* each raw byte belongs to at most one array: a thousand arrays over the same gigabyte would be a terabyte;
* a type string is matched by this package's own pattern before NumPy sees it: NumPy's parser imports, allocates and warns;
* keys are probed for collisions before a dict or a set takes them: numbers hash to themselves;
* only the types below come out, made here, each by a constructor that runs no code of the data.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import struct
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from safeload.facts.hash_probes import probes
from safeload.facts.type_strings import MAX_ITEM, type_string
from safeload.sandbox.data.layout import BODY_AT, DEPTH, HEAD, MAGIC, VERSION, Described, MalformedError, Room

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.sandbox.data.layout import Memory

__all__ = ["Decoder", "decode"]

_SIMPLE = frozenset((str, bool, type(None), int, float))
_FEW_KEYS = 1_000
_MAX_PROBES = 1_000
_MAX_FIELDS = 1_000
_MAX_DIGITS = 1 << 16
_RAISED = (
    ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError, AttributeError, ArithmeticError,
    struct.error,
)  # fmt: skip


def decode(memory: Memory, room: Room) -> Any:
    """The data in ``memory``.

    Raises:
        MalformedError: it is not what :mod:`~safeload.sandbox.data.layout` says, or it would cost more than ``room``.
    """
    try:
        if not HEAD.size <= memory.size <= room.size:
            raise MalformedError(f"{memory.size:,} bytes of memory")
        magic, version, offset, length, end = HEAD.unpack(memory.read(0, HEAD.size))
        if magic != MAGIC or version != VERSION or offset < BODY_AT or end > memory.size or offset + length != end:
            raise MalformedError("the head is wrong")
        if length > room.tree:
            raise MalformedError(f"a tree of {length:,} bytes")
        text = memory.read(offset, length)
        # Every value but the first stands behind one of these; inside of a text they only make the bound stricter.
        values = text.count(b",") + text.count(b"[") + text.count(b"{")
        if values > room.values:
            raise MalformedError(f"a tree of {values:,} values")
        tree = json.loads(text.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
        return Decoder(memory, offset).value(tree, DEPTH + 8)
    except MalformedError:
        raise
    except _RAISED as error:
        raise MalformedError(f"{type(error).__name__}: {error}"[:200]) from None


def _no_constant(text: str) -> Any:
    raise MalformedError(f"the constant {text[:9]}")


class Decoder:
    """Turns nodes of the tree into objects."""

    def __init__(self, memory: Memory, end: int) -> None:
        self._memory = memory
        self._end = end
        self._left = max(end - BODY_AT, 0)

    def value(self, node: Any, depth: int) -> Any:
        """The object for a node."""
        kind = type(node)
        if kind in _SIMPLE:
            return node
        if depth <= 0:
            raise MalformedError("nested too deep")
        if kind is list:
            return self.values(node, depth - 1)
        if len(node) == 1:
            (tag,) = node
            if tag[:1] == "$":
                read = _TAGS.get(tag)
                if read is None:
                    raise MalformedError("an unknown tag")
                return read(self, node[tag], depth - 1)
        return dict(zip(node, self.values(list(node.values()), depth - 1), strict=True))

    def values(self, nodes: Any, depth: int) -> list[Any]:
        """The objects for a list of nodes; the list itself where all stand for themselves."""
        if type(nodes) is not list:
            raise MalformedError("not a list")
        if _SIMPLE.issuperset(map(type, nodes)):
            return nodes
        return [self.value(node, depth) for node in nodes]

    def raw(self, place: Any) -> tuple[int, int]:
        """Offset and length of raw bytes, each of which is taken only once."""
        offset, length = place
        if type(offset) is not int or type(length) is not int or offset < BODY_AT or length < 0:
            raise MalformedError("a place that is none")
        self._left -= length
        if offset + length > self._end or self._left < 0:
            raise MalformedError("raw bytes outside of their room, or taken twice")
        return offset, length

    def bytes(self, place: Any) -> bytes:
        """A byte string."""
        return self._memory.read(*self.raw(place))

    def array(self, node: Any) -> Any:
        """An array, with memory of its own."""
        import numpy as np

        described, shape, order, *place = node
        dtype = np.dtype(_described_type(described))
        sizes = _shape(shape)
        offset, length = self.raw(place)
        if (
            dtype.hasobject
            or not dtype.itemsize
            or math.prod(sizes) * dtype.itemsize != length
            or order not in ("C", "F")
        ):
            raise MalformedError("an array whose size is not its type and shape's")
        flat = np.empty(length, np.uint8)
        if length:
            self._memory.read_into(offset, flat.data)
        typed = flat.view(dtype)
        return typed.reshape(sizes) if order == "C" else typed.reshape(sizes[::-1]).T

    def objects(self, node: Any, depth: int) -> Any:
        """An array of objects."""
        import numpy as np

        shape, parts = node
        sizes = _shape(shape)
        values = self.values(parts, depth)
        if math.prod(sizes) != len(values):
            raise MalformedError("an array of objects whose size is not its shape's")
        flat = np.empty(len(values), object)
        for place, value in enumerate(values):  # not flat[:] = values: lists in it would become dimensions
            flat[place] = value
        return flat.reshape(sizes)

    def pairs(self, node: Any, depth: int) -> list[tuple[Any, Any]]:
        """Keys and values of a dict."""
        if type(node) is not list or any(type(pair) is not list or len(pair) != 2 for pair in node):
            raise MalformedError("not a list of pairs")
        found = [(self.value(key, depth), self.value(value, depth)) for key, value in node]
        _check_keys([key for key, _ in found])
        return found

    def members(self, node: Any, depth: int) -> list[Any]:
        """Members of a set."""
        found = self.values(node, depth)
        _check_keys(found)
        return found


def _check_keys(keys: list[Any]) -> None:
    if len(keys) > _FEW_KEYS and probes(keys, len(keys), _MAX_PROBES) < 0:
        raise MalformedError("keys that collide")


def _shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not list or len(shape) > 32 or any(type(size) is not int or size < 0 for size in shape):
        raise MalformedError("a shape that is none")
    return tuple(shape)


def _described_type(described: Any) -> Any:
    """What ``numpy.dtype`` is called with, after it was checked."""
    if type(described) is str:
        found = type_string(described)
        if found is None or found[0] == "O":
            raise MalformedError("a type string that is none")
        return described
    size, fields = described
    if type(size) is not int or not 0 <= size <= MAX_ITEM or type(fields) is not list or len(fields) > _MAX_FIELDS:
        raise MalformedError("a type that is none")
    made: dict[str, Any] = {"names": [], "formats": [], "offsets": [], "itemsize": size}
    for name, kind, shape, offset in fields:
        if type(name) is not str or type(kind) is not str or type(offset) is not int:
            raise MalformedError("a field that is none")
        made["names"].append(name)
        made["formats"].append((_described_type(kind), _shape(shape)))
        made["offsets"].append(offset)
    return made


def _integer(text: Any) -> int:
    if type(text) is not str or len(text) > _MAX_DIGITS:
        raise MalformedError("a number that is none")
    return int(text, 16)


def _special_float(text: Any) -> float:
    if text not in ("nan", "inf", "-inf"):
        raise MalformedError("a number that is none")
    return float(text)


def _decimal(text: Any) -> decimal.Decimal:
    if type(text) is not str or len(text) > _MAX_DIGITS:
        raise MalformedError("a number that is none")
    return decimal.Decimal(text)


def _described(decoder: Decoder, node: Any, depth: int) -> Described:
    name, attributes = node
    found = decoder.value(attributes, depth)
    if type(name) is not str or type(found) is not dict:
        raise MalformedError("a description that is none")
    return Described(name[:300], found)


def _framed(decoder: Decoder, node: Any, depth: int) -> Any:
    from safeload.sandbox.data.frames import framed

    return framed(decoder.value(node, depth))


def _range(node: Any) -> range:
    start, stop, step = map(_integer, node)
    return range(start, stop, step)


_TAGS: dict[str, Callable[[Decoder, Any, int], Any]] = {
    "$int": lambda _, node, __: _integer(node),
    "$float": lambda _, node, __: _special_float(node),
    "$complex": lambda _, node, __: complex(*map(float.fromhex, node)),
    "$bytes": lambda decoder, node, _: decoder.bytes(node),
    "$bytearray": lambda decoder, node, _: bytearray(decoder.bytes(node)),
    "$tuple": lambda decoder, node, depth: tuple(decoder.values(node, depth)),
    "$set": lambda decoder, node, depth: set(decoder.members(node, depth)),
    "$frozenset": lambda decoder, node, depth: frozenset(decoder.members(node, depth)),
    "$map": lambda decoder, node, depth: dict(decoder.pairs(node, depth)),
    "$ordered": lambda decoder, node, depth: OrderedDict(decoder.pairs(node, depth)),
    "$date": lambda _, node, __: dt.date.fromisoformat(node),
    "$time": lambda _, node, __: dt.time.fromisoformat(node),
    "$datetime": lambda _, node, __: dt.datetime.fromisoformat(node),
    "$timedelta": lambda _, node, __: dt.timedelta(*node),
    "$decimal": lambda _, node, __: _decimal(node),
    "$uuid": lambda _, node, __: uuid.UUID(hex=node),
    "$range": lambda _, node, __: _range(node),
    "$array": lambda decoder, node, _: decoder.array(node),
    "$scalar": lambda decoder, node, _: decoder.array(node).reshape(())[()],
    "$objects": lambda decoder, node, depth: decoder.objects(node, depth),
    "$frame": _framed,
    "$described": _described,
}
