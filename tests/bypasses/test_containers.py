"""Tricks with the file around the pickle. What this version does not look into is never called clean, and never loads.

Names of files play no part: a container is told by its bytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
from pickle_parts import STOP, Raw, arguments, call, glob, proto, short

import safeload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def evil(marker: Path) -> bytes:
    """A pickle that creates the marker."""
    return proto(2) + call(glob("posix", "system"), f"touch {marker}") + STOP


def _zip(evil: bytes, name: str = "archive/data.pkl", **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        archive.writestr(name, evil)
    return file.getvalue()


def _tar(evil: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("pickle")
        info.size = len(evil)
        archive.addfile(info, io.BytesIO(evil))
    return file.getvalue()


class _Payload:
    def __init__(self, evil: bytes) -> None:
        self.evil = evil

    def __reduce__(self) -> Any:
        return pickle.loads, (self.evil,)


def _npy(evil: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([_Payload(evil)], dtype=object), allow_pickle=True)
    return file.getvalue()


def _npz(evil: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.array([_Payload(evil)], dtype=object))
    return file.getvalue()


def _bad_crc(evil: bytes) -> bytes:
    data = bytearray(_zip(evil))
    at = data.rindex(b"PK\x01\x02") + 16
    data[at] ^= 0xFF
    return bytes(data)


def _flag_bits(evil: bytes) -> bytes:
    data = bytearray(_zip(evil))
    data[6] |= 0x21
    return bytes(data)


def _two_names(evil: bytes) -> bytes:
    data = _zip(evil, "evil.pkl")
    at = data.rindex(b"evil.pkl")
    return data[:at] + b"good.txt" + data[at + 8 :]


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "zip": _zip,
    "zip, deflated": lambda evil: _zip(evil, compression=zipfile.ZIP_DEFLATED),
    "CVE-2025-1944, names differ": _two_names,
    "CVE-2025-1945, flag bits": _flag_bits,
    "CVE-2025-10156, bad CRC": _bad_crc,
    "torch zip": lambda evil: _zip(evil, "model/data.pkl"),
    "tar, torch before 0.1.10": _tar,
    "7z": lambda evil: b"7z\xbc\xaf\x27\x1c\x00\x04" + evil,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda evil: lzma.compress(evil, lzma.FORMAT_ALONE),
    "zlib, as joblib writes it": zlib.compress,
    "gzip bomb": lambda _evil: gzip.compress(bytes(50_000_000)),
    "CVE-2019-6446, npy": _npy,
    "npz": _npz,
    "npy, huge shape": lambda _evil: b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }" + b" " * 52 + b"\n",
    "HDF5": lambda evil: b"\x89HDF\r\n\x1a\n" + evil,
    "Git LFS pointer": lambda _evil: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 5\n",
    "joblib before 0.10": lambda evil: b"ZF" + b"0x1".ljust(19) + zlib.compress(evil),
    "Keras": lambda evil: _zip(b'{"class_name": "Lambda", "config": {"module": "os"}}', "config.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["model.pkl", "model.txt", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_are_not_clean(container: str, name: str, evil: bytes, marker: Path, tmp_path: Path) -> None:
    """CVE-2025-1889, CVE-2025-10155: whatever the extension; skipped is said, and skipped does not load."""
    path = tmp_path / name
    path.write_bytes(CONTAINERS[container](evil))
    report = safeload.scan(path)
    assert report.verdict != "clean"
    with pytest.raises(safeload.SafeloadError) as caught:
        safeload.load(path)
    assert str(caught.value)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(path.read_bytes())
    assert not marker.exists()


@pytest.mark.parametrize(
    "behind", [b"PK\x05\x06" + bytes(18), gzip.compress(b"x", mtime=0), b"\x93NUMPY\x01\x00", b"{}", bytes(512)]
)
def test_polyglots(behind: bytes, evil: bytes, marker: Path) -> None:
    """A pickle in front of, and behind, another format."""
    harmless = pickle.dumps([1, 2, 3])
    for data in (evil + behind, harmless + evil + behind, harmless + behind, struct.pack("<Q", 2) + b"{}" + evil):
        assert safeload.scan(data).verdict != "clean"
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(data)
    assert not marker.exists()
    zipped = io.BytesIO(evil)
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr("data.json", "{}")
    assert safeload.scan(zipped.getvalue()).verdict == "malicious"
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(zipped.getvalue())
    # Data that merely contains the end of a zip archive is a pickle like any other.
    assert safeload.loads(pickle.dumps(_zip(b"x"))) == _zip(b"x")


def test_joblib_files(evil: bytes, marker: Path, tmp_path: Path) -> None:
    """A hostile pickle behind the bytes of an array, and inside an object array, of a joblib file."""
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "model.joblib"
    joblib.dump({"a": np.arange(5), "b": _Payload(evil)}, path)
    for data in (path.read_bytes(), path.read_bytes()[:-1] + evil):
        assert safeload.scan(data).verdict != "clean"
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(data)
    joblib.dump(np.array([_Payload(evil), 1], dtype=object), path)
    assert safeload.scan(path).verdict != "clean"
    with pytest.raises(safeload.SafeloadError):
        safeload.load(path)
    for compress in (1, ("bz2", 3), ("xz", 3), ("lzma", 3), ("gzip", 3)):
        joblib.dump([_Payload(evil)], path, compress=compress)
        assert safeload.scan(path).verdict != "clean"
        with pytest.raises(safeload.SafeloadError):
            safeload.load(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_object_arrays(protocol: int, evil: bytes, marker: Path, refused: Any) -> None:
    """GHSA-m62q-453p-gv66: a payload inside an object array, bare, nested, and in a scalar."""
    for value in (
        np.array([_Payload(evil)], dtype=object), np.array([[1, _Payload(evil)]], dtype=object),
        np.array([np.array([_Payload(evil)], dtype=object), 1], dtype=object), [{"a": np.array([_Payload(evil)], dtype=object)}],
        np.ma.array([_Payload(evil)], dtype=object),
    ):  # fmt: skip
        refused(pickle.dumps(value, protocol))
    assert not marker.exists()


def test_npy_bytes_inside_a_pickle(evil: bytes, marker: Path, refused: Any) -> None:
    """Bytes are data; what would read them as an npy file or as a pickle is not allowed to be called."""
    for module, name in (("numpy.lib.format", "read_array"), ("numpy", "load"), ("pickle", "loads"), ("joblib.numpy_pickle", "load"), ("io", "BytesIO"), ("_io", "BytesIO"),
                         ("numpy.core.multiarray", "_load_from_filelike"), ("zlib", "decompress"), ("numpy", "frombuffer"), ("numpy", "fromstring")):  # fmt: skip
        refused(proto(4) + call(glob(module, name), _npy(evil)) + STOP)
    assert safeload.loads(pickle.dumps({"file": _npy(evil), "text": evil.decode("latin-1")}))["file"] == _npy(evil)
    assert not marker.exists()


def test_out_of_band_object_arrays(evil: bytes, refused: Any) -> None:
    """A buffer is bytes, never references, whatever dtype the stream claims for it."""
    for dtype in ("O", "O8", "|O", "V8,O"):
        view = call(
            glob("numpy._core.numeric", "_frombuffer"),
            Raw(b"C\x08" + bytes(8)),
            Raw(call(glob("numpy", "dtype"), dtype)),
            (1,),
            "C",
        )
        refused(proto(4) + view + STOP)
    array = call(glob("numpy._core.multiarray", "_reconstruct"), Raw(glob("numpy", "ndarray")), (0,), Raw(b"C\x01b"))
    lying = (
        call(glob("numpy", "dtype"), "O8", False, True)
        + b"(K\x03"
        + short("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    refused(proto(4) + array + arguments(1, (1,), Raw(lying), False, Raw(b"C\x08AAAAAAAA")) + b"b" + STOP)


def test_devices_and_directories(tmp_path: Path) -> None:
    """What is no file is not read."""
    with pytest.raises(OSError, match="directory"):
        safeload.load(tmp_path)
    if os.path.exists("/dev/zero"):  # noqa: PTH110
        with pytest.raises(safeload.SafeloadError):
            safeload.load("/dev/zero")


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("container", ["zip", "gzip", "npz", "joblib in gzip", "npy in gzip"])
def test_bytes_behind_what_is_in_a_container(container: str, opened: bool, marker: Path) -> None:
    """In an open file something else may follow a pickle; inside of a container nothing may, however the file is given."""
    behind = b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    objects, arrays, joblib_file = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([{1}, 2], object))
    np.save(arrays, np.arange(3))
    joblib.dump([np.arange(3)], joblib_file)
    inner = {
        "zip": pickle.dumps([1]),
        "gzip": pickle.dumps([1]),
        "npz": objects.getvalue(),
        "joblib in gzip": joblib_file.getvalue(),
        "npy in gzip": arrays.getvalue(),
    }[container]

    def packed(data: bytes) -> bytes:
        if "gzip" in container:
            return gzip.compress(data)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.npy" if container == "npz" else "a", data)
        return file.getvalue()

    def load(data: bytes) -> object:
        return safeload.load(io.BytesIO(data)) if opened else safeload.loads(data)

    load(packed(inner))
    for more in (behind, b"x"):
        with pytest.raises(safeload.SafeloadError) as caught:
            load(packed(inner + more))
        assert caught.value.code in ("format.trailing", "format.npy"), caught.value
    assert safeload.scan(packed(inner + behind)).verdict != "clean"
    assert not marker.exists()
