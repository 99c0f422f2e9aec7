"""Attacks on what reads archives and compressed files: what one program sees in them and another does not, and exhaustion.

The payload of each only creates a marker; none may be called clean, none may load, none may run.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pickle_parts import STOP, call, glob, proto

import safeload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUE = {"weights": [1, 2, 3]}
GOOD = pickle.dumps(VALUE)


@pytest.fixture
def evil(marker: Path) -> bytes:
    """A pickle that creates the marker."""
    return proto(2) + call(glob("posix", "system"), f"touch {marker}") + STOP


def _zip(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def _tar(files: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _changed(data: bytes, form: str, local: dict[int, int], central: dict[int, int]) -> bytes:
    """An archive of one entry, with fields of its two headers set."""
    made = bytearray(data)
    directory = made.rindex(b"PK\x01\x02")
    for at, value in (*local.items(), *((directory + at, value) for at, value in central.items())):
        struct.pack_into(form, made, at, value)
    return bytes(made)


def _sized(data: bytes, packed: int, size: int, content: bytes) -> bytes:
    """With these sizes and the CRC of ``content`` in both headers."""
    crc = zlib.crc32(content)
    return _changed(data, "<L", {14: crc, 18: packed, 22: size}, {16: crc, 20: packed, 24: size})


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def _hidden_local(evil: bytes, name: str = "evil.pkl") -> bytes:
    """An entry that stands in the file and not in the directory: who reads from the front sees it."""
    first = _zip({name: evil})
    local = first[: first.index(b"PK\x01\x02")]
    second = bytearray(_zip({"a.pkl": GOOD}))
    central, end = second.index(b"PK\x01\x02"), second.rindex(b"PK\x05\x06")
    struct.pack_into("<L", second, central + 42, len(local))
    struct.pack_into("<L", second, end + 16, central + len(local))
    return local + bytes(second)


def _behind_the_size(evil: bytes) -> bytes:
    """The sizes cover the good pickle; the bytes of the other one lie behind it."""
    return _sized(_zip({"a.pkl": GOOD + evil}), len(GOOD), len(GOOD), GOOD)


def _behind_the_deflated(evil: bytes) -> bytes:
    """Bytes behind the end of the deflated data, inside of the entry."""
    body = _deflated(GOOD) + evil
    return _sized(_changed(_zip({"a.pkl": body}), "<H", {8: 8}, {10: 8}), len(body), len(GOOD), GOOD)


def _sparse(evil: bytes) -> bytes:
    """A pax header that says that the bytes of the file are others than those in the archive."""
    made = bytearray(_tar([("h", b"22 GNU.sparse.major=1\n")])[:1024] + _tar([("a.pkl", evil)]))
    made[156] = ord("x")
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made[:512])
    return bytes(made)


TRICKS: dict[str, Callable[[bytes], bytes]] = {
    "two archives": lambda evil: _zip({"a.pkl": GOOD}) + _zip({"a.pkl": evil}),
    "an entry the directory does not name": _hidden_local,
    "an entry of the same name before the one that is named": lambda evil: _hidden_local(evil, "a.pkl"),
    "extra field over the data": lambda evil: _changed(_zip({"a.pkl": GOOD + evil}), "<H", {28: len(GOOD)}, {}),
    "method in one place": lambda evil: _changed(_zip({"a.pkl": evil}, zipfile.ZIP_DEFLATED), "<H", {}, {10: 0}),
    "bytes behind the size": _behind_the_size,
    "bytes behind the deflated data": _behind_the_deflated,
    "name with a zero byte": lambda evil: _zip({"a.pkl_.txt": evil}).replace(b"a.pkl_.txt", b"a.pkl\0.txt"),
    "behind the end of a tar": lambda evil: _tar([("a.pkl", GOOD)]) + _tar([("a.pkl", evil)]),
    "sparse tar": _sparse,
    "an image in front": lambda evil: b"\x89PNG\r\n\x1a\n" + bytes(100) + _zip({"archive/data.pkl": evil}),
    "an array in front": lambda evil: _npy(np.frombuffer(_zip({"archive/data.pkl": evil}), np.uint8)),
    "pickle named as an array": lambda evil: _zip({"a.npy": _npy(np.arange(3)), "b.npy": evil}),
    "gzip, second stream": lambda evil: gzip.compress(GOOD, mtime=0) + gzip.compress(evil, mtime=0),
    "gzip, zeros, stream": lambda evil: gzip.compress(GOOD, mtime=0) + bytes(10) + gzip.compress(evil, mtime=0),
    "gzip, bytes behind": lambda evil: gzip.compress(GOOD, mtime=0) + evil,
    "zlib, bytes behind": lambda evil: zlib.compress(GOOD) + zlib.compress(evil),
    "npy, pickle behind": lambda evil: _npy(np.arange(3)) + evil,
    "zip in gzip in tar in zip": lambda evil: _zip({"a": _tar([("b", gzip.compress(_zip({"c": evil})))])}),
    "hostile after benign": lambda evil: _zip({"a.pkl": GOOD, "b.npy": _npy(np.eye(2)), "c.txt": evil}),
    "hostile after benign in a tar": lambda evil: _tar([("a.pkl", GOOD), ("c.txt", evil)]),
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_tricks(trick: str, wrapped: bool, evil: bytes, marker: Path, tmp_path: Path) -> None:
    """Refused, in a scan and in a load, by itself and inside of a compressed file."""
    data = TRICKS[trick](evil)
    if wrapped:
        data = gzip.compress(data, mtime=0)
    path = tmp_path / "model.npz"
    path.write_bytes(data)
    assert safeload.scan(path).verdict in ("malicious", "malformed", "unknown")
    for load in (
        lambda: safeload.load(path),
        lambda: safeload.loads(data),
        lambda: safeload.load(path, member="a.pkl"),
    ):
        try:
            found = load()
        except safeload.SafeloadError:
            continue
        assert trick.startswith("hostile after benign")  # the benign one loads when it is asked for
        assert found == VALUE
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["../../../../tmp/evil.pkl", "/tmp/evil.pkl", "C:\\evil.pkl", "a/../../b", "~/.ssh/x", "\x1b]0;x\x07"]
)
def test_names_are_never_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written: the directory is as it was, and the member is found under the name that it has."""
    monkeypatch.chdir(tmp_path)
    for data in (_zip({name: GOOD}), _tar([(name, GOOD)])):
        assert safeload.loads(data) == VALUE
        assert safeload.loads(data, member=name) == VALUE
        assert safeload.scan(data).verdict == "clean"
    assert list(tmp_path.iterdir()) == []


