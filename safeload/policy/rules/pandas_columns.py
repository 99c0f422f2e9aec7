"""Argument rules for pandas' own arrays: categories, dates, nullable numbers, sparse values, intervals, Arrow.

C code runs over one part of such an array with the length of another, and takes a code for a place. The rules accept parts that are plain
arrays which have their data, and compare their lengths as far as a stream tells them; the load compares the objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.arrays import count_of
from safeload.policy.rules.producers import ARROW_ARRAYS, DTYPES, INDEXES, is_column, is_made_by, is_plain_array
from safeload.policy.rules.registry import argument_rule
from safeload.program import SMALL, StandinType, global_name

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

# Classes whose instances begin as NDArrayBacked.__new__ and keep an array and a dtype.
_BACKED = frozenset(
    """Categorical DatetimeArray TimedeltaArray PeriodArray StringArray NumpyExtensionArray PandasArray
    StringArrayNumpySemantics DatetimeLikeArrayMixin""".split()
)
_BACKED_KEYS = frozenset(
    """_ndarray _dtype _data _codes _categories _ordered _freq _cache _readonly _flags _name""".split()
)


@argument_rule("ndarray-backed")
def _backed(use: Use, context: Context) -> str | None:
    """``__pyx_unpickle_NDArrayBacked(cls, checksum, None)`` of one of pandas' array classes."""
    args = use.args
    name = global_name(args[0]) if len(args) == 3 else None
    if not name or name.rpartition(".")[2] not in _BACKED or context.policy.rule(name) is None:
        return "its class is not an array that the policy allows"
    if type(args[1]) is not int or args[2] is not None:
        return "its checksum or state is malformed"
    return None if context.gets_state(use.target) else _EMPTY


_EMPTY = "the array gets no state, and C code would look into what it does not have"


@argument_rule("filled")
def _filled(use: Use, context: Context) -> str | None:
    """No arguments, and a state later: before pandas 1.3 the same arrays were made without a function."""
    if use.args:
        return "it takes no arguments in a pickle"
    return None if context.gets_state(use.target) else _EMPTY


@argument_rule("backed-state")
def _backed_state(use: Use, context: Context) -> str | None:
    """``(array, dtype[, attributes])`` or ``(attributes,)``: sets the attributes one by one, so only known ones."""
    state = use.args[0]
    parts = state if type(state) is tuple else (state,)
    if not 1 <= len(parts) <= 3:
        return _NO_PAIR
    known: list[Any] = []
    for part in parts:
        if type(part) is dict:
            if not part.keys() <= _BACKED_KEYS or any(isinstance(value, StandinType) for value in part.values()):
                return "the state has attributes that the array does not have"
            known += (part[key] for key in _BACKED_PARTS if key in part)
        else:
            known.append(part)
    arrays = [part for part in known if is_plain_array(part, context)]
    if not arrays or not all(is_plain_array(part, context) or _is_kept(part, context) for part in known):
        return _NO_PAIR
    if use.target is not None:
        context.lengths[id(use.target)] = count_of(arrays[0], context) or 0
    return None


_NO_PAIR = "the state is not an array and a dtype"
_BACKED_PARTS = ("_ndarray", "_data", "_codes", "_dtype", "_categories")


def _is_kept(value: Any, context: Context) -> bool:
    return value is None or is_made_by(value, DTYPES | INDEXES, context)


@argument_rule("masked-column-state")
def _masked_column(use: Use, context: Context) -> str | None:
    """``{"_data": numbers, "_mask": flags, ...}``: C code runs over one with the length of the other."""
    state = use.args[0]
    if type(state) is not dict or not _MASKED_KEYS >= state.keys() >= {"_data", "_mask"}:
        return "the state has attributes that the array does not have"
    values, mask = state["_data"], state["_mask"]
    if not (is_plain_array(values, context) and is_plain_array(mask, context)):
        return "the numbers and the mask are not arrays"
    if context.forms.get(id(values), ((), ""))[0] != context.forms.get(id(mask), ((1,), ""))[0]:
        return "the mask does not have as many flags as there are numbers"
    return _kept(state, ("_dtype",), context)


_MASKED_KEYS = frozenset({"_data", "_mask", "_dtype", "_cache", "_readonly", "_flags"})


