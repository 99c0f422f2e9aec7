"""The strict zip reader: what every reader sees is given out, what readers would see differently is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.formats.detect import is_zip
from safeload.formats.zip_reader import ZipReader, has_zip_behind, zip_names
from safeload.limits import Limits
from safeload.source.blob import FileBlob, MemoryBlob

FILES = {"a.txt": b"hello" * 100, "d/b.bin": bytes(range(256)) * 20, "empty": b""}


class _Unseekable(io.RawIOBase):
    """What zipfile writes data descriptors to."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def archive(files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_STORED, *, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in files.items():
            made.writestr(zipfile.ZipInfo(name), data, method)
        made.comment = comment
    return file.getvalue()


def streamed(method: int = zipfile.ZIP_STORED) -> bytes:
    file = _Unseekable()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in FILES.items():
            made.writestr(zipfile.ZipInfo(name), data, method)
    return bytes(file.data)


def wide() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, data in FILES.items():
            with made.open(name, "w", force_zip64=True) as member:
                member.write(data)
    return file.getvalue()


def contents(data: bytes, **options: Any) -> dict[str, bytes]:
    reader = ZipReader(MemoryBlob(data), **options)
    return {entry.name: reader.read(entry) for entry in reader.entries}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_writes(method: int) -> None:
    """Every method of zipfile, to a file and to a pipe (with data descriptors), and archives with a comment."""
    assert contents(archive(method=method)) == FILES
    assert contents(streamed(method)) == FILES
    assert contents(archive(method=method, comment=b"made by a test")) == FILES
    assert contents(wide()) == FILES
    assert contents(archive({})) == {}


def test_open_shares_stored_bytes() -> None:
    """A stored entry is a part of the archive and not copied; a compressed one is unpacked when it is looked at."""
    data = archive()
    reader = ZipReader(MemoryBlob(data))
    blob = reader.open(reader.by_name["d/b.bin"])
    assert blob.view(0, blob.size).obj is data
    assert bytes(reader.view(reader.by_name["d/b.bin"])) == FILES["d/b.bin"]
    packed = ZipReader(MemoryBlob(archive(method=zipfile.ZIP_DEFLATED)))
    lazy = packed.open(packed.by_name["d/b.bin"])
    assert lazy.size == len(FILES["d/b.bin"])
    assert lazy.slice(1, 3).read(0, 3) == FILES["d/b.bin"][1:4]
    lazy.release()
    assert lazy.tail(2) == FILES["d/b.bin"][-2:]
    assert not packed.view(packed.by_name["d/b.bin"]).readonly
    assert packed.private(packed.by_name["a.txt"]).read(0, 5) == b"hello"


def test_files_are_read_where_they_are(tmp_path: Any) -> None:
    """From a file, a scan reads the directory and what it asks for; the CRC is checked when somebody asks for it."""
    path = tmp_path / "a.zip"
    data = bytearray(archive())
    data[data.index(b"hello")] ^= 1
    path.write_bytes(data)
    with path.open("rb") as file:
        reader = ZipReader(FileBlob(file))
        entry = reader.by_name["a.txt"]
        assert reader.open(entry, verify=False).size == entry.size
        for use in (reader.open, reader.read, reader.view, reader.verify):
            with pytest.raises(FormatError, match="CRC") as caught:
                use(entry)
            assert caught.value.code == "format.crc"
        assert reader.read(reader.by_name["d/b.bin"]) == FILES["d/b.bin"]


def test_directories_and_odd_names() -> None:
    """Names are text and nothing else: absolute ones, and those that point upwards, are never paths."""
    files = {"/etc/passwd": b"1", "../../x": b"2", "C:\\y": b"3", "dir/": b"", "ümlaut": b"4"}
    reader = ZipReader(MemoryBlob(archive(files)))
    assert [entry.name for entry in reader.entries] == list(files)
    assert [entry.name for entry in reader.files] == [name for name in files if name != "dir/"]


def test_recognition() -> None:
    """By the first bytes; an archive behind something else is noticed, and data of a pickle that look so are not."""
    data = archive()
    assert is_zip(MemoryBlob(data))
    assert zip_names(MemoryBlob(data)) == tuple(FILES)
    assert zip_names(MemoryBlob(data[:-1])) is None
    assert zip_names(MemoryBlob(b"no")) is None
    assert not has_zip_behind(MemoryBlob(data))
    assert has_zip_behind(MemoryBlob(b"#!/bin/sh\n" + data))
    assert not has_zip_behind(MemoryBlob(b"\x80\x04" + data))
    assert not has_zip_behind(MemoryBlob(b"text"))


