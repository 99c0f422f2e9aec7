"""The shipped policy packs: one TOML file per library in this directory, read when first asked for.

A pack lists names one by one; there is no way to write a pattern. Unlike a user's ``[[allow]]``, an entry grants only
what it spells out (a name alone may be referenced and nothing else). Adding a pack is adding a file.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safeload.policy.model import Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Pack", "load_pack", "pack_names", "pack_policy", "packs_naming", "with_requirements"]

_DIRECTORY = Path(__file__).parent
_HEAD = frozenset({"title", "library", "requires", "caution", "caution_for", "entry"})
_LONGEST_CAUTION = 300
_FIELDS = frozenset(field.name for field in fields(Rule)) - {"name"} | {"modules", "names"}


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack: its name, the packs it builds on, the library it is about, and its rules by name.

    ``caution`` is a sentence about what a use of loaded objects can still do, ``""`` if there is nothing to say; ``caution_for`` has the
    beginnings of the names that it is about, none for all of the pack.
    """

    name: str
    title: str
    requires: tuple[str, ...]
    library: str
    rules: Mapping[str, Rule]
    caution: str = ""
    caution_for: tuple[str, ...] = ()


@functools.cache
def pack_names() -> tuple[str, ...]:
    """The names of all packs."""
    return tuple(sorted(path.stem for path in _DIRECTORY.glob("*.toml")))


@functools.cache
def load_pack(name: str) -> Pack:
    """Read one pack.

    Raises:
        ValueError: there is no such pack.
    """
    if name not in pack_names():
        near = difflib.get_close_matches(str(name), pack_names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(pack_names())}"
        raise ValueError(f"unknown policy pack {name!r}; {hint}")
    with (_DIRECTORY / f"{name}.toml").open("rb") as file:
        data = tomllib.load(file)
    caution, about = _caution(name, data)
    rules: dict[str, Rule] = {}
    for entry in data["entry"]:
        for rule in _rules(name, entry):
            known = rules.get(rule.name)
            rules[rule.name] = known | rule if known else rule
    requires = tuple(data["requires"])
    return Pack(name, data["title"], requires, data["library"], MappingProxyType(rules), caution, about)


def _caution(pack: str, data: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The head's note on later uses: a misspelled field would be a warning that nobody sees."""
    caution, about = data.get("caution", ""), data.get("caution_for", [])
    one_line = type(caution) is str and len(caution) <= _LONGEST_CAUTION and caution.isprintable()
    names = type(about) is list and all(type(each) is str and each for each in about)
    if data.keys() - _HEAD or not one_line or not names or (about and not caution):
        raise ValueError(f"pack {pack!r} has a malformed head")
    return caution, tuple(about)


def _rules(pack: str, entry: dict[str, Any]) -> Iterable[Rule]:
    unknown = entry.keys() - _FIELDS
    if unknown or not entry.get("reason") or not entry.get("names"):
        raise ValueError(f"pack {pack!r} has a malformed entry for {entry.get('names')}")
    permissions = {key: value for key, value in entry.items() if key not in {"modules", "names"}}
    permissions.setdefault("reference", True)
    permissions["shadows"] = tuple(entry.get("shadows", ()))
    for module in entry["modules"]:
        for name in entry["names"]:
            yield Rule(f"{module}:{name}" if "." in name else f"{module}.{name}", **permissions)


def with_requirements(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` with everything that they require, required packs first, without repeats."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in found:
            for needed in load_pack(name).requires:
                visit(needed)
            found[name] = None

    for name in names:
        visit(name)
    return tuple(found)


@functools.lru_cache(maxsize=64)
def pack_policy(names: tuple[str, ...]) -> Policy:
    """The policy of some packs; made once, since policies are immutable."""
    return Policy(packs=names)


def packs_naming(name: str) -> tuple[str, ...]:
    """The packs that have a rule for a global."""
    return tuple(pack for pack in pack_names() if name in load_pack(pack).rules)
