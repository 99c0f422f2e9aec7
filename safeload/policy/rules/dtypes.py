"""Argument rules for numpy dtypes: a state may not describe other memory than the item has.

``numpy.dtype.__setstate__`` and ``ndarray.__setstate__`` believe what they are told. A field whose offset lies
outside the item, or an object dtype whose flags deny that it holds references, turns array bytes into pointers:
measured with numpy 2.4, a 300-byte pickle reads any address or crashes. So the rules rebuild what a dtype is from the
type string that it is made with and from the dtypes of its fields, and accept only a state that agrees.

That needs the order of events. A dtype gets its state once, right after it was made, before anything else can have
seen it: changing the description of memory that something already uses is the same attack.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.facts.type_strings import MAX_ITEM, type_string
from safeload.policy.rules.registry import argument_rule
from safeload.program import Standin, Use, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context

__all__ = ["DType", "dtype_of", "extent"]

_MAX_DIMENSIONS = 64

# Flags of numpy's ndarraytypes.h that say what the bytes of an item are.
_REFERENCES, _LIST_PICKLE, _POINTER, _INIT, _PYAPI = 1, 2, 4, 8, 16
_ALIGNED = 0x80
_OBJECT_FLAGS = 63
_INHERITED = _REFERENCES | _LIST_PICKLE | _INIT | _PYAPI

_ORDERS = frozenset({"<", ">", "|", "=", b"<", b">", b"|", b"="})
_UNITS = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "μs", "ns", "ps", "fs", "as", "generic"})
_RECORDS = frozenset({"numpy.record", "numpy.rec.record", "numpy.core.records.record", "numpy._core.records.record"})


class DType(NamedTuple):
    """What a dtype stand-in describes: item size, flags of :data:`_INHERITED` kind, when it was made, and how many fields it has in all.

    Fields may lie over each other, so a few dtypes inside of each other have billions, which numpy walks over again and again.
    """

    kind: str
    size: int
    flags: int
    made: int
    sealed: bool = False
    leaves: int = 1

    @property
    def has_objects(self) -> bool:
        """Whether items are references, so that an array of them is written as a list."""
        return bool(self.flags & (_REFERENCES | _LIST_PICKLE | _POINTER))


def dtype_of(value: Any, context: Context, *, seal: bool = True) -> DType | None:
    """The description of a dtype stand-in, from now on fixed, or ``None`` if it is none or was refused."""
    found = context.dtypes.get(id(value)) if isinstance(value, Standin) else None
    if found is not None and seal and not found.sealed:
        found = found._replace(sealed=True)
        context.dtypes[id(value)] = found
    return found if isinstance(found, DType) else None


@argument_rule("dtype")
def _dtype_call(use: Use, context: Context) -> str | None:
    """``numpy.dtype("f8", False, True)``: a type string without commas or shapes, or the record type."""
    args = use.args
    if not 1 <= len(args) <= 3 or any(type(item) not in (int, bool) for item in args[1:]):
        return "its arguments are not a type string and two flags"
    spec = args[0]
    if global_name(spec) in _RECORDS:
        described = DType("V", 0, 0, context.index)
    else:
        text = spec.decode("ascii", "replace") if type(spec) is bytes else spec
        known = type_string(text) if type(text) is str else None
        if known is None:
            return "its first argument is not a simple type string such as 'f8'"
        kind, size = known
        described = DType(kind, size, _OBJECT_FLAGS & _INHERITED | _POINTER if kind == "O" else 0, context.index)
    if use.target is not None:
        context.dtypes[id(use.target)] = described
    return None


@argument_rule("string-dtype")
def _string_dtype(use: Use, context: Context) -> str | None:
    """``_convert_to_stringdtype_kwargs(coerce[, na_object])``: an array of it is written as a list of strings."""
    args = use.args
    missing = args[1] if len(args) == 2 else None
    if not 1 <= len(args) <= 2 or args[0] not in (0, 1) or not _is_missing_value(missing):
        return "its arguments are not a flag and a missing value"
    if use.target is not None:
        context.dtypes[id(use.target)] = DType("T", 16, _LIST_PICKLE, context.index, sealed=True)
    return None


def _is_missing_value(value: Any) -> bool:
    """``None``, nan, text, or pandas' NA."""
    return type(value) in (type(None), float, str) or (global_name(value) or "").rpartition(".")[2] == "NA"


