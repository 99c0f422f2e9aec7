"""Measure what README promises: one table, every row a ratio taken in one run on one machine.

``python tests/benchmarks`` prints the table and ends with exit code 0 if every bound holds, 1 if one does not, 2 if a
row could not be measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import rows
import stages

FULL = rows.Effort(rounds=7, scale=1.0)
QUICK = rows.Effort(rounds=2, scale=0.125)
LINE = "{:<62} {:>14} {:>14} {:>16} {:>14}  {}"


def main(arguments: list[str]) -> int:
    """Run the rows that were asked for; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__.split("\n", 1)[0])
    names = ", ".join(rows.ROWS)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to measure (default: all): {names}")
    parser.add_argument("--quick", action="store_true", help="an eighth of the large inputs, few rounds: noisy")
    parser.add_argument("--profile", action="store_true", help="also tell in which stage of safeload the time goes")
    parser.add_argument("--report-only", action="store_true", help="exit code 0 whether or not the bounds hold")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in rows.ROWS]
    if unknown:
        parser.error(f"no such row: {unknown[0]}")
    if options.child:
        effort = QUICK if options.quick else FULL
        print(json.dumps(asdict(rows.ROWS[options.rows[0]].measure(effort))))
        return 0
    result = table(options.rows or list(rows.ROWS), quick=options.quick)
    if options.profile:
        print()
        stages.report(QUICK if options.quick else FULL)
    return 0 if options.report_only and result == 1 else result


def table(names: list[str], *, quick: bool) -> int:
    """Print one line per row; the exit code."""
    print(f"Python {platform.python_version()} on {platform.machine()}, best of interleaved rounds, collector on\n")
    print(LINE.format("", "baseline", "safeload", "measured", "bound", ""))
    worst = 0
    for name in names:
        row = rows.ROWS[name]
        figure = measure_apart(name, quick=quick)
        if figure is None:
            worst = 2
            print(LINE.format(row.title, "", "", "", "", "ERROR"), flush=True)
            continue
        holds = row.holds(figure)
        worst = max(worst, 0 if holds else 1)
        measured = f"{figure.value:.2f}{row.unit}"
        verdict = "FAIL" if not holds else "PASS" if row.bound is not None else ""
        print(LINE.format(row.title, figure.baseline, figure.ours, measured, row.promise, verdict).rstrip(), flush=True)
    return worst


def measure_apart(name: str, *, quick: bool) -> rows.Figure | None:
    """Measure one row in a process of its own; ``None`` if that fails (its traceback goes to stderr)."""
    command = [sys.executable, str(Path(__file__).parent), "--child", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode:
        return None
    return rows.Figure(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
