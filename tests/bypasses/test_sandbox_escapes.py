"""Every way out of the jail that we know, tried as root and as nobody, with both walls and with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sandbox_escapes import CASES
from sandbox_parts import needs_level

pytestmark = needs_level("full")

PROGRAM = Path(__file__).parents[1] / "sandbox_escapes.py"
NOBODY = 65534
RUNS = [("root", "full"), ("root", "seccomp-only"), ("nobody", "full"), ("nobody", "seccomp-only")]


def outcomes(user: str, level: str) -> dict[str, Any]:
    """What came of every attempt; one program for all of them."""
    if user == "root" and os.getuid() != 0:
        pytest.skip("this test does not run as root")
    options: dict[str, Any] = (
        {"user": NOBODY, "group": NOBODY, "extra_groups": []} if user == "nobody" and os.getuid() == 0 else {}
    )
    try:
        probe = "import os, safeload; os.open(os.devnull, os.O_RDWR)"
        subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True, cwd="/", timeout=60, **options)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{user} cannot run this interpreter, read safeload or open /dev/null here")
    path = os.pathsep.join([str(PROGRAM.parent), str(PROGRAM.parents[1])])
    done = subprocess.run(
        [sys.executable, "-B", str(PROGRAM), level], capture_output=True, text=True, check=False, cwd="/", timeout=120,
        env={**os.environ, "PYTHONPATH": path}, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["level"] == level
    assert (found["uid"] == 0) is (user == "root")
    return found


@pytest.mark.parametrize(("user", "level"), RUNS, ids=["-".join(run) for run in RUNS])
def test_no_attempt_gets_out(user, level) -> None:
    """Each ends as the filter, Landlock, the limits or the reader of results says it must: not only without success.

    Nobody outside noticed anything: no connection, no datagram; and the sandbox still works after all of it.
    """
    seen = outcomes(user, level)
    found = seen["found"]
    assert set(found) == set(CASES)
    wrong = {name: found[name] for name, (_, expected) in CASES.items() if found[name][0] not in expected}
    assert wrong == {}
    assert [name for name, (_, text) in found.items() if text.startswith("ESCAPED")] == []
    assert seen["heard"] == []
    assert seen["healthy"] == 42
