"""Estimators that keep named tuples of their own."""

from __future__ import annotations

import pytest

import safeload


@pytest.mark.filterwarnings("ignore:.*stopping criterion")
def test_an_iterative_imputer_loads() -> None:
    """What was imputed from what is kept in triplets, one for each round; what it imputes is the same after a load."""
    pytest.importorskip("sklearn")
    import numpy as np
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    rows = np.array([[1.0, 2.0], [np.nan, 3.0], [7.0, np.nan], [2.0, 2.0]])
    imputer = IterativeImputer(max_iter=2).fit(rows)
    loaded = safeload.loads(safeload.dumps(imputer), policy="sklearn")
    assert np.array_equal(loaded.transform(rows), imputer.transform(rows))