# What a dtype's state is made of: between its making and its state nothing else may run, so nothing holds it yet.
_PARTS = frozenset({"numpy.dtype", "_codecs.encode", "builtins.bytes"})


@argument_rule("dtype-state")
def _dtype_state(use: Use, context: Context) -> str | None:
    """A state that describes what the dtype was made as."""
    known = dtype_of(use.target, context, seal=False)
    if known is None:
        return "the dtype was not made by numpy.dtype"
    if known.sealed:
        return "the state of a dtype is set after the dtype was used"
    if not context.only(_PARTS, known.made + 1, context.index):
        return "the state of a dtype is set long after the dtype was made"
    state = use.args[0]
    if type(state) is not tuple or not 8 <= len(state) <= 9 or state[0] not in (3, 4) or state[1] not in _ORDERS:
        return _old_state(state, known, use, context)
    found = _read_state(state, known, context)
    if isinstance(found, str):
        return found
    if context.dtypes[id(use.target)].sealed:  # by one of its own fields
        return "the dtype contains itself"
    context.dtypes[id(use.target)] = found._replace(sealed=True)
    return None


def _read_state(state: tuple[Any, ...], known: DType, context: Context) -> DType | str:
    _, _, subarray, names, fields, size, align, flags = state[:8]
    if any(type(item) is not int for item in (size, align, flags)) or not -1 <= align <= 64 or not 0 <= flags < 256:
        return "the sizes in the dtype's state are not small integers"
    if len(state) == 9 and (reason := _metadata(state[8], known)):
        return reason
    if subarray is not None or fields is not None:
        if known.kind != "V" or (subarray is not None and fields is not None):
            return "only a void dtype has fields or a shape"
        if not 0 <= size <= MAX_ITEM:
            return "the item size is negative or too large"
        if subarray is not None:
            return _subarray(subarray, known._replace(size=size), flags, context)
        return _structure(names, fields, known._replace(size=size), flags, context)
    if names is not None:
        return "a dtype without fields has names"
    if known.kind == "O":
        return (
            known
            if flags == _OBJECT_FLAGS and size in (-1, 4, 8)
            else "an object dtype denies that it holds references"
        )
    if flags & ~(_INIT | _PYAPI | _ALIGNED if known.kind in "SUV" else 0):
        return "a dtype without references has the flags of one that has them"
    if known.kind not in "SUV":
        return known if size in (-1, known.size) else "the item size is not that of the type"
    if not 0 <= size <= MAX_ITEM or (known.kind == "U" and size % 4):
        return "the item size is impossible for the type"
    return known._replace(size=size)


def _metadata(value: Any, known: DType) -> str | None:
    """``None``, a dict, or for dates ``(dict or None, (unit, number, denominator, event))``."""
    if known.kind not in "Mm":
        return None if value is None or type(value) is dict else "the dtype's metadata is not a dict"
    if type(value) is tuple and len(value) == 2 and (value[0] is None or type(value[0]) is dict):
        unit = value[1]
        if (
            type(unit) is tuple
            and len(unit) == 4
            and all(type(item) is int and 0 < item < 1 << 31 for item in unit[1:3])
        ):
            name = unit[0].decode("utf-8", "replace") if type(unit[0]) is bytes else unit[0]
            if (name in _UNITS if type(name) is str else producer(name) == "_codecs.encode") and type(unit[3]) is int:
                return None
    return "the date dtype's unit is malformed"


