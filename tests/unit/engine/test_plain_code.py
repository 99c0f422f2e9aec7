"""The short way for large plain data in frames: it proves no more than the census and the exact walk would."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import pytest

from safeload.engine.census import take_census
from safeload.engine.cost import proof as shapes
from safeload.engine.cost.proof import plain_code
from safeload.errors import SafeloadError
from safeload.limits import DEFAULT_LIMITS
from safeload.source.sources import BytesSource


@pytest.fixture(autouse=True)
def patterns_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patterns for large streams are used from the first stream on, not only once compiling them is worth it."""
    monkeypatch.setattr(shapes, "_PATIENCE", 0)


RECORDS = [{"id": index, "name": f"user {index}", "at": index / 7, "ok": index % 2 == 0} for index in range(5_000)]


@pytest.mark.parametrize(
    "value",
    [
        RECORDS,
        list(range(60_000)),
        [index / 3 for index in range(20_000)],
        {str(index): index for index in range(20_000)},
        [(index, index) for index in range(20_000)],
        [[index, [index]] for index in range(10_000)],
        [{"id": index, "at": (index, 1.5), "tags": ["a", "b"]} for index in range(5_000)],
    ],
    ids=["records", "integers", "floats", "dict", "pairs", "lists", "nested"],
)
def test_ordinary_data_takes_it(value: Any) -> None:
    """Frames cut containers anywhere; the proof holds all the same, and the code means the same."""
    for protocol in (4, 5):
        data = pickle.dumps(value, protocol)
        code = plain_code(data)
        assert code is not None
        assert code == take_census(BytesSource(data), DEFAULT_LIMITS).code
        assert pickle.loads(code) == value


def _reframed(data: bytes, at: int) -> bytes:
    """The first frame, split in two at ``at`` bytes before its end."""
    (size,) = struct.unpack("<Q", data[3:11])
    first, rest = data[11 : 11 + size], data[11 + size :]
    head, tail = first[:-at], first[-at:]
    return b"".join(
        (data[:2], b"\x95", struct.pack("<Q", len(head)), head, b"\x95", struct.pack("<Q", len(tail)), tail, rest)
    )


@pytest.mark.parametrize("at", range(1, 60))
def test_frames_end_where_opcodes_do(at: int) -> None:
    """A frame that ends inside an opcode means different things to different readers: never proven."""
    data = _reframed(pickle.dumps(RECORDS, 4), at)
    try:
        take_census(BytesSource(data), DEFAULT_LIMITS)
    except SafeloadError:
        assert plain_code(data) is None
    else:
        assert plain_code(data) is not None


@pytest.mark.parametrize("value", [RECORDS, list(range(20_000))], ids=["records", "integers"])
def test_what_does_not_belong(value: Any) -> None:
    """Code, trailing bytes, truncation, a late PROTO, memo jumps, numbers as keys: all of it takes the usual way."""
    data = pickle.dumps(value, 4)
    assert plain_code(data) is not None
    assert plain_code(data + b".") is None
    assert plain_code(data[:-1]) is None
    for extra in (
        b"cos\nsystem\n0",
        b"\x80\x04",
        b"r\xff\xff\xff\x7f",
        b"2",
        b"\x82\x01",
        b"N\x85\x85\x850",
        b"K\x01\x940",
    ):
        body = data[11 + struct.unpack("<Q", data[3:11])[0] :]
        first = data[11 : 11 + struct.unpack("<Q", data[3:11])[0]]
        changed = b"\x80\x04\x95" + struct.pack("<Q", len(first) + len(extra)) + extra + first + body
        assert plain_code(changed) is None, extra
    assert plain_code(pickle.dumps({index * (2**61 - 1): None for index in range(9_000)}, 4)) is None


def test_medium_streams_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that loads little does not compile the large patterns; what it loads takes the exact way."""
    data = pickle.dumps(list(range(8_000)), 4)
    monkeypatch.setattr(shapes._dialect(4), "seen", 0)
    monkeypatch.setattr(shapes, "_PATIENCE", 20 * len(data))
    assert plain_code(data) is None
    for _ in range(20):
        plain_code(data)
    assert plain_code(data) is not None