def _end(data: bytes) -> int:
    return data.rindex(b"PK\x05\x06")


def _central(data: bytes) -> int:
    return data.index(b"PK\x01\x02")


def _set(data: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


def _with_gap(data: bytes) -> bytes:
    """A byte between the last entry and the directory, with the offset repaired."""
    at, end = _central(data), _end(data)
    moved = data[:at] + b"!" + data[at:]
    return _set(moved, end + 1 + 16, "<L", at + 1)


def _two_ends() -> bytes:
    inner = archive({"other": b"x"})
    return archive(comment=inner)


def _hidden_by_the_comment() -> bytes:
    """An end record in the comment of another one: the last one counts for some, the one that fits for others."""
    data = archive()
    fake = b"PK\x05\x06" + bytes(16) + b"\x02\x00!!"
    end = _end(data)
    return _set(data, end + 20, "<H", len(fake)) + fake


def _doubled() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "w") as made:
            made.writestr("a", b"1")
            made.writestr("a", b"2")
    return file.getvalue()


def _overlapping() -> bytes:
    """Two directory entries for the same local header."""
    data = archive({"a": b"12345"})
    at, end = _central(data), _end(data)
    entry = data[at:end]
    other = bytearray(data[:end] + entry + data[end:])
    struct.pack_into("<2H2L", other, end + len(entry) + 8, 2, 2, 2 * len(entry), at)
    return bytes(other)


def _extra(data: bytes, extra: bytes) -> bytes:
    """An extra field for the first (and only) entry of the directory."""
    at, end = _central(data), _end(data)
    named = at + 46 + int.from_bytes(data[at + 28 : at + 30], "little")
    made = data[:named] + extra + data[named:]
    made = _set(made, at + 30, "<H", len(extra))
    return _set(made, end + len(extra) + 12, "<L", end + len(extra) - at)


