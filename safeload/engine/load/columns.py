"""pandas' extension arrays and sparse indexes, with the lengths and kinds checked that C code of pandas takes for granted.

A nullable array is numbers and a mask, a sparse one is values and where they lie, an interval array is two arrays: pickles set each
part by itself, and loops of pandas run over one part with the length of the other. Rule: the parts are plain arrays of the right
kind and length, and the places of a sparse array are sorted and inside of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pandas import Index, MultiIndex
from pandas._libs.sparse import BlockIndex, IntIndex
from pandas.arrays import (
    BooleanArray,
    DatetimeArray,
    FloatingArray,
    IntegerArray,
    IntervalArray,
    SparseArray,
    TimedeltaArray,
)

__all__ = ["CHECKS", "new_block_index", "new_int_index"]


def new_int_index(length: int, indices: Any) -> Any:
    """``IntIndex(length, indices)`` with places of its own: it would keep the array that it is given, which others may change."""
    index = IntIndex(length, _places(indices))
    _check_int_index(index)
    return index


def new_block_index(length: int, starts: Any, lengths: Any) -> Any:
    """``BlockIndex(length, starts, lengths)``, likewise."""
    index = BlockIndex(length, _places(starts), _places(lengths))
    _check_block_index(index)
    return index


def _places(array: Any) -> Any:
    if type(array) is not np.ndarray or array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError("the places of a sparse array are not integers")
    if array.size and not (array.min() >= 0 and array.max() < 1 << 31):
        raise ValueError("a place of a sparse array is impossible")
    return np.array(array, np.int32)


def _check_int_index(index: Any) -> None:
    places = index.indices
    if places.size and not (places[0] >= 0 and places[-1] < index.length and (places[1:] > places[:-1]).all()):
        raise ValueError("the places of a sparse array are not sorted, or lie outside of it")


def _check_block_index(index: Any) -> None:
    starts, lengths = index.blocs.astype(np.int64), index.blengths.astype(np.int64)
    if starts.size != lengths.size:
        raise ValueError("the blocks of a sparse array have not as many starts as lengths")
    if starts.size:
        ends = starts + lengths
        if starts[0] < 0 or lengths.min() <= 0 or (ends[:-1] > starts[1:]).any() or ends[-1] > index.length:
            raise ValueError("the blocks of a sparse array overlap, or lie outside of it")


def _check_sparse(array: Any) -> None:
    values, index = vars(array).get("_sparse_values"), vars(array).get("_sparse_index")
    if type(values) is not np.ndarray or values.ndim != 1 or type(index) not in (IntIndex, BlockIndex):
        raise ValueError("a sparse array is not made of an array and an index")
    if values.size != index.npoints:
        raise ValueError("a sparse array has not as many values as places")


# What the numbers of a nullable array are.
_KINDS = {IntegerArray: ("iu", (1, 2, 4, 8)), FloatingArray: ("f", (4, 8)), BooleanArray: ("b", (1,))}


def _check_masked(array: Any) -> None:
    values, mask = vars(array).get("_data"), vars(array).get("_mask")
    kinds, sizes = next(_KINDS[base] for base in type(array).__mro__ if base in _KINDS)
    if type(values) is not np.ndarray or values.dtype.kind not in kinds or values.dtype.itemsize not in sizes:
        raise ValueError("a nullable array does not hold the numbers of its class")
    if type(mask) is not np.ndarray or mask.dtype != np.bool_ or mask.shape != values.shape or not values.ndim:
        raise ValueError("the mask of a nullable array is not one flag for each of its numbers")
    _check_cached(array, values.dtype)


def _check_cached(array: Any, dtype: Any) -> None:
    """The dtype that an array has in its cache is that of its numbers."""
    cached = (vars(array).get("_cache") or {}).get("dtype")
    if cached is not None and np.dtype(type(cached).type) != dtype:
        raise ValueError("a nullable array has a dtype of other numbers in its cache")


def _check_interval(array: Any) -> None:
    sides = [vars(array).get("_left"), vars(array).get("_right")]
    for side in sides:
        kind = type(side)
        if kind is np.ndarray:
            if side.ndim != 1 or side.dtype.kind not in "iufmM":
                raise ValueError("a side of an array of intervals is not an array of numbers")
        elif not issubclass(kind, (DatetimeArray, TimedeltaArray, Index)) or issubclass(kind, MultiIndex):
            raise ValueError("a side of an array of intervals is not an array")
    if len(sides[0]) != len(sides[1]):
        raise ValueError("an array of intervals has not as many left as right sides")


# Checked again after STOP (safeload.engine.load.checks).
CHECKS = {
    IntIndex: _check_int_index,
    BlockIndex: _check_block_index,
    SparseArray: _check_sparse,
    IntegerArray: _check_masked,
    FloatingArray: _check_masked,
    BooleanArray: _check_masked,
    IntervalArray: _check_interval,
}
