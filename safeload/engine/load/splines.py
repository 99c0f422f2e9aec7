"""scipy's splines and other objects of which compiled code trusts the lengths of arrays.

FITPACK and the C code for splines have fixed memory for degrees up to five, read as many coefficients as knots and degree ask for, and
are told no length. Rule: the arrays of an object are as long as its degree and its other arrays say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from safeload.engine.load.believed import attributes, integer, need, need_array

__all__ = ["CHECKS"]


def _knots(knots: Any, degree: Any, highest: int) -> int:
    """How many coefficients a spline with these knots and this degree has."""
    order = integer(degree, "the degree of a spline")
    need(0 <= order <= highest, "the degree of a spline is none that its code has memory for")
    count = len(need_array(knots, "the knots of a spline", 1))
    need(count >= 2 * order + 2, "a spline has fewer knots than its degree asks for")
    return count - order - 1


def _check_spline(spline: Any) -> None:
    known = attributes(spline)
    if not known:
        return  # it has another object that evaluates, or no state
    inner = known.get("_bspline")
    if inner is not None:
        _check_spline(inner)
        return
    knots = need_array(known.get("_t", known.get("t")), "the knots of a spline", 1)
    count = _knots(knots, known.get("k"), len(knots))
    coefficients = known.get("_c", known.get("c"))
    need(type(coefficients) is np.ndarray and coefficients.dtype.kind in "fc", "the coefficients are no array")
    need(coefficients.ndim and coefficients.shape[0] >= count, "a spline has fewer coefficients than knots")  # type: ignore[union-attr]
    need((knots[1:] >= knots[:-1]).all(), "the knots of a spline are not in order")


def _check_fitpack(spline: Any) -> None:
    known = attributes(spline)
    if "_eval_args" in known:
        need(type(known["_eval_args"]) is tuple and len(known["_eval_args"]) == 3, "a spline has other arguments")
        knots, coefficients, degree = known["_eval_args"]
        count = _knots(knots, degree, 5)
        need(
            degree > 0 and len(need_array(coefficients, "the coefficients", 1)) >= count,
            "a spline has fewer coefficients",
        )
    data = known.get("_data")
    if data is not None:
        need(type(data) is tuple and len(data) == 14, "the data of a spline are other ones")
        _check_fit(*data)


def _check_fit(x: Any, y: Any, w: Any, _xb: Any, _xe: Any, k: Any, _s: Any, n: Any, t: Any, *others: Any) -> None:
    """What a fit is continued with: ``n`` of the knots in memory for as many as ``t`` is long."""
    c, _fp, fpint, nrdata, _ier = others
    if x is not None:  # a spline that was made of its knots has no points
        points = len(need_array(x, "the points", 1))
        need(len(need_array(y, "the values", 1)) == points, "a spline has fewer values than points")
        need(w is None or len(need_array(w, "the weights", 1)) == points, "a spline has fewer weights than points")
    room = len(need_array(t, "the knots of a spline", 1))
    need(0 < integer(k, "the degree of a spline") <= 5, "the degree of a spline is none that its code has memory for")
    need(0 <= integer(n, "the number of knots") <= room, "a spline has more knots than memory")
    need(len(need_array(c, "the coefficients", 1)) >= min(room, n), "a spline has fewer coefficients")
    need(fpint is None or len(need_array(fpint, "the sums", 1)) >= min(room, n), "a spline has fewer sums than knots")
    need(nrdata is None or len(need_array(nrdata, "the counts", 1, "i")) >= min(room, n), "a spline has fewer counts")


def _check_surface(spline: Any) -> None:
    known = attributes(spline)
    if "tck" not in known:
        return
    need(type(known["tck"]) is tuple and len(known["tck"]) == 3, "a surface has other arguments")
    need(type(known.get("degrees")) is tuple and len(known["degrees"]) == 2, "a surface has not two degrees")
    rows, columns, coefficients = known["tck"]
    high, wide = (_knots(own, degree, 5) for own, degree in zip((rows, columns), known["degrees"], strict=True))
    need(min(known["degrees"]) > 0 and high * wide == len(need_array(coefficients, "the coefficients", 1)),
         "a surface has not one coefficient for each pair of knots")  # fmt: skip


def _check_grid(interpolator: Any) -> None:
    known = attributes(interpolator)
    grid: Any = known.get("_grid", known.get("grid"))
    values: Any = known.get("_values", known.get("values"))
    if grid is None and values is None:
        return
    need(type(grid) is tuple and type(values) is np.ndarray and len(grid) <= values.ndim, "a grid has no values")
    for points, side in zip(grid, values.shape, strict=False):
        need(len(need_array(points, "the points of a grid", 1)) == side > 0, "a grid has not one value for each point")
        need((points[1:] > points[:-1]).all(), "the points of a grid are not in order")
    flipped = known.get("_descending_dimensions", ())
    need(type(flipped) is tuple, "the order of a grid is none")


def _check_pieces(pieces: Any) -> None:
    """``NdPPoly``: a number of pieces for each axis of the coefficients."""
    known = attributes(pieces)
    if "c" not in known:
        return
    edges: Any = known.get("x")
    coefficients = known["c"]
    need(
        type(edges) is tuple and type(coefficients) is np.ndarray and coefficients.dtype.kind in "fc",
        "there are no pieces",
    )
    need(edges and coefficients.ndim >= 2 * len(edges), "there are fewer coefficients than pieces")
    for own, side in zip(edges, coefficients.shape[len(edges) :], strict=False):
        need(len(need_array(own, "the edges of pieces", 1)) == side + 1, "there are fewer coefficients than pieces")


def _check_radial(interpolator: Any) -> None:
    known = attributes(interpolator)
    if "y" not in known:
        return
    points = need_array(known["y"], "the points", 2)
    powers = need_array(known.get("powers"), "the powers", 2, "i")
    count, width = points.shape
    need(powers.shape[1] == width, "the powers are not one for each coordinate")
    for name in ("_shift", "_scale"):
        if known.get(name) is not None:
            need(need_array(known[name], name, 1).shape == (width,), "a scale is not one for each coordinate")
    values = need_array(known.get("d"), "the values", 2)
    need(len(values) == count, "there is not one value for each point")
    coefficients = known.get("_coeffs")
    if coefficients is not None:
        shape = need_array(coefficients, "the coefficients", 2).shape
        need(shape == (count + len(powers), values.shape[1]), "there is not one coefficient for each point and power")
    smoothing = known.get("smoothing")
    need(
        smoothing is None or need_array(smoothing, "the smoothing", 1).shape == (count,),
        "there is not one smoothing for each",
    )


def _check_density(density: Any) -> None:
    """A kernel estimate: the weight of each point, which C code reads for all points."""
    known = attributes(density)
    points = known.get("dataset")
    if points is None:
        return
    width, count = need_array(points, "the points", 2, "iuf").shape
    weights = known.get("_weights")
    need(
        weights is None or need_array(weights, "the weights", 1).shape == (count,),
        "there is not one weight for each point",
    )
    for name in ("cho_cov", "_data_cho_cov", "inv_cov"):
        own = known.get(name)
        need(own is None or need_array(own, name, 2).shape == (width, width), "a covariance is for other points")


CHECKS = {
    "scipy.interpolate:BSpline": _check_spline,
    "scipy.interpolate._bsplines:_BSpline": _check_spline,
    "scipy.interpolate:UnivariateSpline": _check_fitpack,
    "scipy.interpolate:BivariateSpline": _check_surface,
    "scipy.interpolate:RegularGridInterpolator": _check_grid,
    "scipy.interpolate:NdPPoly": _check_pieces,
    "scipy.interpolate:RBFInterpolator": _check_radial,
    "scipy.stats:gaussian_kde": _check_density,
}