def _kept(state: dict[str, Any], dtypes: tuple[str, ...], context: Context) -> str | None:
    """The attributes that pandas' arrays have beside their data."""
    if not all(_is_kept(state.get(key), context) for key in dtypes):
        return "its dtype is not a dtype"
    cache = state.get("_cache", {})
    if type(cache) is not dict or len(cache) > SMALL or not all(_is_cached(value, context) for value in cache.values()):
        return "its cache holds other things than a dtype"
    if any(type(state.get(key)) not in (bool, int, type(None)) for key in ("_readonly", "_flags")):
        return "a flag of it is not a number"
    return None


def _is_cached(value: Any, context: Context) -> bool:
    return type(value) in (int, bool, str, type(None)) or is_made_by(value, DTYPES, context)


@argument_rule("sparse-column-state")
def _sparse_column(use: Use, context: Context) -> str | None:
    """``{"_sparse_values": array, "_sparse_index": index, "_dtype": dtype}``: one value for each place."""
    state = use.args[0]
    if type(state) is not dict or not _SPARSE_KEYS >= state.keys() >= {"_sparse_values", "_sparse_index"}:
        return "the state has attributes that the array does not have"
    values, index = state["_sparse_values"], state["_sparse_index"]
    if not is_plain_array(values, context) or not is_made_by(index, _SPARSE_INDEXES, context):
        return "it is not made of an array and a sparse index"
    expected = context.lengths.get(id(index))
    if expected is not None and expected != count_of(values, context):
        return "it has not as many values as places"
    return _kept(state, ("_dtype",), context)


_SPARSE_KEYS = frozenset({"_sparse_values", "_sparse_index", "_dtype", "_cache", "_readonly", "_flags"})
_SPARSE_INDEXES = frozenset({"pandas._libs.sparse.IntIndex", "pandas._libs.sparse.BlockIndex"})


@argument_rule("arrow-column-state")
def _arrow_column(use: Use, context: Context) -> str | None:
    """``{"_pa_array": Arrow array, "_dtype": dtype}``: pandas makes a chunked array of it, and would of any iterable."""
    state = use.args[0]
    if type(state) is not dict or not state.keys() <= _ARROW_KEYS:
        return "the state has attributes that the array does not have"
    data = state.get("_pa_array", state.get("_data"))
    chunks = data if type(data) is list else [data]
    if len(chunks) > SMALL or not all(is_made_by(chunk, ARROW_ARRAYS, context) for chunk in chunks):
        return "its data is not an Arrow array"
    return _kept(state, ("_dtype",), context)


_ARROW_KEYS = frozenset({"_pa_array", "_data", "_dtype", "_cache", "_readonly", "_flags"})


@argument_rule("interval-mixin")
def _interval(use: Use, context: Context) -> str | None:
    """``__pyx_unpickle_IntervalMixin(IntervalArray, checksum, None)``."""
    args = use.args
    name = global_name(args[0]) if len(args) == 3 else None
    if not name or name.rpartition(".")[2] != "IntervalArray" or context.policy.rule(name) is None:
        return "its class is not IntervalArray"
    return None if type(args[1]) is int and args[2] is None else "its checksum or state is malformed"


@argument_rule("interval-state")
def _interval_state(use: Use, context: Context) -> str | None:
    """``({"_left": ..., "_right": ..., "_dtype": ...},)`` updates the instance's dict."""
    state = use.args[0]
    known = {"_left", "_right", "_dtype", "_closed", "_cache", "_readonly", "_combined"}
    if type(state) is not tuple or len(state) != 1 or type(state[0]) is not dict or not state[0].keys() <= known:
        return "the state is not that of an array of intervals"
    if not all(is_column(state[0].get(side), context) for side in ("_left", "_right")):
        return "a side of an array of intervals is not an array"
    return _kept(state[0], ("_dtype",), context)


@argument_rule("sparse-index")
def _sparse_index(use: Use, context: Context) -> str | None:
    """``IntIndex(length, indices)``, ``BlockIndex(length, starts, lengths)``."""
    args = use.args
    expected = 2 if use.name.endswith("IntIndex") else 3  # a third argument of IntIndex would turn its check off
    if len(args) != expected or type(args[0]) is not int or not 0 <= args[0] < 1 << 31:
        return "its arguments are not a length and arrays"
    if not all(is_plain_array(item, context) for item in args[1:]):
        return "its arguments are not a length and arrays"
    count = count_of(args[1], context) or 0
    if context.copies_too_much(("places", id(args[1])), 16 * count):
        return "many sparse arrays copy the same places"
    if expected == 2 and use.target is not None:
        context.lengths[id(use.target)] = count
    return None
