"""What the packs are for: real objects of the libraries load, in every protocol, and come back equal.

The estimators come from scikit-learn's own list, so a new release that adds one is noticed here.
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import http
import importlib.util
import ipaddress
import pathlib
import pickle
import random
import re
import types
import uuid
import warnings
import zoneinfo
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from typing import Any

import pytest

import safeload
from safeload.policy import Policy

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore")

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def check(value: Any, *packs: str, exact: bool = True) -> None:
    """``value`` loads in every protocol that the library supports, as what plain pickle makes of it."""
    policy = Policy.packs(*packs)
    written = 0
    for protocol in PROTOCOLS:
        try:
            data = pickle.dumps(value, protocol)
            expected = pickle.loads(data)
        except Exception:  # the library does not support this protocol
            continue
        written += 1
        loaded = safeload.loads(data, policy=policy)
        assert type(loaded) is type(expected), protocol
        if exact:
            assert pickle.dumps(loaded, 4) == pickle.dumps(expected, 4), protocol
    assert written


DATA = {
    "numbers": [1, 2**100, 1.5, 1j, True, None, range(3), slice(1, None, 2)],
    "text": ["a", "é", b"ab", b"", bytearray(b"ab")],
    "containers": [(1,), [1], {1: 2}, {1}, frozenset([1]), OrderedDict(a=1), deque([1], 3), Counter("aab")],
    "defaultdict": [defaultdict(list, a=[1]), defaultdict(None), defaultdict(int)],
    "user containers": [ChainMap({1: 2}), UserDict(a=1), UserList([1]), UserString("a")],
    "time": [
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        dt.date(2026, 1, 2),
        dt.time(1, 2),
        dt.timedelta(1),
        dt.timezone(dt.timedelta(hours=1), "x"),
    ],
    "exact numbers": [decimal.Decimal("1.50"), fractions.Fraction(1, 3), decimal.getcontext()],
    "identifiers": [uuid.UUID(int=5), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")],
    "paths": [pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("a"), pathlib.Path("x")],
    "patterns and members": [re.compile("a+", re.IGNORECASE), re.IGNORECASE, http.HTTPStatus.OK],
    "types": [int, str, list, type(None), type(...), object, Ellipsis, NotImplemented],
    "exceptions": [ValueError("a"), KeyError(1), OSError(2, "x"), UnicodeEncodeError("a", "b", 0, 1, "r")],
    "other": [types.SimpleNamespace(a=1), array("d", [1.5]), random.Random(1)],
}


@pytest.mark.parametrize("case", DATA)
def test_data(case: str) -> None:
    """Built-in and standard library values load under the smallest pack."""
    for value in DATA[case]:
        check(value, "data", exact=not isinstance(value, (ValueError, KeyError, OSError, deque)))


def numpy_objects() -> dict[str, Any]:
    """Every dtype, array kind, scalar and generator."""
    named: dict[str, Any] = {f"array {char}": np.zeros(3, char) for char in np.typecodes["All"] if char not in "Mm"}
    named |= {
        f"array {spec}": np.zeros(2, spec)
        for spec in (">i4", ">f8", "<U3", ">U3", "S5", "V7", "M8[ns]", "m8[25s]", ">M8[D]")
    }
    named |= {
        f"dtype {spec}": np.dtype(spec) for spec in ("f8", ">c16", "U5", "O", "M8[ms]", "i4,f8", "(2,3)f4", "i4,O")
    }
    named |= {
        "nested": np.zeros(2, [("a", [("b", "f4"), ("c", "S3")], (2, 3)), ("d", "U5")]),
        "titles": np.zeros(
            2, np.dtype({"names": ["a", "b"], "formats": ["i1", "O"], "titles": ["t", "u"]}, align=True)
        ),
        "objects": np.array([[1, "a"], [None, 2.5]], dtype=object),
        "structured objects": np.array([(1, "a")], dtype="i4,O"),
        "empty": np.zeros((0, 3)),
        "scalar array": np.array(5),
        "Fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "transposed": np.zeros((2, 3, 4)).transpose(1, 0, 2),
        "strided": np.arange(10)[::2],
        "masked": np.ma.array([1, 2], mask=[True, False]),
        "masked objects": np.ma.array([1, "a"], mask=[True, False], dtype=object),
        "masked constant": np.ma.masked,
        "matrix": np.matrix([[1, 2]]),
        "records": np.rec.array([(1, 2.0)], dtype="i4,f8"),
        "characters": np.char.array(["a", "bc"]),
        "scalars": [
            np.float64(1),
            np.int8(1),
            np.bool_(True),
            np.str_("a"),
            np.bytes_(b"a"),
            np.longdouble(1),
            np.void(b"ab"),
        ],
        "dates": [np.datetime64("2020-01-01"), np.timedelta64(5, "s")],
        "record": np.array([(1, 2.0)], dtype="i4,f8")[0],
        "object record": np.array([(1, "a")], dtype="i4,O")[0],
        "metadata": np.dtype("f8", metadata={"a": 1}),
        "types": [np.float32, np.int64, np.ndarray, np.generic],
        "functions": [np.log1p, np.add, np.mean],
        "polynomials": [np.poly1d([1, 2]), np.polynomial.Polynomial([1, 2]), np.polynomial.Chebyshev([1, 2])],
        "RandomState": np.random.RandomState(0),
        "SeedSequence": np.random.SeedSequence(1),
    }
    named |= {
        name: np.random.Generator(getattr(np.random, name)(1))
        for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    }
    if hasattr(np.dtypes, "StringDType"):
        named["strings"] = np.array(["a", "bc"], dtype=np.dtypes.StringDType())
    return named


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # numpy would rather not have matrices
    NUMPY = numpy_objects()


@pytest.mark.parametrize("name", NUMPY)
def test_numpy(name: str) -> None:
    """Arrays of every dtype and kind, scalars and generators load under the default packs."""
    value = NUMPY[name]
    for item in value if isinstance(value, list) else [value]:
        check(item, "numpy", exact=name != "masked constant")


def test_a_memory_map_is_loaded_as_an_array(tmp_path: pathlib.Path) -> None:
    """Its data is in the pickle; nothing is mapped."""
    mapped = np.memmap(tmp_path / "x", dtype="i4", mode="w+", shape=3)
    mapped[:] = [1, 2, 3]
    loaded = safeload.loads(pickle.dumps(mapped, 4))
    assert loaded.tolist() == [1, 2, 3]


def test_python_2_arrays() -> None:
    """What Python 2 wrote for an array, read with encoding="latin1" as numpy documents it."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02i4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08\x01\x00\x00\x00\xff\x00\x00\x00tb."
    )
    assert safeload.loads(data, encoding="latin1").tolist() == [1, 255]


