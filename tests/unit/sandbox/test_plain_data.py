"""Plain data comes through the wall as it was; whatever else is written there is refused by the reader."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import decimal
import json
import os
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeload.sandbox.data.decode import decode
from safeload.sandbox.data.encode import encode
from safeload.sandbox.data.layout import (
    BODY_AT,
    DEPTH,
    HEAD,
    MAGIC,
    Described,
    MalformedError,
    NotPlainError,
    Room,
    TooLargeError,
)


class Bytes:
    """Memory for the decoder, made of bytes."""

    def __init__(self, data) -> None:
        self.data, self.size = bytes(data), len(data)

    def read(self, offset, length):
        part = self.data[offset : offset + length]
        if len(part) != length:
            raise MalformedError("short")
        return part

    def read_into(self, offset, target) -> None:
        target[:] = self.read(offset, len(target))


def written(value, limit=1 << 26, **options) -> bytes:
    memory = bytearray()

    def write(offset, data) -> None:
        memory.extend(bytes(max(0, offset + len(data) - len(memory))))
        memory[offset : offset + len(data)] = data

    size = encode(value, write, limit, **options)
    return bytes(memory[:size])


def through(value, **options):
    return decode(Bytes(written(value, **options)), Room(1 << 26))


def tree(node, raw=b"") -> bytes:
    """Memory with any tree at all."""
    text = node if isinstance(node, bytes) else json.dumps(node).encode()
    place = BODY_AT + len(raw)
    head = HEAD.pack(MAGIC, 1, place, len(text), place + len(text))
    return head.ljust(BODY_AT, b"\0") + raw + text


PLAIN = [
    1, -(2**63), 2**63, 2**4000, 1.5, -0.0, float("inf"), "a\ud800é", b"x", bytearray(b"y"), (), (1, (2,)), [[], [1, None]],
    {"a": 1, "b": [True, 2.5]}, {"$array": 1}, {1: 2, None: 3, (1, "a"): 4}, {1, "a"}, frozenset(), 1 + 2j,
    dt.date(2020, 1, 2), dt.datetime(2020, 1, 2, 3, tzinfo=dt.UTC), dt.time(1, 2, 3, 4), dt.timedelta(1, 2, 3),
    decimal.Decimal("1.10"), uuid.UUID(int=7), range(5, 1, -2), collections.OrderedDict(b=1, a=2),
]  # fmt: skip
ARRAYS = [
    np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["a", "bcd"]), np.array([b"x"]),
    np.zeros((0, 3)), np.array(5.0), np.array([1, "a", [2]], object), np.array(["2020-01-01"], "M8[ns]"), np.array([True]),
    np.zeros(3, [("a", "i4"), ("b", "f8", (2,))]), np.zeros(2, np.dtype({"names": ["a"], "formats": ["f8"], "offsets": [8]})),
    np.arange(10)[::-2], np.array([1j], ">c16"), np.zeros(2, "V3"),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_values_come_back_with_their_types(value) -> None:
    """A copy that differs is a wrong answer."""
    found = through(value)
    assert type(found) is type(value)
    assert found == value


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype)[:30])
def test_arrays_come_back_and_can_be_written_to(array) -> None:
    """Type, shape, order and content; callers change results in place."""
    found = through(array)
    assert (found.dtype, found.shape, found.flags.f_contiguous) == (
        array.dtype,
        array.shape,
        array.flags.f_contiguous or array.ndim < 2,
    )
    assert found.tobytes() == array.tobytes() or found.tolist() == array.tolist()
    assert found.flags.writeable


@pytest.mark.parametrize(
    "scalar", [np.float32(1.5), np.int8(3), np.str_("x"), np.bool_(True), np.datetime64("2020-01-01")]
)
def test_scalars_of_numpy_stay_scalars_of_numpy(scalar) -> None:
    """``np.float32`` is no ``float``: arithmetic with it differs."""
    found = through([scalar])[0]
    assert type(found) is type(scalar)
    assert found == scalar


def frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "int": [1, 2, 3],
            "text": ["x", None, "z"],
            "kind": pd.Categorical(["u", "v", "u"], ordered=True),
            "zoned": pd.to_datetime(["2020", "2021", "2022"]).tz_localize("Europe/Paris"),
            "masked": pd.array([1, None, 3], "Int64"),
            "time": pd.to_datetime(["2020", "2021", "2022"]),
            "string": pd.array(["p", "q", None], "string"),
            "any": pd.Series([1, [2], None], dtype=object),
            "maybe": pd.array([True, None, False], "boolean"),
        }
    )
    twice = pd.DataFrame(np.ones((2, 2)), columns=["a", "a"])
    return [frame, frame.set_index(["int", "text"]), frame.set_index("time"), frame.iloc[:0], twice, pd.DataFrame()]


@pytest.mark.parametrize("place", range(6))
def test_frames_come_back(place) -> None:
    """Columns of every kind, several levels of index, names that occur twice."""
    pd = pytest.importorskip("pandas")
    frame = frames()[place]
    pd.testing.assert_frame_equal(through(frame), frame)
    for number in range(frame.shape[1]):
        pd.testing.assert_series_equal(through(frame.iloc[:, number]), frame.iloc[:, number])
    pd.testing.assert_index_equal(through(frame.index), frame.index)


class Custom:
    def __init__(self) -> None:
        self.size, self.inner = 3, [np.arange(2)]


class Text(str):
    __slots__ = ()


def test_what_is_no_plain_data_is_named_or_described() -> None:
    """Never silently turned into something else, a subclass neither."""
    for value in (Custom(), [Text("a")], {"a": Custom}, {1: lambda: None}, np.array([Custom()])):
        with pytest.raises(NotPlainError, match=r"Custom|Text|function|type"):
            written(value)
    found = through([Custom(), len], describe=True)
    assert found[0].type_name.endswith("Custom")
    assert found[0].attributes["size"] == 3
    assert found[1] == Described("builtins.builtin_function_or_method", {})


def test_what_contains_itself_or_nests_too_deep_is_refused() -> None:
    """A tree has an end, and the reader is recursive."""
    loop: list = []
    loop.append(loop)
    with pytest.raises(NotPlainError):
        written(loop)
    deep: list = []
    for _ in range(DEPTH + 5):
        deep = [deep]
    with pytest.raises(TooLargeError):
        written(deep)
    with pytest.raises(TooLargeError):
        written(b"x" * 5000, limit=8192)


ONE = {"$array": ["<i8", [2], "C", BODY_AT, 16]}
HOSTILE = [
    b"", b"[", b"[" * 100_000, b'{"a":1', b"NaN", b"[Infinity]", b"1" * 5000, b'"\xff"',
    {"$unknown": 1}, {"$array": []}, {"$array": ["<i8", [3], "C", BODY_AT, 16]}, {"$array": ["O", [2], "C", BODY_AT, 16]},
    {"$array": ["|O8", [2], "C", BODY_AT, 16]}, {"$array": ["<i8", [-2], "C", BODY_AT, 16]}, {"$array": ["<i8", [2], "X", BODY_AT, 16]},
    {"$array": ["<i8", [2], "C", 0, 16]}, {"$array": ["<i8", [2], "C", BODY_AT + 1, 16]}, {"$array": ["<i8", [1 << 62, 4], "C", BODY_AT, 0]},
    {"$array": ["S0", [1 << 40], "C", BODY_AT, 0]}, {"$array": ["i4,i4", [2], "C", BODY_AT, 16]}, {"$array": [[8, [["a", "O", [], 0]]], [2], "C", BODY_AT, 16]},
    {"$array": [[1 << 60, []], [0], "C", BODY_AT, 0]}, {"$array": [[8, [["a", "<i8", [1 << 40], 0]]], [2], "C", BODY_AT, 16]},
    {"$array": ["<i8", [1] * 70 + [2], "C", BODY_AT, 16]}, [ONE, ONE], {"$bytes": [BODY_AT, -1]}, {"$bytes": [BODY_AT, 17]}, {"$bytes": [True, 1]},
    {"$int": "9" * 100_000}, {"$int": 5}, {"$float": "1e999"}, {"$decimal": "9" * 100_000}, {"$complex": ["x", "y"]}, {"$map": [[1]]}, {"$map": {"a": 1}},
    {"$map": [[[1], 2]]}, {"$set": [[1]]}, {"$set": "abc"}, {"$tuple": 5}, {"$objects": [[3], [1]]}, {"$objects": [[0, 1 << 60], [1]]}, {"$scalar": ["<i8", [2], "C", BODY_AT, 16]},
    {"$date": "x"}, {"$datetime": 5}, {"$timedelta": [1 << 70]}, {"$uuid": "x"}, {"$range": ["0x1", "0x2", "0x0"]}, {"$described": [5, {}]}, {"$described": ["a", [1]]},
    {"$frame": 5}, {"$frame": {}}, {"$frame": {"frame": 5, "columns": 5, "index": 5}}, {"$frame": {"missing": "x"}},
    {"$frame": {"series": {"texts": [1], "dtype": "str"}, "index": {"range": [0, 1, 1], "name": None}, "name": None}},
    {"$frame": {"series": {"codes": ONE, "categories": {"values": {"array": ONE}, "name": None}, "ordered": True}, "index": {"range": [0, 2, 1], "name": None}, "name": None}},
    {"$frame": {"alone": {"values": {"instants": ONE, "zone": "../../etc/passwd"}, "name": None}}},
]  # fmt: skip


@pytest.mark.parametrize("node", HOSTILE, ids=lambda node: str(node)[:40])
def test_hostile_trees_are_refused(node) -> None:
    """One error for all of them, and none of them costs more than it says."""
    pytest.importorskip("pandas")
    with pytest.raises(MalformedError):
        decode(Bytes(tree(node, b"\x05" * 16)), Room(1 << 26))


def test_keys_that_collide_are_refused_before_a_dict_takes_them() -> None:
    """20,000 multiples of 2**61 - 1 all hash to 0: a second becomes an hour."""
    keys = [{"$int": hex(number * (2**61 - 1))} for number in range(1, 20_000)]
    for node in ({"$set": keys}, {"$map": [[key, 1] for key in keys]}):
        with pytest.raises(MalformedError, match="collide"):
            decode(Bytes(tree(node)), Room(1 << 26))


def test_heads_lie_and_are_refused() -> None:
    """Every number in the head is checked against the memory that there is."""
    good = tree([1])
    place, length, end = BODY_AT, 3, BODY_AT + 3
    for head in [
        (b"SLD2", 1, place, length, end), (MAGIC, 2, place, length, end), (MAGIC, 1, 0, length, end), (MAGIC, 1, place, length, end + 1),
        (MAGIC, 1, place, 1 << 60, place + (1 << 60)), (MAGIC, 1, place, 2, end), (MAGIC, 1, (1 << 64) - 1, 4, end),
    ]:  # fmt: skip
        with pytest.raises(MalformedError):
            decode(Bytes(HEAD.pack(*head) + good[HEAD.size :]), Room(1 << 26))
    for size in (0, 10, HEAD.size, BODY_AT):
        with pytest.raises(MalformedError):
            decode(Bytes(good[:size]), Room(1 << 26))
    with pytest.raises(MalformedError):
        decode(Bytes(good), Room(100))
    with pytest.raises(MalformedError, match="values"):
        decode(Bytes(tree([0] * 100)), Room(1 << 26, values=50))


@given(st.data())
def test_no_memory_makes_the_reader_do_anything_but_answer_or_refuse(data) -> None:
    """Mutations of a good memory: an object or the one error, whatever it holds."""
    memory = bytearray(written({"a": np.arange(3), "b": [(1, 2), {3}, b"xy", 2**70, {"$x": 1.5}], "c": {1: "é"}}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, HEAD.size - 1) | st.integers(BODY_AT, len(memory) - 1))
        memory[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedError):
        decode(Bytes(memory), Room(1 << 20))


leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
plain = st.recursive(
    leaf,
    lambda part: (
        st.lists(part) | st.dictionaries(st.text(), part) | st.tuples(part, part) | st.dictionaries(leaf, part)
    ),
    max_leaves=20,
)


@given(plain)
def test_any_plain_data_comes_through(value) -> None:
    """The encoder and the decoder agree on everything that Hypothesis can think of."""
    assert through(value) == value


def test_descriptors_are_read_by_copying() -> None:
    """What the jailed side changes later does not change what was read."""
    from safeload.sandbox.data.layout import DescriptorMemory

    descriptor = os.memfd_create("test")
    try:
        size = encode(np.arange(1000), lambda offset, data: os.pwrite(descriptor, data, offset), 1 << 20)
        found = decode(DescriptorMemory(descriptor, size), Room(1 << 20))
        os.pwrite(descriptor, b"\xff" * size, 0)
        assert found.sum() == 499_500
        os.ftruncate(descriptor, 10)
        with pytest.raises(MalformedError):
            DescriptorMemory(descriptor, size).read(0, size)
    finally:
        os.close(descriptor)
