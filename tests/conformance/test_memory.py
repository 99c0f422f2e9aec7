"""Memory that a library trusts: an object whose arrays lie does not reach its library, or does no harm there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="each case needs a process of its own, and 128 imports take long"
)

ROOT = Path(__file__).parents[2]
# The library itself looks, or does not care: what its use comes to.
HARMLESS = {
    "forest: trees that do not know their features": "raised: ValueError: X has 1 features",
    "isolation forest: short paths": "raised: IndexError",
    "isolation forest: short averages": "raised: IndexError",
    "targets: few encodings": "raised: IndexError",
    "birch: as it is": "used",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a forked child cannot use its parent's threads
    command = [sys.executable, "-m", "tests.conformance.memory_runner"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_lie_is_refused(outcomes):
    """A refusal says what is wrong; a process that died, or an object that was used with another one's memory, is a hole."""
    wrong = {}
    for name, outcome in outcomes.items():
        expected = HARMLESS.get(name, "refused: the artifact is allowed but could not be rebuilt: ValueError: ")
        if not outcome.startswith(expected):
            wrong[name] = outcome
    assert not wrong
    assert len(outcomes) >= 120
    assert HARMLESS.keys() <= outcomes.keys()


def test_unusual_forms_load():
    """What scikit-learn writes in less common ways is no lie: sparse vectors, kernels of one's own, starts of a boosting."""
    import pickle

    import numpy as np
    import scipy.sparse as sp
    from sklearn.cluster import BisectingKMeans
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, HistGradientBoostingClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.metrics.pairwise import linear_kernel
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC, NuSVR
    from sklearn.tree import DecisionTreeClassifier

    import safeload

    rows = np.random.default_rng(0).normal(size=(60, 4))
    target = np.arange(60) % 3
    square, sparse = abs(rows @ rows.T), sp.csr_matrix(rows)
    found = [
        (SVC(kernel="precomputed").fit(square, target), square),
        (SVC(kernel=linear_kernel).fit(rows, target), rows),
        (SVC().fit(sparse, target > 0), sparse),
        (NuSVR().fit(rows, rows[:, 0]), rows),
        (KNeighborsClassifier(metric="precomputed").fit(square, target), square),
        (
            KNeighborsClassifier(metric="mahalanobis", metric_params={"V": np.eye(4)}, algorithm="ball_tree").fit(
                rows, target
            ),
            rows,
        ),
        (KNeighborsClassifier().fit(rows, np.c_[target, target]), rows),
        (DecisionTreeClassifier(max_leaf_nodes=9).fit(rows, target), rows),
        (DecisionTreeClassifier().fit(rows, target * 0), rows),
        (GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(rows, target), rows),
        (GradientBoostingClassifier(n_estimators=2, init="zero").fit(rows, target), rows),
        (GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(rows, rows[:, 0]), rows),
        (
            HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(abs(rows).round(), target),
            abs(rows).round(),
        ),
        (BisectingKMeans(3).fit(sparse), sparse),
    ]
    for model, given in found:
        loaded = safeload.loads(pickle.dumps(model), policy=["sklearn"])
        assert np.array_equal(loaded.predict(given), model.predict(given)), model
