"""Values that JSON does not have and a schema can check all the same, in the way that JSON is usually made of them.

| value | is checked as |
|---|---|
| tuple, set, frozenset, deque | array; of a set in no particular order |
| NumPy array of booleans, numbers, text or dates | nested arrays of their items, at most :data:`MAX_ITEMS` in all |
| NumPy scalar | its item |
| date, time, datetime, NumPy datetime | string in ISO 8601 format |
| timedelta | number of seconds |
| Decimal, Fraction, UUID, path, timezone | string |
| bytes, bytearray | string in base64 |

Rule: only exact types, and only their own methods: a subclass may be a payload's class, and none of its code runs here.
"""

from __future__ import annotations

import sys
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_ITEMS", "UNKNOWN", "TooManyItemsError", "simpler"]

MAX_ITEMS: Final = 1_000_000
UNKNOWN: Final = object()
_ZONES = frozenset({type(None), timezone, ZoneInfo})


class TooManyItemsError(Exception):
    """An array has more than :data:`MAX_ITEMS` items."""


def simpler(value: Any) -> Any:
    """``value`` as something nearer to JSON; :data:`UNKNOWN` if there is no usual way.

    Raises:
        TooManyItemsError: it is an array that is too large.
    """
    convert = _CONVERT.get(type(value))
    if convert is not None:
        return convert(value)
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value).__module__ != "numpy":
        return UNKNOWN
    if type(value) is numpy.ndarray:
        return _array(value, numpy)
    if type(value) in numpy.sctypeDict.values():
        return _array(numpy.asarray(value), numpy)
    return UNKNOWN


def _array(array: Any, numpy: Any) -> Any:
    if array.size > MAX_ITEMS:
        raise TooManyItemsError
    kind = array.dtype.kind
    if kind == "M":
        return numpy.datetime_as_string(array).tolist()
    if kind in "biuU":
        return array.tolist()
    if kind == "f":  # also a long double, which has no item of Python's
        return array.astype(numpy.float64).tolist()
    if kind == "m" and numpy.datetime_data(array.dtype)[0] != "generic" and not numpy.isnat(array).any():
        return (
            (array / numpy.timedelta64(1, "s")).tolist() if numpy.datetime_data(array.dtype)[0] not in "YM" else UNKNOWN
        )
    return UNKNOWN


def _moment(value: time | datetime) -> Any:
    return value.isoformat() if type(value.tzinfo) in _ZONES else UNKNOWN


def _base64(value: bytes | bytearray) -> str:
    import base64

    return base64.b64encode(value).decode("ascii")


_CONVERT: Final[dict[type, Callable[[Any], Any]]] = {
    set: list,
    frozenset: list,
    deque: list,
    date: date.isoformat,
    time: _moment,
    datetime: _moment,
    timedelta: timedelta.total_seconds,
    Decimal: str,
    Fraction: str,
    UUID: str,
    timezone: str,
    ZoneInfo: str,
    bytes: _base64,
    bytearray: _base64,
    **dict.fromkeys((PosixPath, WindowsPath, PurePosixPath, PureWindowsPath), str),
}
