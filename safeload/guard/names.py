"""May a global be given to an unpickler whose stream nobody judged? The question that the net asks.

A name says nothing about what the stream does with it: it may call it with any arguments, make instances, set their state.
Rule: a name is let through only if the policy allows calls of it with any arguments, or if it is one of the types below,
which the policy has to name as well and whose conditions are about size only. Everything else needs the whole stream.

The event comes before Python 2 names are mapped, and does not say whether they will be. Rule: both readings are judged, the
mapped one always and the spelling itself wherever a module of that name could be there.
"""

from __future__ import annotations

import _compat_pickle
import importlib.util
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from safeload.policy import Policy, Rule

__all__ = ["is_allowed_by_name", "policy_name", "readings"]

# Types in C without code of their own: their attributes cannot be set (a state for a class would do that), and no argument
# makes them run anything. Exceptions of builtins are of the same kind and recognised by what they are.
_PLAIN_TYPES: Final = frozenset(
    """
    builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict builtins.float builtins.frozenset
    builtins.int builtins.list builtins.object builtins.range builtins.set builtins.slice builtins.str builtins.tuple
    collections.OrderedDict collections.defaultdict collections.deque
    """.split()
)

# Copies, because the tables of the module can be written to by anyone.
_IMPORTS: Final = dict(_compat_pickle.IMPORT_MAPPING)
_NAMES: Final = dict(_compat_pickle.NAME_MAPPING)


def policy_name(module: str, name: str) -> str:
    """The name that policies use: ``module.attr``, or ``module:outer.inner`` for a dotted name."""
    return f"{module}:{name}" if "." in name else f"{module}.{name}"


def readings(module: str, name: str) -> tuple[str, ...]:
    """The policy names that a lookup can mean, depending on the stream's protocol, the current one first."""
    mapped = _NAMES.get((module, name)) or (_IMPORTS.get(module, module), name)
    if mapped == (module, name):
        return (policy_name(module, name),)
    return (policy_name(*mapped), policy_name(module, name)) if _exists(module) else (policy_name(*mapped),)


def _exists(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return True  # something of that name is there and cannot say what it is


def is_allowed_by_name(policy: Policy, module: str, name: str) -> bool:
    """Whether every use that a stream could make of this global is allowed."""
    return policy.grants_code or all(_is_free(policy.rule(reading), reading) for reading in readings(module, name))


def _is_free(rule: Rule | None, name: str) -> bool:
    if rule is None or not rule.reference or rule.resolve:
        return False
    if rule.call is True:
        return not any(isinstance(each, str) for each in (rule.construct, rule.state, rule.items))
    return name in _PLAIN_TYPES or _is_exception(name)


def _is_exception(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module != "builtins":
        return False
    found = getattr(sys.modules["builtins"], attribute, None)
    return isinstance(found, type) and issubclass(found, BaseException) and found.__module__ == "builtins"
