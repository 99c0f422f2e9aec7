"""What the classes that packs name have that could be called: a scan imports nothing, so it is written down.

One text file for each pack (``packs/members``), written by ``python tests/members`` from the installed libraries of several years and read
when an object gets a state. A line ``: CLASS FLAGS BASES`` names a class, a line ``= SHORT BASE NAMES`` what a base defines: methods,
and with ``@`` in front properties and other descriptors; ``index.txt`` tells which files have names of a top-level package. Rule: names are only ever added; one that some version of a library looks up on
its instances stays.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

__all__ = ["Members", "flags_of", "members_of"]

_DIRECTORY = Path(__file__).parent / "packs" / "members"


class Members(NamedTuple):
    """Names of a class: ``methods`` are called, ``properties`` are descriptors that hand out something."""

    methods: frozenset[str]
    properties: frozenset[str]


@functools.cache
def members_of(name: str) -> Members:
    """What instances of ``name`` have; nothing for a class that no pack gives a state to."""
    methods: set[str] = set()
    properties: set[str] = set()
    for pack in _packs(name):
        _, *bases = (_line(pack, f": {name}") or "-").split()
        for base in bases:
            for each in (_line(pack, f"= {base}") or "").split()[1:]:
                if each.startswith("@"):
                    properties.add(each[1:])
                else:
                    methods.add(each)
    return Members(frozenset(methods), frozenset(properties - methods))


@functools.cache
def flags_of(name: str) -> str | None:
    """What is known of a name besides its members; ``None``: nothing.

    ``c``: instances can be called. ``d``: they are dicts, tuples or other mappings. ``a``: they answer names that they do not have.
    ``f``: it is a function. ``u``: no library that was asked has it. ``s``: none has it, and this is known of a class of the same name.
    """
    lines = [line for line in (_line(pack, f": {name}") for pack in _packs(name)) if line is not None]
    return "".join(line.split()[0] for line in lines) if lines else None


def _packs(name: str) -> list[str]:
    """The packs that have names of the same top-level package."""
    line = _line("index", f"- {name.partition(':')[0].partition('.')[0]}")
    return [] if line is None else line.split()


def _line(pack: str, start: str) -> str | None:
    """What stands behind ``start`` in its line."""
    text = _text(pack)
    at = text.find(f"\n{start} ")
    return None if at < 0 else text[at + len(start) + 2 : text.index("\n", at + 1)]


@functools.cache
def _text(pack: str) -> str:
    return (_DIRECTORY / f"{pack}.txt").read_text("ascii")
