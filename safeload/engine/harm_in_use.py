"""What is done with a global that is harmful with some arguments only: evidence for a verdict, never what decides a load.

``functools.reduce`` is how ``int | str`` is pickled and how a list of arguments is run through a function; ``getattr`` names a nested class,
and leads from any object to the interpreter. Rule: what the arguments show to be a type is none, and what they show to be a way to the
interpreter is evidence; everything else stays what the name is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.engine.harmful import leads_to_harm
from safeload.program import Kind, StandinType, global_name, producer

if TYPE_CHECKING:
    from safeload.program import Program, Use

__all__ = ["joins_types_only", "reaches_harm"]

_REDUCE = frozenset({"functools.reduce", "_functools.reduce"})
_OR = frozenset({"operator.or_", "_operator.or_"})
_GETTERS = frozenset({"builtins.getattr", "operator.attrgetter", "_operator.attrgetter"})
_ITEMS = frozenset({"operator.itemgetter", "_operator.itemgetter", "operator.getitem", "_operator.getitem"})


def joins_types_only(program: Program, name: str) -> bool:
    """Whether every use of ``functools.reduce`` is a union of types (PEP 604)."""
    return name in _REDUCE and all(_is_union(use) for use in program.uses if _mentions(use))


def _mentions(use: Use) -> bool:
    return use.name in _REDUCE or any(global_name(item) in _REDUCE for item in use.args)


def _is_union(use: Use) -> bool:
    if use.kind is Kind.REFERENCE and use.name in _REDUCE:
        return True
    if use.kind is not Kind.CALL or use.name not in _REDUCE or len(use.args) != 2:
        return False
    function, items = use.args
    return global_name(function) in _OR and type(items) in (tuple, list) and all(map(_is_type, items))


def _is_type(item: Any) -> bool:
    return isinstance(item, StandinType) or item is None or producer(item) in ("builtins.type", *_REDUCE)


def reaches_harm(program: Program, name: str) -> bool:
    """Whether ``name``, which gets attributes or items, gets some that lead to the interpreter."""
    if name not in _GETTERS and name not in _ITEMS:
        return False
    return any(_reaches(use) for use in program.uses if use.name == name and use.kind is not Kind.REFERENCE)


def _reaches(use: Use) -> bool:
    texts = [item for item in use.args if type(item) is str]
    owner = global_name(use.args[0]) or "" if use.args else ""
    return any(leads_to_harm(owner, part) for text in texts for part in text.split("."))
