"""Bytes come from memory, files and flows; none is consumed that belongs to somebody else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import socket
import tempfile
import threading
import tracemalloc
import zipfile

import pytest

import safeload
from safeload.errors import FormatError, LimitExceededError, TruncatedError
from safeload.source.sources import FileSource, FlowSource, source_for_file

OBJECTS = [
    {"a": 1, "b": [1.5, None, True], "text": "é" * 300},
    list(range(3000)),
    b"x" * 200_000,
    bytearray(b"y" * 70_000),
    ["z" * 100_000, "short"],
    (),
]


def pickles(protocol: int) -> bytes:
    return b"".join(pickle.dumps(obj, protocol) for obj in OBJECTS)


class Minimal:
    """A file with nothing but ``read`` and ``readline``; remembers how far it was read."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.read = self.file.read
        self.readline = self.file.readline
        self.consumed = self.file.tell


class Trickle(io.RawIOBase):
    """A raw stream that returns a byte or two at a time, and fails if it is asked for more than it may give."""

    def __init__(self, data: bytes, step: int = 2) -> None:
        self.data, self.step, self.position = data, step, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if self.position >= len(self.data):
            raise AssertionError("waited for a byte that nobody needs")
        chunk = self.data[self.position : self.position + min(self.step, len(buffer))]
        buffer[: len(chunk)] = chunk
        self.position += len(chunk)
        return len(chunk)


class UnseekableBytes(io.BytesIO):
    """What a pipe is, in memory."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["bytesio", "file", "unbuffered", "random", "spooled", "temporary"])
def test_seekable_files_are_left_right_behind_each_pickle(tmp_path, kind, protocol):
    """After each of several pickles the position is where ``pickle.load`` leaves it."""
    data = pickles(protocol) + b"rest"
    path = tmp_path / "several.pkl"
    path.write_bytes(data)
    opened = {
        "bytesio": lambda: io.BytesIO(data),
        "file": lambda: path.open("rb"),
        "unbuffered": lambda: path.open("rb", buffering=0),
        "random": lambda: path.open("r+b"),
        "spooled": lambda: tempfile.SpooledTemporaryFile(max_size=1000),  # noqa: SIM115
        "temporary": tempfile.TemporaryFile,
    }
    with opened[kind]() as file:
        if kind in ("spooled", "temporary"):
            file.write(data)
            file.seek(0)
        end = 0
        for obj in OBJECTS:
            assert safeload.load(file) == obj
            end += len(pickle.dumps(obj, protocol))
            assert file.tell() == end
        assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(6))
def test_what_can_only_be_read_is_read_exactly(protocol):
    """Without ``seek`` and ``peek`` not one byte behind the pickle is consumed."""
    file = Minimal(pickles(protocol) + b"rest")
    end = 0
    for obj in OBJECTS:
        assert safeload.load(file) == obj
        end += len(pickle.dumps(obj, protocol))
        assert file.consumed() == end
    assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_decompressing_files_are_never_wound_back(monkeypatch, tmp_path, module, protocol):
    """Going back in a compressed file means to decompress it again from its start."""
    path = tmp_path / "several"
    path.write_bytes(module.compress(pickles(protocol) + b"rest"))
    with module.open(path) as file:
        monkeypatch.setattr(file, "seek", None)
        for obj in OBJECTS:
            assert safeload.load(file) == obj
        assert file.read() == b"rest"


def test_a_member_of_a_zip(tmp_path):
    """A member of a zip archive is a flow that can be looked at."""
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("several.pkl", pickles(4) + b"rest")
    with zipfile.ZipFile(tmp_path / "archive.zip") as archive, archive.open("several.pkl") as file:
        assert [safeload.load(file) for _ in OBJECTS] == OBJECTS
        assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("size", [1, 3, 8192])
def test_nothing_is_waited_for_that_is_not_needed(protocol, size):
    """A buffered reader over a slow stream: the stream is never asked for a byte behind the last pickle."""
    file = io.BufferedReader(Trickle(pickles(protocol), step=700), size)
    assert [safeload.load(file) for _ in OBJECTS] == OBJECTS


@pytest.mark.parametrize("protocol", range(6))
def test_short_reads_of_raw_files(protocol):
    """A raw file may return fewer bytes than it was asked for, long before its end."""
    file = Trickle(pickles(protocol), step=997)
    assert [safeload.load(file) for _ in OBJECTS] == OBJECTS


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pipe_answers_before_it_is_closed(protocol):
    """A pickle from a pipe that stays open is loaded as soon as it is complete."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb", buffering=0) as target:
        for obj in ({"request": 1}, [1, 2, 3]):
            target.write(pickle.dumps(obj, protocol))
            assert safeload.load(file) == obj
        target.write(b"next")
        assert file.read(4) == b"next"


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_conversation_over_a_socket(protocol):
    """Request and answer over one connection: neither side waits for the other's next message."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    theirs.settimeout(20)

    def serve() -> None:
        with theirs.makefile("rwb") as stream:
            for _ in range(3):
                safeload.dump({"echo": safeload.load(stream)}, stream, protocol)
                stream.flush()

    server = threading.Thread(target=serve)
    server.start()
    with ours, theirs, ours.makefile("rwb") as stream:
        for message in ("one", [2] * 5000, {"three": b"x" * 50_000}):
            safeload.dump(message, stream, protocol)
            stream.flush()
            assert safeload.load(stream) == {"echo": message}
        server.join()


def test_a_wrapper_around_recv():
    """``read`` may be a socket's ``recv``, which returns what has arrived."""
    ours, theirs = socket.socketpair()

    class Received:
        read = staticmethod(ours.recv)

        def readline(self) -> bytes:
            raise AssertionError("not needed")

    with ours, theirs:
        sender = threading.Thread(target=theirs.sendall, args=(pickles(4),))
        sender.start()
        file = Received()
        assert [safeload.load(file) for _ in OBJECTS] == OBJECTS
        sender.join()


