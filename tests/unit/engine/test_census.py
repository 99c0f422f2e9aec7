"""The census: one pass that knows where a stream ends, what its canonical form is and which bound it breaks."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import pytest

from safeload.engine.census import CUT, Census, take_census
from safeload.errors import FormatError, LimitExceededError, ProtocolError, SafeloadError, TruncatedError
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.source.sources import BytesSource, FileSource, FlowSource


class Pipe(io.RawIOBase):
    """Bytes that come in short pieces and cannot be sought."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(min(len(buffer), 997))
        buffer[: len(chunk)] = chunk
        return len(chunk)


SOURCES = {
    "bytes": BytesSource,
    "file": lambda data: FileSource(io.BytesIO(data), 0),
    "flow": lambda data: FlowSource(Pipe(data)),
    "peeking flow": lambda data: FlowSource(io.BufferedReader(Pipe(data))),
}


def census(data: bytes, limits: Limits = DEFAULT_LIMITS, **options: Any) -> Census:
    return take_census(BytesSource(data), limits, **options)


VALUES = [
    None, [1, 2.5, "text", b"bytes"], {"k": (1, 2)}, list(range(1000)), ["x" * 300, b"y" * 300, bytearray(b"z" * 300)],
    b"long" * CUT, bytearray(b"long" * CUT), "u" * (CUT + 5), [b"a" * CUT, "b", b"c" * CUT], 1 << 3000, -(1 << 70), [float("inf")],
    {"set": {1, 2}, "frozen": frozenset("ab")}, complex(1, 2), pickle.PickleBuffer(b"q" * 9),
]  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_source_gives_the_same(kind: str, protocol: int, value: Any) -> None:
    """Memory, file and pipe: the same end, the same canonical stream; and it means what the original means."""
    if isinstance(value, pickle.PickleBuffer) and protocol < 5:
        return
    data = pickle.dumps(value, protocol)
    source = SOURCES[kind](data + b"following")
    found = take_census(source, DEFAULT_LIMITS)
    expected = census(data)
    assert found.size == expected.size == len(data)
    assert found.code == expected.code
    assert [bytes(buffer) for buffer in found.buffers] == [bytes(buffer) for buffer in expected.buffers]
    assert found.protocol == (protocol if protocol >= 2 else 0)
    loaded = pickle.Unpickler(io.BytesIO(found.code), buffers=found.buffers).load()
    assert loaded == pickle.loads(data)


def test_canonical_form() -> None:
    """Frames are gone, and long byte literals are buffers."""
    data = pickle.dumps([b"x" * CUT, bytearray(b"y" * CUT), "z" * 400], 5)
    found = census(data)
    assert b"\x95" not in found.code
    assert found.code.count(b"\x97") == 2
    assert [type(buffer) for buffer in found.buffers] == [bytes, bytearray]
    assert found.mutable
    assert not census(pickle.dumps([b"x" * CUT])).mutable


