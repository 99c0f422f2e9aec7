"""Argument rules for what a call compiles, or keeps for as long as the process lives: regular expressions and members of enums.

Compiling is not linear: 300 bytes took four seconds, a class over all of Unicode that ignores case. A flag enum makes a member of any
number that it is asked for, and keeps it. Rule: a pattern is charged for what is costly in it, to one budget for the whole artifact;
a flag has only the bits that have names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safeload.policy.rules.registry import argument_rule
from safeload.program import producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

_LONGEST_PATTERN = 1_000
_DEEPEST = 200
_IGNORECASE = 2
_DEBUG = 128
# All but DEBUG, which prints what is compiled, and TEMPLATE, which is unknown to Python 3.13 and was never of any use.
_FLAGS = 2 | 4 | 8 | 16 | 32 | 64 | 256
_TEMPLATE = 1
# (?i) and (?i:...), maybe with other letters.
_INLINE = re.compile(r"\(\?[a-zA-Z-]{0,8}i")
# What can stand for a character beyond Latin-1.
_WIDE = re.compile(r"[^\x00-\xff]|\\[uUN]")
# What a class costs, in characters of five microseconds; with wide characters in it 2 ms, and 10 ms where case is ignored. A range as well.
_CLASS, _WIDE_CLASS, _FOLDED_CLASS = 30, 400, 2_000
_WIDE_RANGE = 40


@argument_rule("pattern")
def _pattern(use: Use, context: Context) -> str | None:
    """``re._compile(pattern, flags)``: compiled, never matched; what it costs is bounded for the artifact."""
    args = use.args
    pattern = _text_of(args[0], context) if len(args) == 2 else None
    if pattern is None or type(args[1]) is not int or len(pattern) > _LONGEST_PATTERN:
        return f"its arguments are not a pattern of at most {_LONGEST_PATTERN:,} characters and flags"
    if args[1] & ~(_FLAGS | _TEMPLATE) or args[1] < 0:
        return "the pattern's flags are unknown, or print what is compiled"
    if (
        pattern.count("(") > _DEEPEST
    ):  # the compiler is recursive, and exponential in some nested groups of old versions
        return "the pattern nests too much"
    if context.budget.compiles_too_much(patterns=_cost(pattern, args[1])):
        return "the patterns are long, and compiling them would take seconds"
    return None


def _text_of(value: Any, context: Context) -> str | None:
    """A pattern as text; protocols without bytes write bytes as encoded text."""
    if type(value) is str:
        return value
    if type(value) is bytes:
        return value.decode("latin-1")
    if producer(value) != "_codecs.encode":
        return None
    made = context.content_of(value)
    if len(made) != 1 or not made[0].args or type(made[0].args[0]) is not str:
        return None
    return str(made[0].args[0])


def _cost(pattern: str, flags: int) -> int:
    """Characters to charge for a pattern; what is in a class and what is not is not told apart."""
    classes = pattern.count("[")
    if _WIDE.search(pattern) is None:
        return len(pattern) + _CLASS * classes
    folded = flags & _IGNORECASE or _INLINE.search(pattern)
    return len(pattern) + (_FOLDED_CLASS if folded else _WIDE_CLASS) * classes + _WIDE_RANGE * pattern.count("-")


@argument_rule("regex-flag")
def _regex_flag(use: Use, _context: Context) -> str | None:
    """``re.RegexFlag(n)``: a member for every number is kept for good, so only for those that are flags."""
    args = use.args
    if len(args) == 1 and type(args[0]) is int and args[0] >= 0 and not args[0] & ~(_FLAGS | _DEBUG):
        return None
    return "its argument is not a combination of the flags of regular expressions"


@argument_rule("enum-member")
def _enum_member(use: Use, _context: Context) -> str | None:
    """``Signals(2)``, ``HTTPMethod("GET")``: looks a member up; a second argument would be the names of a new class."""
    args = use.args
    return None if len(args) == 1 and type(args[0]) in (int, str) else "its argument is not the value of a member"
