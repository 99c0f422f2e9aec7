"""scikit-learn's support vector machines, whose arrays libsvm takes as long as it is told that they are.

libsvm asks no array for its length: how many vectors there are it is told by the classes, and how many coefficients and intercepts
follow from these. Rule: all of them are as many as libsvm will read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from safeload.engine.load.believed import attributes, integer, need, need_array, need_inside, need_width

__all__ = ["CHECKS"]

_LIBRARIES = ("numpy", "scipy", "pandas", "sklearn")


def _check_machine(estimator: Any) -> None:
    known = attributes(estimator)
    if "support_vectors_" not in known:
        return
    need("_impl" not in known and "_sparse_kernels" not in known, "the kind of a machine is that of its class")
    counts = need_array(known.get("_n_support", known.get("n_support_")), "the numbers of support vectors", 1, "i")
    classifies = type(estimator)._impl in ("c_svc", "nu_svc")  # noqa: SLF001 - the class says what libsvm will do
    # libsvm takes two for whatever does not classify, and an intercept for each pair.
    need(len(counts) > 1 if classifies else len(counts) == 2, "there are other classes than libsvm takes")
    need_inside(counts, 1 << 31, "a number of support vectors")
    classes = len(counts) if classifies else 2
    total = int(counts.sum()) if classifies else int(counts[0])
    pairs = classes * (classes - 1) // 2
    for name in ("_intercept_", "intercept_"):
        if name in known:
            need(
                len(need_array(known[name], "the intercepts", 1)) >= pairs,
                "there are fewer intercepts than pairs of classes",
            )
    for name in ("_probA", "_probB", "probA_", "probB_"):
        if name in known:
            need(len(need_array(known[name], name, 1)) in (0, pairs), "there are fewer sigmoids than pairs of classes")
    support = need_array(known.get("support_"), "the places of support vectors", 1, "i")
    need(len(support) == total, "there are not as many support vectors as the classes have")
    vectors, coefficients = known["support_vectors_"], known.get("_dual_coef_", known.get("dual_coef_"))
    if known.get("_sparse"):
        need_sparse(vectors, total, coefficients, classes - 1)
        need_width(estimator, vectors.shape[1], "the matrix of support vectors")
        return
    need(
        need_array(coefficients, "the coefficients", 2).shape == (classes - 1, total),
        "there are not coefficients for each",
    )
    _check_dense(estimator, need_array(vectors, "the support vectors", 2), support)


def need_sparse(vectors: Any, total: int, coefficients: Any, rows: int) -> None:
    """Sparse vectors and coefficients, whose indices scipy's own checks have looked at."""
    need(getattr(vectors, "format", "") == "csr" and vectors.shape[0] == total, "the support vectors are not as many")
    own = attributes(coefficients) if hasattr(coefficients, "format") else {}
    need(len(need_array(own.get("data"), "the coefficients", 1)) == rows * total, "there are not coefficients for each")


def _check_dense(estimator: Any, vectors: Any, support: Any) -> None:
    known = attributes(estimator)
    kernel = known.get("kernel")
    if type(kernel) is str and kernel != "precomputed":
        need(vectors.shape[0] == len(support), "there are not as many support vectors as the classes have")
        need_width(estimator, vectors.shape[1], "the array of support vectors")
        return
    # The places of support vectors are columns of the matrix that the kernel makes.
    shape = known.get("shape_fit_")
    need(type(shape) is tuple and len(shape) == 2, "the machine does not say how many rows it was fitted with")
    rows = integer(shape[0], "the number of rows")  # type: ignore[index]
    need_inside(support, rows, "the place of a support vector")
    if type(kernel) is str:
        need_width(estimator, rows, "the matrix of the kernel")
        return
    fitted = known.get("_BaseLibSVM__Xfit")
    need(fitted is not None and np.shape(fitted)[:1] == (rows,), "the machine was fitted with another number of rows")
    module = getattr(kernel, "__module__", None) or "numpy"
    own = module == "sklearn.metrics.pairwise" or module.partition(".")[0] not in _LIBRARIES
    need(own, "the kernel is a function that is none")


CHECKS = {"sklearn.svm._base:BaseLibSVM": _check_machine, "sklearn.svm.base:BaseLibSVM": _check_machine}
