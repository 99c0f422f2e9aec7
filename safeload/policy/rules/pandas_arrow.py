"""Argument rules for pandas, pyarrow and time zones.

pandas rebuilds its objects with functions that take a class and a dict of keyword arguments, and with ``__setstate__``
methods that set whatever attributes they are given. The rules accept the classes and the attributes that pandas
writes. Where C++ code aborts the process on a count that does not fit (pyarrow), the count is checked before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safeload.policy.rules.arrays import count_of
from safeload.policy.rules.places import check_places
from safeload.policy.rules.producers import (
    ARROW_ARRAYS,
    ARROW_TYPES,
    COLUMNS,
    DTYPES,
    INDEXES,
    SCALARS,
    TIMES,
    is_made_by,
    is_offset,
    is_plain_array,
    is_zone,
)
from safeload.policy.rules.registry import argument_rule
from safeload.program import SMALL, StandinType, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

_FRAME_KEYS = frozenset({"_mgr", "_data", "_typ", "_metadata", "_attrs", "attrs", "_flags", "_name", "name"})
_MANAGERS = frozenset(
    f"{module}.{name}"
    for module in ("pandas.core.internals.managers", "pandas.core.internals", "pandas.core.internals.array_manager")
    for name in ("BlockManager", "SingleBlockManager")
)


@argument_rule("frame-state")
def _frame(use: Use, context: Context) -> str | None:
    """``NDFrame.__setstate__`` sets every attribute it finds: the manager, the name, flags and attrs, and no other."""
    state = use.args[0]
    if type(state) is not dict or not state.keys() <= _FRAME_KEYS:
        return "the state has attributes that a DataFrame or Series does not have"
    if not is_made_by(state.get("_mgr", state.get("_data")), _MANAGERS, context):
        return "the data is not a block manager"
    metadata = state.get("_metadata", [])
    if type(metadata) not in (list, set, tuple) or not set(metadata) <= {"name", "_name"}:
        return "the metadata names other attributes than the name"
    for key in ("attrs", "_attrs"):
        if type(state.get(key)) not in (dict, type(None)):
            return "attrs is not a dict"
    flags = state.get("_flags", {})
    if type(flags) is not dict or not flags.keys() <= {"allows_duplicate_labels"}:
        return "the flags are unknown"
    return None


@argument_rule("block-manager")
def _manager(use: Use, context: Context) -> str | None:
    """``BlockManager(blocks, axes)``: no third argument, so that pandas checks that they fit."""
    args = use.args
    if len(args) != 2 or any(isinstance(item, StandinType) for item in args):
        return "its arguments are not blocks and axes"
    blocks = args[0] if type(args[0]) is tuple else (args[0],)
    if any(not is_made_by(block, _BLOCKS, context) for block in blocks):
        return "a block was not made by pandas' own function"
    if not _are_indexes(args[1], context):
        return _NO_INDEX
    if use.name.endswith(_SINGLE):
        return None
    makers = (next(iter(context.content_of(block)), None) for block in blocks)
    return check_places([made.args[1] for made in makers if made is not None], context)


_SINGLE = ".SingleBlockManager"
_NO_INDEX = "an axis of a frame is not an index"


def _are_indexes(axes: Any, context: Context) -> bool:
    parts = axes if type(axes) in (list, tuple) else (axes,)
    return len(parts) <= SMALL and all(is_made_by(part, INDEXES, context) for part in parts)


_BLOCKS = frozenset(
    {
        "pandas._libs.internals._unpickle_block",
        "pandas.core.internals.blocks.new_block",
        "pandas.core.internals.blocks.make_block",
    }
)


@argument_rule("manager-state")
def _manager_state(use: Use, context: Context) -> str | None:
    """``(axes, values, items, {"0.14.1": ...})``; the methods that __setstate__ calls are those of the C class."""
    state = use.args[0]
    if type(state) is tuple and len(state) == 4 and type(state[3]) is dict and state[3].keys() == {"0.14.1"}:
        inner = state[3]["0.14.1"]
        if type(inner) is dict and type(inner.get("blocks")) is list and type(inner.get("axes")) is list:
            blocks = inner["blocks"]
            if not all(type(block) is dict and block.keys() == {"values", "mgr_locs"} for block in blocks):
                return "a block has no values or no places"
            if not all(_is_column(block["values"], context) for block in blocks):
                return "the values of a block are not an array"
            if not _are_indexes(inner["axes"], context):
                return _NO_INDEX
            if use.name.endswith(_SINGLE):
                return None
            return check_places([block["mgr_locs"] for block in blocks], context)
    return "the state is not that of a block manager"


@argument_rule("block")
def _block(use: Use, context: Context) -> str | None:
    """``_unpickle_block(values, placement, ndim)``."""
    args = use.args
    if len(args) != 3 or type(args[2]) is not int or args[2] not in (1, 2):
        return "its arguments are not values, a placement and a number of dimensions"
    if not (is_plain_array(args[0], context) or is_made_by(args[0], COLUMNS, context)):
        return "the block's values are not an array"
    if not (is_made_by(args[1], _SLICES, context) or is_plain_array(args[1], context)):
        return "the block's placement is neither a slice nor an array"
    return None


_SLICES = frozenset({"builtins.slice"})


_INDEX_KEYS = frozenset(
    """data name names levels codes labels sortorder verify_integrity copy dtype start stop step freq tz categories
    ordered closed left right tupleize_cols""".split()
)
_INDEXES = frozenset(
    """Index RangeIndex MultiIndex CategoricalIndex DatetimeIndex TimedeltaIndex PeriodIndex IntervalIndex Int64Index
    UInt64Index Float64Index NumericIndex""".split()
)


@argument_rule("new-index")
def _new_index(use: Use, context: Context) -> str | None:
    """``_new_Index(cls, {...})`` calls ``cls.__new__(cls, **dict)``: pandas' own classes and keywords.

    A dtype or a time zone given as text is looked up, which may read a file, and a range would be expanded: they
    have to be objects, and data an array or a list.
    """
    args = use.args
    name = global_name(args[0]) if len(args) == 2 else None
    if not name or name.rpartition(".")[2] not in _INDEXES or context.policy.rule(name) is None:
        return "its class is not an index that the policy allows"
    given = args[1]
    if type(given) is not dict or not given.keys() <= _INDEX_KEYS:
        return "it passes arguments that an index does not take"
    reason = _parts(given, context)
    if reason is not None:
        return reason
    length = _length(given, context)
    if length > context.most_items() or _copies(given, context):
        return "the index is much longer than the data, or one of many that copy the same"
    if use.target is not None:
        context.lengths[id(use.target)] = length
    return None


def _parts(given: dict[str, Any], context: Context) -> str | None:
    """Why what an index is made of is not what pandas writes there; ``None`` if it is."""
    if not (given.get("dtype") is None or is_made_by(given["dtype"], DTYPES, context)):
        return "the dtype is text, which would be looked up, or no dtype"
    if not (given.get("tz") is None or is_zone(given["tz"])):
        return "the tz is text, which would be looked up, or no time zone"
    for key in ("data", "left", "right", "categories"):
        if given.get(key) is not None and not _is_column(given[key], context):
            return f"the {key} are not an array that has its data"
    for key in ("levels", "codes", "labels"):
        parts = given.get(key, ())
        if type(parts) not in (list, tuple) or len(parts) > SMALL:
            return f"the {key} are not a list of at most {SMALL} arrays"
        if not all(_is_column(part, context) if key == "levels" else is_plain_array(part, context) for part in parts):
            return f"the {key} are not a list of at most {SMALL} arrays"
    names = given.get("names")
    if names is not None and (type(names) not in (list, tuple) or len(names) > SMALL):
        return f"the names are not a list of at most {SMALL} names"
    if any(type(given.get(key, 0)) not in (int, bool, type(None)) for key in _NUMBERS):
        return "a bound of the range, or an option, is not a number"
    if type(given.get("closed")) not in (str, type(None)):
        return "what is closed is not text"
    freq = given.get("freq")
    return None if freq is None or is_offset(freq) or _is_frequency(freq) else "the frequency is malformed"


_NUMBERS = ("start", "stop", "step", "sortorder", "verify_integrity", "copy", "ordered", "tupleize_cols")
# Kinds of dtype that an index views; of texts and records it makes objects.
_VIEWED = frozenset("biufcmMO")
_OBJECT = 64


def _copies(given: dict[str, Any], context: Context) -> bool:
    """Note what an index copies or makes, and whether that is too much."""
    for value in given.get("codes") or given.get("labels") or ():  # safeload's own function copies them
        if context.copies_too_much(("codes", id(value)), 8 * (count_of(value, context) or 0)):
            return True
    for key in ("data", "left", "right", "categories"):
        value = given.get(key)
        if value is None:
            continue
        count = _count(value, context)
        if producer(value) in INDEXES and context.expands_too_much(8 * count):
            return True  # it may be a range, which becomes an array
        if (key in ("left", "right") or given.get("copy")) and context.copies_too_much((key, id(value)), 8 * count):
            return True
        if _makes_objects(value, context) and context.expands_too_much(_OBJECT * count):
            return True
    return any(
        context.expands_too_much(_OBJECT * _count(value, context))
        for value in given.get("levels") or ()
        if _makes_objects(value, context)
    )


def _makes_objects(value: Any, context: Context) -> bool:
    _, kind = context.forms.get(id(value), ((), "O"))
    return kind not in _VIEWED


def _count(value: Any, context: Context) -> int:
    """The number of items of a column, as far as it is known."""
    return count_of(value, context) or context.lengths.get(id(value), 0)


def _is_column(value: Any, context: Context) -> bool:
    """An array that has its data, or an index; numpy would expand a range, and nested lists exponentially when they share parts."""
    return is_plain_array(value, context) or is_made_by(value, COLUMNS | INDEXES, context)


def _length(given: dict[str, Any], context: Context) -> int:
    """The length of an index; a RangeIndex takes no memory itself, but an array made of it does."""
    for key in ("data", "left"):
        if given.get(key) is not None:
            return _count(given[key], context)
    codes = given.get("codes") or given.get("labels")
    if codes:
        return _count(codes[0], context)
    start, stop, step = given.get("start") or 0, given.get("stop") or 0, given.get("step") or 1
    return len(range(start, stop, step)) if abs(stop - start) < 1 << 62 else 1 << 62


_FREQUENCY = re.compile(r"(?:period\[)?(?:-?\d{0,9}[A-Za-z]{1,12}(?:-[A-Za-z0-9]{1,12}){0,3})\]?", re.ASCII)


def _is_frequency(value: Any) -> bool:
    return type(value) is str and _FREQUENCY.fullmatch(value) is not None


@argument_rule("frequency")
def _frequency(use: Use, _context: Context) -> str | None:
    """``PeriodDtype("period[D]")`` or of an offset."""
    args = use.args
    if len(args) == 1 and (_is_frequency(args[0]) or is_offset(args[0])):
        return None
    return "its argument is not a frequency"


@argument_rule("period")
def _period(use: Use, _context: Context) -> str | None:
    """``Period(None, freq, ordinal)``."""
    args = use.args
    if len(args) == 3 and args[0] is None and (is_offset(args[1]) or _is_frequency(args[1])) and type(args[2]) is int:
        return None
    return "its arguments are not None, a frequency and a number"


@argument_rule("timestamp")
def _timestamp(use: Use, _context: Context) -> str | None:
    """``(value, freq, tz, unit)``: numbers, an offset, and a time zone object (text would be looked up)."""
    args = use.args
    if not 1 <= len(args) <= 4 or type(args[0]) is not int:
        return "its first argument is not a number of nanoseconds"
    for item in args[1:]:
        if item is not None and type(item) is not int and not (is_zone(item) or is_offset(item) or _is_frequency(item)):
            return "an argument is not a number, a frequency or a time zone"
    if len(args) > 2 and type(args[2]) is str:
        return "the time zone is text, which would be looked up"
    return None


@argument_rule("offset")
def _offset(use: Use, context: Context) -> str | None:
    """Numbers, text, times and time deltas; the holidays are given, not a calendar whose method would be called."""
    for item in use.args:
        parts = item if type(item) in (tuple, list) else (item,)
        if len(parts) > 1 and context.expands_too_much(_OBJECT * len(parts)):
            return "many offsets copy the same holidays"
        for part in parts:
            if type(part) in (int, bool, str, type(None)):
                continue
            if is_made_by(part, _DATES, context) or is_offset(part):
                continue
            return "an argument is not a number, text, a time or a list of dates"
    return None


_DATES = SCALARS | frozenset(f"datetime.{name}" for name in ("timedelta", "time", "date", "datetime"))


@argument_rule("interval")
def _interval_of(use: Use, context: Context) -> str | None:
    """``Interval(left, right, closed)`` compares its ends: numbers or times."""
    args = use.args
    if not 2 <= len(args) <= 3 or (len(args) == 3 and type(args[2]) is not str):
        return "its arguments are not two ends and which of them is closed"
    for end in args[:2]:
        if type(end) not in (int, float, bool) and not is_made_by(end, SCALARS | TIMES, context):
            return "an end of the interval is not a number or a time"
    return None


@argument_rule("dtype-attributes")
def _dtype_attributes(use: Use, context: Context) -> str | None:
    """The attributes of a dtype of pandas: text, numbers, classes, other dtypes, categories, a time zone, a missing value."""
    state = use.args[0]
    if type(state) is not dict or len(state) > SMALL:
        return "the state is not a dict of a few attributes"
    cache = state.get("_cache")
    values = [value for key, value in state.items() if key != "_cache"]
    if cache is not None:
        if type(cache) is not dict or len(cache) > SMALL:
            return "the cache of a dtype is not a dict of a few attributes"
        values += cache.values()
    if all(_is_of_dtype(value, context) for value in values):
        return None
    return "an attribute of a dtype is neither data nor what pandas puts there"


def _is_of_dtype(value: Any, context: Context) -> bool:
    if type(value) in (str, int, float, complex, bool, bytes, type(None)) or isinstance(value, StandinType):
        return True
    return is_zone(value) or is_made_by(value, _OF_DTYPES, context)


_OF_DTYPES = DTYPES | INDEXES | SCALARS | TIMES | ARROW_TYPES


@argument_rule("text-or-missing")
def _string_dtype(use: Use, _context: Context) -> str | None:
    """``StringDtype("python" | "pyarrow", NA or nan)``."""
    args = use.args
    missing = args[1] if len(args) == 2 else 0.0
    if (
        len(args) <= 2
        and (not args or args[0] in (None, "python", "pyarrow", "pyarrow_numpy"))
        and (type(missing) is float or (global_name(missing) or "").rpartition(".")[2] == "NA")
    ):
        return None
    return "its arguments are not a storage and a missing value"


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
    if not all(_is_column(state[0].get(side), context) for side in ("_left", "_right")):
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


# ---------------------------------------------------------------- pyarrow

# Number of buffers of an array by the name of its type; everything else that type_for_alias knows has two.
_THREE_BUFFERS = frozenset(
    {"string", "str", "utf8", "binary", "large_string", "large_str", "large_utf8", "large_binary"}
)
_NO_ALIAS = frozenset({"string_view", "binary_view"})
_NESTED = frozenset({"list_", "large_list", "struct", "dictionary", "field"})


@argument_rule("arrow-buffer")
def _arrow_buffer(use: Use, context: Context) -> str | None:
    """``py_buffer(bytes)``: bytes of the stream, never another object's memory. Those that could be changed are copied."""
    args = use.args
    if len(args) != 1 or not (type(args[0]) in (bytes, bytearray, memoryview) or producer(args[0]) in _BYTES):
        return "its argument is not bytes"
    size = len(args[0]) if type(args[0]) in (bytes, bytearray, memoryview) else _written(args[0], context)
    if context.copies_too_much(("buffer", id(args[0])), size):
        return "many buffers copy the same bytes"
    if use.target is not None:
        context.lengths[id(use.target)] = size
    return None


