"""Values with parts: tuples, sets, dicts with any keys, and the collections of the standard library."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from safeload.formats.jsontext.form import MARKER, SURROGATE, Kind, MisfitError, expect, mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.formats.jsontext.reader import Reader
    from safeload.formats.jsontext.writer import Writer

__all__ = ["KINDS", "WRITE", "weight"]

_FACTORIES: Final[dict[str | None, Any]] = {
    None: None,
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)},
}  # fmt: skip


def _write_list(value: list[Any], writer: Writer) -> Any:
    return writer.items(value)


def _write_tuple(value: tuple[Any, ...], writer: Writer) -> Any:
    return mark("tuple", writer.items(value))


def _write_set(value: set[Any] | frozenset[Any], writer: Writer) -> Any:
    # In the order of their text, so that equal sets are equal texts.
    nodes = writer.items(value)
    nodes.sort(key=lambda node: json.dumps(node, ensure_ascii=True, separators=(",", ":")))
    return mark(type(value).__name__, nodes)


def _read_set(kind: type[set[Any] | frozenset[Any]]) -> Callable[[dict[str, Any], Reader], Any]:
    def read(node: dict[str, Any], reader: Reader) -> Any:
        items = reader.items(node["v"])
        reader.check_keys(items)
        try:
            found = kind(items)
        except TypeError:
            raise MisfitError("a member of this set cannot be hashed") from None
        if len(found) != len(items):
            raise MisfitError("this set has a member twice")
        return found

    return read


def _write_dict(value: dict[Any, Any], writer: Writer) -> Any:
    if MARKER not in value and _are_names(value):
        return writer.members(value)
    writer.marked = True
    return mark("dict", _pairs(value, writer))


def _are_names(keys: dict[Any, Any]) -> bool:
    """Whether all keys are strings that JSON has."""
    if not {str}.issuperset(map(type, keys)):
        return False
    text = "".join(keys)
    return text.isascii() or not SURROGATE.search(text)


def _pairs(value: dict[Any, Any], writer: Writer) -> list[Any]:
    return writer.items([[key, item] for key, item in value.items()])


def _read_pairs(node: dict[str, Any], reader: Reader) -> dict[Any, Any]:
    pairs = reader.items(node["v"])
    if not all(type(pair) is list and len(pair) == 2 for pair in pairs):
        raise MisfitError("a list of pairs is expected here")
    reader.check_keys([pair[0] for pair in pairs])
    try:
        found = dict(pairs)
    except TypeError:
        raise MisfitError("a key of this dict cannot be hashed") from None
    if len(found) != len(pairs):
        raise MisfitError("this dict has a key twice")
    return found


def _read_counter(node: dict[str, Any], reader: Reader) -> Counter[Any]:
    found: Counter[Any] = Counter()
    dict.update(found, _read_pairs(node, reader))
    return found


def _write_defaultdict(value: defaultdict[Any, Any], writer: Writer) -> Any:
    factory = value.default_factory
    name = next((name for name, kind in _FACTORIES.items() if kind is factory), "")
    if name == "":
        raise MisfitError("a defaultdict is written only with a builtin type, or nothing, as its factory")
    return mark("defaultdict", _pairs(value, writer), factory=name)


def _read_defaultdict(node: dict[str, Any], reader: Reader) -> defaultdict[Any, Any]:
    name = node["factory"]
    if not (name is None or type(name) is str) or name not in _FACTORIES:
        raise MisfitError("the factory is a builtin type or null")
    return defaultdict(_FACTORIES[name], _read_pairs(node, reader))


def _write_deque(value: deque[Any], writer: Writer) -> Any:
    members = {} if value.maxlen is None else {"maxlen": value.maxlen}
    return mark("deque", writer.items(value), **members)


def _read_deque(node: dict[str, Any], reader: Reader) -> deque[Any]:
    items = reader.items(node["v"])
    longest = None
    if "maxlen" in node:
        longest = expect(node["maxlen"], int, "an integer for maxlen")
        if not len(items) <= longest < 1 << 63:
            raise MisfitError("maxlen is smaller than the number of items, or too large")
    return deque(items, longest)


def weight(key: Any) -> int:
    """How many steps a comparison of ``key`` with an equal one takes."""
    stack, steps = [key], 0
    while stack:
        item = stack.pop()
        steps += 1
        if type(item) is tuple or type(item) is frozenset:
            stack += item
        elif type(item) is int:
            steps += item.bit_length() >> 9
        elif type(item) is Fraction:
            steps += (item.numerator.bit_length() + item.denominator.bit_length()) >> 9
        elif type(item) is str or type(item) is bytes:
            steps += len(item) >> 6
        elif type(item) is Decimal:
            steps += 16
    return steps


WRITE: Final[dict[type, Callable[[Any, Writer], Any]]] = {
    list: _write_list,
    tuple: _write_tuple,
    set: _write_set,
    frozenset: _write_set,
    dict: _write_dict,
    OrderedDict: lambda value, writer: mark("OrderedDict", _pairs(value, writer)),
    Counter: lambda value, writer: mark("Counter", _pairs(value, writer)),
    defaultdict: _write_defaultdict,
    deque: _write_deque,
}

KINDS: Final[dict[str, Kind]] = {
    "tuple": Kind(lambda node, reader: tuple(reader.items(node["v"]))),
    "set": Kind(_read_set(set)),
    "frozenset": Kind(_read_set(frozenset)),
    "dict": Kind(_read_pairs),
    "OrderedDict": Kind(lambda node, reader: OrderedDict(_read_pairs(node, reader))),
    "Counter": Kind(_read_counter),
    "defaultdict": Kind(_read_defaultdict, frozenset({"factory"})),
    "deque": Kind(_read_deque, optional=frozenset({"maxlen"})),
}