def test_archives_in_archives_without_end() -> None:
    """A file that contains itself, more or less: depth is bounded."""
    made = b"x"
    for level in range(1, 301):
        made = _zip({f"{level}": made}, zipfile.ZIP_DEFLATED)
        if level in (8, 50, 300):
            assert safeload.scan(made).verdict == "unknown"
            with pytest.raises(safeload.LimitExceededError) as caught:
                safeload.loads(made)
            assert caught.value.code == "limit.depth"


def test_a_tree_of_archives() -> None:
    """Ten archives in each of ten archives in each ...: what is opened is bounded, not only how deep."""
    made = GOOD
    for _ in range(5):
        made = _zip({str(number): made for number in range(10)}, zipfile.ZIP_DEFLATED)
    for limits in (safeload.Limits(max_members=2_000), safeload.Limits(max_unpacked_bytes=300_000)):
        assert safeload.scan(made, limits=limits).verdict == "unknown"


def test_overlapping_entries() -> None:
    """The zip bomb of David Fifield (2019): many entries of the directory share one kernel of data."""
    made = _zip({"a": zlib.compress(bytes(1000))})
    central, end = made.rindex(b"PK\x01\x02"), made.rindex(b"PK\x05\x06")
    entries = b""
    for number in range(100):
        entry = bytearray(made[central:end])
        entry[46:47] = bytes([number + 1])
        entries += entry
    record = bytearray(made[end:])
    struct.pack_into("<2H2L", record, 8, 100, 100, len(entries), central)
    with pytest.raises(safeload.FormatError, match="overlap"):
        safeload.loads(made[:central] + entries + record, member="\x01")