def _written(value: Any, context: Context) -> int:
    """The length of what a call of :data:`_BYTES` returns, at most."""
    made = context.content_of(value)
    return sum(len(item) for use in made for item in use.args if type(item) in (str, bytes, bytearray, memoryview))


_BYTES = frozenset({"builtins.bytearray", "builtins.bytes", "_codecs.encode"})


@argument_rule("arrow-type")
def _arrow_type(use: Use, context: Context) -> str | None:
    """A constructor of a data type: text, numbers and other data types."""
    function = use.name.rpartition(".")[2]
    for item in use.args:
        parts = item if type(item) in (list, tuple) else (item,)
        if len(parts) > 1 and context.expands_too_much(_OBJECT * len(parts)):
            return "many types copy the same fields"
        for part in parts:
            if type(part) not in (str, int, bool, type(None)) and not is_made_by(part, ARROW_TYPES, context):
                return "an argument is not text, a number or a data type"
    if use.target is not None:
        context.arrows[id(use.target)] = _buffer_count(function, use.args)
    return None


def _buffer_count(function: str, args: tuple[Any, ...]) -> int | None:
    """The number of buffers of an array of this type, or ``None`` for a nested one."""
    if function in _NESTED:
        return None
    if function == "type_for_alias":
        alias = args[0] if args and type(args[0]) is str else ""
        return None if alias in _NO_ALIAS else 1 if alias == "null" else 3 if alias in _THREE_BUFFERS else 2
    if function == "binary":
        return 2 if args and type(args[0]) is int and args[0] >= 0 else 3
    return 2


