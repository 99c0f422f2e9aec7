"""The interface as a type checker sees it: the mistakes of a typical client are errors before the program runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import safeload

MISTAKES = """
loader.dumps([1], codec=5)
loader.dumps([1], key="text")
loader.dumps([1], sing=False)
loader.dumps([1], sign="no")
loader.dumps([1], protocol="5")
loader.dump([1])
loader.loads(b"", mmap="yes")
loader.loads(b"", polciy="data")
loader.load("x", limits=5)
loader.load("x", version="2")
loader.bound(purpose=5)
loader.bound(expires=5)
safeload.configure(polic="data")
safeload.configure(limits="big")
safeload.Key.generate(5)
safeload.KeyRing.from_file("x", refresh="60")
safeload.KeyRing(key)
safeload.audit_context(labels=["a"])
safeload.loads(b"", kind=5)
"""
RIGHT = """
loader.dumps([1], codec="json", sign=False)
loader.dump([1], "path", key=key, context=("cache", b"key"), expires_in=60)
loader.load("path", policy=["data"], keys=key.public, kind="state", version=2)
loader.bound(purpose="cache", codec="json").loads(b"")
safeload.configure(keys=safeload.KeyRing.from_file("x", refresh=60))
with safeload.audit_context("id", {"a": "b"}):
    safeload.loads(b"", limits=safeload.Limits())
"""


def test_mistakes_are_errors_and_right_calls_are_not(tmp_path):
    """Each mistake is an error at its line; a program without one has none."""
    pytest.importorskip("mypy")
    head = 'import safeload\nkey = safeload.Key.generate("hs256")\nloader = safeload.Loader(keys=key)\n'
    program = tmp_path / "client.py"
    program.write_text(head + RIGHT + MISTAKES)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache"), str(program)],
        capture_output=True, text=True, cwd=Path(safeload.__file__).parents[1],
    )  # fmt: skip
    found = {int(line) for line in re.findall(r"client\.py:(\d+): error", run.stdout)}
    lines = program.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line and line in MISTAKES.splitlines()}
    assert len(expected) >= 15
    assert found == expected, run.stdout
