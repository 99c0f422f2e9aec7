"""The hostile corpus, executed: what the judgement refuses elsewhere runs here, in the jail, and achieves nothing."""

from __future__ import annotations

import collections
import io
from typing import TYPE_CHECKING

import pytest
from pickle_parts import SPELLINGS
from sandbox_parts import jailed, needs_level, open_descriptors
from test_gadgets import FIRING, GADGETS, filled

from safeload.errors import SafeloadError
from safeload.limits import Limits
from safeload.sandbox import detonate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_level("full")

LIMITS = Limits(max_sandbox_seconds=5, max_sandbox_memory=1 << 29)
# Not imported for their gadgets: they take seconds, or (antigravity) do something at import.
LEFT_OUT = {"torch", "pandas", "scipy", "sklearn", "skops", "antigravity", "site", "pip", "cgitb", "imp"}
MODULES = ("pstats", *sorted({gadget.module for gadget in GADGETS if gadget.module.partition(".")[0] not in LEFT_OUT}))
# These look for a program or a terminal first, find none, and give up.
LOOKING = {"pty.spawn", "uuid._get_command_stdout"}

# Spellings that call a function with plain pickle; the others are refused by the unpickler itself.
CALLS = {
    "protocol 0",
    "protocol 1, INST",
    "protocol 1, OBJ",
    "protocol 2",
    "protocol 3",
    "STACK_GLOBAL",
    "in a frame",
    "DUP",
    "popped",
}


def stream(gadget, marker: Path, spelling: str = "protocol 2") -> bytes:
    return SPELLINGS[spelling](gadget.module, gadget.name, *filled(gadget.args, marker))


def outcome(data: bytes) -> str:
    try:
        return f"data {jailed(data, LIMITS, 'full', modules=MODULES)!r}"[:100]
    except SafeloadError as error:
        return f"{type(error).__name__}: {error}"[:200]


def test_no_gadget_leaves_a_mark(marker, tmp_path) -> None:
    """Each is called with arguments that run code or write a file outside; none does, and the jail stays usable."""
    outcome(b"N.")
    before = open_descriptors()
    came = collections.Counter()
    for gadget in GADGETS:
        told = outcome(stream(gadget, marker))
        came[told.partition(":")[0].partition(" ")[0]] += 1
        assert not marker.exists(), gadget
        assert list(tmp_path.iterdir()) == [], gadget
        if f"{gadget.module}.{gadget.name}" in FIRING - LOOKING:
            assert "forbids" in told or "denied" in told or "permitted" in told or told.startswith("data"), (
                gadget,
                told,
            )
    assert came["SandboxViolationError"] >= 3, came  # most fail at the pipe or the file that they need first
    assert open_descriptors() == before
    assert outcome(b"K*.") == "data 42"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_leaves_a_mark(spelling, marker) -> None:
    """The same call in every way in which a stream can spell it."""
    gadget = next(gadget for gadget in GADGETS if gadget.module == "posix")
    told = outcome(stream(gadget, marker, spelling))
    assert not marker.exists()
    assert "forbids" in told or spelling not in CALLS, told


def test_the_firing_ones_are_seen_by_detonation(marker) -> None:
    """What fires under plain pickle is evidence there, and leaves no mark either."""
    libraries = sorted({name.rpartition(".")[0] for name in FIRING} - {"builtins"})
    for gadget in GADGETS:
        if f"{gadget.module}.{gadget.name}" in FIRING - LOOKING:
            seen = detonate(io.BytesIO(stream(gadget, marker)), timeout=5, libraries=libraries)
            assert seen.evidence, gadget
            assert not marker.exists(), gadget