_BUFFERS = frozenset({"pyarrow.lib.py_buffer"})


@argument_rule("arrow-array")
def _arrow_array(use: Use, context: Context) -> str | None:
    """``_restore_array((type, length, nulls, offset, buffers, children, dictionary))`` of a type that is not nested.

    Arrow aborts the process if the number of buffers is not that of the type.
    """
    args = use.args
    if len(args) != 1 or type(args[0]) is not tuple or len(args[0]) != 7:
        return "its argument is not the parts of an array"
    dtype, length, nulls, offset, buffers, children, dictionary = args[0]
    count = context.arrows.get(id(dtype))
    if count is None or children != [] or dictionary is not None:
        return "the array's type is nested, which cannot be checked"
    if any(type(number) is not int or not -1 <= number < 1 << 48 for number in (length, nulls, offset)):
        return "the array's length, nulls or offset is malformed"
    if type(buffers) is not list or len(buffers) != count:
        return "the array does not have the buffers of its type"
    if not all(item is None or is_made_by(item, _BUFFERS, context) for item in buffers):
        return "a buffer of the array is not bytes"
    if length < 0 or offset < 0 or (length and None in buffers[1:]):
        return "the array has items but no data"
    # Eight items fit into a byte; an array of nulls has no bytes at all, and becomes one of objects sooner or later.
    bits = 8 * sum(context.lengths.get(id(item), 0) for item in buffers)
    if length > bits and context.expands_too_much(8 * (length - bits)):
        return "the array has more items than its buffers have bits"
    return None


