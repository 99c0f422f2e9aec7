"""The rows about what people load every day; every load is the first of its bytes in the process."""

from __future__ import annotations

import datetime as dt
import pickle
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
from rows import Effort, Figure, Row, compare, forest, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DAILY_ROWS"]

PACKS = ["data", "numpy", "pandas", "scipy", "sklearn"]
_DAY = dt.timedelta(days=1)


def against_pickle(effort: Effort, make: Callable[[Effort], Any]) -> Figure:
    """``Loader.loads`` against ``pickle.loads`` of the same object."""
    import safeload

    data = pickle.dumps(make(effort))
    loader = safeload.Loader(policy=PACKS)
    rounds = effort.rounds * (1 if len(data) > 1 << 17 else 20)
    return ratio(compare(lambda: pickle.loads(data), lambda: loader.loads(data), rounds))


def first_of_its_kind(effort: Effort, make: Callable[[int], Any]) -> Figure:
    """The same where no two streams of the process have the same shape, so nothing is remembered of one before."""
    import safeload

    loader = safeload.Loader(policy=PACKS)
    theirs, ours = [], []
    for number in range(effort.rounds * 4):
        data = pickle.dumps(make(number))
        theirs.append(measure.once(lambda data=data: pickle.loads(data)))
        ours.append(measure.once(lambda data=data: loader.loads(data)))
    return ratio((min(theirs), min(ours)))


def signed(effort: Effort, make: Callable[[Effort], Any]) -> Figure:
    """A signed object against ``pickle.loads`` of the unsigned one."""
    import safeload

    made = make(effort)
    key = safeload.Key.generate("hs256")
    loader = safeload.Loader(policy=PACKS, keys=key)
    plain, sealed = pickle.dumps(made), safeload.dumps(made, key=key)
    return ratio(compare(lambda: pickle.loads(plain), lambda: loader.loads(sealed), effort.rounds * 10))


def as_joblib(effort: Effort, make: Callable[[Effort], Any]) -> Figure:
    """A file that joblib wrote, against ``joblib.load``."""
    import joblib

    import safeload

    loader = safeload.Loader(policy=PACKS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "artifact.joblib")
        joblib.dump(make(effort), path)
        return ratio(compare(lambda: joblib.load(path), lambda: loader.load(path), effort.rounds * 2))


# The inputs.


def integers(effort: Effort) -> Any:
    return {number * 7: None for number in range(int(500_000 * effort.scale))}


def tuples(effort: Effort) -> Any:
    return {(number, f"k{number}"): number for number in range(int(100_000 * effort.scale))}


def datetimes(effort: Effort) -> Any:
    begin = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as most people's are
    return {begin + number * _DAY / 24: number for number in range(int(50_000 * effort.scale))}


def numpy_integers(effort: Effort) -> Any:
    import numpy as np

    return {np.int64(number): number for number in range(int(50_000 * effort.scale))}


def vocabulary(effort: Effort) -> Any:
    choose = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    count = int(200_000 * effort.scale)
    return {"".join(choose.choices(letters, k=7)) + str(number): number for number in range(count)}


def dicts_of_a_kind(number: int) -> Any:
    """2,000 dicts, 85 kB; the names differ from call to call."""
    return [{f"id_{number}": index, f"name_{number}": f"row {index}", "ok": index % 3 == 0} for index in range(2_000)]


def frame(effort: Effort) -> Any:
    """500 rows of numbers, texts, times and categories."""
    import numpy as np
    import pandas as pd

    numbers = np.random.default_rng(0)
    rows = 500
    return pd.DataFrame(
        {
            "number": numbers.normal(size=rows),
            "count": numbers.integers(0, 9, rows),
            "text": [f"text {index}" for index in range(rows)],
            "when": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "kind": pd.Categorical(numbers.choice(["a", "b", "c"], rows)),
            "flag": numbers.random(rows) > 0.5,
        }
    )


def _fitted(model: Any) -> Any:
    from sklearn.datasets import make_classification

    return model.fit(*make_classification(500, 10, flip_y=0.1, random_state=0))


def logistic(_effort: Effort) -> Any:
    from sklearn.linear_model import LogisticRegression

    return _fitted(LogisticRegression())


def boosting(_effort: Effort) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return _fitted(GradientBoostingClassifier(random_state=0))


def _row(title: str, make: Callable[[Effort], Any], bound: float, way: Any = against_pickle) -> Row:
    return Row(title, lambda effort: way(effort, make), bound)


DAILY_ROWS: dict[str, Row] = {
    "keys-int": _row("loads: dict of 500,000 int keys, against pickle.loads", integers, 3),
    "keys-tuple": _row("    of 100,000 tuples", tuples, 4),
    "keys-datetime": _row("    of 50,000 datetimes", datetimes, 6),
    "keys-numpy": _row("    of 50,000 numpy.int64", numpy_integers, 6),
    "vocabulary": _row("    of 200,000 words", vocabulary, 1.6),
    "dicts-first": _row("loads: 2,000 dicts, 85 kB, the first of their kind, against pickle.loads", dicts_of_a_kind, 3, first_of_its_kind),
    "frame": _row("loads: DataFrame of 500 mixed rows, against pickle.loads", frame, 6),
    "frame-signed": _row("    the same, hs256, against unsigned pickle.loads", frame, 8, signed),
    "logistic": _row("loads: LogisticRegression, 1 kB, against pickle.loads", logistic, 6),
    "boosting": _row("loads: gradient boosting, against pickle.loads", boosting, 4),
    "forest-joblib": _row("load: random forest of 200 trees, joblib, against joblib.load", lambda _: forest(), 1.5, as_joblib),
}  # fmt: skip
