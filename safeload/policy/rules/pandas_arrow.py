"""Argument rules for pandas, pyarrow and time zones.

pandas rebuilds its objects with functions that take a class and a dict of keyword arguments, and with ``__setstate__``
methods that set whatever attributes they are given. The rules accept the classes and the attributes that pandas
writes. Where C++ code aborts the process on a count that does not fit (pyarrow), the count is checked before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safeload.policy.rules.arrays import count_of, is_array
from safeload.policy.rules.places import check_places
from safeload.policy.rules.registry import argument_rule
from safeload.program import SMALL, Standin, StandinType, global_name, producer

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
def _frame(use: Use, _context: Context) -> str | None:
    """``NDFrame.__setstate__`` sets every attribute it finds: the manager, the name, flags and attrs, and no other."""
    state = use.args[0]
    if type(state) is not dict or not state.keys() <= _FRAME_KEYS:
        return "the state has attributes that a DataFrame or Series does not have"
    if producer(state.get("_mgr", state.get("_data"))) not in _MANAGERS:
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
    if any(producer(block) not in _BLOCKS for block in blocks):
        return "a block was not made by pandas' own function"
    if use.name.endswith(_SINGLE):
        return None
    makers = (next(iter(context.content_of(block)), None) for block in blocks)
    return check_places([made.args[1] for made in makers if made is not None], args[1], context)


_SINGLE = ".SingleBlockManager"


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
            if use.name.endswith(_SINGLE):
                return None
            blocks = inner["blocks"]
            if not all(type(block) is dict and "mgr_locs" in block for block in blocks):
                return "a block has no places"
            return check_places([block["mgr_locs"] for block in blocks], inner["axes"], context)
    return "the state is not that of a block manager"


@argument_rule("block")
def _block(use: Use, _context: Context) -> str | None:
    """``_unpickle_block(values, placement, ndim)``."""
    args = use.args
    if len(args) < 2 or not isinstance(args[0], Standin) or args[-1] not in (1, 2):
        return "its arguments are not values, a placement and a number of dimensions"
    if producer(args[0]) == "builtins.range" or not (producer(args[1]) == "builtins.slice" or is_array(args[1])):
        return "the block's values or placement are of the wrong kind"
    return None


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
    for key in ("dtype", "tz"):
        value = given.get(key)
        if value is not None and not isinstance(value, (Standin, StandinType)):
            return f"the {key} is text, which would be looked up"
    for key in ("data", "left", "right"):
        if given.get(key) is not None and not _is_column(given[key]):
            return "the data is not an array"
    for key in ("levels", "codes", "labels"):
        parts = given.get(key, ())
        if type(parts) not in (list, tuple) or len(parts) > SMALL or not all(_is_column(part) for part in parts):
            return f"the {key} are not a list of at most {SMALL} arrays"
    names = given.get("names")
    if names is not None and (type(names) not in (list, tuple) or len(names) > SMALL):
        return f"the names are not a list of at most {SMALL} names"
    if _length(given) > context.budget() or _copies(given, context):
        return "the index is much longer than the data, or one of many that copy the same"
    if any(type(given.get(key, 0)) not in (int, type(None)) for key in ("start", "stop", "step")):
        return "a bound of the range is not an integer"
    freq = given.get("freq")
    return None if freq is None or isinstance(freq, Standin) or _is_frequency(freq) else "the frequency is malformed"


# Kinds of dtype that an index views; of texts and records it makes objects.
_VIEWED = frozenset("biufcmMO")
_OBJECT = 64


def _copies(given: dict[str, Any], context: Context) -> bool:
    """Note what an index copies, and whether that is too much; pandas sets ``copy`` to false itself."""
    for value in (given.get("data"), given.get("left"), given.get("right"), *(given.get("levels") or ())):
        _, kind = context.forms.get(id(value), ((), "O"))
        if kind not in _VIEWED and context.copies_too_much(
            ("index", id(value)), _OBJECT * (count_of(value, context) or 0)
        ):
            return True
    data = given.get("data")
    return bool(given.get("copy")) and context.copies_too_much(id(data), 8 * (count_of(data, context) or 0))


def _is_column(value: Any) -> bool:
    """An array or an index; numpy would expand a range, and nested lists exponentially when they share parts."""
    return isinstance(value, Standin) and producer(value) not in ("builtins.range", "pandas.api.typing.FrozenList")


def _length(given: dict[str, Any]) -> int:
    """The length of a RangeIndex; it takes no memory itself, but an array made of it does."""
    start, stop, step = given.get("start") or 0, given.get("stop") or 0, given.get("step") or 1
    return len(range(start, stop, step)) if abs(stop - start) < 1 << 62 else 1 << 62


_FREQUENCY = re.compile(r"(?:period\[)?(?:-?\d{0,9}[A-Za-z]{1,12}(?:-[A-Za-z0-9]{1,12}){0,3})\]?", re.ASCII)


def _is_frequency(value: Any) -> bool:
    return type(value) is str and _FREQUENCY.fullmatch(value) is not None


@argument_rule("frequency")
def _frequency(use: Use, _context: Context) -> str | None:
    """``PeriodDtype("period[D]")`` or of an offset."""
    args = use.args
    if len(args) == 1 and (_is_frequency(args[0]) or _is_offset(args[0])):
        return None
    return "its argument is not a frequency"


def _is_offset(value: Any) -> bool:
    name = producer(value) or ""
    return name.startswith(("pandas._libs.tslibs.offsets.", "pandas.tseries.offsets.")) or name == "pandas.DateOffset"


@argument_rule("period")
def _period(use: Use, _context: Context) -> str | None:
    """``Period(None, freq, ordinal)``."""
    args = use.args
    if len(args) == 3 and args[0] is None and (_is_offset(args[1]) or _is_frequency(args[1])) and type(args[2]) is int:
        return None
    return "its arguments are not None, a frequency and a number"


@argument_rule("timestamp")
def _timestamp(use: Use, _context: Context) -> str | None:
    """``(value, freq, tz, unit)``: numbers, an offset, and a time zone object (text would be looked up)."""
    args = use.args
    if not 1 <= len(args) <= 4 or type(args[0]) is not int:
        return "its first argument is not a number of nanoseconds"
    for item in args[1:]:
        if item is not None and type(item) is not int and not isinstance(item, Standin) and not _is_frequency(item):
            return "an argument is not a number, a frequency or a time zone"
    if len(args) > 2 and type(args[2]) is str:
        return "the time zone is text, which would be looked up"
    return None


@argument_rule("offset")
def _offset(use: Use, _context: Context) -> str | None:
    """Numbers, text, times and time deltas; the holidays are given, not a calendar whose method would be called."""
    allowed = ("datetime.timedelta", "datetime.time", "datetime.date", "datetime.datetime")
    scalars = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    for item in use.args:
        for part in item if type(item) in (tuple, list) else (item,):
            if type(part) in (int, bool, str, type(None)):
                continue
            if producer(part) in allowed or producer(part) in scalars or _is_offset(part):
                continue
            return "an argument is not a number, text, a time or a list of dates"
    return None


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
def _backed_state(use: Use, _context: Context) -> str | None:
    """``(array, dtype[, attributes])`` or ``(attributes,)``: sets the attributes one by one, so only known ones."""
    state = use.args[0]
    parts = state if type(state) is tuple else (state,)
    for part in parts:
        if type(part) is dict:
            if not part.keys() <= _BACKED_KEYS or any(isinstance(value, StandinType) for value in part.values()):
                return "the state has attributes that the array does not have"
        elif not isinstance(part, Standin):
            return "the state is not an array and a dtype"
    return None if 1 <= len(parts) <= 3 else "the state is not an array and a dtype"


@argument_rule("interval-mixin")
def _interval(use: Use, context: Context) -> str | None:
    """``__pyx_unpickle_IntervalMixin(IntervalArray, checksum, None)``."""
    args = use.args
    name = global_name(args[0]) if len(args) == 3 else None
    if not name or name.rpartition(".")[2] != "IntervalArray" or context.policy.rule(name) is None:
        return "its class is not IntervalArray"
    return None if type(args[1]) is int and args[2] is None else "its checksum or state is malformed"


@argument_rule("interval-state")
def _interval_state(use: Use, _context: Context) -> str | None:
    """``({"_left": ..., "_right": ..., "_dtype": ...},)`` updates the instance's dict."""
    state = use.args[0]
    known = {"_left", "_right", "_dtype", "_closed", "_cache", "_readonly", "_combined"}
    if type(state) is tuple and len(state) == 1 and type(state[0]) is dict and state[0].keys() <= known:
        return None
    return "the state is not that of an array of intervals"


