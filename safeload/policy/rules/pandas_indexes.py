"""Argument rules for pandas' indexes, which a function makes of a class and a dict of keyword arguments.

The rules accept the classes and the keywords that pandas writes, each with what pandas has there. Otherwise a constructor would look up
text, or expand what is no array. What an index copies, or makes of what it is given, is charged to the artifact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.arrays import count_of
from safeload.policy.rules.pandas_scalars import is_frequency
from safeload.policy.rules.producers import DTYPES, INDEXES, is_column, is_made_by, is_offset, is_plain_array, is_zone
from safeload.policy.rules.registry import argument_rule
from safeload.program import SMALL, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

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
        if given.get(key) is not None and not is_column(given[key], context):
            return f"the {key} are not an array that has its data"
    for key in ("levels", "codes", "labels"):
        parts = given.get(key, ())
        if type(parts) not in (list, tuple) or len(parts) > SMALL:
            return f"the {key} are not a list of at most {SMALL} arrays"
        if not all(is_column(part, context) if key == "levels" else is_plain_array(part, context) for part in parts):
            return f"the {key} are not a list of at most {SMALL} arrays"
    names = given.get("names")
    if names is not None and (type(names) not in (list, tuple) or len(names) > SMALL):
        return f"the names are not a list of at most {SMALL} names"
    if any(type(given.get(key, 0)) not in (int, bool, type(None)) for key in _NUMBERS):
        return "a bound of the range, or an option, is not a number"
    if type(given.get("closed")) not in (str, type(None)):
        return "what is closed is not text"
    freq = given.get("freq")
    return None if freq is None or is_offset(freq) or is_frequency(freq) else "the frequency is malformed"


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
