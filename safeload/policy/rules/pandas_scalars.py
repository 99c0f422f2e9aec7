"""Argument rules for what pandas puts into arrays and beside them: times, periods, intervals, offsets, frequencies and dtypes.

Text that pandas would look up, and objects whose methods it would call, are refused: a time zone is an object, holidays are a list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safeload.policy.rules.producers import ARROW_TYPES, DTYPES, INDEXES, SCALARS, TIMES, is_made_by, is_offset, is_zone
from safeload.policy.rules.registry import argument_rule
from safeload.program import SMALL, StandinType, global_name

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["is_frequency"]

# What an object takes at most that a call makes of an item.
_OBJECT = 64
_FREQUENCY = re.compile(r"(?:period\[)?(?:-?\d{0,9}[A-Za-z]{1,12}(?:-[A-Za-z0-9]{1,12}){0,3})\]?", re.ASCII)


def is_frequency(value: Any) -> bool:
    """Whether it is the text of a frequency, such as ``"2D"``."""
    return type(value) is str and _FREQUENCY.fullmatch(value) is not None


@argument_rule("frequency")
def _frequency(use: Use, _context: Context) -> str | None:
    """``PeriodDtype("period[D]")`` or of an offset."""
    args = use.args
    if len(args) == 1 and (is_frequency(args[0]) or is_offset(args[0])):
        return None
    return "its argument is not a frequency"


@argument_rule("period")
def _period(use: Use, _context: Context) -> str | None:
    """``Period(None, freq, ordinal)``."""
    args = use.args
    if len(args) == 3 and args[0] is None and (is_offset(args[1]) or is_frequency(args[1])) and type(args[2]) is int:
        return None
    return "its arguments are not None, a frequency and a number"


@argument_rule("timestamp")
def _timestamp(use: Use, _context: Context) -> str | None:
    """``(value, freq, tz, unit)``: numbers, an offset, and a time zone object (text would be looked up)."""
    args = use.args
    if not 1 <= len(args) <= 4 or type(args[0]) is not int:
        return "its first argument is not a number of nanoseconds"
    for item in args[1:]:
        if item is not None and type(item) is not int and not (is_zone(item) or is_offset(item) or is_frequency(item)):
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
