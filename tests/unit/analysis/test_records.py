"""Learned patterns of records: faster than the general pattern, and never accepting more."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeload.analysis import shapes
from safeload.analysis.records import Records

DIALECT = shapes._dialect(4)


def canonical(value):
    """The opcodes of ``value`` without frames."""
    data = pickle.dumps(value, 4)
    parts, pos = [data[:2]], 2
    while data[pos] == 0x95:
        size = int.from_bytes(data[pos + 1 : pos + 9], "little")
        parts.append(data[pos + 9 : pos + 9 + size])
        pos += 9 + size
        if pos == len(data):
            break
    return b"".join(parts)


def check(code):
    """Wherever a learned pattern gets to from a record, the general one gets to as well, element by element."""
    records = Records()
    pos = code.find(b"}")
    while 0 <= pos < len(code):
        reached = records.skip(code, pos, len(code))
        walked = pos
        while walked < reached:
            found = DIALECT.element.match(code, walked)
            assert found is not None, (pos, walked, reached)
            assert found.end() > walked, (pos, walked, reached)
            walked = found.end()
        assert walked == reached
        pos = code.find(b"}", reached + 1)
    return records


VALUES = st.one_of(
    st.integers(-(2**40), 2**40), st.floats(), st.none(), st.booleans(), st.text(max_size=140), st.just("again"), st.lists(st.integers(), max_size=3)
)  # fmt: skip
RECORDS = st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=4, unique=True).flatmap(
    lambda keys: st.lists(st.fixed_dictionaries(dict.fromkeys(keys, VALUES)), min_size=3, max_size=30)
)


@given(RECORDS)
def test_accepts_what_the_general_pattern_accepts(value):
    """On records of every kind of value."""
    check(canonical(value))


@given(RECORDS, st.data())
@settings(max_examples=300)
def test_accepts_no_more_on_changed_streams(value, data):
    """Bytes changed anywhere: a learned pattern is not fooled into skipping an opcode."""
    code = bytearray(canonical(value))
    for _ in range(data.draw(st.integers(1, 4))):
        code[data.draw(st.integers(2, len(code) - 1))] = data.draw(
            st.sampled_from([*list(b"}(hKMJGN\x88\x89\x8c\x94ust]e\x85\x86\x87c\x93Rb0."), 0, 255])
        )
    check(bytes(code))


@pytest.mark.parametrize("key", ["a" * 3, "tuple"])
def test_what_is_no_record_is_left_alone(key):
    """Keys that are numbers or tuples, and nested tuples as values, are not for this pattern."""
    for value in ({1: 2, 3: 4}, {(1, 2): 3, (4, 5): 6}, {key: ((1, 2), 3), "b": 2}):
        code = canonical([value] * 1 + [dict(value), dict(value)])
        assert Records().skip(code, code.index(b"}"), len(code)) == code.index(b"}")


def test_irregular_records_stop_the_learning():
    """Lengths that always change are learned a bounded number of times, and a pattern that does not pay is dropped."""
    generator = random.Random(5)
    rows = [{f"k{generator.randrange(40)}": generator.random(), "x": i} for i in range(20_000)]
    records = check(canonical(rows[:2_000]))
    assert records._changes <= 24


def test_large_records_are_proven(monkeypatch):
    """The whole way: a large list of records is plain, and one hostile tuple in it sends it the exact way."""
    monkeypatch.setattr(shapes, "_seen", 1 << 30)
    rows = [{"id": i, "name": f"number {i}", "on": i % 2 == 0} for i in range(5_000)]
    assert shapes.plain_code(pickle.dumps(rows)) is not None
    deep = ()
    for _ in range(50):
        deep = (deep, deep)
    rows[3_000] = {deep: 1, "name": "x", "on": False}
    assert shapes.plain_code(pickle.dumps(rows)) is None
