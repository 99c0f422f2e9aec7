"""Tar archives: the files that every reader sees, never on a disk; links lead nowhere, and oddities are refused."""

from __future__ import annotations

import io
import pickle
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import safeload
from safeload.errors import FormatError, LimitExceededError, SafeloadError, TruncatedError
from safeload.formats.detect import is_tar
from safeload.formats.tar_reader import read_tar
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = pickle.dumps({"a": 1})
FILES = {"a.pkl": DATA, "d/" * 60 + "long.pkl": DATA, "d/" * 40 + "ü" * 49: b"text", "empty": b"", "block": bytes(512)}
KINDS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def archive(
    files: dict[str, bytes], kind: int = tarfile.GNU_FORMAT, change: Callable[[Any], None] | None = None
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def contents(data: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    return {entry.name: data[entry.data : entry.data + entry.size] for entry in read_tar(MemoryBlob(data), limits)}


def patched(data: bytes, offset: int, value: bytes, block: int = 0) -> bytes:
    """With a field of the header at ``block`` set, and its sum made right again."""
    made = bytearray(data)
    made[block + offset : block + offset + len(value)] = value
    made[block + 148 : block + 156] = b" " * 8
    made[block + 148 : block + 156] = b"%06o\0 " % sum(made[block : block + 512])
    return bytes(made)


@pytest.mark.parametrize("kind", KINDS)
def test_what_tarfile_writes(kind: str) -> None:
    """Long names, empty files, whole blocks, in each form."""
    assert contents(archive(FILES, KINDS[kind])) == FILES


def test_old_headers() -> None:
    """Before ustar there was no magic; the sum tells."""
    made = patched(archive({"a": b"1"}), 257, bytes(8))
    assert is_tar(MemoryBlob(made))
    assert contents(made) == {"a": b"1"}
    assert not is_tar(MemoryBlob(bytes(1024)))
    assert not is_tar(MemoryBlob(b"text" * 200))


def test_large_numbers() -> None:
    """Sizes in base 256, as GNU writes them."""
    made = archive({"a": b"1"})
    assert contents(patched(made, 124, b"\x80" + bytes(10) + b"\1")) == {"a": b"1"}
    for size in (b"\x80" + b"\xff" * 11, b"77777777777\0"):
        with pytest.raises(TruncatedError):
            contents(patched(made, 124, size))


def test_links_and_devices_are_nothing(tmp_path: Path) -> None:
    """None of them is followed, opened or loaded; a name of one is no member."""
    secret = tmp_path / "secret.pkl"
    secret.write_bytes(DATA)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):

        def change(info: Any, kind: bytes = kind) -> None:
            if info.name == "link":
                info.type, info.linkname = kind, str(secret)

        made = archive({"link": b"", "a.pkl": DATA}, change=change)
        assert list(contents(made)) == ["a.pkl"]
        assert safeload.loads(made) == {"a": 1}
        with pytest.raises(FormatError, match="no member"):
            safeload.loads(made, member="link")
        assert [member.path for member in safeload.scan(made).members] == ["a.pkl"]


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size += 1
    return str(size).encode() + rest


def _pax(records: bytes, kind: bytes = b"x") -> bytes:
    return archive({"header": records}, change=lambda info: setattr(info, "type", kind))[:1024]


PLAIN = archive({"a": b"1"})
BAD = {
    "wrong sum": PLAIN[:20] + b"!" + PLAIN[21:],
    "sparse": patched(PLAIN, 156, b"S"),
    "unknown type": patched(PLAIN, 156, b"Z"),
    "contiguous with a size that is none": patched(patched(PLAIN, 156, b"7"), 124, b"1_0\0"),
    "negative size": patched(PLAIN, 124, b"\xff" * 12),
    "link with bytes": patched(PLAIN, 156, b"2"),
    "hard link with bytes": patched(PLAIN, 156, b"1"),
    "directory with bytes": patched(PLAIN, 156, b"5"),
    "directory by its name, with bytes": patched(PLAIN, 0, b"a/"),
    "something behind the end": PLAIN[:-1] + b"!",
    "an archive behind the end": PLAIN + PLAIN,
    "no end": PLAIN[:1024],
    "header of no file": _pax(_record("path", "b")) + bytes(1024),
    "global name": _pax(_record("path", "b"), b"g") + PLAIN,
    "global size": _pax(_record("size", "0"), b"g") + PLAIN,
    "pax sparse": _pax(_record("GNU.sparse.major", "1")) + PLAIN,
    "pax size that is none": _pax(_record("size", "-1")) + PLAIN,
    "pax name twice": _pax(_record("path", "b") + _record("path", "c")) + PLAIN,
    "pax name with a zero": _pax(_record("path", "b\0c")) + PLAIN,
    "pax lengths": _pax(b"99 path=b\n") + PLAIN,
    "pax rubbish": _pax(b"path=b") + PLAIN,
    "two long names": archive({"x": b"b"}, change=lambda info: setattr(info, "type", b"L"))[:1024] * 2 + PLAIN,
    "huge pax header": patched(_pax(b""), 124, b"77777777777\0") + PLAIN,
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    """Nothing that tar, Python and others would read differently."""
    with pytest.raises(FormatError):
        contents(BAD[case])


def test_pax_says_more() -> None:
    """Name and size of the next file; other records and comments for all (git archive) say nothing about bytes."""
    made = _pax(_record("path", "b") + _record("mtime", "1.5")) + PLAIN
    assert contents(made) == {"b": b"1"}
    assert contents(_pax(_record("comment", "0123456789abcdef"), b"g") + PLAIN) == {"a": b"1"}
    sized = _pax(_record("size", "1")) + patched(PLAIN, 124, b"00000000000\0")
    assert contents(sized) == {"a": b"1"}


def test_doubled_names() -> None:
    """Appending to an archive replaces a file for who extracts it: all are judged, and none is chosen for a load."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for data in (DATA, pickle.dumps([2])):
            info = tarfile.TarInfo("a.pkl")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    assert len(safeload.scan(file.getvalue()).members) == 2
    with pytest.raises(FormatError, match="2 files of this name"):
        safeload.loads(file.getvalue(), member="a.pkl")


def test_limits() -> None:
    """Headers are counted."""
    with pytest.raises(LimitExceededError, match="max_members"):
        contents(archive(FILES), Limits(max_members=3))


@given(st.data())
def test_mutations(data: Any) -> None:
    """Whatever is changed: what tarfile reads, or a SafeloadError."""
    made = bytearray(data.draw(st.sampled_from([archive(FILES, kind) for kind in KINDS.values()])))
    at = 512 * data.draw(st.integers(0, 10))
    offset, size = data.draw(
        st.sampled_from([(0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (512, 512)])
    )
    value = data.draw(st.binary(min_size=1, max_size=size))
    changed = (
        patched(bytes(made), offset, value, at)
        if offset < 512
        else bytes(made[: at + 512] + value + made[at + 512 + len(value) :])
    )
    try:
        found = contents(changed)
    except SafeloadError:
        return
    with tarfile.open(fileobj=io.BytesIO(changed), errors="surrogateescape") as other:
        expected = {info.name: file.read() for info in other if info.isreg() and (file := other.extractfile(info))}
    # A name that ends in a slash is an empty file to some and a directory to others: nothing in any case.
    assert {name: data for name, data in found.items() if data} == {
        name: data for name, data in expected.items() if data
    }
