"""The table of codes is complete: nothing refuses under a name that is not in it, and no row is for show.

Programs match on codes (alerts, baselines, suppressions), so each is a promise.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

import safeload
from safeload import errors
from safeload.facts import codes
from safeload.facts.codes import CODES, families
from safeload.findings import Severity

PACKAGE = Path(safeload.__file__).parent
README = PACKAGE.parent / "README.md"
SHAPE = re.compile(r"[a-z0-9]+\.[a-z0-9-]+")
# Literals of the same shape that are no codes.
OTHERS = frozenset(
    {
        "keras.json", "keras.layers", "keras.models", "safeload.audit", "safeload.errors", "safeload.findings", "safeload.guard",
        "safeload.limits", "safeload.pickle", "schema.json", "torch.device", "torch.nn", "torch.serialization",
    }
)  # fmt: skip
# Codes whose second part is put together: by `refused("expired")` of the envelope, by the level of an attestation.
PARTS = {"envelope": "envelope", "sandbox": "sandbox", "limit": "envelope"}


@functools.cache
def literals(folder: str = "") -> frozenset[str]:
    """Every text of the package's code, the table aside."""
    found = set()
    for file in (PACKAGE / folder).rglob("*.py"):
        if file.name != "codes.py":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    return frozenset(found)


def test_every_code_that_is_used_is_in_the_table() -> None:
    """A code that nobody listed is one that no alert knows."""
    used = {text for text in literals() if SHAPE.fullmatch(text) and text.partition(".")[0] in families()}
    assert used - set(CODES) - OTHERS == set()


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_row_is_used(name: str) -> None:
    """A row for what is never raised promises a check that does not take place."""
    family, _, rest = name.partition(".")
    if rest == "*":
        assert f"{family}." in literals()
    else:
        parts = {rest, f"max_{rest.replace('-', '_')}"}
        assert name in literals() or (family in PARTS and parts & literals(PARTS[family]))


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_row_says_something(name: str) -> None:
    """What is printed for a person who asks what a code means."""
    code = CODES[name]
    assert code.severity in {"", *(each.name.lower() for each in Severity)}
    assert 8 < len(code.meaning) < 100
    assert not code.meaning.endswith(".")


def severities() -> dict[str, set[str]]:
    """What findings that are written out in the package say of their severity, by code."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="Finding"),
                    args=[ast.Constant(value=str(name)), ast.Attribute(value=ast.Name(id="Severity"), attr=grade), *_],
                ):
                    found.setdefault(name, set()).add(grade.lower())
    return found


def test_findings_are_as_grave_as_the_table_says() -> None:
    """Whoever sets a threshold by the table would miss a finding that is milder in the code."""
    found = severities()
    assert len(found) > 20
    assert {name: grades for name, grades in found.items() if CODES[name].severity not in grades} == {}


def test_names_are_there_once() -> None:
    """The second of two rows with one name would silently take the place of the first."""
    assert len(codes._ROWS) == len(CODES)


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_and_table_agree(name: str) -> None:
    """An error's class has the code and the stage that the table tells."""
    error = getattr(errors, name)
    assert CODES[error.default_code].stage == error.default_stage


def test_readme_has_the_codes_of_the_table() -> None:
    """README's list of codes is made of the table, family by family."""
    rows = [
        f"| `{family}` | " + ", ".join(f"`{code.name.partition('.')[2]}`" for code in members) + " |"
        for family, members in families().items()
    ]
    text = README.read_text(encoding="utf-8")
    missing = [row for row in rows if row not in text]
    assert missing == [], "put these rows into README:\n" + "\n".join(rows)
