"""Splines and interpolators: what SciPy makes passes the check of its memory, and what lies about it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

interpolate = pytest.importorskip("scipy.interpolate")
stats = pytest.importorskip("scipy.stats")

from safeload.engine.load import splines

X = np.linspace(0.0, 3.0, 12)
Y = np.sin(X)
GRID = np.add.outer(X, X)


def fitted() -> dict[str, Any]:
    return {
        "BSpline": interpolate.make_interp_spline(X, Y),
        "CubicSpline": interpolate.CubicSpline(X, Y),
        "UnivariateSpline": interpolate.UnivariateSpline(X, Y, s=0.1),
        "LSQUnivariateSpline": interpolate.LSQUnivariateSpline(X, Y, [1.0, 2.0]),
        "RectBivariateSpline": interpolate.RectBivariateSpline(X, X, GRID),
        "RegularGridInterpolator": interpolate.RegularGridInterpolator((X, X), GRID),
        "NdPPoly": interpolate.NdPPoly(np.ones((2, 2, 3, 4)), (np.arange(4.0), np.arange(5.0))),
        "RBFInterpolator": interpolate.RBFInterpolator(X[:, None], Y),
        "gaussian_kde": stats.gaussian_kde(Y),
    }


def check_of(made: Any) -> Any:
    """The check for the class of an object, by the name under which the table has it."""
    for base in type(made).__mro__:
        for key, check in splines.CHECKS.items():
            if (
                key is base
                or key == f"{base.__module__}:{base.__name__}"
                or str(key).rpartition(":")[2] == base.__name__
            ):
                return check
    return None


@pytest.mark.parametrize("name", fitted())
def test_what_scipy_makes_passes(name: str) -> None:
    """A check refuses nothing that the library itself has fitted."""
    made = fitted()[name]
    check = check_of(made)
    if check is not None:
        check(made)


LIES: dict[str, tuple[str, dict[str, Any]]] = {
    "degree": ("BSpline", {"_k": 99, "k": 99}),
    "no coefficients": ("BSpline", {"_c": np.zeros(1), "c": np.zeros(1)}),
    "knots out of order": ("BSpline", {"_t": X[::-1].copy(), "t": X[::-1].copy()}),
    "arguments": ("UnivariateSpline", {"_eval_args": (X, Y)}),
    "fewer coefficients": ("UnivariateSpline", {"_eval_args": (X, Y[:2], 3)}),
    "other data": ("UnivariateSpline", {"_data": (1, 2)}),
    "tck": ("RectBivariateSpline", {"tck": (X, X)}),
    "degrees": ("RectBivariateSpline", {"degrees": (3,)}),
    "few coefficients": ("RectBivariateSpline", {"tck": (X, X, Y)}),
    "grid": ("RegularGridInterpolator", {"_grid": (X, X[:3]), "grid": (X, X[:3])}),
    "order of the grid": ("RegularGridInterpolator", {"_grid": (X, X[::-1]), "grid": (X, X[::-1])}),
    "pieces": ("NdPPoly", {"x": (np.arange(4.0), np.arange(3.0))}),
    "no pieces": ("NdPPoly", {"x": [1]}),
    "powers": ("RBFInterpolator", {"powers": np.zeros((1, 5), int)}),
    "coefficients": ("RBFInterpolator", {"_coeffs": np.zeros((2, 1))}),
    "weights": ("gaussian_kde", {"_weights": np.ones(3)}),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_lies_about_its_memory_is_refused(lie: str) -> None:
    """Compiled code takes these attributes as they are, and would read beyond the arrays."""
    name, attributes = LIES[lie]
    made = fitted()[name]
    check = check_of(made)
    if check is None:
        pytest.skip("this version of SciPy evaluates it in Python")
    own = vars(made)
    changed = {key: value for key, value in attributes.items() if key in own}
    assert changed, sorted(own)
    own.update(changed)
    with pytest.raises(ValueError, match=r"\w"):
        check(made)
