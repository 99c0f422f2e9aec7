"""The threat model may promise only what a test proves.

Every guarantee in ``threat-model.md`` is a section ``### G<number> …`` with a line that begins with ``Proved by`` and
names tests by id. These tests read ids with the ``ast`` module, without importing a test.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "threat-model.md"
HEADING = re.compile(r"^### G(\d+) (.+)$", re.MULTILINE)
TEST_ID = re.compile(r"`(tests/[\w/.-]+\.py)((?:::\w+)+)`")
STATES = {"holds", "detectable", "lost", "n/a"}


def guarantees() -> dict[str, str]:
    """The text of each guarantee's section by its id."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = list(HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    sections = {}
    for match, end in zip(found, ends, strict=True):
        body = text[match.end() : end]
        sections[f"G{match[1]}"] = re.split(r"^## ", body, maxsplit=1, flags=re.MULTILINE)[0]
    return sections


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the tests in a file, ``test_x`` or ``TestY::test_x``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inside = (item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}::{item.name}" for item in inside if item.name.startswith("test")}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            names.add(node.name)
    return frozenset(names)


def proofs(section: str) -> list[str]:
    """The test ids that a section names after ``Proved by``."""
    _, _, after = section.partition("\nProved by")
    return [f"{match[1]}{match[2]}" for match in TEST_ID.finditer(after)]


def exists(test_id: str) -> bool:
    """Whether there is such a test."""
    file, _, name = test_id.partition("::")
    path = ROOT / file
    return path.is_file() and name in names_in(path)


def test_guarantees_are_numbered_in_order():
    """A number that is cited elsewhere never comes to mean another guarantee unnoticed."""
    numbers = [int(match[1]) for match in HEADING.finditer(DOCUMENT.read_text(encoding="utf-8"))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize("name", guarantees())
def test_every_guarantee_names_a_test_that_exists(name):
    """A promise without a proof, or with one that was renamed away, fails here."""
    named = proofs(guarantees()[name])
    assert named, f"{name} names no test after 'Proved by'"
    assert [test for test in named if not exists(test)] == []


@pytest.mark.parametrize("name", guarantees())
def test_every_guarantee_tells_its_mechanism(name):
    """What is promised, and how: a reader can judge the mechanism without reading the code."""
    assert re.search(r"^Mechanism: \S", guarantees()[name], re.MULTILINE)


def test_the_matrix_has_a_row_for_every_guarantee():
    """For every guarantee and every compromise the document says what remains."""
    text = DOCUMENT.read_text(encoding="utf-8")
    columns = len(re.search(r"^\| guarantee \|(.+)\|$", text, re.MULTILINE)[1].split("|"))
    rows = {}
    for match in re.finditer(r"^\| (G\d+)[^|]*\|(.+)\|$", text, re.MULTILINE):
        rows[match[1]] = [re.sub(r"[ ¹²³⁴⁵⁶⁷⁸⁹]", "", cell) for cell in match[2].split("|")]
    assert list(rows) == list(guarantees())
    for name, cells in rows.items():
        assert len(cells) == columns, name
        assert set(cells) <= STATES, name


def test_files_that_the_document_names_exist():
    """A mechanism that points at a module that has moved away points nowhere."""
    text = DOCUMENT.read_text(encoding="utf-8")
    named = set(re.findall(r"`(safeload/[\w/.-]+|tests/[\w/.-]+|examples/[\w/.-]+)", text))
    assert named
    assert sorted(name for name in named if not (ROOT / name.rstrip("/")).exists()) == []


def test_a_missing_test_is_noticed():
    """The check itself works: an id that does not exist is not taken for one that does."""
    assert exists("tests/conformance/test_guarantees.py::test_a_missing_test_is_noticed")
    assert not exists("tests/conformance/test_guarantees.py::test_nowhere")
    assert not exists("tests/conformance/nowhere.py::test_a")
    assert proofs("\nProved by `tests/a.py::test_b`,\n`tests/c.py::TestD::test_e`.\n") == [
        "tests/a.py::test_b",
        "tests/c.py::TestD::test_e",
    ]
