"""The rows about the command: CPU time of whole processes that scan, against picklescan's, and what several jobs win."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from format_rows import mixed_artifacts
from rows import Effort, Figure, Row, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SCAN_ROWS"]

# A directory of real artifacts to scan in place of one that is made here.
CORPUS = "SAFELOAD_BENCHMARK_CORPUS"
SIX_PACKS = ["sklearn", "pandas", "scipy", "torch", "statsmodels", "xgboost"]


def small_files(folder: Path, count: int) -> None:
    """``count`` pickles of records of 100 bytes."""
    for number in range(count):
        record = {"id": number, "name": f"n{number}", "values": [number / 7, number + 1.5], "tags": ["a", "b"]}
        (folder / f"{number}.pkl").write_bytes(pickle.dumps(record))


def against_picklescan(effort: Effort, fill: Callable[[Path], None] | None, packs: list[str]) -> Figure:
    """CPU seconds of ``safeload scan --jobs 1`` against those of picklescan, both with their start, user and system."""
    scanner = shutil.which("picklescan", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if scanner is None:
        raise LookupError("picklescan is not installed")
    with tempfile.TemporaryDirectory() as made:
        folder = made
        if fill is None:
            folder = os.environ.get(CORPUS) or made
            fill = mixed_artifacts
        if folder == made:
            fill(Path(folder))
        theirs = [scanner, "-p", folder]
        ours = _scan(folder, "--jobs", "1", *(f"--policy={pack}" for pack in packs))
        return ratio(_in_turns(theirs, ours, max(2, effort.rounds // 2), cpu_seconds))


def jobs(effort: Effort) -> Figure:
    """Wall time of the default number of jobs against that of one, on small files."""
    with tempfile.TemporaryDirectory() as folder:
        small_files(Path(folder), 500)
        return ratio(_in_turns(_scan(folder, "--jobs", "1"), _scan(folder), effort.rounds, wall_seconds))


def _scan(folder: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "safeload", "scan", folder, *options]


def _in_turns(
    theirs: list[str], ours: list[str], rounds: int, measured: Callable[[list[str]], float]
) -> tuple[float, float]:
    """The best of both after one run each that is not counted."""
    for command in (theirs, ours):
        measured(command)
    pairs = [(measured(theirs), measured(ours)) for _ in range(rounds)]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def cpu_seconds(command: list[str]) -> float:
    """User and system seconds of a command and of the processes that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def wall_seconds(command: list[str]) -> float:
    """Seconds that a command takes."""
    begin = perf_counter()
    _run(command)
    return perf_counter() - begin


def _run(command: list[str]) -> None:
    """Both sides start from compiled modules, as they do where they are installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, capture_output=True, check=False, env=environment)


def _row(title: str, fill: Callable[[Path], None] | None, bound: float, packs: Any = ()) -> Row:
    return Row(title, lambda effort: against_picklescan(effort, fill, list(packs)), bound)


SCAN_ROWS: dict[str, Row] = {
    "scan-corpus": _row("scan: a directory of artifacts, six packs, CPU, against picklescan", None, 2, SIX_PACKS),
    "scan-one": _row("scan: one small file, CPU, against picklescan", lambda folder: small_files(folder, 1), 2),
    "scan-500": _row("scan: 500 small files, CPU, against picklescan", lambda folder: small_files(folder, 500), 2.5),
    "scan-10000": _row("scan: 10,000 small files, CPU, against picklescan", lambda folder: small_files(folder, 10_000), 2.5),
    "scan-jobs": Row("scan: 500 small files, default jobs, wall time, against --jobs 1", jobs, 1.05),
}  # fmt: skip
