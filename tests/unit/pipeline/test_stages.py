"""The list of stages is the order of the code: numbers beside the steps, and events of a trail, come as it says."""

from __future__ import annotations

import ast
import fractions
import re
from pathlib import Path
from typing import Any

import pytest

import safeload
from safeload import Key, KeyRing, Loader
from safeload.pipeline.stages import STAGES

PACKAGE = Path(safeload.__file__).parent
# What is not the way of an artifact that is read.
_OTHERS = {"seal"}


def steps(path: str) -> dict[str, list[int]]:
    """The numbers of the comments in each function of a module, in their order."""
    text = (PACKAGE / path).read_text(encoding="utf-8")
    lines = text.splitlines()
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            comments = [line.strip() for line in lines[node.lineno : node.end_lineno] if line.strip().startswith("# (")]
            numbers = [int(number) for line in comments for number in re.findall(r"\((\d)\)", line)]
            if numbers:
                found[node.name] = numbers
    return found


def test_the_numbers_are_those_of_the_list() -> None:
    """The list is what a reader holds the code against."""
    assert [stage.number for stage in STAGES] == [1, 2, 3, 4, 5, 6, 7, 8]
    names = re.findall(
        r"^    \((\d)\) (\w+) ", (PACKAGE / "pipeline/load.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert names == [(str(stage.number), stage.name) for stage in STAGES]


@pytest.mark.parametrize(
    ("path", "last"), [("pipeline/load.py", 8), ("pipeline/scan.py", 5), ("api/pickle_classes.py", 6)]
)
def test_no_way_in_leaves_a_stage_out_or_goes_back(path: str, last: int) -> None:
    """A stage that one way in forgets is a check that does not take place there; a way back judges what was loaded."""
    found = steps(path)
    assert {number for numbers in found.values() for number in numbers} == set(range(1, last + 1))
    for numbers in found.values():
        assert numbers == sorted(numbers)


def test_every_operation_of_a_trail_has_its_stage() -> None:
    """An event that is in no row of the list comes from a step that is not on it."""
    known = {name for stage in STAGES for name in stage.operations}
    for file in [*(PACKAGE / "pipeline").rglob("*.py"), PACKAGE / "api/pickle_classes.py"]:
        for name in re.findall(r'\.child\("(\w+)"', file.read_text(encoding="utf-8")):
            assert name in known | _OTHERS, (file, name)


def test_a_trail_shows_the_stages_in_their_order() -> None:
    """Of a load that takes them all: authentic before it is judged, judged before it is loaded."""
    events: list[dict[str, Any]] = []
    key = Key.generate("hs256-gcm")
    data = Loader().dumps({"a": fractions.Fraction(1, 3)}, key=key)
    loader = Loader(keys=KeyRing([key]), audit=events.append)
    loader.loads(data, schema={"type": "object"})
    begun = [event["event"].rpartition(".")[2] for event in events if event["phase"] == "attempt" and "parent" in event]
    number = {name: stage.number for stage in STAGES for name in stage.operations}
    order = [number[operation] for operation in begun]
    assert order == sorted(order)
    assert set(order) == {2, 5, 6, 8}
