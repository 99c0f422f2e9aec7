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

import daily_rows
import format_rows
import rows
import sandbox_rows
import scan_rows
import stages

ROWS = {
    **rows.ROWS,
    **daily_rows.DAILY_ROWS,
    **format_rows.FORMAT_ROWS,
    **scan_rows.SCAN_ROWS,
    **sandbox_rows.SANDBOX_ROWS,
}

NOT_INSTALLED = 3
FULL = rows.Effort(rounds=7, scale=1.0)
QUICK = rows.Effort(rounds=2, scale=0.125)
LINE = "{:<58} {:>14} {:>12} {:>14} {:>12}  {}"


def main(arguments: list[str]) -> int:
    """Run the rows that were asked for; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__.split("\n", 1)[0])
    names = ", ".join(ROWS)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to measure (default: all): {names}")
    parser.add_argument("--quick", action="store_true", help="an eighth of the large inputs, few rounds: noisy")
    parser.add_argument("--profile", action="store_true", help="also tell in which stage of safeload the time goes")
    parser.add_argument("--report-only", action="store_true", help="exit code 0 whether or not the bounds hold")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md, in place of the one there")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {unknown[0]}")
    if options.child:
        effort = QUICK if options.quick else FULL
        try:
            figure = ROWS[options.rows[0]].measure(effort)
        except (LookupError, ImportError) as error:
            print(error)
            return NOT_INSTALLED
        print(json.dumps(asdict(figure)))
        return 0
    if options.readme and (options.rows or options.quick):
        parser.error("README shows all rows of a full run")
    lines: list[str] = []
    result = table(options.rows or list(ROWS), lines, quick=options.quick)
    if options.readme:
        into_readme(lines)
    if options.profile:
        print()
        stages.report(QUICK if options.quick else FULL)
    return 0 if options.report_only and result == 1 else result


def table(names: list[str], lines: list[str], *, quick: bool) -> int:
    """Print one line per row, and keep it in ``lines``; the exit code."""

    def show(line: str) -> None:
        lines.append(line.rstrip())
        print(lines[-1], flush=True)

    show(f"Python {platform.python_version()} on {platform.machine()}, best of interleaved rounds, collector on")
    show("")
    show(LINE.format("", "baseline", "safeload", "measured", "bound", ""))
    worst = 0
    for name in names:
        row = ROWS[name]
        figure = measure_apart(name, quick=quick)
        if isinstance(figure, str):
            show(LINE.format(row.title, "", "", "", row.promise, figure))
            continue
        if figure is None:
            worst = 2
            show(LINE.format(row.title, "", "", "", row.promise, "ERROR"))
            continue
        holds = row.holds(figure)
        worst = max(worst, 0 if holds else 1)
        verdict = "FAIL" if not holds else "PASS" if row.bound is not None else ""
        measured = f"{figure.value:.2f}{row.unit}"
        show(LINE.format(row.title, figure.baseline, figure.ours, measured, row.promise, verdict))
    return worst


def into_readme(lines: list[str]) -> None:
    """Replace the first text block of README's section on figures."""
    path = Path(__file__).parents[2] / "README.md"
    text = path.read_text(encoding="utf-8")
    section = text.index("\n## Figures\n")
    begin = text.index("```text\n", section) + len("```text\n")
    end = text.index("```\n", begin)
    path.write_text(text[:begin] + "\n".join(lines) + "\n" + text[end:], encoding="utf-8")


def measure_apart(name: str, *, quick: bool) -> rows.Figure | str | None:
    """Measure one row in a process of its own; ``None`` if that fails (its traceback goes to stderr).

    A text says what the row compares with and is not installed here.
    """
    command = [sys.executable, str(Path(__file__).parent), "--child", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode == NOT_INSTALLED:
        return done.stdout.splitlines()[-1]
    if done.returncode:
        return None
    return rows.Figure(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