def extent(shape: Any) -> int | None:
    """The number of items of a shape, or ``None`` if it is not one."""
    sizes = (shape,) if type(shape) is int else shape
    if type(sizes) is not tuple or len(sizes) > _MAX_DIMENSIONS:
        return None
    product = 1
    for size in sizes:
        if type(size) is not int or not 0 <= size < 1 << 62:
            return None
        product *= size
    return product


def _subarray(subarray: Any, known: DType, flags: int, context: Context) -> DType | str:
    if type(subarray) is not tuple or len(subarray) != 2:
        return "the dtype's base and shape are malformed"
    base, count = dtype_of(subarray[0], context), extent(subarray[1])
    if base is None or count is None or base.size * count != known.size:
        return "the dtype's shape does not fill its item"
    return _flagged(known._replace(leaves=base.leaves), base.flags, flags)


def _structure(names: Any, fields: Any, known: DType, flags: int, context: Context) -> DType | str:
    if type(names) is not tuple or type(fields) is not dict or any(type(name) is not str for name in names):
        return "the dtype's fields are malformed"
    inherited, places, leaves = 0, [], 0
    if context.budget.describes_too_much(len(fields) + len(names)):
        return _TOO_MANY
    for key, field in fields.items():
        if type(key) is not str or type(field) is not tuple or not 2 <= len(field) <= 3 or type(field[1]) is not int:
            return "a field of the dtype is malformed"
        inner = dtype_of(field[0], context)
        if inner is None or not 0 <= field[1] <= known.size - inner.size:
            return "a field of the dtype lies outside its item"
        inherited |= inner.flags
        leaves += inner.leaves
        if key in names:
            places.append((field[1], field[1] + inner.size))
    if not set(names) <= fields.keys() or len(set(names)) != len(names):
        return "a name of the dtype has no field"
    if inherited & _REFERENCES and (reason := _overlap(names, fields, places)):
        return reason
    if context.budget.describes_too_much(leaves):
        return _TOO_MANY
    return _flagged(known._replace(leaves=max(leaves, 1)), inherited, flags)


_TOO_MANY = "the dtypes have millions of fields"


def _overlap(names: tuple[str, ...], fields: dict[str, Any], places: list[tuple[int, int]]) -> str | None:
    """Numbers that share their bytes with a reference are a way to forge one."""
    places.sort()
    if any(first[1] > second[0] for first, second in itertools.pairwise(places)):
        return "a field overlaps one that holds references"
    known = {(id(fields[name][0]), fields[name][1]) for name in names}
    if any((id(field[0]), field[1]) not in known for key, field in fields.items() if key not in names):
        return "a title of the dtype is not one of its fields"
    return None


def _flagged(known: DType, inherited: int, flags: int) -> DType | str:
    """``known`` with the flags of its parts, if the state says the same about references."""
    mask = _REFERENCES | _LIST_PICKLE
    wanted = inherited & mask
    if flags & mask != wanted or (flags & _POINTER and not inherited & _POINTER):
        return "the dtype's flags do not tell whether it holds references"
    if wanted and not flags & _INIT:
        return "the dtype holds references that would not be initialised"
    return known._replace(flags=wanted)


def _old_state(state: Any, known: DType, use: Use, context: Context) -> str | None:
    """Before 1.3 numpy wrote 5 to 7 items without flags, which it finds itself. Accepted without fields only."""
    refused = "the dtype's state is of an unknown form"
    if type(state) is not tuple or not 5 <= len(state) <= 7 or known.kind == "O":
        return refused
    order, parts, size = state[0 if len(state) == 5 else 1], state[1 if len(state) == 5 else 2 : -2], state[-2]
    if order not in _ORDERS or any(part is not None for part in parts) or type(size) is not int:
        return refused
    if known.kind in "SUV" and 0 <= size <= MAX_ITEM:
        known = known._replace(size=size)
    elif size not in (-1, known.size):
        return refused
    context.dtypes[id(use.target)] = known._replace(sealed=True)
    return None
