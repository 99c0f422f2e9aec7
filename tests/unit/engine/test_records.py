"""Patterns learned from records: they make the proof faster, and never prove what the general patterns do not."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from safeload.engine.cost import proof as shapes
from safeload.engine.cost.proof import plain_code
from safeload.engine.cost.records import learn_records


@pytest.fixture(autouse=True)
def patterns_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patterns for large streams are used from the first stream on, not only once compiling them is worth it."""
    monkeypatch.setattr(shapes, "_PATIENCE", 0)


def records(count: int, seed: int = 0) -> list[dict[str, Any]]:
    choose = random.Random(seed)
    return [
        {
            "id": number * choose.choice([1, 1, 1, 300]),
            "name": "n" * choose.randrange(1, 40),
            "tags": ["a", "b", number, 2.5][: choose.randrange(5)],
            "inner": {"x": number, "y": None},
            "value": choose.choice([None, True, 1.5, -1, "text", 1 << 40]),
        }
        for number in range(count)
    ]


def code_of(value: Any) -> bytes:
    from safeload.engine.census import take_census
    from safeload.limits import DEFAULT_LIMITS
    from safeload.source.sources import BytesSource

    return take_census(BytesSource(pickle.dumps(value, 4)), DEFAULT_LIMITS).code


def proven(code: bytes, monkeypatch: pytest.MonkeyPatch, *, learned: bool) -> bool:
    monkeypatch.setattr(shapes, "_MANY", 1 if learned else 1 << 40)
    monkeypatch.setattr(shapes, "_PIECE", 64)
    return shapes._Loose(code, shapes._dialect(4)).proven(2)


def test_what_is_learned() -> None:
    """Most records match a pattern that was learned from the first ones, others do not."""
    code = code_of([{"id": number, "name": f"n{number}", "value": number / 7} for number in range(1_000)])
    pattern = learn_records(code, 2, 10_000)
    assert pattern is not None
    start = code.index(b"u}\x94(h") + 1
    match = pattern.match(code, start)
    assert match is not None
    assert match.end() == len(code) - 2  # up to the end of the list
    other = code_of([{"id": number, "other": 1} for number in range(1_000)])
    match = pattern.match(other, other.index(b"u}\x94(h") + 1)
    assert match is not None
    assert not match[0]


@pytest.mark.parametrize(
    "value", [[], [1, 2], [{"a": 1}] * 20, [{}] * 20, [{"a": (1, 2)} for _ in range(20)], {"a": {"b": 1}}]
)
def test_nothing_to_learn(value: Any) -> None:
    """Too few records, or of other kinds."""
    assert learn_records(code_of(value), 2, 10_000) is None


@pytest.mark.parametrize("cut", range(40, 400, 7))
def test_cut_streams(cut: int) -> None:
    """Bytes that end anywhere are no reason to fail."""
    code = code_of(records(30))[:cut] + b"." * 8
    learn_records(code, 2, len(code))


@pytest.mark.parametrize("seed", range(20))
def test_records_are_proven(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Honest records are proven with and without learning, also in frames."""
    code = code_of(records(400, seed))
    assert proven(code, monkeypatch, learned=False)
    assert proven(code, monkeypatch, learned=True)
    monkeypatch.setattr(shapes, "_MANY", 1)
    assert plain_code(pickle.dumps(records(8_000, seed), 4)) is not None


# What must not be proven, or only so many times: keys whose hash somebody chose, tuples that are shared or nested.
HOSTILE = [
    b"K\x01N", b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x01N", b"K\x01\x85\x94N", b"h\x00K\x01\x85\x85", b"(h\x00h\x00t\x94", b"h\x00\x85N", b"\x94",
    b"u}\x94(K\x01Nu", b"K\x01", b"N", b"\x8c\x01a", b"h\x03", b"\x8c\x01a\x94N", b"(", b"u", b"e", b"]", b"}", b"q\x01", b"r\x01\x00\x00\x00", b"2", b"0",
    b")R", b"\x85", b"\x86", b"\x91", b"j\x00\x00\x00\x00N", b"}(h\x03Nu", b"](Ke", b"\x8c\x80" + b"x" * 128,
]  # fmt: skip


def test_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of records with something hostile in them: learning never proves what is not proven without it."""
    choose = random.Random(1)
    codes = [code_of(records(60, seed)) for seed in range(5)]
    differ = refused = accepted = 0
    for _ in range(3_000):
        code = bytearray(choose.choice(codes))
        for _ in range(choose.randrange(1, 3)):
            at = choose.randrange(400, len(code) - 1)
            if choose.random() < 0.7:  # at the end of a value, where it does most
                at = max(code.rfind(b"h", 0, at), 400)
            part = choose.choice(HOSTILE)
            code[at : at + choose.choice([0, 0, 1, 2])] = part * choose.choice([1, 1, 30])
        data = bytes(code)
        slow, fast = proven(data, monkeypatch, learned=False), proven(data, monkeypatch, learned=True)
        assert slow or not fast, data
        accepted, refused, differ = accepted + fast, refused + (not slow), differ + (slow != fast)
    assert accepted > 100
    assert refused > 100
    assert differ < 30


def test_learning_from_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like records inside a string teaches nothing that matters."""
    lie = b"u" + b"}\x94(h\x00h\x01u" * 30
    code = (
        b"\x80\x04]("
        + b"".join(b"\x8c\x78" + lie[:120].decode("latin-1").encode("latin-1") + b"\x94" for _ in range(50))
        + b"e."
    )
    hostile = code[:-2] + b"}(" + b"".join(b"M" + bytes([n & 255, n >> 8]) + b"\x85N" for n in range(9_000)) + b"ue."
    assert not proven(hostile, monkeypatch, learned=True)
    assert proven(code, monkeypatch, learned=True) == proven(code, monkeypatch, learned=False)
