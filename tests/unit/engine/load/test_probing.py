"""Keys whose hashes are known only when they are there: any number of them loads, and colliding ones do not."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import ipaddress
import pathlib
import pickle
import uuid
from typing import Any

import numpy as np
import pytest

import safeload
from safeload.engine.load.probing import ProbingUnpickler
from safeload.errors import FormatError, LimitExceededError
from safeload.facts.hash_probes import Probes

COUNT = 700
PRIME = (1 << 61) - 1
AWARE = dt.timezone(dt.timedelta(hours=2))
KEYS: dict[str, Any] = {
    "uuid": [uuid.UUID(int=index + 1) for index in range(COUNT)],
    "decimal": [decimal.Decimal(index) / 4 for index in range(COUNT)],
    "fraction": [fractions.Fraction(index, 7) for index in range(COUNT)],
    "path": [pathlib.PurePosixPath(f"/a/{index}") for index in range(COUNT)],
    "address": [ipaddress.ip_address(index) for index in range(COUNT)],
    "aware": [dt.datetime(2020, 1, 1, tzinfo=AWARE) + dt.timedelta(seconds=index) for index in range(COUNT)],
    "naive": [dt.datetime(2020, 1, 1) + dt.timedelta(seconds=index) for index in range(COUNT)],  # noqa: DTZ001 - on purpose
    "numpy": [np.int64(index) for index in range(COUNT)],
    "in tuples": [(decimal.Decimal(index), index) for index in range(COUNT)],
}


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the loads so far counted probes."""
    seen: list[bool] = []
    original = ProbingUnpickler.code_of

    def code_of(self: Any, census: Any, *, probes: bool, limits: Any) -> bytes:
        seen.append(probes)
        return original(self, census, probes=probes, limits=limits)

    monkeypatch.setattr(ProbingUnpickler, "code_of", code_of)
    return seen


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", KEYS)
def test_many_keys_load(kind: str, protocol: int, probed: list[bool]) -> None:
    """A dict of them is what pickle makes of it, with what lies beside it; dates without a zone hash at random and are not counted."""
    value = [{key: [index] for index, key in enumerate(KEYS[kind])}, {"a": bytearray(b"abc"), "b": {1, 2}}]
    data = pickle.dumps(value, protocol)
    assert safeload.loads(data) == pickle.loads(data) == value
    assert probed == [kind != "naive" or protocol < 3]  # bytes are made by a call there


@pytest.mark.parametrize("protocol", [4, 5])
def test_sets_and_objects(protocol: int, probed: list[bool]) -> None:
    """Sets, frozensets and objects with items are filled as the unpickler fills them."""
    keys = KEYS["decimal"]
    value = [
        set(keys),
        frozenset(keys),
        collections.OrderedDict((key, key) for key in keys),
        collections.deque([1, 2]),
    ]
    assert safeload.loads(pickle.dumps(value, protocol)) == value
    assert probed == [True]


def test_one_by_one() -> None:
    """Keys that come one at a time, and a dict made of a mark, count like batches."""
    made = b"cdecimal\nDecimal\n\x940"
    keys = [
        b"h\x00X" + len(text).to_bytes(4, "little") + text + b"\x85R"
        for text in (str(index).encode() for index in range(COUNT))
    ]
    expected = dict.fromkeys(map(decimal.Decimal, range(COUNT)))
    for body in (
        b"}" + b"".join(each + b"Ns" for each in keys),
        b"(" + b"".join(each + b"N" for each in keys) + b"d",
        b"}(" + b"".join(each + b"N" for each in keys) + b"u",
    ):
        assert safeload.loads(b"\x80\x04" + made + body + b".") == expected


def test_persistent_ids_of_the_application() -> None:
    """They reach the application as they are, also a tuple that looks like a respelled opcode."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return (None, 1) if obj is marker else "text" if obj is other else None

    class Unpickler(safeload.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return {"(None, 1)": "first", "text": "second"}[str(pid)]

    import io

    marker, other = object(), object()
    file = io.BytesIO()
    Pickler(file, 4).dump([dict.fromkeys(KEYS["uuid"]), marker, other])
    loaded = Unpickler(io.BytesIO(file.getvalue())).load()
    assert loaded == [dict.fromkeys(KEYS["uuid"]), "first", "second"]


def test_keys_that_collide_are_refused() -> None:
    """Decimals that all hash alike would take a minute: the load ends before they are compared."""
    keys = dict.fromkeys(decimal.Decimal(index * PRIME) for index in range(1_500))
    for value in (keys, set(keys), frozenset(keys)):
        with pytest.raises(LimitExceededError):
            safeload.loads(pickle.dumps(value, 4))


def test_batches_add_up() -> None:
    """A table that grows batch by batch makes the probes of one that is made at once."""
    numbers = np.arange(5_000, dtype=np.int64) << 20
    whole, parts = Probes(1_000), Probes(1_000)
    assert whole.add(numbers)
    assert all(parts.add(part) for part in np.array_split(numbers, 50))
    assert parts.work <= 3 * whole.work


@pytest.mark.parametrize(
    "code",
    [b"}]NsN.", b"](K\x00K\x01u.", b"}(Nu.", b"(Nd.", b"}(N\x90.", b"\x8f(NNu.", b"\x8f]\x85a.", b"}\x8f(]\x90."],
)
def test_data_that_no_pickler_writes(code: bytes) -> None:
    """Odd items, items of what is no dict, members of what is no set, keys without a hash: refused, whichever way data is built."""
    with pytest.raises(FormatError):
        safeload.loads(b"\x80\x04" + b"]" * 3000 + b"0" * 3000 + code)


@pytest.mark.parametrize("protocol", range(6))
def test_data_that_is_built_once(protocol: int) -> None:
    """Plain data with keys that have to be looked at is what pickle makes of it."""
    for value in (
        {index << 3: index for index in range(10_000)},
        {(index, str(index)): {index, "a"} for index in range(3_000)},
        [{(index,): bytearray(b"x"), "s": set()} for index in range(3_000)],
        {frozenset((index, 1)): index for index in range(3_000)},
        {float(index): None for index in range(10_000)},
        {1 << 70: 1, **{-index: 2 for index in range(9_000)}},
    ):
        data = pickle.dumps(value, protocol)
        assert safeload.loads(data) == value
        assert safeload.is_safe(data)
