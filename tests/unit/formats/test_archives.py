"""Zip and tar archives of several artifacts: a scan looks at all of them, a load takes the one that was named."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import safeload
from safeload.errors import FormatError, LimitExceededError
from safeload.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = pickle.dumps({"a": 1})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 5\n"


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in files.items():
            made.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def deflated(files: dict[str, bytes]) -> bytes:
    return zipped(files, zipfile.ZIP_DEFLATED)


def tarred(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_gz(files: dict[str, bytes]) -> bytes:
    return gzip.compress(tarred(files), mtime=0)


ARCHIVES = [zipped, deflated, tarred, tar_gz]


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


FILES = {
    "README.md": b"# Hello\n" * 20,
    "model.pkl": DATA,
    "x.npy": _npy(np.arange(10)),
    "logo.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
}


def members(report: safeload.Report) -> dict[str, safeload.Report]:
    """By name, of a tar archive in a gzip file as well."""
    if report.container == "gzip":
        (report,) = report.members
    return {member.path: member for member in report.members}


@pytest.mark.parametrize("pack", ARCHIVES)
def test_scan(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    """Artifacts are listed with what they are; texts and images are not; an archive without artifacts is none."""
    path = tmp_path / "x"
    path.write_bytes(pack(FILES))
    report = safeload.scan(path)
    assert report.verdict == "skipped"  # not all of it was judged
    found = members(report)
    assert {name: member.container for name, member in found.items()} == {"model.pkl": "pickle", "x.npy": "npy"}
    assert found["model.pkl"].sha256 == safeload.scan(DATA).sha256
    assert found["model.pkl"].size == len(DATA)
    nothing = safeload.scan(pack({"README.md": b"text", "a/b.txt": b"more"}))
    assert (nothing.verdict, nothing.container) == ("skipped", "unknown")


@pytest.mark.parametrize("pack", ARCHIVES)
def test_load(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    """One file is loaded; of several, the one that is named, and a part of it."""
    data = pack(FILES)
    assert safeload.loads(pack({"only.pkl": DATA})) == {"a": 1}
    assert safeload.loads(data, member="model.pkl") == {"a": 1}
    assert safeload.loads(data, member="x.npy").tolist() == list(range(10))
    assert safeload.loads(data, member="x.npy", index=slice(2, 4)).tolist() == [2, 3]
    path = tmp_path / "x"
    path.write_bytes(data)
    assert safeload.load(path, member="x.npy", mmap=True).tolist() == list(range(10))
    with pytest.raises(FormatError, match=r"holds 4 files: 'README\.md', 'model\.pkl'") as caught:
        safeload.load(path)
    assert caught.value.code == "format.member"
    for name in ("nothing", "", "README.md/", "./model.pkl", "/model.pkl"):
        with pytest.raises(FormatError, match="no member"):
            safeload.load(path, member=name)
    with pytest.raises(FormatError):
        safeload.load(path, member="README.md")
    with pytest.raises(FormatError, match="holds no files"):
        safeload.loads(tarred({"d/": b""}))


@pytest.mark.parametrize("pack", ARCHIVES)
def test_one_bad_file(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    """Found wherever it is, behind benign ones, under any name, however deep; the others load."""
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(marker)!r}, 'w')",)

    evil = pickle.dumps(Evil())
    for data in (evil, gzip.compress(evil), zipped({"inner.txt": evil}), tar_gz({"inner": evil})):
        made = pack({**FILES, "notes.txt": data, "z.pkl": DATA})
        report = safeload.scan(made)
        assert report.verdict == "malicious"
        assert members(report)["notes.txt"].verdict == "malicious"
        assert safeload.loads(made, member="z.pkl") == {"a": 1}
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(made, member="notes.txt")
    assert not marker.exists()


@pytest.mark.parametrize("pack", ARCHIVES)
def test_pointers_and_what_is_not_looked_into(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """Recognised is not clean: a Git LFS pointer, a 7z file and the like in an archive are told."""
    for name, data, container in (
        ("model.bin", LFS, "git-lfs-pointer"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(40), "7z"),
    ):
        report = safeload.scan(pack({"a.pkl": DATA, name: data}))
        assert report.verdict == "skipped"
        assert members(report)[name].container == container


@pytest.mark.parametrize("pack", ARCHIVES)
def test_limits(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    """Members of all depths are counted together."""
    made = pack({f"{number}.pkl": DATA for number in range(30)})
    report = safeload.scan(made, limits=Limits(max_members=10))
    assert report.verdict == "unknown"
    nested = zipped({str(number): zipped({str(inner): DATA for inner in range(8)}) for number in range(8)})
    assert safeload.scan(nested, limits=Limits(max_members=40)).verdict == "unknown"
    assert safeload.scan(nested, limits=Limits(max_members=80)).verdict == "clean"


def test_unpacked_bytes_of_all_members_count() -> None:
    """Each small enough, together too much."""
    data = pickle.dumps(bytes(range(256)) * 400)
    made = deflated({str(number): data for number in range(20)})
    limits = Limits(max_unpacked_bytes=500_000)
    assert safeload.scan(made, limits=limits).verdict == "unknown"
    assert safeload.loads(made, member="3", limits=limits)
    with pytest.raises(LimitExceededError):
        safeload.loads(made, member="3", limits=Limits(max_unpacked_bytes=50_000))


def test_memory_of_a_scan(tmp_path: Path) -> None:
    """Members are unpacked one after the other, and let go of."""
    import tracemalloc

    noise = np.random.default_rng(0)
    made = zipped({f"{number}.gz": gzip.compress(pickle.dumps(noise.bytes(900_000)), 1) for number in range(30)})
    path = tmp_path / "x.zip"
    path.write_bytes(made)
    safeload.scan(path)
    tracemalloc.start()
    try:
        report = safeload.scan(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.verdict == "clean"
    assert len(report.members) == 30
    assert peak < 10_000_000


def test_methods_of_other_programs() -> None:
    """An entry that cannot be unpacked is told, and the others are judged."""
    made = bytearray(zipped({"a": b"12345", "b.pkl": DATA}))
    central = made.index(b"PK\x01\x02")
    made[8] = made[central + 10] = 9
    report = safeload.scan(bytes(made))
    assert report.verdict == "skipped"
    assert report.findings[0].rule_id == "format.unsupported"
    assert report.findings[0].location == "a"
    assert members(report)["b.pkl"].verdict == "clean"


def test_names_in_messages() -> None:
    """A hostile name cannot steer a terminal."""
    made = zipped({"\x1b[2J" + "x" * 500: DATA, "b": DATA})
    with pytest.raises(FormatError) as caught:
        safeload.loads(made)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_flows_say_what_to_do(tmp_path: Path) -> None:
    """A container that comes through a pipe is named, with the way to load it."""
    import os

    read, write = os.pipe()
    os.write(write, deflated(FILES))
    os.close(write)
    with os.fdopen(read, "rb") as file, pytest.raises(FormatError, match=r"zip file.*safeload\.loads") as caught:
        safeload.load(file)
    assert caught.value.code == "format.unsupported"


def test_learning_from_an_archive(tmp_path: Path) -> None:
    """A policy can be learned from artifacts in an archive."""
    import collections

    path = tmp_path / "x.zip"
    path.write_bytes(deflated({"notes.txt": b"text", "a.pkl": pickle.dumps(collections.Counter("abc"))}))
    assert "collections.Counter" in safeload.Policy.learn([path]).to_toml()


def test_signed_archives() -> None:
    """A signed npz is verified first and read as one."""
    key = safeload.Key.generate("ed25519")
    made = safeload.dumps({"a": np.arange(3)}, codec="npz", key=key)
    assert safeload.loads(made, keys=safeload.KeyRing([key.public]), member="a").tolist() == [0, 1, 2]
    report = safeload.scan(made, keys=safeload.KeyRing([key.public]))
    assert report.verdict == "clean"
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(zipped({"a.pkl": DATA}), keys=safeload.KeyRing([key.public]))


@pytest.mark.parametrize("rest", [b"", bytes(50), b"\0\0\0\rIHDR" + bytes(30)])
def test_images_are_no_pickles(rest: bytes) -> None:
    """A PNG image begins with two opcodes, and the second asks for a persistent id; nothing comes of that."""
    report = safeload.scan(b"\x89PNG\r\n\x1a\n" + rest)
    assert (report.verdict, report.container) == ("skipped", "unknown")


def test_hdf5_file_first_in_a_tar_archive() -> None:
    """It begins at byte 512, where an HDF5 file after a user block does too; it is the same file in both readings."""
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["a"] = np.arange(3)
    for names in (["a.h5"], ["a.h5", "b.h5"]):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(file.getvalue())
                archive.addfile(info, io.BytesIO(file.getvalue()))
        report = safeload.scan(packed.getvalue())
        assert report.verdict == "clean"
        assert [member.container for member in report.members] == ["hdf5"] * len(names)
        assert safeload.loads(packed.getvalue(), member="a.h5")["a"].tolist() == [0, 1, 2]


def test_hdf5_file_in_the_middle_of_another() -> None:
    """A signature inside of a file that is not HDF5 for anybody who unpacks the archive: both readings are refused."""
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["a"] = np.arange(3)
    data = tarred({"a.bin": b"x" * 1536 + file.getvalue()})
    assert data.index(b"\x89HDF") == 2048
    assert safeload.scan(data).verdict == "malformed"
