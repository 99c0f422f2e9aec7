"""How time and memory are measured, so that the ratio of two figures means something on a machine that is shared.

Rules: the two sides of a ratio take turns, in one process, and the best of their rounds counts (noise only adds). The
garbage collector is on, as a user has it, and has just run before each round. What a call returns lives until the
clock has stopped: nobody loads an object to drop it. safeload remembers what it has judged clean; it is made to
forget that before each round, unless a row is about just that. Every row runs in a process of its own, so that what one row
imports or leaves on the heap cannot slow down another.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compare", "once", "peak_memory", "start_up"]


def compare(
    baseline: Callable[[], Any], ours: Callable[[], Any], *, rounds: int, before: Callable[[], Any] = lambda: None
) -> tuple[float, float]:
    """Best seconds per call of both sides.

    Args:
        baseline: what a user does without safeload.
        ours: the same with safeload.
        rounds: how often each side has its turn.
        before: is called before each turn, with the clock stopped.
    """
    best = [float("inf"), float("inf")]
    sides = [(0, baseline), (1, ours)]
    baseline()
    ours()
    for turn in range(rounds):
        for index, call in sides if turn % 2 else reversed(sides):
            before()
            best[index] = min(best[index], once(call))
    return best[0], best[1]


def once(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    gc.collect()
    begin = perf_counter()
    kept = call()
    took = perf_counter() - begin
    del kept
    return took


def peak_memory() -> int:
    """The highest resident size of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def start_up(statement: str, *, rounds: int) -> float:
    """Median seconds that a new interpreter needs for ``statement`` beyond what it needs for nothing."""
    differences = []
    for _ in range(rounds):
        bare, with_it = (_run(code) for code in ("pass", statement))
        differences.append(with_it - bare)
    return statistics.median(differences)


def _run(code: str) -> float:
    begin = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdin=subprocess.DEVNULL)
    return perf_counter() - begin
