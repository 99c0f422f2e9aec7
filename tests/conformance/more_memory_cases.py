"""The second half of the table of :mod:`tests.conformance.memory_cases`: clusters, machines, encoders, matrices and splines."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.interpolate as si
import scipy.sparse as sp
from scipy.stats import gaussian_kde
from sklearn.cluster import HDBSCAN, Birch, BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.ensemble import StackingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import MultiLabelBinarizer, OneHotEncoder, TargetEncoder
from sklearn.svm import SVC, SVR, OneClassSVM

from tests.conformance.memory_cases import BINARY, CASES, THREE, X, case, changed

__all__ = ["CASES"]


def far(value: Any) -> Any:
    return np.full_like(value, 2**30)


def knn(**settings: Any) -> Any:
    return KNeighborsClassifier(**settings).fit(X, BINARY)


def narrow(value: Any) -> Any:
    return np.ascontiguousarray(value[:, :1])


case("brute neighbours: narrow points", changed(lambda: knn(algorithm="brute"), _fit_X=narrow), "o.kneighbors(X)")
case("brute neighbours: labels far away", changed(lambda: knn(algorithm="brute"), _y=far), "o.predict(X)")
case("brute neighbours: few labels", changed(lambda: knn(algorithm="brute"), _y=lambda y: y[:1].copy()), "o.predict(X)")
case(
    "nearest neighbours: narrow points",
    changed(lambda: NearestNeighbors(algorithm="brute").fit(X), _fit_X=narrow),
    "o.kneighbors(X)",
)
case(
    "neighbours: no columns for a graph",
    changed(lambda: NearestNeighbors().fit(X), n_samples_fit_=0),
    "o.radius_neighbors_graph(X, 5.0).toarray()",
)
case("k-means: narrow centres", changed(lambda: KMeans(3, n_init=1).fit(X), cluster_centers_=narrow), "o.predict(X)")
case(
    "mini-batch k-means: narrow centres",
    changed(lambda: MiniBatchKMeans(3, n_init=1).fit(X), cluster_centers_=narrow),
    "o.predict(X)",
)


def bisecting() -> Any:
    model = BisectingKMeans(3).fit(X)
    model._bisecting_tree.left.center = model._bisecting_tree.left.center[:1].copy()
    model._bisecting_tree.right.center = model._bisecting_tree.right.center[:1].copy()
    model._X_mean = model._X_mean[:1].copy()
    return model


case("bisecting k-means: narrow centres", bisecting, "o.predict(X)")
case("birch: few norms", changed(lambda: Birch().fit(X), _subcluster_norms=lambda n: n[:1].copy()), "o.predict(X)")
case("birch: as it is", lambda: Birch().fit(X), "o.predict(X)")


def merges() -> Any:
    model = HDBSCAN(copy=True).fit(X)
    model._single_linkage_tree_["left_node"] = 2**40
    return model


case("hdbscan: merges far away", merges, "o.dbscan_clustering(0.5)")


def weighted() -> Any:
    model = KernelDensity().fit(X, sample_weight=np.ones(60))
    state = list(model.tree_.__getstate__())
    state[12] = np.ones(1)
    model.tree_.__setstate__(tuple(state))
    return model


case("kernel density: few weights", weighted, "o.score_samples(X)")

# ---------------------------------------------------------------- machines


def svc(**settings: Any) -> Any:
    return SVC(**settings).fit(X, THREE)


BIG = np.array([2**30] * 3, np.int32)
case("svc: many vectors", changed(svc, _n_support=BIG), "o.predict(X)")
case("svc: negative numbers of vectors", changed(svc, _n_support=lambda n: n * np.int32(-1)), "o.predict(X)")
case("svc: one vector", changed(svc, _n_support=BIG * 0 + 5, support_vectors_=lambda v: v[:1]), "o.predict(X)")
case("svc: few coefficients", changed(svc, _dual_coef_=lambda c: c[:, :1].copy()), "o.predict(X)")
case("svc: no intercepts", changed(svc, _intercept_=np.zeros(0)), "o.predict(X)")
case("svc: narrow vectors", changed(svc, support_vectors_=narrow), "o.predict(X)")
case(
    "svc: sums overflow",
    changed(svc, _n_support=np.array([2**31 - 1] * 2 + [2**31 - 1], np.int32)),
    "o.decision_function(X)",
)
case(
    "svc: short sigmoids", changed(svc, _probA=np.zeros(1), _probB=np.zeros(1), probability=True), "o.predict_proba(X)"
)
case(
    "svc: places beyond the matrix of a kernel",
    changed(lambda: SVC(kernel="precomputed").fit(X @ X.T, THREE), support_=far),
    "o.predict(X @ X.T)",
)
case(
    "svr: few coefficients",
    changed(lambda: SVR().fit(X, X[:, 0]), _dual_coef_=lambda c: c[:, :1].copy()),
    "o.predict(X)",
)
case("one class: many vectors", changed(lambda: OneClassSVM().fit(X), _n_support=BIG[:2]), "o.predict(X)")


case(
    "one class: one number of vectors",
    changed(lambda: OneClassSVM().fit(X), _n_support=lambda n: n[:1].copy()),
    "o.predict(X)",
)
case(
    "svr: one number of vectors",
    changed(lambda: SVR().fit(X, X[:, 0]), _n_support=lambda n: n[:1].copy()),
    "o.predict(X)",
)


def sparse_svc(change: Any) -> Any:
    model = SVC().fit(sp.csr_matrix(X), THREE)
    change(model)
    return model


def sparse_far(model: Any) -> None:
    model.support_vectors_.indices[:] = model.support_vectors_.indptr[-1] = 2**31 - 1


def sparse_short(model: Any) -> None:
    model._n_support = BIG


case("sparse svc: indices far away", lambda: sparse_svc(sparse_far), "o.predict(sp.csr_matrix(X))")
case("sparse svc: many vectors", lambda: sparse_svc(sparse_short), "o.predict(sp.csr_matrix(X))")

# ---------------------------------------------------------------- encoders

WORDS = ["a1 bb cc", "cc dd ee"]
case("tf-idf: columns far away", changed(lambda: TfidfVectorizer().fit(WORDS), vocabulary_=lambda v: dict.fromkeys(v, 2**31 - 5)),
     "o.transform(['bb cc']).toarray()")  # fmt: skip
case("counts: columns far away", changed(lambda: CountVectorizer().fit(WORDS), vocabulary_=lambda v: dict.fromkeys(v, 2**31 - 5)),
     "o.transform(['bb cc']).toarray()")  # fmt: skip
case("dicts: columns far away", changed(lambda: DictVectorizer().fit([{"a": 1}]), vocabulary_={"a": 2**31 - 5}),
     "o.transform([{'a': 1}]).toarray()")  # fmt: skip
LABELS = changed(lambda: MultiLabelBinarizer(sparse_output=True).fit([[1], [2]]), _cached_dict={1: 2**31 - 5, 2: 0})
case("labels: columns far away", LABELS, "o.transform([[1]]).toarray()")
LETTERS = np.array([["a"], ["b"], ["c"]] * 20)
case("one hot: fewer columns than categories", changed(lambda: OneHotEncoder().fit(LETTERS), _n_features_outs=[1]),
     "o.transform(np.array([['c']] * 3)).toarray()")  # fmt: skip
case("one hot: a dropped category of none",
     changed(lambda: OneHotEncoder(drop="first").fit(LETTERS), _drop_idx_after_grouping=np.array([99], object)),
     "o.transform(np.array([['c']] * 3)).toarray()")  # fmt: skip
GROUPED = changed(
    lambda: OneHotEncoder(max_categories=2).fit(LETTERS), _default_to_infrequent_mappings=lambda m: [m[0] + 10**8]
)
case("one hot: groups far away", GROUPED, "o.transform(np.array([['c']] * 3)).toarray()")
case("targets: few encodings", changed(lambda: TargetEncoder().fit(LETTERS, X[:, 0]), encodings_=[np.zeros(1)]),
     "o.transform(np.array([['c']] * 3))")  # fmt: skip
STACKED = changed(
    lambda: StackingClassifier([("a", LogisticRegression())]).fit(X, BINARY), stack_method_=["set_params"]
)
case("stacking: calls another method", STACKED, "o.predict(X)")

# ---------------------------------------------------------------- matrices


def matrix(kind: Any, **arrays: Any) -> Any:
    found = kind(sp.random(50, 50, 0.2, format="csr", random_state=0))
    for name, value in arrays.items():
        setattr(found, name, value(getattr(found, name)))
    return found


def rising(value: Any) -> Any:
    return np.linspace(0, 2**30, len(value)).astype(value.dtype)


for _kind, _names in (
    (sp.csr_matrix, ("indices", "indptr")),
    (sp.csc_array, ("indices", "indptr")),
    (sp.bsr_matrix, ("indices",)),
):
    for _name in _names:
        for _use in ("o.toarray()", "o @ np.ones(50)", "repr(o)", "str(o)"):
            case(
                f"{_kind.__name__}: {_name}: {_use}",
                lambda k=_kind, n=_name: matrix(k, **{n: rising if n == "indptr" else far}),
                _use,
            )
case("coo: rows far away", lambda: matrix(sp.coo_matrix, coords=lambda c: (far(c[0]), c[1])), "o.toarray()")
case("coo: negative columns", lambda: matrix(sp.coo_array, coords=lambda c: (c[0], c[1] - 9999)), "o.toarray()")
case("coo: few numbers", lambda: matrix(sp.coo_matrix, data=lambda d: d[:1]), "o.toarray()")
case("csr: few numbers", lambda: matrix(sp.csr_matrix, data=lambda d: d[:1]), "o.toarray()")
case("csr: few rows", lambda: matrix(sp.csr_matrix, indptr=lambda d: d[:2]), "o @ np.ones(50)")
case("csr: a wide shape", lambda: matrix(sp.csr_matrix, _shape=lambda _: (2**20, 50)), "o @ np.ones(50)")
case("csr: a narrow shape", lambda: matrix(sp.csr_matrix, _shape=lambda _: (50, 1)), "o.toarray()")
case("dia: offsets far away", lambda: matrix(sp.dia_matrix, offsets=lambda d: d - 2**30), "o @ np.ones(50)")
case("dia: few offsets", lambda: matrix(sp.dia_matrix, offsets=lambda d: d[:1]), "o.tocsr()")
case("bsr: blocks without sides", lambda: matrix(sp.bsr_matrix, data=lambda d: d[:, :0, :0]), "o @ np.ones(50)")


def rows_far(rows: Any) -> Any:
    rows[0][:] = [2**30] * len(rows[0])
    return rows


def rows_short(rows: Any) -> Any:
    rows[0] = []
    return rows


case("lil: columns far away", lambda: matrix(sp.lil_matrix, rows=rows_far), "o.tocsr().toarray()")
case("lil: fewer columns than numbers", lambda: matrix(sp.lil_matrix, rows=rows_short), "o.tocsr()")

# ---------------------------------------------------------------- splines

LINE = np.arange(10.0)
AT = "o(np.linspace(0, 9, 5))"


def spline(**attributes: Any) -> Any:
    return changed(lambda: si.make_interp_spline(LINE, LINE), **attributes)


def curve(index: int, value: Any) -> Any:
    def change(arguments: Any) -> Any:
        return (*arguments[:index], value(arguments[index]) if callable(value) else value, *arguments[index + 1 :])

    return changed(lambda: si.UnivariateSpline(LINE, LINE**2), _eval_args=change)


case("spline: degree 50", spline(k=50), AT)
case("spline: degree -1", spline(k=-1), AT)
case("spline: one coefficient", spline(_c=lambda c: c[:1]), AT)
case("spline: knots in no order", spline(_t=lambda t: t[::-1].copy()), AT)
case("curve: degree of a million", curve(2, 2**20), AT)
case("curve: degree 20", curve(2, 20), AT)
case("curve: one coefficient", curve(1, lambda c: c[:1]), AT)
MORE_KNOTS = changed(lambda: si.UnivariateSpline(LINE, LINE**2), _data=lambda d: (*d[:7], 2**20, *d[8:]))
case("curve: more knots than memory", MORE_KNOTS, "o.set_smoothing_factor(0.1)")
SURFACE = lambda: si.RectBivariateSpline(np.arange(9.0), np.arange(9.0), np.ones((9, 9)))  # noqa: E731
GRID = "o(np.linspace(0, 8, 5), np.linspace(0, 8, 5))"
case("surface: one coefficient", changed(SURFACE, tck=lambda t: (*t[:2], t[2][:1])), GRID)
case("surface: degree of a million", changed(SURFACE, degrees=(2**20, 2**20)), GRID)
case("grid: few values", changed(lambda: si.RegularGridInterpolator((LINE, LINE), np.ones((10, 10))), _values=np.ones((2, 2))),
     "o(np.full((5, 2), 8.5))")  # fmt: skip
case("pieces: few coefficients", changed(lambda: si.NdPPoly(np.ones((2, 2, 3, 3)), (np.arange(4.0),) * 2), c=np.ones((2, 2, 1, 1))),
     "o(np.ones((3, 2)) * 2.5)")  # fmt: skip
case("radial: narrow powers", changed(lambda: si.RBFInterpolator(X, X[:, 0]), powers=lambda p: p[:, :1].copy()), "o(X)")
case("density: few weights", changed(lambda: gaussian_kde(X.T), _weights=np.ones(1)), "o(X.T)")
