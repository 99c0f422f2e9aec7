"""Argument rules for what the standard library makes of a text, of numbers or of a container that it is given.

Two kinds of cost are bounded here. The same megabyte, remembered by the stream, can be given to call after call, each of which makes its
own copy: charged to the artifact, but for the first time. And a constructor that takes "any sequence" expands it: a ``UserList`` over a
range is a sequence, so 169 bytes became four gigabytes. Rule: what is expanded is a built-in container of the stream itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safeload.policy.rules.registry import argument_rule
from safeload.program import Standin, StandinType, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["copies_text"]

# What a call costs for each character of a text, in bytes: a path is split into parts, a number is parsed.
_PER_CHARACTER = 16
_AGAIN = "the same text is given to call after call"


def copies_text(values: Any, context: Context) -> bool:
    """Note that a call reads and copies the texts among ``values``, and say if that is too much; the first time is free."""
    return any(
        context.copies_too_much(("text", id(value)), _PER_CHARACTER * len(value))
        for value in values
        if type(value) in (str, bytes)
    )


@argument_rule("text")
def _text(use: Use, context: Context) -> str | None:
    """One or more strings."""
    if not use.args or any(type(item) is not str for item in use.args):
        return "an argument is not a string"
    return _AGAIN if copies_text(use.args, context) else None


# Numbers of more bits are refused: computing with two of these takes 10 ms, and four times as long for twice as many.
_MOST_BITS = 1 << 16
# A string of digits, without an exponent: Fraction("1e1000000000") would compute that integer.
_FRACTION = re.compile(r"[-+]?\d{1,4300}(?:/\d{1,4300})?", re.ASCII)


def _computes_too_much(numbers: Any, context: Context) -> bool:
    """Note that a call computes with integers, which takes the square of their length, and say if that is too much."""
    for number in numbers:
        bits = number.bit_length()
        if bits > _MOST_BITS or context.expands_too_much(bits * bits >> 10):
            return True
    return False


@argument_rule("fraction")
def _fraction(use: Use, context: Context) -> str | None:
    """``Fraction("1/3")`` or ``Fraction(1, 3)``."""
    args = use.args
    if len(args) == 1 and type(args[0]) is str and _FRACTION.fullmatch(args[0]):
        return None
    if len(args) not in (1, 2) or any(type(item) is not int for item in args):
        return "its arguments are not two integers or a string of digits"
    return "its integers are so long that dividing them takes seconds" if _computes_too_much(args, context) else None


@argument_rule("decimal")
def _decimal(use: Use, context: Context) -> str | None:
    """``Decimal("1.5")``, or of an integer, which takes the square of its length."""
    args = use.args
    if len(args) == 1 and type(args[0]) is str:
        return _AGAIN if copies_text(args, context) else None
    if len(args) == 1 and type(args[0]) is int:
        return "its integer is so long that converting it takes seconds" if _computes_too_much(args, context) else None
    return "its argument is not a string of digits or an integer"


# These make a tuple or a list of a sequence, by asking it for item after item.
_EXPANDING = frozenset(
    {"builtins.SyntaxError", "builtins.IndentationError", "builtins.TabError", "time.struct_time"}
    | {"builtins.BaseExceptionGroup", "builtins.ExceptionGroup"}
)


@argument_rule("data")
def _data(use: Use, context: Context) -> str | None:
    """Anything but a global: nothing that the callable could call. What is expanded is a container of the stream."""
    if any(isinstance(item, StandinType) for item in use.args):
        return "an argument is a global"
    if use.name in _EXPANDING and any(isinstance(item, Standin) for item in use.args):
        return "an argument that would be expanded is not a built-in container"
    return "an argument is a long range" if any(_is_long_range(item, context) for item in use.args) else None


def _is_long_range(value: object, context: Context) -> bool:
    if producer(value) != "builtins.range" or not isinstance(value, Standin):
        return False
    return any(_steps(use.args) > _LONGEST_RANGE for use in context.content_of(value))


_LONGEST_RANGE = 10_000


def _steps(args: tuple[int, ...]) -> int:
    start, stop, step = (0, args[0], 1) if len(args) == 1 else (*args[:2], args[2] if len(args) == 3 else 1)
    return (stop - start) // step if step else 0


# What a container of the collections module holds, by the attribute that it is in.
_DICTS = frozenset(f"collections.{name}" for name in ("ChainMap", "Counter", "OrderedDict", "UserDict", "defaultdict"))


@argument_rule("user-container-state")
def _user_container(use: Use, _context: Context) -> str | None:
    """``UserList``, ``UserDict``, ``UserString``, ``ChainMap``: what they wrap is a list, a dict, a string, dicts.

    Around anything else they are a sequence of any length, which every rule that admits a sequence would have to think of.
    """
    state = use.args[0] if use.args else None
    if type(state) is not dict:
        return "the state is not a dict of attributes"
    name = use.name.rpartition(".")[2]
    data = state.get("maps" if name == "ChainMap" else "data")
    if name == "UserString":
        return None if type(data) is str else "it does not wrap a string"
    if name == "UserDict":
        return None if _is_dict(data) else "it does not wrap a dict"
    if type(data) is not list:
        return "it does not wrap a list"
    if name == "ChainMap" and not all(_is_dict(item) or producer(item) in _DICTS for item in data):
        return "it does not wrap dicts"
    return None


def _is_dict(value: Any) -> bool:
    """A dict of the stream; one with other keys than strings may be traced as a list of its keys and values, of a class of its own."""
    return type(value) is dict or (isinstance(value, list) and type(value) is not list)
