"""Dicts whose keys are no text are data too, wherever a pack takes a dict: a trace shows them as pairs."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import pickle
from typing import Any

import pytest

import safeload

DAYS = [dt.date(2000, 1, 1) + dt.timedelta(days=day) for day in range(5_000)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        collections.Counter([1, 2, 2]),
        collections.Counter([None, True, (1, 2)]),
        collections.Counter("abca"),
        collections.Counter(DAYS),
        collections.Counter(map(decimal.Decimal, range(3_000))),
        collections.OrderedDict({1: 2, (3, 4): 5}),
        collections.defaultdict(list, {(1, 2): [3]}),
        collections.ChainMap({1: 2}, {"a": 3}),
    ],
    ids=str,
)
def test_collections(value: Any, protocol: int) -> None:
    """What counts or orders numbers, dates and tuples loads."""
    assert safeload.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [2, 5])
def test_attributes_of_a_frame(protocol: int) -> None:
    """A frame's own notes may have any keys."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({1: [1, 2], "b": ["x", "y"]})
    frame.attrs = {1: 2, "a": {2: 3}}
    loaded = safeload.loads(pickle.dumps(frame, protocol), policy=["pandas"])
    assert loaded.equals(frame)
    assert loaded.attrs == frame.attrs


def test_a_dict_with_keys_made_by_calls_is_handed_out_again_and_again() -> None:
    """Each call may need as many probes as the dict itself: the first is counted there, the others are not free."""
    counted = pickle.dumps(dict.fromkeys(DAYS), 2)[2:-1] + b"r\xff\xfe\x00\x000"
    calls = b"ccollections\nCounter\nj\xff\xfe\x00\x00\x85R" * 100
    stream = b"\x80\x02" + counted + b"(" + calls + b"t."
    with pytest.raises(safeload.LimitExceededError, match="max_constructed_keys"):
        safeload.loads(stream)
