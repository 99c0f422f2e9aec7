"""pandas' arrays and indexes, with the numbers checked that C code of pandas uses as they are.

The codes of a categorical and of a MultiIndex are places in other arrays, and ``repr`` already looks them up without a check; an array
of dates reads its unit from memory that only a dtype of dates has. pandas makes sure of all that when it makes such an object, and
not when it unpickles one. Rule: a code lies inside of its categories and an array has the dtype of its class, or there is no object.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from pandas import Categorical, Index, MultiIndex
from pandas._libs.arrays import __pyx_unpickle_NDArrayBacked as _unpickle_backed
from pandas.arrays import DatetimeArray, PeriodArray, StringArray, TimedeltaArray
from pandas.core.indexes.base import _new_Index
from pandas.core.indexes.datetimes import _new_DatetimeIndex

__all__ = ["CHECKS", "CheckedCategorical", "CheckedDatetimeArray", "CheckedPeriodArray", "CheckedTimedeltaArray"]
__all__ += ["new_datetime_index", "new_index", "unpickle_backed"]

_UNITS = frozenset({"s", "ms", "us", "ns"})


def unpickle_backed(cls: type, checksum: int, state: None) -> Any:
    """``pandas._libs.arrays.__pyx_unpickle_NDArrayBacked``, for an array that is checked when it gets its state."""
    checked = cls if hasattr(cls, "checked_as") else _checked(cls)
    return _unpickle_backed(checked, checksum, state)


@functools.cache
def _checked(cls: Any) -> type:
    """A subclass that a pickle makes and fills; the object is of pandas' own class from then on."""

    def set_state(self: Any, state: Any) -> None:
        cls.__setstate__(self, _private(state) if issubclass(cls, Categorical) else state)
        _check(self)
        self.__class__ = cls

    body = {"__slots__": (), "__module__": __name__, "__setstate__": set_state, "checked_as": cls}
    return type(f"Checked{cls.__name__}", (cls,), body)


def _private(state: Any) -> Any:
    """A state whose codes are an array of its own: what nobody else holds, nobody changes after the check."""
    if type(state) is dict:
        return {key: _private(value) for key, value in state.items()} if len(state) <= _MOST_PARTS else state
    if type(state) is tuple:
        return tuple([_private(part) if type(part) is not tuple else part for part in state])
    return state.copy() if type(state) is np.ndarray and state.dtype.kind in "iu" else state


_MOST_PARTS = 64


# What pickles of pandas before 1.3 make instances of without a function.
CheckedCategorical = _checked(Categorical)
CheckedDatetimeArray = _checked(DatetimeArray)
CheckedPeriodArray = _checked(PeriodArray)
CheckedTimedeltaArray = _checked(TimedeltaArray)


def new_index(cls: type, given: dict[str, Any]) -> Any:
    """``pandas.core.indexes.base._new_Index``, and the codes of a MultiIndex are its own and lie inside of its levels."""
    given = dict(given)
    for key in ("codes", "labels"):
        if key in given:
            given[key] = [_codes_of(part) for part in given[key]]
    return _check_index(_new_Index(cls, given))


def _codes_of(part: Any) -> Any:
    """The codes of a level in an array of their own; old pickles have them in an index."""
    values = part.to_numpy() if issubclass(type(part), Index) else part
    if type(values) is not np.ndarray or values.dtype.kind not in "iu":
        raise ValueError("the codes of an index are not integers")
    return values.copy()


def new_datetime_index(cls: type, given: dict[str, Any]) -> Any:
    """``pandas.core.indexes.datetimes._new_DatetimeIndex``, of dates only."""
    return _check_index(_new_DatetimeIndex(cls, given))


def _check_index(index: Any) -> Any:
    if isinstance(index, MultiIndex):
        _check_levels(index)
    elif isinstance(index, Index):
        _check(index.array)
    return index


def _check_levels(index: Any) -> None:
    for level, codes in zip(index.levels, index.codes, strict=True):
        _check_codes(codes, len(level))
    if len({len(codes) for codes in index.codes}) > 1:
        raise ValueError("the codes of an index are not as many for each level")


def _check(array: Any) -> None:
    """Raise ``ValueError`` unless an array holds what its class says. Others than these are safe with anything."""
    values = getattr(array, "_ndarray", None)
    if isinstance(array, Categorical):
        categories = array.dtype.categories
        _check_codes(values, len(categories) if issubclass(type(categories), Index) else 0)
    elif isinstance(array, (DatetimeArray, TimedeltaArray)):
        kind = "M" if isinstance(array, DatetimeArray) else "m"
        if (
            type(values) is not np.ndarray
            or values.dtype.kind != kind
            or np.datetime_data(values.dtype)[0] not in _UNITS
        ):
            raise ValueError("an array of dates or times does not hold dates or times")
    elif isinstance(array, StringArray):
        if type(values) is not np.ndarray or values.dtype != object:
            raise ValueError("an array of strings does not hold objects")
    elif isinstance(array, PeriodArray) and (type(values) is not np.ndarray or values.dtype != np.int64):
        raise ValueError("an array of periods does not hold integers")


def _check_codes(codes: Any, count: int) -> None:
    if type(codes) is not np.ndarray or codes.dtype.kind not in "iu":
        raise ValueError("the codes of categories are not integers")
    if codes.size and not (codes.min() >= -1 and codes.max() < count):
        raise ValueError(f"a code lies outside of the {count} categories")


# Checked again after STOP (safeload.engine.load.checks).
CHECKS = {
    Categorical: _check,
    DatetimeArray: _check,
    TimedeltaArray: _check,
    PeriodArray: _check,
    StringArray: _check,
    MultiIndex: _check_levels,
}
