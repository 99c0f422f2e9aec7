"""Write down what the classes that packs name have that could be called, for :mod:`safeload.policy.members`.

``python tests/members [PACK...] [--python PATH]...`` asks the libraries of this interpreter, and of others, and adds what they have to the
files in ``safeload/policy/packs/members``; ``--check`` changes nothing and ends with 1 if something is missing. A class that no
interpreter has (a name of an old version) is written with what a class of the same name has elsewhere in the pack, and if there is
none, with all names of the pack: denying too much is the safe side.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from safeload.policy.packs import load_pack, pack_names

HERE = Path(__file__).parent
TARGET = Path(__file__).parents[2] / "safeload/policy/packs/members"
HEAD = (
    "# Names that a state may not use for something callable; written by tests/members, see safeload/policy/members.py."
)
NOWHERE = "pack.AnyClass"


def collected(python: str, names: list[str]) -> dict[str, Any]:
    """What one interpreter says of the names that it has."""
    process = subprocess.run(
        [python, str(HERE / "collect.py")], input="\n".join(names), capture_output=True, text=True, check=True
    )
    return {line["name"]: line for line in map(json.loads, process.stdout.splitlines())}


class Table:
    """What is known of one pack."""

    def __init__(self, pack: str) -> None:
        self.rules = load_pack(pack).rules
        self.path = TARGET / f"{pack}.txt"
        self.bases: dict[str, set[str]] = defaultdict(set)
        self.classes: dict[str, tuple[set[str], set[str]]] = {}
        alias = {}
        for line in self.path.read_text("ascii").splitlines() if self.path.exists() else ():
            mark, _, rest = line.partition(" ")
            if mark == "=":
                short, name, *members = rest.split()
                alias[short] = name
                self.bases[name].update(members)
            elif mark == ":":
                name, flags, *bases = rest.split()
                if "s" not in flags and name in self.rules:
                    self.classes[name] = set(flags) - {"-"}, {alias[base] for base in bases}
        self.bases.pop(NOWHERE, None)

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Add what an interpreter says of a class."""
        if found["is"] != "class":
            self.classes.setdefault(name, ({"f"}, set()))
            return
        flags, bases = self.classes.setdefault(name, (set(), set()))
        flags.update(letter for letter, what in (("c", "called"), ("d", "mapping"), ("a", "answers")) if found[what])
        if not self.rules[name].state:
            return
        for base, (methods, properties) in found["bases"].items():
            members = {*methods, *(f"@{each}" for each in properties)}
            if members:
                bases.add(base)
                self.bases[base] |= members

    def lines(self) -> list[str]:
        """The file."""
        known = {name: each for name, each in self.classes.items() if name in self.rules}
        by_last: dict[str, list[str]] = defaultdict(list)
        for name in known:
            by_last[name.replace(":", ".").rpartition(".")[2]].append(name)
        for name, rule in self.rules.items():
            if name in known:
                continue
            same = by_last.get(name.replace(":", ".").rpartition(".")[2], [])
            flags = {flag for other in same for flag in known[other][0]} | {"s"}
            bases = {base for other in same for base in known[other][1]} if rule.state else set()
            if rule.state and not same and "__pyx_unpickle" not in name:
                bases = {NOWHERE}
            self.classes[name] = (flags if same else {"s", "u"}), bases
        used = {base for _, bases in self.classes.values() for base in bases}
        if NOWHERE in used:
            everything = {each for members in self.bases.values() for each in members}
            self.bases[NOWHERE] = {
                each for each in everything if each.removeprefix("@") == each or each[1:] not in everything
            }
        alias: dict[str, str] = {}
        for base in sorted(used):
            short = base.replace(":", ".").rpartition(".")[2]
            count = sum(1 for known in alias.values() if known.partition("~")[0] == short)
            alias[base] = f"{short}~{count + 1}" if count else short
        out = [HEAD]
        for base in sorted(used):
            out.append(" ".join(["=", alias[base], base, *sorted(self.bases[base])]))
        for name, (flags, bases) in sorted(self.classes.items()):
            if name in self.rules:
                out.append(" ".join([":", name, "".join(sorted(flags)) or "-", *sorted(alias[base] for base in bases)]))
        return out


def index() -> list[str]:
    """Which packs have names of a top-level package."""
    tops: dict[str, set[str]] = defaultdict(set)
    for pack in pack_names():
        for name in load_pack(pack).rules:
            tops[name.partition(":")[0].partition(".")[0]].add(pack)
    return [HEAD, *(f"- {top} {' '.join(sorted(packs))}" for top, packs in sorted(tops.items()))]


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packs", nargs="*", default=list(pack_names()))
    parser.add_argument(
        "--python", action="append", default=[], help="another interpreter whose libraries are asked, too"
    )
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if something is missing")
    given = parser.parse_args()
    tables = {pack: Table(pack) for pack in given.packs}
    asked = {rule.resolve or name for table in tables.values() for name, rule in table.rules.items()}
    for python in [sys.executable, *given.python]:
        found = collected(python, sorted(asked))
        for table in tables.values():
            for name, rule in table.rules.items():
                if (rule.resolve or name) in found:
                    table.add(name, found[rule.resolve or name])
    files = {table.path: table.lines() for table in tables.values()} | {TARGET / "index.txt": index()}
    stale = 0
    for path, lines in files.items():
        text = "\n".join(lines) + "\n"
        if path.exists() and path.read_text("ascii") == text:
            continue
        stale += 1
        print(f"{path.stem}: {'something is missing' if given.check else 'written'}")
        if not given.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "ascii")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
