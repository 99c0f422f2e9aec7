"""scipy's sparse matrices, whose indices its C code takes for places in other arrays.

scipy looks at indices when a matrix is made, and not when one is unpickled; then a product reads memory of something else, and
``toarray`` writes there. Rule: what ``check_format(full_check=True)`` asks for holds, of every kind of matrix. It is asked for here,
because a state can put something else under that name.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from safeload.engine.load.believed import attributes, integer, need, need_array, need_inside

__all__ = ["CHECKS"]

_NUMBERS = "biufcO"


def _shape_of(known: dict[str, Any], least: int = 1, most: int = 2) -> tuple[int, ...]:
    shape = known.get("_shape")
    need(type(shape) is tuple and least <= len(shape) <= most, "the shape of a matrix is none")
    sides = tuple(integer(side, "a side of a matrix") for side in shape)  # type: ignore[union-attr]
    need(min(sides) >= 0 and math.prod(sides) >= 0, "a side of a matrix is negative")
    return sides


def _check_rows(matrix: Any) -> None:
    """A csr matrix, or row vector."""
    known = attributes(matrix)
    shape = _shape_of(known)
    rows, columns = shape if len(shape) == 2 else (1, shape[0])
    _check_compressed(known, rows, columns, 1)


def _check_columns(matrix: Any) -> None:
    known = attributes(matrix)
    rows, columns = _shape_of(known, 2)
    _check_compressed(known, columns, rows, 1)


def _check_blocks(matrix: Any) -> None:
    """A bsr matrix: blocks of one size, in rows of blocks; a block without a side would divide by zero."""
    known = attributes(matrix)
    rows, columns = _shape_of(known, 2)
    data = need_array(known.get("data"), "the blocks of a matrix", 3, _NUMBERS)
    high, wide = data.shape[1:]
    need(high > 0 and wide > 0 and not rows % high and not columns % wide, "the blocks of a matrix do not fit into it")
    _check_compressed(known, rows // high, columns // wide, 3)


def _check_compressed(known: dict[str, Any], major: int, minor: int, dimensions: int) -> None:
    ends = need_array(known.get("indptr"), "the ends of rows", 1, "i")
    indices = need_array(known.get("indices"), "the indices of a matrix", 1, "i")
    data = need_array(known.get("data"), "the data of a matrix", dimensions, _NUMBERS)
    need(len(ends) == major + 1 and ends[0] == 0, "the rows of a matrix are not as many as it says")
    used = int(ends[-1])
    need(used <= len(indices) and len(data) == len(indices), "a matrix has fewer indices than its rows")
    need((ends[1:] >= ends[:-1]).all(), "a row of a matrix ends before it starts")
    need_inside(indices, minor, "an index of a matrix")


def _check_coordinates(matrix: Any) -> None:
    known = attributes(matrix)
    shape = _shape_of(known, 1, 64)
    coordinates = known.get("coords")
    if coordinates is None:
        coordinates = (known.get("row"), known.get("col"))
    need(type(coordinates) is tuple and len(coordinates) == len(shape), "a matrix has not one index for each side")
    data = need_array(known.get("data"), "the data of a matrix", 1, _NUMBERS)
    for own, side in zip(coordinates, shape, strict=True):
        need(
            len(need_array(own, "the indices of a matrix", 1, "i")) == len(data),
            "a matrix has fewer indices than numbers",
        )
        need_inside(own, side, "an index of a matrix")


def _check_diagonals(matrix: Any) -> None:
    known = attributes(matrix)
    rows, columns = _shape_of(known, 2)
    offsets = need_array(known.get("offsets"), "the offsets of diagonals", 1, "i")
    data = need_array(known.get("data"), "the diagonals of a matrix", 2, _NUMBERS)
    need(
        len(offsets) == len(data) and len(np.unique(offsets)) == len(offsets),
        "there is not one offset for each diagonal",
    )
    # C code adds offsets to sides, in 32 bits.
    need_inside(offsets, rows + columns + 1, "a diagonal", start=-rows - columns)


def _check_lists(matrix: Any) -> None:
    """A lil matrix: lists of columns and of numbers, which ``tocsr`` copies into memory for as many as there are columns."""
    known = attributes(matrix)
    rows, columns = _shape_of(known, 2)
    places, numbers = (need_array(known.get(name), "the lists of a matrix", 1, "O") for name in ("rows", "data"))
    need(len(places) == len(numbers) == rows, "a matrix has not one list for each row")
    for own, values in zip(places.tolist(), numbers.tolist(), strict=True):
        need(
            type(own) is list and type(values) is list and len(own) == len(values),
            "a row has fewer columns than numbers",
        )
        last: Any = -1
        for place in own:
            if not (type(place) is int or isinstance(place, np.integer)) or not last < place < columns:
                raise ValueError("a column of a row lies outside of its matrix, or before the last one")
            last = place


_KINDS = {
    "csr": _check_rows,
    "csc": _check_columns,
    "bsr": _check_blocks,
    "coo": _check_coordinates,
    "dia": _check_diagonals,
    "lil": _check_lists,
}

CHECKS = {f"scipy.sparse:{kind}_{form}": check for kind, check in _KINDS.items() for form in ("matrix", "array")}