MALFORMED = {
    "no opcode": b"\xff.", "second PROTO": b"\x80\x02\x80\x02N.", "late PROTO": b"N\x80\x02.", "nested frame": b"\x80\x04\x95" + struct.pack("<Q", 11) + b"\x95" + bytes(8) + b"N.",
    "frame inside an opcode": b"\x80\x04\x95" + struct.pack("<Q", 2) + b"\x8c\x01a.", "frame behind STOP": b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.N",
    "literal over its frame": b"\x80\x04\x95" + struct.pack("<Q", 8) + b"X\x04\x00\x00\x00abcd.", "fixed over its frame": b"\x80\x04\x95" + struct.pack("<Q", 3) + b"J\x01\x00\x00\x00.",
    "text over its frame": b"\x80\x04\x95" + struct.pack("<Q", 3) + b"I10\n.", "negative BINSTRING": b"T\xff\xff\xff\xff.", "negative LONG4": b"\x8b\xff\xff\xff\xff.",
    "octal": b"I010\n.", "underscore": b"I1_0\n.", "blank": b"I 1\n.", "plus": b"I+1\n.", "hexadecimal": b"I0x10\n.", "INT with L": b"I1L\n.", "empty INT": b"I\n.",
    "minus": b"I-\n.", "LONG octal": b"L010L\n.", "LONG with two L": b"L1LL\n.", "empty LONG": b"L\n.", "FLOAT text": b"Fabc\n.", "FLOAT blank": b"F 1.5\n.", "FLOAT hexadecimal": b"F0x1p3\n.",
    "FLOAT underscore": b"F1_0.0\n.", "empty FLOAT": b"F\n.", "STRING unquoted": b"Sabc\n.", "STRING half quoted": b"S'abc\n.", "STRING of one quote": b"S'\n.",
    "STRING mixed quotes": b"S'abc\"\n.", "GET text": b"gabc\n.", "GET negative": b"Np0\ng-1\n.", "GET blank": b"Np0\ng 0\n.", "PUT text": b"Npabc\n.", "PUT negative": b"Np-1\n.",
    "empty GLOBAL": b"c\n\n.", "empty INST": b"(i\n\n.", "LONG carriage return": b"L1\r\n.",
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str) -> None:
    """What readers understand differently, or not at all, is refused; in a stream with code too."""
    for lead in (b"", b"ca\nb\n0"):
        if lead and MALFORMED[case][:1] == b"\x80":
            continue
        with pytest.raises(FormatError) as caught:
            census(lead + MALFORMED[case])
        assert not isinstance(caught.value, TruncatedError)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b"\x80",
        b"\x80\x04",
        b"\x80\x04\x95",
        b"\x80\x04\x95" + struct.pack("<Q", 9) + b"N.",
        b"X\x05\x00\x00\x00abc",
        b"J\x01",
        b"S'abc",
        b"ca",
        b"ca\nb",
        b"\x8c",
        b"B\x00\x00\x01\x00abc",
    ],
)
@pytest.mark.parametrize("kind", SOURCES)
def test_truncated(data: bytes, kind: str) -> None:
    """An end before STOP is an EOFError too, and the message says so."""
    with pytest.raises(TruncatedError):
        take_census(SOURCES[kind](data), DEFAULT_LIMITS)
    with pytest.raises(EOFError):
        census(data)


def test_protocol() -> None:
    """A protocol that does not exist yet."""
    with pytest.raises(ProtocolError, match="unsupported pickle protocol: 6"):
        census(b"\x80\x06N.")
    with pytest.raises(ValueError, match="unsupported"):
        census(b"\x80\xffN.")


LIMITED = {
    "max_stream_bytes": (b"X" + struct.pack("<I", 500) + b"a" * 500 + b".", Limits(max_stream_bytes=100)),
    "max_artifact_bytes": (b"B" + struct.pack("<I", CUT) + b"a" * CUT + b".", Limits(max_artifact_bytes=1000)),
    "max_integer_digits": (b"L" + b"1" * 200 + b"L\n.", Limits(max_integer_digits=150)),
    "max_global_name": (b"c" + b"a" * 200 + b"\nb\n.", Limits(max_global_name=100)),
}


@pytest.mark.parametrize("limit", LIMITED)
def test_limits(limit: str) -> None:
    """Each limit is enforced and named; one higher, the stream passes."""
    data, limits = LIMITED[limit]
    with pytest.raises(LimitExceededError, match=limit):
        census(data, limits)
    census(data)


def test_long_numbers_within_the_limit() -> None:
    """Text integers longer than the pattern takes along, in every spelling that pickle writes."""
    for text in (
        b"L" + b"1" * 150 + b"L\n.",
        b"L-" + b"9" * 4300 + b"L\n.",
        b"I-" + b"1" * 30 + b"\n.",
        b"L" + b"1" * 150 + b"\n.",
    ):
        assert census(text).size == len(text)
    for text in (b"L0" + b"1" * 150 + b"L\n.", b"I" + b"1" * 150 + b"L\n."):
        with pytest.raises(FormatError):
            census(text)


