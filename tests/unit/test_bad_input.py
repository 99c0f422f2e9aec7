"""Input that is no good pickle: each kind has its own clear error, nothing runs, and nothing is lost."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import socket
import sys
import threading

import pytest

import safeload
from safeload import Loader, Policy
from safeload.errors import FormatError, LimitExceededError, SafeloadError, TruncatedError

FIRED: list[object] = []


def fire(*arguments: object) -> list[object]:
    """What a hostile pickle would call."""
    FIRED.append(arguments)
    return FIRED


class Bomb:
    def __reduce__(self):
        return fire, ("fired",)


class Thing:
    """A class of the application."""


def thing() -> Thing:
    made = Thing()
    made.values = [1, 2.5, "x"]
    return made


POLICY = Policy.packs("data", "numpy").allow(f"{__name__}.Thing")
OBJECTS = [
    None,
    [True, 1, -1, 2**31, 2**70, 1.5, "text", b"bytes", bytearray(b"array")],
    {"key": {"nested": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]}},
    {1, 2, 3},
    frozenset({"a"}),
    "é" * 100,
    b"b" * 300,
    complex(1, 2),
    thing(),
    [thing(), thing()],
    ValueError("text"),
    range(3),
]


@pytest.fixture(autouse=True)
def _nothing_fires():
    FIRED.clear()
    yield
    assert FIRED == []


def ways(data: bytes, path):
    """Every way to load ``data`` under the policy of these tests."""
    path.write_bytes(data)
    loader = Loader(policy=POLICY)
    yield lambda: loader.loads(data)
    yield lambda: loader.load(io.BytesIO(data))
    yield lambda: loader.load(path)
    yield lambda: safeload.Unpickler(io.BytesIO(data), policy=POLICY).load()


def test_nothing(tmp_path):
    """An empty artifact: also an ``EOFError``, as with pickle."""
    for load in ways(b"", tmp_path / "empty.pkl"):
        with pytest.raises(TruncatedError, match="0 bytes") as caught:
            load()
        assert caught.value.code == "format.empty"
        assert isinstance(caught.value, EOFError)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("index", range(len(OBJECTS)))
def test_truncated_at_every_byte(index, protocol):
    """Every prefix of a pickle is refused as truncated."""
    data = pickle.dumps(OBJECTS[index], protocol)
    for size in range(len(data)):
        with pytest.raises(TruncatedError) as caught:
            safeload.loads(data[:size], policy=POLICY)
        assert caught.value.code == ("format.truncated" if size else "format.empty")


@pytest.mark.parametrize("protocol", range(6))
def test_truncated_from_files(tmp_path, protocol):
    """The same from files, paths and an Unpickler."""
    data = pickle.dumps(OBJECTS[1], protocol)
    for size in range(1, len(data), 7):
        for load in ways(data[:size], tmp_path / "short.pkl"):
            with pytest.raises(TruncatedError, match="truncated"):
                load()


def test_random_bytes():
    """Random bytes are an object or a SafeloadError, whatever they look like at first."""
    chance = random.Random(20250101)
    heads = [b"", b"\x80\x04", b"\x80\x05\x95", b"(", b"]", b"}", b"c", b"\x80\x02}q\x00(", b"\xf5"]
    for number in range(3000):
        data = heads[number % len(heads)] + chance.randbytes(chance.randrange(1, 60))
        for load in (safeload.loads, lambda data: safeload.load(io.BytesIO(data))):
            with contextlib.suppress(SafeloadError):
                load(data)


def test_flipped_bytes():
    """A good pickle with one byte changed is an object or a SafeloadError."""
    chance = random.Random(20250102)
    for obj in OBJECTS:
        for protocol in range(6):
            data = pickle.dumps(obj, protocol)
            for _ in range(60):
                broken = bytearray(data)
                broken[chance.randrange(len(data))] = chance.randrange(256)
                with contextlib.suppress(SafeloadError):
                    safeload.loads(bytes(broken), policy=POLICY)


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"N.", pickle.dumps(Bomb()), b"PK\x05\x06"])
def test_trailing_bytes(tmp_path, tail):
    """Whoever loads all of something gets nothing of it if more follows the pickle; from a file it stays there."""
    data = pickle.dumps({"a": 1})
    path = tmp_path / "more.pkl"
    path.write_bytes(data + tail)
    for load in (lambda: safeload.loads(data + tail), lambda: safeload.load(path)):
        with pytest.raises(FormatError, match=rf"ends at byte {len(data)}.*load\(file\)") as caught:
            load()
        assert caught.value.code == "format.trailing"
    with path.open("rb") as file:
        assert safeload.load(file) == {"a": 1}
        assert file.read() == tail


def test_a_hostile_pickle(tmp_path):
    """Refused on every way in, with the name of what it would have called."""
    for protocol in range(6):
        for load in ways(pickle.dumps([Bomb(), thing()], protocol), tmp_path / "bomb.pkl"):
            with pytest.raises(safeload.PolicyError, match="fire") as caught:
                load()
            assert caught.value.report is not None
            assert isinstance(caught.value, pickle.UnpicklingError)


def test_a_hostile_pickle_that_breaks_at_its_end(tmp_path):
    """Plain pickle runs what comes before the place where it breaks."""
    for protocol in range(6):
        data = pickle.dumps(Bomb(), protocol)[:-1]
        for tail in (b"", b"\xff", b"R", b"h\xfe."):
            for load in ways(data + tail, tmp_path / "broken.pkl"):
                with pytest.raises(SafeloadError):
                    load()


def test_missing(tmp_path):
    """A path without a file is what ``open`` says."""
    with pytest.raises(FileNotFoundError):
        safeload.load(tmp_path / "missing.pkl")


def test_a_directory(tmp_path):
    """A directory says what to do."""
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        safeload.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_no_permission(tmp_path):
    """What may not be read is what ``open`` says. Root may read everything, so root is somebody else for a moment."""
    path = tmp_path / "secret.pkl"
    path.write_bytes(pickle.dumps(1))
    path.chmod(0)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == path.owner() and parent.stat().st_mode & 0o011 != 0o011:
            parent.chmod(parent.stat().st_mode | 0o011)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            safeload.load(path)
    finally:
        if user == 0:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_path_that_is_a_pipe(tmp_path):
    """A named pipe is read once, to its end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for data, expected in ((pickle.dumps([1, 2]), [1, 2]), (pickle.dumps([1]) + b"x", None), (b"", None)):
        writer = threading.Thread(target=path.write_bytes, args=(data,))
        writer.start()
        if expected is not None:
            assert safeload.load(path) == expected
        else:
            with pytest.raises(FormatError, match=r"more follows|0 bytes"):
                safeload.load(path)
        writer.join()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_paths_that_are_neither_files_nor_pipes(tmp_path):
    """A device never ends, a socket cannot be opened."""
    with pytest.raises(FormatError, match="neither a regular file nor a pipe"):
        safeload.load("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match=r"socket|No such device"):
            safeload.load(tmp_path / "socket")


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
@pytest.mark.parametrize("audited", [False, True])
def test_a_file_that_changes_while_it_is_read(monkeypatch, tmp_path, change, audited):
    """Half of the old and half of the new content is nobody's artifact."""
    path = tmp_path / "changing.pkl"
    data = pickle.dumps([b"x" * 200_000, "end"])
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    import safeload.source.sources as sources

    read = sources._read

    def read_and_change(file, size):
        chunk = read(file, size)
        new = {"grow": data + b"more", "shrink": data[:-100], "rewrite": data[::-1]}[change]
        with path.open("r+b") as other:
            other.truncate(len(new))
            other.write(new)
        return chunk

    monkeypatch.setattr(sources, "_read", read_and_change)
    monkeypatch.setattr(sources, "_READ_STEP", 1 << 16)
    events: list[object] = []
    with pytest.raises((FormatError, TruncatedError)) as caught:
        safeload.load(path, audit=events.append if audited else None)
    assert caught.value.code in ("format.changed", "format.truncated", "format.malformed")


@pytest.mark.parametrize("data", ["text", "\x80\x04N.", 5, None, [1], object()])
def test_what_is_not_bytes(data):
    """A mistake of the caller is a ``TypeError``."""
    with pytest.raises(TypeError, match="bytes-like" if not isinstance(data, str) else r"not 'str'.*load\(path\)"):
        safeload.loads(data)


def test_what_is_like_bytes():
    """bytearray, memoryview, array and mmap are bytes-like."""
    import array

    data = pickle.dumps([1, 2])
    for like in (bytearray(data), memoryview(data), array.array("B", data), pickle.PickleBuffer(data)):
        assert safeload.loads(like) == [1, 2]
    assert safeload.loads(memoryview(bytes(len(data)) + data)[len(data) :]) == [1, 2]


def test_other_formats_are_named(tmp_path):
    """Well-known files that are no pickles are called by their name."""
    for data, name in ((b"PK\x03\x04" + bytes(30), "zip"), (b"\x1f\x8b\x08" + bytes(30), "gzip")):
        for load in ways(data, tmp_path / "other"):
            with pytest.raises(FormatError, match=name):
                load()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    for load in ways(pointer, tmp_path / "pointer"):
        with pytest.raises(FormatError, match="git lfs pull"):
            load()


def test_limits_are_named(tmp_path):
    """What costs too much says which limit to raise."""
    limits = safeload.Limits(max_artifact_bytes=100)
    data = pickle.dumps(b"x" * 1000)
    path = tmp_path / "large.pkl"
    path.write_bytes(data)
    for load in (lambda: safeload.loads(data, limits=limits), lambda: safeload.load(path, limits=limits, audit=print)):
        with pytest.raises(LimitExceededError, match="max_artifact_bytes"):
            load()


def test_reading_errors_are_not_hidden():
    """An error of the file itself is the caller's to handle."""

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            raise OSError(5, "Input/output error")

    for file in (Broken(), io.BufferedReader(Broken())):
        with pytest.raises(OSError, match="Input/output error") as caught:
            safeload.load(file)
        assert not isinstance(caught.value, SafeloadError)


def test_deep_nesting():
    """Lists, dicts and tuples nested as deep as their bytes allow neither crash nor hang the process."""
    depth = 200_000
    for data in (
        b"]" * depth + b"a" * (depth - 1) + b".",
        b"N" + b"\x85" * depth + b".",
        b"(" * depth + b"t" * depth + b".",
    ):
        try:
            loaded = safeload.loads(data)
        except SafeloadError:
            continue
        while loaded:  # taken apart by hand: freeing it recursively is what CPython limits
            loaded = loaded[0]


def test_import_has_no_effect():
    """Nothing that a refused pickle names is imported."""
    module = "xml.dom.pulldom"
    assert module not in sys.modules
    with pytest.raises(SafeloadError):
        safeload.loads(f"c{module}\nparseString\n(S'x'\ntR.".encode())
    assert module not in sys.modules


def test_a_line_break_behind_a_pickle_says_what_to_do() -> None:
    """What an editor adds at the end of a pickle of protocol 0 is named, and how to take it away."""
    data = pickle.dumps([1, 2], 0)
    cut = f"truncate -s {len(data)} FILE"
    for more, what in (
        (b"\n", "a line break (1 byte)"),
        (b"\r\n\n", "white space (3 bytes)"),
        (b"\xff\xff", "2 bytes follow"),
    ):
        (finding,) = safeload.scan(data + more).findings
        assert finding.rule_id == "format.trailing"
        assert what in finding.message
        assert cut in finding.message
        with pytest.raises(safeload.FormatError, match=cut):
            safeload.loads(data + more)