def fitted_estimators() -> dict[str, Any]:
    """Every estimator of scikit-learn that fits on a small data set; the others as they are made."""
    sklearn_utils = pytest.importorskip("sklearn.utils")
    from sklearn.base import clone
    from sklearn.utils._test_common.instance_generator import _construct_instances

    rng = np.random.RandomState(0)
    features = rng.rand(40, 6)
    y, target = np.arange(40) % 2, features[:, 0] * 2 + 1
    tries = [
        (features, y),
        (features, target),
        (features, np.c_[y, 1 - y]),
        (features, np.c_[target, -target]),
        (features[:, :1], target),
    ]
    tries += [
        (["a b c", "b c d"] * 20, y),
        ([{"a": 1}] * 40, y),
        (features @ features.T, y),
        (features,),
        (y,),
        ([[1], [1, 2]] * 20,),
    ]
    found: dict[str, Any] = {}
    for name, cls in sklearn_utils.all_estimators():
        try:
            instance = next(iter(_construct_instances(cls)))
        except BaseException:
            continue
        found[name] = instance
        for data in tries:
            try:
                found[name] = clone(instance).fit(*data)
                break
            except Exception:
                continue
    return found


def test_every_estimator_round_trips() -> None:
    """The sklearn pack with what it requires is enough for every estimator of the installed scikit-learn."""
    found = fitted_estimators()
    assert len(found) > 150
    assert sum(hasattr(model, "n_features_in_") or hasattr(model, "classes_") for model in found.values()) > 120
    policy = Policy.packs("sklearn")
    for name, model in found.items():
        for protocol in PROTOCOLS:
            data = pickle.dumps(model, protocol)
            loaded = safeload.loads(data, policy=policy)
            assert pickle.dumps(loaded, 4) == pickle.dumps(pickle.loads(data), 4), (name, protocol)


