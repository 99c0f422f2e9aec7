"""Which calls make an array, an index, a number: the producers that a rule means when it lets a call result through.

A stand-in tells which call made it, not what the call returns. "Any call result" where an array is meant lets a ``UserList`` over a
range through, which numpy expands to gigabytes, and an array that has no state yet, whose shape nobody has judged. Rule: what a library
looks into is made by a listed producer, and its state is set before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.program import Standin, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context

__all__ = [
    "ARRAYS",
    "ARROW_ARRAYS",
    "ARROW_TYPES",
    "COLUMNS",
    "DTYPES",
    "INDEXES",
    "SCALARS",
    "TIMES",
    "is_array",
    "is_column",
    "is_made_by",
    "is_offset",
    "is_plain_array",
    "is_zone",
]


def _names(modules: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for module in modules.split() for name in names.split())


_CORES = "numpy.core numpy._core"
ARRAYS = frozenset(
    f"{core}.{name}" for core in _CORES.split() for name in ("multiarray._reconstruct", "numeric._frombuffer")
)
SCALARS = frozenset(f"{core}.multiarray.scalar" for core in _CORES.split())
_NUMPY_DTYPES = frozenset({"numpy.dtype"}) | _names(
    "numpy._core._internal numpy.core._internal", "_convert_to_stringdtype_kwargs"
)

INDEXES = (
    _names("pandas.core.indexes.base pandas.indexes.base pandas.core.index", "_new_Index")
    | _names("pandas.core.indexes.datetimes pandas.tseries.index", "_new_DatetimeIndex")
    | _names("pandas.core.indexes.timedeltas", "_new_TimedeltaIndex")
    | _names("pandas.core.indexes.interval", "_new_IntervalIndex")
)
# Arrays of pandas. Which of them a name can be is the pack's business.
COLUMNS = (
    frozenset(
        {"pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", "pandas._libs.interval.__pyx_unpickle_IntervalMixin"}
    )
    | _names("pandas.core.arrays.categorical", "Categorical")
    | _names("pandas.core.arrays.datetimes", "DatetimeArray")
    | _names("pandas.core.arrays.timedeltas", "TimedeltaArray")
    | _names("pandas.core.arrays.period", "PeriodArray")
    | _names("pandas.core.arrays.string_", "StringArray")
    | _names("pandas.core.arrays.numpy_", "PandasArray")
    | _names("pandas.core.arrays.integer", "IntegerArray")
    | _names("pandas.core.arrays.floating", "FloatingArray")
    | _names("pandas.core.arrays.boolean", "BooleanArray")
    | _names("pandas.core.arrays.sparse pandas.core.arrays.sparse.array", "SparseArray")
    | _names("pandas.core.arrays.string_arrow", "ArrowStringArray ArrowStringArrayNumpySemantics")
    | _names("pandas.core.arrays.arrow.array", "ArrowExtensionArray")
    | _names(
        "pandas.arrays", "IntegerArray FloatingArray BooleanArray SparseArray ArrowStringArray ArrowExtensionArray"
    )
)
_PANDAS_DTYPES = (
    _names("pandas pandas.core.dtypes.dtypes", "CategoricalDtype DatetimeTZDtype IntervalDtype SparseDtype ArrowDtype")
    | _names("pandas pandas.core.dtypes.dtypes", "PeriodDtype")
    | _names("pandas pandas.core.arrays.string_", "StringDtype")
    | _names("pandas pandas.core.arrays.boolean", "BooleanDtype")
    | _names("pandas pandas.core.arrays.floating", "Float32Dtype Float64Dtype")
    | _names(
        "pandas pandas.core.arrays.integer",
        "Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype",
    )
    | _names("pandas.core.dtypes.dtypes", "NumpyEADtype PandasDtype")
    | _names("pandas.core.arrays.numpy_", "PandasDtype")
    | _names("pandas.core.arrays.sparse.dtype", "SparseDtype")
    | _names("pandas.core.arrays.arrow.dtype", "ArrowDtype")
)
DTYPES = _NUMPY_DTYPES | _PANDAS_DTYPES
# A point in time, a length of time, or none.
TIMES = (
    _names("pandas._libs.tslibs.timestamps", "_unpickle_timestamp Timestamp")
    | _names("pandas._libs.tslib pandas.tslib", "Timestamp __nat_unpickle")
    | _names("pandas._libs.tslibs.timedeltas", "_timedelta_unpickle Timedelta")
    | _names("pandas._libs.tslibs.nattype", "_nat_unpickle __nat_unpickle")
    | _names("pandas pandas._libs.tslibs.period", "Period")
    | _names("datetime", "datetime date time timedelta")
)
ARROW_TYPES = _names(
    "pyarrow.lib",
    """type_for_alias field list_ large_list struct dictionary timestamp duration time32 time64 decimal128 decimal256
    binary""",
)
ARROW_ARRAYS = frozenset({"pyarrow.lib._restore_array"})

_OFFSETS = ("pandas._libs.tslibs.offsets.", "pandas.tseries.offsets.")
# A method of a zone that was looked up is called in protocols 0 to 3: the only thing that may be called so (pinned-getattr).
_ZONES = frozenset(
    {"zoneinfo:ZoneInfo._unpickle", "builtins.getattr", "datetime.timezone", "dateutil.tz._tzfile._unpickle"}
    | _names("dateutil.tz.tz", "tzutc tzoffset tzlocal tzfile")
    | _names("pytz", "_UTC _p FixedOffset _FixedOffset")
)


def is_made_by(value: Any, producers: frozenset[str], context: Context) -> bool:
    """Whether a call of one of ``producers`` made ``value``, and it has its state if it ever gets one."""
    return isinstance(value, Standin) and producer(value) in producers and not context.is_waiting(value)


def is_array(value: Any, context: Context) -> bool:
    """Whether it is a numpy array (or of a subclass without ``__setstate__``) that has its data."""
    return isinstance(value, Standin) and producer(value) in ARRAYS and id(value) in context.counts


def is_plain_array(value: Any, context: Context) -> bool:
    """Whether it is an array that has its data, of the class ``numpy.ndarray`` itself."""
    return is_array(value, context) and id(value) in context.plain


def is_column(value: Any, context: Context) -> bool:
    """Whether it is an array of pandas or numpy that has its data, or an index.

    numpy would expand a range, and nested lists exponentially when they share parts.
    """
    return is_plain_array(value, context) or is_made_by(value, COLUMNS | INDEXES, context)


def is_offset(value: Any) -> bool:
    """Whether it is an offset of pandas, such as a month's end."""
    name = producer(value) or ""
    return name.startswith(_OFFSETS) or name == "pandas.DateOffset"


def is_zone(value: Any) -> bool:
    """Whether it is a time zone."""
    return producer(value) in _ZONES
