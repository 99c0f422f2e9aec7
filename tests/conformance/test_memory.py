"""Memory that a library trusts: an object whose arrays lie does not reach its library, or does no harm there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="each case needs a process of its own, and 128 imports take long"
)

ROOT = Path(__file__).parents[2]
# The library itself looks, or does not care: what its use comes to.
HARMLESS = {
    "forest: trees that do not know their features": "raised: ValueError: X has 1 features",
    "isolation forest: short paths": "raised: IndexError",
    "isolation forest: short averages": "raised: IndexError",
    "targets: few encodings": "raised: IndexError",
    "birch: as it is": "used",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a forked child cannot use its parent's threads
    command = [sys.executable, "-m", "tests.conformance.memory_runner"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_lie_is_refused(outcomes):
    """A refusal says what is wrong; a process that died, or an object that was used with another one's memory, is a hole."""
    wrong = {}
    for name, outcome in outcomes.items():
        expected = HARMLESS.get(name, "refused: the artifact is allowed but could not be rebuilt: ValueError: ")
        if not outcome.startswith(expected):
            wrong[name] = outcome
    assert not wrong
    assert len(outcomes) >= 120
    assert HARMLESS.keys() <= outcomes.keys()