@argument_rule("sparse-index")
def _sparse_index(use: Use, _context: Context) -> str | None:
    """``IntIndex(length, indices)``, ``BlockIndex(length, starts, lengths)``."""
    args = use.args
    expected = 2 if use.name.endswith("IntIndex") else 3  # a third argument of IntIndex would turn its check off
    if len(args) == expected and type(args[0]) is int and all(is_array(item) for item in args[1:]):
        return None
    return "its arguments are not a length and arrays"


# ---------------------------------------------------------------- pyarrow

# Number of buffers of an array by the name of its type; everything else that type_for_alias knows has two.
_THREE_BUFFERS = frozenset(
    {"string", "str", "utf8", "binary", "large_string", "large_str", "large_utf8", "large_binary"}
)
_NO_ALIAS = frozenset({"string_view", "binary_view"})
_NESTED = frozenset({"list_", "large_list", "struct", "dictionary", "field"})


@argument_rule("arrow-buffer")
def _arrow_buffer(use: Use, _context: Context) -> str | None:
    """``py_buffer(bytes)``: wraps bytes of the stream, never another object's memory."""
    args = use.args
    if len(args) == 1 and (type(args[0]) in (bytes, bytearray, memoryview) or producer(args[0]) in _BYTES):
        return None
    return "its argument is not bytes"


_BYTES = frozenset({"builtins.bytearray", "builtins.bytes", "_codecs.encode"})


@argument_rule("arrow-type")
def _arrow_type(use: Use, context: Context) -> str | None:
    """A constructor of a data type: text, numbers and other data types."""
    function = use.name.rpartition(".")[2]
    for item in use.args:
        parts = item if type(item) in (list, tuple) else (item,)
        for part in parts:
            if (
                type(part) not in (str, int, bool, type(None))
                and (producer(part) or "").rpartition(".")[0] != "pyarrow.lib"
            ):
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
    if any(item is not None and producer(item) != "pyarrow.lib.py_buffer" for item in buffers):
        return "a buffer of the array is not bytes"
    if length < 0 or offset < 0 or (length and None in buffers[1:]):
        return "the array has items but no data"
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