def sklearn_parts() -> list[Any]:
    """Objects that estimators hold in other configurations than their default one."""
    pytest.importorskip("sklearn")
    from scipy import stats
    from sklearn import (
        ensemble,
        gaussian_process,
        linear_model,
        metrics,
        model_selection,
        neighbors,
        pipeline,
        preprocessing,
    )

    rng = np.random.RandomState(0)
    features, y = rng.rand(40, 3), np.arange(40) % 2
    kernels = gaussian_process.kernels
    parts: list[Any] = [metrics.get_scorer(name) for name in metrics.get_scorer_names()]
    parts += [
        tree(features, metric=metric)
        for tree in (neighbors.KDTree, neighbors.BallTree)
        for metric in ("euclidean", "manhattan")
    ]
    parts += [metrics.DistanceMetric.get_metric(name) for name in ("euclidean", "chebyshev", "hamming", "haversine")]
    losses = ("squared_error", "absolute_error", "poisson")
    parts += [ensemble.HistGradientBoostingRegressor(loss=loss, max_iter=2).fit(features, y + 1) for loss in losses]
    parts += [
        ensemble.HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(
            (features * 9).astype(int), y % 3
        )
    ]
    parts += [
        linear_model.SGDClassifier(loss=loss, max_iter=5).fit(features, y)
        for loss in ("hinge", "log_loss", "modified_huber")
    ]
    parts += [kernels.RBF() + kernels.WhiteKernel(), kernels.ConstantKernel() * kernels.Matern()]
    search = model_selection.RandomizedSearchCV(
        linear_model.LogisticRegression(),
        {"C": stats.uniform(0.1, 1), "max_iter": stats.randint(50, 60)},
        n_iter=2,
        cv=2,
    )
    parts += [search.fit(features, y), model_selection.RepeatedStratifiedKFold()]
    parts += [preprocessing.FunctionTransformer(np.log1p, np.expm1).fit(features)]
    parts += [pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()).fit(features, y)]
    return parts


def test_parts_of_estimators() -> None:
    """Scorers, trees, metrics, losses, kernels, searches and pipelines."""
    for part in sklearn_parts():
        check(part, "sklearn")


def scipy_objects() -> list[Any]:
    """Sparse matrices and arrays of every format, distributions, interpolators."""
    sparse = pytest.importorskip("scipy.sparse")
    from scipy import interpolate, optimize, signal, special, stats
    from scipy.spatial.transform import Rotation

    eye, x = np.eye(4), np.arange(10.0)
    formats = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    found = [getattr(sparse, f"{name}_{kind}")(eye) for name in formats for kind in ("matrix", "array")]
    found += [
        stats.norm,
        stats.norm(0, 1),
        stats.poisson(1),
        stats.randint(1, 5),
        stats.gamma(2),
        stats.loguniform(1, 10),
    ]
    found += [stats.multivariate_normal([0, 0]), stats.gaussian_kde(x)]
    found += [
        interpolate.BSpline(x, x[:6], 3),
        interpolate.UnivariateSpline(x, x),
        interpolate.RBFInterpolator(np.c_[x, x % 3], x),
    ]
    found += [Rotation.identity(), optimize.OptimizeResult(a=1), signal.lti([1], [1, 2]), special.expit]
    return found


