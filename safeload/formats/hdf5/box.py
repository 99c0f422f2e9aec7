"""Which part of an array ``array[index]`` is, before anything of the array is read.

Rule: what is read is a box around what was asked for; its size is known, and checked, before memory is taken.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

__all__ = ["Box", "box_of"]


class Box(NamedTuple):
    """A box of an array: half-open bounds for each axis, and the index that takes the result out of it (``inner``)."""

    bounds: tuple[tuple[int, int], ...]
    inner: tuple[int | slice, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the box."""
        return tuple(stop - start for start, stop in self.bounds)


def box_of(shape: tuple[int, ...], index: Any) -> Box:
    """The box around ``array[index]`` for an array of ``shape``; ``None`` is the whole array.

    Raises:
        TypeError: ``index`` has something else than integers, slices and ``...``.
        IndexError: it is outside the array, or has too many dimensions.
    """
    if index is None:
        return Box(tuple((0, length) for length in shape), None)
    given = list(index) if isinstance(index, tuple) else [index]
    if given.count(Ellipsis) > 1:
        raise IndexError("index= has more than one '...'")
    if len(given) - given.count(Ellipsis) > len(shape):
        raise IndexError(f"index= has {len(given)} dimensions, but the array has {len(shape)}")
    at = given.index(Ellipsis) if Ellipsis in given else len(given)
    missing = len(shape) - (len(given) - given.count(Ellipsis))
    given[at : at + 1] = [slice(None)] * missing
    bounds, rests = [], []
    for part, length in zip(given, shape, strict=True):
        bound, rest = _axis(part, length)
        bounds.append(bound)
        rests.append(rest)
    return Box(tuple(bounds), tuple(rests))


def _axis(part: Any, length: int) -> tuple[tuple[int, int], int | slice]:
    if isinstance(part, slice):
        start, stop, step = part.indices(length)
        count = len(range(start, stop, step))
        if not count:
            return (0, 0), slice(0, 0)
        last = start + (count - 1) * step
        low, high = min(start, last), max(start, last) + 1
        return (low, high), slice(None, None, step)
    try:
        place = operator.index(part)
    except TypeError:
        raise TypeError(f"index= takes integers, slices and '...', not {type(part).__name__}") from None
    if isinstance(part, bool):
        raise TypeError("index= takes integers, slices and '...', not bool")
    if not -length <= place < length:
        raise IndexError(f"index {place} is outside an axis of length {length}")
    place %= length
    return (place, place + 1), 0
