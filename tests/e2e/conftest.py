"""How the end-to-end tests run the command: as ``main(argv)`` in this process, which costs a tenth of a new one.

Where the process itself is the subject (terminals, signals, ``python -m``), a test starts one. Rule: whatever a command
caches for its process is forgotten before each run, as a new process has it.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from safeload.cli import main
from safeload.cli.workers import loader_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


class _Stream(io.TextIOWrapper):
    """A pipe's end, as far as a command can tell."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode("utf-8", "surrogateescape")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``run(folder, *arguments, code=..., NAME=value)``: a command in a folder, with variables of the environment.

    ``code``: the exit code that it must have. Neither a traceback nor an internal error is ever right, and a usage error
    is one line, and one that says what to do.
    """

    def run(folder: Path, *arguments: str, code: int | None = None, **environment: str) -> Done:
        out, err = _Stream(), _Stream()
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("SAFELOAD")]:
                patch.delenv(name)
            for name, value in {"COLUMNS": "80", **environment}.items():
                patch.setenv(name, value)
            patch.chdir(folder)
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            loader_of.cache_clear()
            try:
                with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123
                    patch.setattr(sys, "stdin", nothing)
                    returned = main(list(arguments))
            finally:
                loader_of.cache_clear()
        done = Done(returned, out.text, err.text)
        if code is not None:
            assert done.returncode == code, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        if done.returncode == 2 and not done.stdout:
            assert done.stderr.startswith("safeload: error: ")
        return done

    return run
