"""joblib files: what joblib writes loads equal, and what it would read differently is refused."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import socket
import struct
import sys
import threading

import joblib
import numpy as np
import pytest

import safeload
from safeload.pipeline.stream import judgements

RANDOM = np.random.default_rng(7)
OBJECTS = {
    "array": np.arange(10.0),
    "fortran": np.asfortranarray(RANDOM.random((3, 4))),
    "empty": np.zeros((0, 3)),
    "scalar array": np.array(5),
    "big-endian": np.arange(5, dtype=">i4"),
    "structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "dates": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "text": np.array(["a", "bcd"]),
    "bytes of no length": np.array([b"", b""], dtype="S0"),
    "objects": np.array([1, "a", None, {"x": [1, 2]}], dtype=object),
    "nested objects": np.array([np.ones(3), "x", np.array([None, 2], dtype=object)], dtype=object),
    "mixed": {
        "a": np.ones(3),
        "b": [np.zeros(2, "i2"), "x", (np.array([True]), b"y" * 70_000)],
        "c": bytearray(40_000),
    },
    "no arrays": [1, 2.5, {"a": "b"}],
    "bools": RANDOM.random((20, 3)) > 0.5,
    "complex": RANDOM.random(5) + 1j,
}


def same(left, right):
    """Deep equality that looks into arrays and compares types."""
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray)
            and left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=")
            and left.shape == right.shape
            and all(same(a, b) for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True))
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or left != left


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_what_joblib_writes_loads_equal(name, protocol, tmp_path):
    """Every kind of array, in every protocol, from a path, a file and bytes, is what joblib.load gives, and scans clean."""
    path = tmp_path / "x.joblib"
    joblib.dump(OBJECTS[name], path, protocol=protocol)
    for loaded in (safeload.load(path), safeload.loads(path.read_bytes())):
        assert same(loaded, OBJECTS[name])
    with path.open("rb") as file:
        assert same(safeload.load(file), OBJECTS[name])
        assert not file.read()
    report = safeload.scan(path)
    assert report.verdict == "clean", report.findings


def test_arrays_are_writable_native_and_aligned(tmp_path):
    """What is loaded can be used by code that writes into arrays and hands them to C."""
    path = tmp_path / "x.joblib"
    joblib.dump(["odd", np.arange(5, dtype=">f8"), b"x", np.ones((2, 3), order="F")], path)
    for array in safeload.load(path)[1::2]:
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.dtype.isnative
    assert safeload.load(path)[3].flags.f_contiguous


def test_mmap_maps_the_file_and_never_writes_to_it(tmp_path):
    """mmap=True gives memmaps of the file; writing to one leaves the file as it is."""
    path = tmp_path / "x.joblib"
    joblib.dump({"a": np.arange(1000.0), "o": np.array([None], dtype=object)}, path)
    before = path.read_bytes()
    loaded = safeload.load(path, mmap=True)
    assert isinstance(loaded["a"], np.memmap)
    assert loaded["a"][3] == 3
    loaded["a"][3] = 7
    del loaded
    assert path.read_bytes() == before


def test_several_in_one_file_and_through_a_socket():
    """A file is left right behind the object, and a socket is not waited for: as joblib reads them."""
    buffer = io.BytesIO()
    for number in range(3):
        joblib.dump(np.full(4, number), buffer)
    buffer.seek(0)
    assert [int(safeload.load(buffer)[0]) for _ in range(3)] == [0, 1, 2]

    ours, theirs = socket.socketpair()
    with ours, theirs:
        whole = io.BytesIO()
        joblib.dump([np.arange(3), "end"], whole)
        sender = threading.Thread(target=theirs.sendall, args=(whole.getvalue(),))
        sender.start()
        with ours.makefile("rb") as file:
            loaded = safeload.load(file)  # the other end stays open
        sender.join()
    assert loaded[1] == "end"


def test_a_model_is_judged_as_the_same_model_in_a_pickle(tmp_path):
    """The arrays of a model go through the same argument rules as in a pickle: allowed by the pack, refused without."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    data = RANDOM.random((60, 3))
    model = ensemble.RandomForestClassifier(5, random_state=0).fit(data, data[:, 0] > 0.5)
    path = tmp_path / "model.joblib"
    joblib.dump(model, path)
    assert (safeload.load(path, policy="sklearn").predict(data) == model.predict(data)).all()
    with pytest.raises(safeload.PolicyError, match="sklearn"):
        safeload.load(path)