# ---------------------------------------------------------------- time zones


@argument_rule("zone-file")
def _zone_file(use: Use, context: Context) -> str | None:
    """``tzfile(None, name)`` or ``_unpickle(tzfile, key, name, data)`` of dateutil: data comes with it, no file is read."""
    args = use.args
    if len(args) == 2 and args[0] is None and type(args[1]) in (str, type(None)):
        return None
    name = global_name(args[0]) if len(args) == 4 else None
    if name and name.endswith(".tzfile") and context.policy.rule(name) and type(args[3]) is tuple:
        return None if all(type(item) in (str, type(None)) for item in args[1:3]) else "a name is not text"
    return "it would read the time zone from a file"


@argument_rule("zone-offset")
def _zone_offset(use: Use, _context: Context) -> str | None:
    """``tzoffset(name, timedelta)``."""
    args = use.args
    if len(args) != 2 or type(args[0]) not in (str, type(None)):
        return "its arguments are not a name and an offset"
    if type(args[1]) in (int, float) or producer(args[1]) == "datetime.timedelta":
        return None
    return "its arguments are not a name and an offset"


@argument_rule("pytz-zone")
def _pytz(use: Use, _context: Context) -> str | None:
    """``pytz._p(zone, utcoffset, dst, tzname)`` reads the zone's file from pytz's directory: a plain name."""
    args = use.args
    if args and type(args[0]) is str and re.fullmatch(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}", args[0]):
        return None if all(type(item) in (int, str, type(None)) for item in args[1:]) else "its arguments are malformed"
    return "the time zone's name is not a plain name such as Europe/Berlin"