def test_buffers_of_other_types_are_taken():
    """``read`` may return a bytearray or a memoryview."""

    class Views(Minimal):
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.read = lambda size: memoryview(self.file.read(size))

    assert safeload.load(Views(pickle.dumps(OBJECTS[0]))) == OBJECTS[0]


def test_text_is_refused_with_the_remedy(tmp_path):
    """A file opened as text says how to open it."""
    path = tmp_path / "text"
    path.write_bytes(pickle.dumps([1], 0))
    with path.open(encoding="latin1") as file, pytest.raises(TypeError, match="'rb'"):
        safeload.load(file)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as target:
        target.write(pickle.dumps([1], 0))
    with os.fdopen(reader, encoding="latin1") as file, pytest.raises(TypeError, match="'rb'"):
        safeload.load(file)


def test_a_pipe_that_is_not_ready_is_no_short_pickle():
    """A non-blocking pipe without data is neither an end nor a broken pickle."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(writer, "wb") as target, os.fdopen(reader, "rb", buffering=0) as file:
        with pytest.raises(BlockingIOError):
            safeload.load(file)
        target.write(pickle.dumps([1]))
        target.flush()
        assert safeload.load(file) == [1]


@pytest.mark.parametrize(
    "file", [None, 5, object(), [b"\x80\x04N."], type("R", (), {"read": None, "readline": None})()]
)
def test_what_is_no_file_is_a_mistake_of_the_caller(file):
    """As with pickle, a missing method is a ``TypeError``."""
    with pytest.raises(TypeError, match="read"):
        safeload.load(file)


def test_closed_files(tmp_path):
    """A closed file raises what reading it raises."""
    path = tmp_path / "one.pkl"
    path.write_bytes(pickle.dumps(1))
    file = path.open("rb")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        safeload.load(file)


def test_the_kind_of_source():
    """Files that seek cheaply are read ahead; all others are flows."""
    assert isinstance(source_for_file(io.BytesIO()), FileSource)
    assert isinstance(source_for_file(gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b"")))), FlowSource)
    assert isinstance(source_for_file(io.BufferedReader(Trickle(b""))), FlowSource)
    assert isinstance(source_for_file(Minimal(b"")), FlowSource)


@pytest.mark.parametrize("length", [(1 << 30) - 100, 1 << 35, (1 << 63) - 1])
@pytest.mark.parametrize("opcode", [b"\x8e", b"\x96", b"\x8d", b"\x95"])
@pytest.mark.parametrize("make", [io.BytesIO, Minimal, lambda data: io.BufferedReader(UnseekableBytes(data))])
def test_an_announced_length_takes_no_memory(make, opcode, length):
    """A few bytes that announce many gigabytes are refused without asking for the memory."""
    file = make(b"\x80\x05" + opcode + length.to_bytes(8, "little") + b"short")
    tracemalloc.start()
    try:
        with pytest.raises((TruncatedError, LimitExceededError)):
            safeload.load(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


def test_steps_of_a_large_literal_from_a_flow(monkeypatch):
    """A literal that is longer than one step arrives whole."""
    monkeypatch.setattr("safeload.source.sources._READ_STEP", 1 << 16)
    large = os.urandom(1_000_003)
    assert safeload.load(Minimal(pickle.dumps(large))) == large
    assert FlowSource(Minimal(large)).rest(1 << 30) == large


def test_the_rest_of_a_source_is_limited():
    """Reading all of a source stops at the limit, whatever the source is."""
    for source in (FileSource(io.BytesIO(b"x" * 100), 0), FlowSource(Minimal(b"x" * 100))):
        with pytest.raises(LimitExceededError, match="max_artifact_bytes=99"):
            source.rest(99)
    assert FileSource(io.BytesIO(b"x" * 100), 0).rest(100) == b"x" * 100


BROKEN = b"\x80\x04K\x01\xff"


@pytest.mark.parametrize("make", [io.BytesIO, Minimal, lambda data: io.BufferedReader(Trickle(data), 2)])
def test_a_broken_pickle_is_left_where_it_breaks(make):
    """The position moves by at least a byte, so a program that goes on after errors reaches the end."""
    file = make(BROKEN + pickle.dumps("next"))
    with pytest.raises(FormatError):
        safeload.load(file)
    assert file.read(1) in (b"\xff", b"\x80")
    broken = make(b"\xff\xff" + pickle.dumps("next"))
    for _ in range(2):
        with pytest.raises(FormatError):
            safeload.load(broken)
    assert safeload.load(broken) == "next"


@pytest.mark.parametrize("make", [io.BytesIO, Minimal, lambda data: io.BufferedReader(io.BytesIO(data), 2)])
def test_a_truncated_pickle_is_an_end(make):
    """Both the truncated pickle and what follows it are an ``EOFError``, as with pickle."""
    file = make(pickle.dumps(OBJECTS[2])[:-1])
    for _ in range(2):
        with pytest.raises(EOFError):
            safeload.load(file)


@pytest.mark.parametrize("make", [io.BytesIO, Minimal, lambda data: io.BufferedReader(Trickle(data), 5)])
def test_a_refused_pickle_is_left_behind(make):
    """After a refusal by the policy the next pickle can be loaded."""
    file = make(b"cos\nsystem\n(S'true'\ntR." + pickle.dumps("next"))
    with pytest.raises(safeload.PolicyError):
        safeload.load(file)
    assert safeload.load(file) == "next"