def test_memo_index() -> None:
    """A memo index beyond what the stream can have filled, in small and large streams, as text and binary."""
    for put in (
        b"r" + struct.pack("<I", 1 << 31),
        b"p%d\n" % (1 << 31),
        b"p" + b"0" * 25 + b"99999999\n",
        b"p" + b"9" * 30 + b"\n",
    ):
        with pytest.raises(LimitExceededError, match="memo index"):
            census(b"N" + put + b".")
        with pytest.raises(LimitExceededError, match="memo index"):
            census(b"X" + struct.pack("<I", 1 << 17) + b"a" * (1 << 17) + put + b".")
    big = b"X" + struct.pack("<I", 1 << 17) + b"a" * (1 << 17)
    for put in (b"r" + struct.pack("<I", 1 << 17), b"p%d\n" % (1 << 17), b"p" + b"0" * 25 + b"7\n"):
        assert census(big + put + b".").size == len(big + put) + 1


def test_extensions_and_buffers() -> None:
    """The extension registry is refused; buffers have to be given, and enough of them."""
    for code in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        with pytest.raises(FormatError, match="extension registry") as caught:
            census(code + b".")
        assert caught.value.code == "format.extension"
    with pytest.raises(FormatError, match="buffers"):
        census(b"\x97.")
    with pytest.raises(FormatError, match="not enough"):
        census(b"\x97\x97\x86.", buffers=[b"one"])
    found = census(b"\x97\x98.", buffers=[b"one", b"unused"])
    assert found.buffers == [b"one"]
    assert not found.mutable
    assert census(b"\x97.", buffers=[bytearray(b"one")]).mutable


@pytest.mark.parametrize(
    "opcode",
    [b"cos\nsystem\n", b"(ios\nsystem\n", b"N)R", b"NNb", b"(No", b"N)\x81", b"N)}\x92", b"NN\x93", b"NQ", b"Pid\n"],
)
def test_code_is_seen(opcode: bytes) -> None:
    """Every opcode that can do something makes the stream one with code; the same bytes as data do not."""
    assert census(opcode + b".").has_code
    assert not census(b"\x8e" + struct.pack("<Q", len(opcode)) + opcode + b".").has_code


def test_broken_streams_keep_what_they_would_do() -> None:
    """The error of a broken stream holds the part before the break, for whoever wants to judge it."""
    with pytest.raises(SafeloadError) as caught:
        census(b"\x80\x04\x95" + struct.pack("<Q", 12) + b"cos\nsystem\n)R\xff")
    assert caught.value.broken_stream is not None
    code, protocol, buffers = caught.value.broken_stream
    assert code() == b"\x80\x04cos\nsystem\n)R"
    assert protocol == 4
    assert not buffers


def test_many_frames_and_literals() -> None:
    """Frames around every few opcodes, long literals in and outside frames."""
    inner = b"]" + b"".join(b"X" + struct.pack("<I", size) + b"a" * size + b"a" for size in (3, 255, 256, 300, CUT))
    framed = b"\x80\x04" + b"".join(b"\x95" + struct.pack("<Q", len(piece)) + piece for piece in (b"]0", inner, b"."))
    found = census(framed)
    assert found.size == len(framed)
    assert pickle.loads(found.code) == pickle.loads(framed)
    cut = b"B" + struct.pack("<I", CUT) + b"b" * CUT
    framed = b"\x80\x04\x95" + struct.pack("<Q", len(cut) + 3) + b"]" + cut + b"a."
    for make in SOURCES.values():
        found = take_census(make(framed), DEFAULT_LIMITS)
        assert found.size == len(framed)
        assert pickle.Unpickler(io.BytesIO(found.code), buffers=found.buffers).load() == [b"b" * CUT]