def test_scipy() -> None:
    """The scipy pack."""
    for value in scipy_objects():
        check(value, "scipy")


def pandas_objects() -> dict[str, Any]:
    """All index and extension dtypes, scalars, offsets and frames."""
    pd = pytest.importorskip("pandas")
    days = pd.date_range("2020", periods=4)
    named: dict[str, Any] = {}
    dtypes = [
        "Int8",
        "Int64",
        "UInt16",
        "Float32",
        "Float64",
        "boolean",
        "string[python]",
        "category",
        "float32",
        "Sparse[int]",
    ]
    if importlib.util.find_spec("pyarrow"):
        dtypes += ["string[pyarrow]", "int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]", "large_string[pyarrow]"]
    for dtype in dtypes:
        series = pd.Series(["0", "1", "0", "1"] if "str" in dtype else [0, 1, 0, 1], dtype=dtype, name="x")
        named[dtype] = [series, series.array, series.dtype, pd.DataFrame(series)]
    indexes = {
        "range": pd.RangeIndex(4, name="x"),
        "int": pd.Index([1, 2]),
        "object": pd.Index(["a", "b"], dtype=object),
        "text": pd.Index(["a", "b"]),
        "float": pd.Index([1.5, 2]),
        "bool": pd.Index([True, False]),
        "dates": days,
        "dates UTC": days.tz_localize("UTC"),
        "dates zone": days.tz_localize("Europe/Berlin"),
        "dates fixed": days.tz_localize(dt.timezone(dt.timedelta(hours=2))),
        "deltas": pd.timedelta_range("1D", periods=4),
        "periods": pd.period_range("2020", periods=4, freq="M"),
        "intervals": pd.interval_range(0, 4),
        "multi": pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["p", "q"]),
        "categories": pd.CategoricalIndex(list("abca"), ordered=True),
    }
    named |= {f"index {name}": [index, pd.Series(range(len(index)), index=index)] for name, index in indexes.items()}
    named |= {f"values {name}": [index.to_series()] for name, index in indexes.items() if name != "multi"}
    named["scalars"] = [
        pd.Timestamp("2020"),
        pd.Timestamp("2020", tz="Europe/Berlin"),
        pd.Timedelta("1D"),
        pd.Period("2020-01", "M"),
        pd.Interval(0, 1),
        pd.NaT,
        pd.NA,
    ]
    offsets = (
        "Day Hour MonthEnd BMonthBegin QuarterEnd YearBegin Week SemiMonthEnd Easter BusinessHour CustomBusinessDay"
    )
    named["offsets"] = [getattr(pd.offsets, name)() for name in offsets.split()] + [pd.DateOffset(months=1)]
    frame = pd.DataFrame(
        {"a": [1, 2, 3, 4], "b": list("wxyz"), "c": [1.0, 2, 3, 4], "d": days, "e": pd.Categorical(list("aabb"))}
    )
    flagged = frame.set_flags(allows_duplicate_labels=False)
    flagged.attrs["source"] = "x"
    named["frames"] = [frame, frame.T, frame.set_index(["a", "b"]), pd.DataFrame(), frame.astype(object), flagged]
    return named


def test_pandas() -> None:
    """The pandas pack."""
    for values in pandas_objects().values():
        for value in values:
            check(value, "pandas")


def test_a_forest_needs_its_pack() -> None:
    """Under the default policy a model is refused, and the message says which pack allows it."""
    tree = pytest.importorskip("sklearn.tree")
    with pytest.raises(safeload.PolicyError, match=r"packs = .*sklearn"):
        safeload.loads(pickle.dumps(tree.DecisionTreeClassifier()))
