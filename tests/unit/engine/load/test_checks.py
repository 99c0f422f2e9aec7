"""What a load checks once more when the stream has stopped: objects whose library believes what they say of their memory."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import types

import numpy as np
import pytest

from safeload.engine.load.checks import check_loaded, reachable


class _Zone(dt.tzinfo):
    pass


def _zone(hidden):
    zone = _Zone()
    zone.hidden = hidden
    return zone


def _objects(hidden, shape=(1,)):
    array = np.empty(shape, object)
    array.fill(hidden)
    return array


def _records(hidden):
    records = np.zeros(2, [("number", "i4"), ("inner", [("pair", object, (2,))])])
    records["inner"]["pair"][1, 1] = hidden
    return records


_HIDING_PLACES = {
    "itself": lambda hidden: hidden,
    "list": lambda hidden: [1, [hidden]],
    "key": lambda hidden: {(1, hidden): 2},
    "value": lambda hidden: {"a": {"b": hidden}},
    "deque": lambda hidden: collections.deque([hidden]),
    "attribute": lambda hidden: types.SimpleNamespace(a=hidden),
    "exception": lambda hidden: ValueError(hidden),
    "partial": lambda hidden: functools.partial(print, hidden),
    "slice": lambda hidden: slice(hidden),
    "zone of a time": lambda hidden: dt.time(1, tzinfo=_zone(hidden)),
    "zone of a date": lambda hidden: [dt.datetime(2020, 1, 1, tzinfo=_zone(hidden))],
    "array of objects": lambda hidden: _objects(hidden, (2, 3)),
    "view of one": lambda hidden: _objects(hidden)[:0],
    "array in an array": lambda hidden: _objects(_objects(hidden)),
    "masked array": lambda hidden: np.ma.MaskedArray(_objects(hidden), [True]),
    "array of records": _records,
    "record": lambda hidden: _records(hidden)[1],
    "metadata of a dtype": lambda hidden: np.zeros(0, np.dtype("f8", metadata={"a": hidden})),
}


@pytest.mark.parametrize("place", _HIDING_PLACES)
def test_no_hiding_place(place):
    """What is checked is found wherever an object can lie; a check that misses one is no check."""
    hidden = Exception()
    assert any(item is hidden for item in reachable(_HIDING_PLACES[place](hidden)))


def test_code_is_no_data():
    """Classes, functions and modules lead to all of the program, and are left alone."""
    found = list(reachable([types, dict, len, test_code_is_no_data, [].append]))
    assert len(found) < 100


def test_sharing_and_cycles_end():
    """An object is looked at once, however often it is reached."""
    hidden, cycle = Exception(), []
    cycle += [cycle, {"a": cycle}, hidden]
    shared: tuple = (cycle,)
    for _ in range(200):
        shared = (shared, shared)
    assert [item for item in reachable(shared) if item is hidden] == [hidden]


def _spoilt(pandas):
    categorical = pandas.Categorical(["a", "b"])
    categorical._ndarray[0] = 100
    yield categorical
    index = pandas.MultiIndex.from_product([[1, 2], [3, 4]])
    codes = np.array([0, 1, 2, 3])
    yield pandas.MultiIndex(index.levels, [codes, codes], verify_integrity=False)
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    frame._mgr.blocks[0].mgr_locs = type(frame._mgr.blocks[0].mgr_locs)(np.array([7]))
    yield frame


def test_what_was_changed_after_its_check_is_refused():
    """A library reads beyond its memory when it uses any of these; untouched ones pass."""
    pandas = pytest.importorskip("pandas")
    for thing in _spoilt(pandas):
        with pytest.raises(ValueError, match=r"outside|column"):
            check_loaded([{"key": thing}], {"pandas"})
        check_loaded([thing], {"numpy"})  # nothing of pandas can be in there
    fine = pandas.DataFrame(
        {"a": [1, 2], "b": pandas.Categorical(["x", "y"]), "c": pandas.to_datetime(["2020", "2021"])}
    )
    check_loaded([fine, fine.set_index(["a", "b"])], {"pandas"})


def test_names_that_an_application_resolves_are_checked_too():
    """A subclass whose find_class asks the original one gets what it allows, and no object whose arrays lie."""
    import io
    import pickle

    import safeload

    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_matrix(np.eye(3))
    matrix.indices[:] = 2**30

    class Reader(safeload.Unpickler):
        def find_class(self, module, name):
            return super().find_class(module, name)

    with pytest.raises(safeload.LoadError, match="index of a matrix"):
        Reader(io.BytesIO(pickle.dumps(matrix)), policy=["scipy"]).load()
