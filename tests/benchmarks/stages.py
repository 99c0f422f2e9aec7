"""Where safeload's time goes: per stage, from its own audit events, and per function, from the profiler.

The figures of the profiler are for orientation: it makes Python functions look slower than they are beside C ones.
"""

from __future__ import annotations

import cProfile
import pickle
import pstats
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.audit import Event

__all__ = ["report"]

_FUNCTIONS = 8


def report(effort: rows.Effort) -> None:
    """Print stages and functions for the four kinds of work."""
    with tempfile.TemporaryDirectory() as folder:
        for title, call, times in _workloads(effort, Path(folder)):
            _print_stages(title, call, times)


def _workloads(effort: rows.Effort, folder: Path) -> list[tuple[str, Callable[[Any], object], int]]:
    import safeload

    key = safeload.Key.generate("hs256")
    signed = folder / "array.sle"
    safeload.dump(rows.array(effort), signed, key=key)
    data = pickle.dumps(rows.records(int(200_000 * effort.scale)))
    model = pickle.dumps(rows.forest())
    small = safeload.dumps(rows.session(), key=key)

    def loader(audit: Any, **settings: Any) -> safeload.Loader:
        return safeload.Loader(audit=audit, **settings)

    return [
        ("200,000 dicts", lambda audit: loader(audit).loads(data), 1),
        ("random forest", lambda audit: loader(audit, policy=["data", "numpy", "sklearn"]).loads(model), 1),
        ("100 MB array, hs256", lambda audit: loader(audit, keys=key).load(signed), 1),
        ("1 KB dict, hs256", lambda audit: loader(audit, keys=key).loads(small), 1_000),
    ]


def _print_stages(title: str, call: Callable[[Any], object], times: int) -> None:
    from safeload.pipeline.stream import judgements

    now: dict[str, int] = defaultdict(int)

    def collect(event: Event) -> None:
        if event["phase"] == "result":
            stage = (
                f"{event['parent']} > {str(event['event']).removeprefix('safeload.')}" if "parent" in event else "all"
            )
            now[stage] += int(str(event["duration_us"]))

    call(None)
    best: dict[str, int] = {}
    for _ in range(5 if times == 1 else times):
        now.clear()
        judgements.clear()
        call(collect)
        for stage, spent in now.items():
            best[stage] = min(spent, best.get(stage, spent))
    print(f"{title}: microseconds per stage, best of several (with the cost of auditing)")
    for stage, spent in best.items():
        print(f"    {stage:<24} {spent:>12,}")
    judgements.clear()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(times):
        call(None)
    profiler.disable()
    statistics = pstats.Stats(profiler)
    total = statistics.total_tt or 1.0  # type: ignore[attr-defined]
    entries = sorted(statistics.stats.items(), key=lambda item: -item[1][2])  # type: ignore[attr-defined]
    for (file, line, function), (_, calls, own, _, _) in entries[:_FUNCTIONS]:
        place = f"{Path(file).name}:{line} " if line else ""
        print(f"    {own / total:>6.1%}  {calls:>8}x  {place}{function}")
    print()