def test_a_remembered_judgement_depends_on_policy_and_bytes(tmp_path):
    """A judgement is used again for the same bytes under the same policy only."""
    path = tmp_path / "x.joblib"
    joblib.dump([np.ones(2), sys.version_info.major], path)
    assert safeload.load(path)[0].sum() == 2
    assert safeload.load(path)[0].sum() == 2
    with pytest.raises(safeload.PolicyError):
        safeload.load(path, policy=safeload.Policy())
    changed = path.read_bytes().replace(struct.pack("<d", 1.0), struct.pack("<d", 3.0))
    assert safeload.loads(changed)[0].sum() == 6


class Hostile:
    """Would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["before", "after", "in objects", "key"])
def test_code_anywhere_in_the_file_is_found_and_does_not_run(where, tmp_path):
    """Hostile opcodes behind an array, or in the pickle of an array of objects, are judged before anything is made."""
    fired = tmp_path / "fired"
    evil = Hostile(fired)
    value = {
        "before": [evil, np.ones(3)],
        "after": [np.ones(3), evil],
        "in objects": [np.ones(3), np.array([evil, 1], dtype=object), np.zeros(2)],
        "key": {"a": np.array([1, 2]), "b": (np.ones(1), [evil])},
    }[where]
    path = tmp_path / "x.joblib"
    joblib.dump(value, path)
    report = safeload.scan(path)
    assert report.verdict == "malicious"
    assert report.container == "joblib"
    with pytest.raises(safeload.PolicyError):
        safeload.load(path)
    with pytest.raises(safeload.PolicyError):
        safeload.loads(path.read_bytes())
    assert not fired.exists()


def joblib_bytes(value, protocol=4):
    """What joblib writes for ``value``."""
    buffer = io.BytesIO()
    joblib.dump(value, buffer, protocol=protocol)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", [2, 4])
def test_truncated_at_every_byte(protocol):
    """A file that is cut anywhere is refused with an error of ours, and nothing else happens."""
    whole = joblib_bytes([np.arange(4.0), np.array([None, "x"], dtype=object)], protocol)
    for size in range(len(whole)):
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(whole[:size])
        assert safeload.scan(whole[:size]).verdict != "clean"


def test_changed_bytes_give_an_object_or_a_refusal():
    """Every byte flipped: an object or a SafeloadError, never another exception, a crash or a hang."""
    whole = bytearray(joblib_bytes({"a": np.arange(3.0), "b": np.array([1, None], dtype=object)}))
    judgements.clear()
    for place in range(len(whole)):
        changed = bytes(whole[:place]) + bytes([whole[place] ^ 0x21]) + bytes(whole[place + 1 :])
        with contextlib.suppress(safeload.SafeloadError):
            safeload.loads(changed)


def wrapper_code(shape=(2,), dtype="f8", extra=b"", framed=True):
    """A description of an array, ending in BUILD, as opcodes of protocol 4."""
    state = {"subclass": np.ndarray, "shape": shape, "order": "C", "dtype": np.dtype(dtype), "allow_mmap": False}
    body = pickle.dumps(state, 4)
    body = body[11:-1] if body[2] == 0x95 else body[2:-1]
    code = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + body + b"b" + extra
    return b"\x95" + len(code).to_bytes(8, "little") + code if framed else code


def test_handmade_files_read_as_meant():
    """The attacks below differ from this one, which loads, in the place that they are about."""
    raw = np.array([1.5, 2.5]).tobytes()
    assert safeload.loads(b"\x80\x04" + wrapper_code() + raw + b".").tolist() == [1.5, 2.5]
    assert safeload.loads(b"\x80\x04" + wrapper_code(framed=False) + raw + b".").tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("data", "why"),
    {
        "array announced inside a frame": (b"\x80\x04" + wrapper_code(extra=b"N0") + bytes(16) + b".", "follow|opcode"),
        "negative shape": (b"\x80\x04" + wrapper_code((-1,)) + bytes(16) + b".", "malformed"),
        "huge shape": (b"\x80\x04" + wrapper_code((1 << 60,)) + bytes(16) + b".", "ends before"),
        "product overflows": (b"\x80\x04" + wrapper_code((1 << 32, 1 << 32)) + bytes(16) + b".", "ends before"),
        "shape is no tuple": (b"\x80\x04" + wrapper_code([2]) + bytes(16) + b".", "malformed|describe"),
        "bytes missing": (b"\x80\x04" + wrapper_code() + bytes(15) + b".", "opcode|ends|Ran out|follow"),
        "objects that are no array": (b"\x80\x04" + wrapper_code(dtype="O") + b"\x80\x05N." + b".", "no array"),
        "set twice": (b"\x80\x04" + wrapper_code(extra=b"}b") + bytes(16) + b".", "follow|opcode|describes|lacks"),
        "old joblib": (b"\x80\x04cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}b.", "allow|older"),
    }.items(),
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_descriptions_that_lie_are_refused(data, why):
    """Sizes are checked before memory is taken, and a place where joblib would read something else is refused."""
    content, reason = why
    with pytest.raises(safeload.SafeloadError, match=reason):
        safeload.loads(content)
    assert safeload.scan(content).verdict != "clean", data


def test_bytes_that_hide_opcodes_from_a_plain_reader(tmp_path):
    """Array bytes that look like a string literal swallow hostile opcodes for a plain unpickler; joblib runs them.

    The file is well-formed in both readings. It is judged in the reading in which the array's bytes are skipped.
    """
    fired = tmp_path / "fired"
    command = f"cposix\nmkdir\n(V{fired}\ntR.".encode()
    swallow = b"T" + (len(command) - 1).to_bytes(4, "little")  # BINSTRING over all but the last byte
    data = b"\x80\x02" + wrapper_code((len(swallow),), "u1", framed=False) + swallow + command
    report = safeload.scan(data)
    assert report.verdict == "malicious"
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(data)
    assert not fired.exists()


def test_codec_joblib_signed_and_plain(tmp_path):
    """Dump writes what joblib.load reads; in an envelope the codec is part of what is signed."""
    value = {"w": np.arange(6.0).reshape(2, 3), "n": None}
    safeload.dump(value, tmp_path / "plain", codec="joblib")
    assert same(joblib.load(tmp_path / "plain"), value)
    key = safeload.Key.generate("hs256")
    safeload.dump(value, tmp_path / "signed", codec="joblib", key=key)
    assert same(safeload.load(tmp_path / "signed", keys=key), value)
    report = safeload.scan(tmp_path / "signed", keys=key)
    assert report.verdict == "clean"
    assert report.envelope["codec"] == "joblib"


def test_memory_of_a_scan_does_not_grow_with_the_arrays(tmp_path):
    """A scan skips array bytes: a file of many GB, most of it a hole here, is judged in little memory."""
    import resource

    code = b"\x80\x04" + wrapper_code((1 << 29,))
    path = tmp_path / "large.joblib"
    with path.open("wb") as file:
        file.write(code)
        file.seek(len(code) + (1 << 32))
        file.write(b".")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = safeload.scan(io.BytesIO(b"")) and safeload.Loader().scan(path)
    assert report.verdict == "clean", report.findings
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


class _Few(io.RawIOBase):
    """A raw file that gives a few bytes at a time, as a socket does."""

    def __init__(self, data):
        self._inner = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._inner.read(min(3, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", OBJECTS)
def test_from_a_raw_flow(name, protocol):
    """Without a buffer there is nothing to look ahead in: what was read as an opcode of array bytes is not lost, nor what follows."""
    file = io.BytesIO()
    joblib.dump(OBJECTS[name], file, protocol=protocol)
    flow = _Few(file.getvalue() + pickle.dumps("behind"))
    assert same(safeload.load(flow), OBJECTS[name])
    assert safeload.load(flow) == "behind"


def test_items_of_no_length():
    """An array of items without bytes stays one, whatever its shape: no memory is taken, and none that somebody left is shown."""
    data = b"\x80\x02" + wrapper_code((1 << 40,), "S0", framed=False) + b"."
    loaded = safeload.loads(data)
    assert loaded.dtype.itemsize == 0
    assert loaded.shape == (1 << 40,)