_LIMITED = """
import resource, sys
import numpy, safeload
safeload.scan(b"PK")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), resource.RLIM_INFINITY))
print(safeload.scan(sys.argv[1]).verdict)
try:
    safeload.load(sys.argv[1], member=sys.argv[2] or None)
except safeload.SafeloadError as error:
    print(error.code)
"""


def _announcing(size: int) -> bytes:
    """A small deflated entry that announces ``size`` bytes."""
    body = _deflated(bytes(100))
    made = _changed(_zip({"a.npy": body}), "<H", {8: 8}, {10: 8})
    return _sized(made, len(body), size, bytes(100))


def _bomb(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as entry:
        for _ in range(300):
            entry.write(bytes(1 << 20))
    return file.getvalue()


_HUGE = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }".ljust(69) + b"\n"
_BOUNDED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "bomb of an array": (lambda: _bomb("a.npy"), "", "limit.ratio"),
    "bomb of a pickle": (lambda: _bomb("a.pkl"), "a.pkl", "limit.ratio"),
    "4 GiB announced": (lambda: _announcing(0xFFFFFFF0), "", "limit.ratio"),
    "60 MiB announced": (lambda: _announcing(60 << 20), "", "format.zip"),
    "shape": (lambda: b"\x93NUMPY\x01\x00\x46\x00" + _HUGE + bytes(99), "", "format.truncated"),
    "header": (lambda: _zip({"a.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(99)}), "", "format.truncated"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
@pytest.mark.parametrize("case", _BOUNDED)
def test_memory_is_bounded(case: str, tmp_path: Path) -> None:
    """Bombs, and sizes that are only announced, in a process that may not take much memory."""
    import subprocess

    make, member, expected = _BOUNDED[case]
    path = tmp_path / "bomb"
    path.write_bytes(make())
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, path, member], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.stderr == ""
    verdict, code = run.stdout.split()
    assert verdict in ("malformed", "unknown")
    assert code == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "escaped"])
def test_what_skops_would_call_is_not_called_clean(encoding: str) -> None:
    """CVE-2025-54412: a skops file is an archive of JSON that names what its loader imports; as data it would be clean."""
    text = '{"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode", "content": "é"}'
    if encoding == "escaped":
        text = text.replace("__loader__", "_\\u005floader__")
    data = text.encode("utf-8" if encoding == "escaped" else encoding)
    artifact = _zip({"schema.json": data, "array.npy": _npy(np.arange(3))})
    report = safeload.scan(artifact)
    assert report.verdict == "skipped"
    assert "skops" in report.findings[0].message
    with pytest.raises(safeload.FormatError, match="skops"):
        safeload.loads(artifact)
    assert safeload.loads(artifact, member="array.npy").shape == (3,)


def test_a_schema_that_is_no_models(evil: bytes) -> None:
    """Another archive with a file of that name is judged as before, and so is the rest of a skops file."""
    assert safeload.scan(_zip({"schema.json": b'{"type": "object"}'})).verdict == "clean"
    assert safeload.scan(_zip({"schema.json": b'{"__loader__": 1}', "a.pkl": evil})).verdict == "malicious"


def test_very_many_small_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a scan does for each file of an archive is little: it is read once, and text is not traced as a broken pickle."""
    import safeload.engine.trace as trace
    from safeload.source.blob import FileBlob

    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(500):
            archive.writestr(f"a{number}", b"\x80\x04N." if number % 2 else b"some text\n")
    reads: list[int] = []
    read = FileBlob._read
    monkeypatch.setattr(FileBlob, "_read", lambda self, *at: reads.append(1) or read(self, *at))
    monkeypatch.setattr(trace.Tracer, "trace", lambda *_: pytest.fail("traced"))
    report = safeload.scan(path)
    assert (report.verdict, len(report.members)) == ("skipped", 250)  # nobody has judged the text
    assert len(reads) < 500 * 3  # the local header, the file, and its part of the whole
