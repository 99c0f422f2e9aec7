"""Looks at every entry of the shipped packs in the installed libraries and flags what a person has to read.

Run ``python tests/conformance/pack_audit.py [PACK...]`` to print the list. The test next to it fails when an entry does not
exist although it claims to, or when a flagged one gives no reason that names what was flagged.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safeload.policy.packs import load_pack, pack_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.policy.model import Rule

# What a class can define that runs when the unpickler makes, changes or drops an instance.
HOOKS = ("__setstate__", "__new__", "__del__", "__getattr__", "__getattribute__", "__setattr__", "__setitem__")
# Permissions that leave nothing to a hook: no arguments for __new__, and for __setstate__ a rule about that very class.
GENERIC_STATES = {True, "dict-state", "slots-state", "tuple-state"}
HARMLESS_BASES = {object, type, tuple, dict, list, set, frozenset, int, float, str, bytes, BaseException, Exception}
DANGEROUS = re.compile(r"\b(exec|eval|compile|__import__|import_module|open|getattr|system|Popen|loads?)\(")


@dataclass(frozen=True)
class Flag:
    """One thing about one entry that a person has to read."""

    name: str
    what: str
    reason: str


def resolve(name: str) -> Any:
    """The object that an entry names, or ``LookupError``."""
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise LookupError(str(error)) from None
    return found


def entries(pack: str) -> Iterator[Rule]:
    """The entries of a pack whose library is installed."""
    for rule in load_pack(pack).rules.values():
        top = rule.name.partition(":")[0].partition(".")[0]
        if top == "_loss" or importlib.util.find_spec(top) is not None:
            yield rule


def flags_of(rule: Rule) -> Iterator[Flag]:
    """What a person has to read about one entry."""
    try:
        found = resolve(rule.resolve or rule.name)
    except LookupError:
        return
    if isinstance(found, type):
        for hook in hooks_of(found):
            if (
                (hook == "__setstate__" and rule.state in GENERIC_STATES)
                or (hook == "__new__" and (rule.construct is True or rule.call is True))
                or (hook == "__del__" and (rule.construct or rule.call))
                or (hook in ("__getattr__", "__getattribute__") and (rule.state or rule.items))
                or (hook == "__setattr__" and rule.state in (True, "slots-state"))
                or (hook == "__setitem__" and rule.items)
            ):
                yield Flag(rule.name, hook, rule.reason)
    elif rule.call:
        try:
            source = inspect.getsource(found)
        except (TypeError, OSError):
            yield Flag(rule.name, "C function", rule.reason)
            return
        body = source.split('"""')[-1] if '"""' in source else source
        for match in DANGEROUS.finditer(body):
            yield Flag(rule.name, match[1], rule.reason)


def hooks_of(cls: type) -> tuple[str, ...]:
    """The hooks that a class or one of its bases defines in Python or in C, outside the built-in types."""
    found = []
    for hook in HOOKS:
        for base in cls.__mro__:
            if base in HARMLESS_BASES or base.__module__ in ("builtins", "abc", "typing", "_collections_abc"):
                continue
            defined = vars(base).get(hook)
            written_in_c = not inspect.isfunction(defined) and hook not in ("__setstate__", "__new__", "__del__")
            if defined is not None and not written_in_c:
                found.append(hook)
                break
    return tuple(found)


def main(packs: list[str]) -> None:
    """Print what has to be read, and what does not exist here."""
    for pack in packs or list(pack_names()):
        for rule in entries(pack):
            try:
                resolve(rule.resolve or rule.name)
            except LookupError as error:
                if not rule.versions:
                    print(f"{pack}: MISSING {rule.name}: {error}")
            for flag in flags_of(rule):
                print(f"{pack}: {flag.name}: {flag.what}: {flag.reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