ONE = archive({"a": b"12345"})
BAD = {
    "local name": ONE.replace(b"a12345", b"b12345", 1),
    "CVE-2025-1945, flags in the local header": _set(ONE, 6, "<H", 1),
    "flags in the directory": _set(ONE, _central(ONE) + 8, "<H", 1),
    "flags in both": _set(_set(ONE, 6, "<H", 1), _central(ONE) + 8, "<H", 1),
    "unknown flags": _set(_set(ONE, 6, "<H", 0x20), _central(ONE) + 8, "<H", 0x20),
    "local method": _set(ONE, 8, "<H", 8),
    "local CRC": _set(ONE, 14, "<L", 1),
    "local size": _set(ONE, 22, "<L", 4),
    "stored with two sizes": _set(_set(ONE, 22, "<L", 4), _central(ONE) + 24, "<L", 4),
    "prefix": b"!" + ONE,
    "prefix, offsets repaired": b"!" + _set(_set(ONE, _end(ONE) + 16, "<L", _central(ONE) + 1), _central(ONE) + 42, "<L", 1),
    "trailing": ONE + b"!",
    "gap": _with_gap(ONE),
    "two archives": ONE + ONE,
    "an archive in the comment": _two_ends(),
    "an end in the comment": _hidden_by_the_comment(),
    "doubled name": _doubled(),
    "case of backslashes": archive({"a/b": b"", "a\\b": b""}),
    "overlap": _overlapping(),
    "count": _set(_set(ONE, _end(ONE) + 8, "<H", 2), _end(ONE) + 10, "<H", 2),
    "fewer": _set(_set(archive(), _end(archive()) + 8, "<H", 2), _end(archive()) + 10, "<H", 2),
    "disk": _set(ONE, _end(ONE) + 4, "<H", 1),
    "no zip64": _set(ONE, _end(ONE) + 16, "<L", 0xFFFFFFFF),
    "zip64 field missing": _set(ONE, _central(ONE) + 24, "<L", 0xFFFFFFFF),
    "zero in the name": ONE.replace(b"a", b"\0"),
    "two names": _extra(ONE, struct.pack("<2HBL", 0x7075, 6, 1, zlib.crc32(b"a")) + b"b"),
    "zip64 field twice": _extra(ONE, struct.pack("<2H", 1, 0) * 2),
    "zip64 field without need": _extra(ONE, struct.pack("<2HQ", 1, 8, 9)),
    "zip64 field that differs": _extra(ONE, struct.pack("<2H2Q", 1, 16, 5, 6)),
    "damaged extra field": _extra(ONE, struct.pack("<2H", 9, 50)),
    "no descriptor": _set(_set(ONE, 6, "<H", 8), _central(ONE) + 8, "<H", 8),
    "negative place": _set(ONE, _end(ONE) + 16, "<L", _central(ONE) + 1),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_readers_see_differently_is_refused(case: str) -> None:
    """CVE-2025-1944, CVE-2025-1945 and their like: one mechanism, structure that has one meaning only."""
    with pytest.raises(FormatError) as caught:
        contents(BAD[case])
    assert str(caught.value)


def test_a_field_that_repeats_what_fits() -> None:
    """Some writers repeat sizes that fit in the zip64 field; PyTorch and aligners pad the extra fields."""
    assert contents(_extra(ONE, struct.pack("<2H2Q", 1, 16, 5, 5))) == {"a": b"12345"}
    assert contents(_extra(ONE, struct.pack("<2H", 0x4246, 6) + b"ZZZZZZ")) == {"a": b"12345"}
    assert contents(_extra(ONE, bytes(3))) == {"a": b"12345"}


def test_descriptors_are_checked() -> None:
    """A reader that goes from entry to entry believes the descriptor; one that starts at the end, the directory."""
    data = streamed()
    at = data.index(b"PK\x07\x08")
    for offset in (0, 4, 8, 12):
        with pytest.raises(FormatError):
            contents(_set(data, at + offset, "<L", 77))


def test_case_of_names() -> None:
    """PyTorch looks names up without case: two names that differ in case only are two things to two readers."""
    data = archive({"a/data.pkl": b"1", "a/DATA.pkl": b"2"})
    assert len(contents(data)) == 2
    with pytest.raises(FormatError, match="same name"):
        contents(data, fold_case=True)


def test_truncation() -> None:
    """Nothing but a FormatError, wherever the archive ends."""
    for data in (archive(), streamed(zipfile.ZIP_DEFLATED), wide()):
        for size in range(len(data)):
            with pytest.raises(FormatError):
                contents(data[:size])


@given(st.data())
def test_mutations(data: Any) -> None:
    """Whatever is changed: the same contents as zipfile sees, or a SafeloadError."""
    made = bytearray(data.draw(st.sampled_from([archive(), streamed(), wide(), archive(method=8), archive(method=14)])))
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = contents(bytes(made))
    except SafeloadError:
        return
    with zipfile.ZipFile(io.BytesIO(made)) as other:
        assert {name: other.read(name) for name in other.namelist()} == found


def test_limits() -> None:
    """Counts, ratio and sizes are bounded before memory is taken."""
    limits = Limits(max_members=2)
    with pytest.raises(LimitExceededError, match="max_members"):
        contents(archive(), limits=limits)
    with pytest.raises(LimitExceededError, match="max_unpacked_bytes"):
        contents(archive(method=8), limits=Limits(max_unpacked_bytes=1_000))
    bomb = archive({"a": bytes(70 << 20)}, zipfile.ZIP_BZIP2)
    with pytest.raises(LimitExceededError, match="max_ratio"):
        contents(bomb)


def test_announced_sizes_are_not_believed() -> None:
    """More than announced, less than announced, and bytes behind the compressed data."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packed.compress(b"x" * 1_000) + packed.flush()
    made = archive({"a": body})
    for size in (999, 1_001, 0):
        changed = _set(_set(made, 8, "<H", 8), _central(made) + 10, "<H", 8)
        changed = _set(_set(changed, 22, "<L", size), _central(made) + 24, "<L", size)
        with pytest.raises(FormatError):
            contents(changed)
    longer = archive({"a": body + b"!"})
    changed = _set(_set(longer, 8, "<H", 8), _central(longer) + 10, "<H", 8)
    changed = _set(_set(changed, 22, "<L", 1_000), _central(longer) + 24, "<L", 1_000)
    with pytest.raises(FormatError):
        contents(changed)


def test_methods_that_are_not_read() -> None:
    """An entry of another method can be listed, and opening it says why not."""
    changed = _set(_set(ONE, 8, "<H", 9), _central(ONE) + 10, "<H", 9)
    reader = ZipReader(MemoryBlob(changed))
    with pytest.raises(FormatError) as caught:
        reader.read(reader.entries[0])
    assert caught.value.code == "format.unsupported"
