"""The rows about the sandbox: what a load and a call there take over the same in this process, warm.

Latencies are the whole way: judgement, a process, the lock, the result. A row's machine needs the level ``full``.
"""

from __future__ import annotations

import io
import pickle
from time import perf_counter
from typing import TYPE_CHECKING, Any

import measure
from rows import Effort, Figure, Row, session

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SANDBOX_ROWS"]

_CALLS = 200


def _over(baseline: Callable[[], Any], ours: Callable[[], Any], effort: Effort) -> Figure:
    """Milliseconds of the median call over the baseline's median, with the 99th percentile for people."""
    rounds = max(20, int(_CALLS * effort.scale))
    plain, jailed = [], []
    for turn in range(rounds + 5):  # no collection between them: what is measured is a service that is at it
        for call, times in ((baseline, plain), (ours, jailed)):
            begin = perf_counter()
            kept = call()
            if turn >= 5:
                times.append(perf_counter() - begin)
            del kept
    plain.sort()
    jailed.sort()
    middle, late = rounds // 2, max(0, rounds * 99 // 100 - 1)
    over = (jailed[middle] - plain[middle]) * 1e3
    return Figure(over, f"{plain[middle] * 1e3:.2f} ms", f"{jailed[middle] * 1e3:.2f}/{jailed[late] * 1e3:.2f} ms")


def small_load(effort: Effort) -> Figure:
    """A session of 1 KB, judged and loaded in the jail, against judged and loaded here."""
    import safeload
    from safeload.sandbox import load

    data = pickle.dumps(session())
    return _over(lambda: safeload.loads(data), lambda: load(io.BytesIO(data)), effort)


def small_call(effort: Effort) -> Figure:
    """A linear model is asked about 1 MB of rows."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    from safeload.sandbox import open as open_remote

    rows = np.random.default_rng(0).random((13_107, 10))
    model = LinearRegression().fit(rows, rows[:, 0])
    with open_remote(io.BytesIO(pickle.dumps(model))) as remote:
        return _over(lambda: model.predict(rows), lambda: remote.call("predict", rows), effort)


def throughput(effort: Effort) -> Figure:
    """A random forest is asked about 20,000 rows."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    from safeload.sandbox import open as open_remote

    rows = np.random.default_rng(0).random((20_000, 20))
    model = RandomForestClassifier(100, random_state=0).fit(rows[:2_000], rows[:2_000, 0] > 0.5)
    with open_remote(io.BytesIO(pickle.dumps(model))) as remote:
        times = measure.compare(
            lambda: model.predict(rows), lambda: remote.call("predict", rows), rounds=max(3, effort.rounds)
        )
    return Figure(times[0] / times[1], f"{20_000 / times[0]:,.0f} rows/s", f"{20_000 / times[1]:,.0f} rows/s")


SANDBOX_ROWS: dict[str, Row] = {
    "sandbox-load": Row("sandbox.load: 1 KB dict, over loads, p50 (p50/p99)", small_load, 5, " ms"),
    "sandbox-call": Row("sandbox: predict of 1 MB, over in-process, p50 (p50/p99)", small_call, 2, " ms"),
    "sandbox-predict": Row("sandbox: predict of 20,000 rows, random forest", throughput, 0.9, at_most=False),
}
