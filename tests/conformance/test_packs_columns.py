"""Columns of every kind that pandas has load as they were, also when they were used before they were written.

The rules for them name who may make what is in them and which attributes they have: an honest object that is refused is an error, too.
A used one has more of them, because dtypes and arrays keep what they have computed.
"""

from __future__ import annotations

import importlib.util
import pickle

import numpy as np
import pytest

import safeload

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore")


def _frame():
    frame = pd.DataFrame(
        {
            "integers": [1, 2, 3],
            "numbers": [1.0, 2.0, 3.0],
            "text": ["a", "b", "c"],
            "categories": pd.Categorical(["x", "y", "x"]),
            "dates": pd.date_range("2020", periods=3),
            "zoned": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
            "lengths": pd.to_timedelta([1, 2, 3], "D"),
            "nullable": pd.array([1, None, 3], "Int64"),
            "flags": pd.array([True, None, False], "boolean"),
            "floats": pd.array([1.0, None, 2.0], "Float64"),
            "strings": pd.array(["a", None, "b"], "string"),
            "sparse": pd.arrays.SparseArray([0, 0, 1]),
            "periods": pd.period_range("2020", periods=3, freq="M"),
            "intervals": pd.interval_range(0, 3),
        }
    )
    if importlib.util.find_spec("pyarrow") is None:
        return frame
    return frame.assign(
        arrow=pd.array(["a", None, "b"], "string[pyarrow]"), counts=pd.array([1, None, 2], "int64[pyarrow]")
    )


def objects():
    frame = _frame()
    yield from ([frame], frame.T, frame.iloc[:0], frame.iloc[::2], frame["sparse"])
    for columns in (
        ["text", "categories"],
        "dates",
        "intervals",
        "periods",
        "categories",
        "nullable",
        "zoned",
        "strings",
    ):
        yield frame.set_index(columns)
    yield from (
        pd.DataFrame(),
        pd.DataFrame(index=range(5)),
        pd.Series([[1], [2]], name="z"),
        pd.RangeIndex(5),
        frame.dtypes,
    )
    yield from (pd.Index([1, 2]), pd.DataFrame({"a": pd.Categorical([])}), pd.array([1, 2], "Int64"))
    yield pd.MultiIndex.from_product([[1, 2], ["a", "b"], pd.date_range("2020", periods=2)])
    yield from (pd.Interval(1, 2), pd.Interval(pd.Timestamp(0), pd.Timestamp(5)), pd.Timestamp("2020", tz="UTC"))
    yield from (pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]), pd.date_range("2020", periods=4, freq="B"))
    yield from (pd.arrays.SparseArray([0, 0, 1, 1, 0], kind="block"), pd.arrays.SparseArray([]))


def _use(thing):
    """Have pandas compute, and keep, what it keeps."""
    if isinstance(thing, pd.DataFrame):
        for place in range(thing.shape[1]):
            array = thing.iloc[:, place].array
            _ = array.dtype, getattr(array.dtype, "kind", None), getattr(array.dtype, "numpy_dtype", None), array.isna()
        _ = thing.index.is_unique, thing.memory_usage(deep=True)
    return thing


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("used", [False, True])
def test_every_kind_of_column(protocol, used):
    """What pandas writes is allowed and comes back equal."""
    for thing in objects():
        data = pickle.dumps(_use(thing) if used else thing, protocol)
        loaded = safeload.loads(data, policy=["pandas"])
        assert type(loaded) is type(thing)
        assert repr(loaded) == repr(thing)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_numpy(protocol):
    """Masked arrays with fill values of every form, structures, texts, generators: all that the stricter rules look at."""
    pair = np.dtype([("a", "i4"), ("b", "f8", (2,)), ("c", [("d", "U3")])])
    things = [
        np.ma.array([1, 2], mask=[0, 1], fill_value=7),
        np.ma.array(["a", "bb"], mask=[0, 1], fill_value="?"),
        np.ma.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")], mask=[(0, 1)], fill_value=(3, 4.0)),
        np.ma.array([None, {}], mask=[1, 0], dtype=object, fill_value="x"),
        np.ma.array(np.arange(1_000.0), mask=np.arange(1_000) % 2, fill_value=np.float64(3)),
        np.ma.masked,
        np.zeros(3, pair),
        np.zeros(3, pair)[1],
        np.arange(10_000.0).reshape(100, 100).T,
        np.array([b"abc", b""]),
        np.datetime64("2020-01-01"),
        np.float64(1.5),
        [np.random.default_rng(1), np.random.RandomState(1), np.random.Generator(np.random.Philox(1))],
        [np.random.Generator(np.random.SFC64(2)), np.random.MT19937(3), np.random.SeedSequence(4)],
    ]
    for thing in things:
        loaded = safeload.loads(pickle.dumps(thing, protocol))
        assert pickle.dumps(loaded, 2)[:40] == pickle.dumps(thing, 2)[:40]
        if isinstance(thing, np.ndarray):
            assert loaded.dtype == thing.dtype
            assert repr(loaded) == repr(thing)
