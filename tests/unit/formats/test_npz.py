"""npz files: a dict of arrays as with numpy.load, or one of them; judged where they hold objects, checked before they are used."""

from __future__ import annotations

import io
import pickle
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

ARRAYS = {
    "a": np.arange(1_000),
    "b": np.eye(3),
    "objects": np.array([{"x": 1}, "y"], dtype=object),
    "empty": np.zeros((0, 2)),
}


def saved(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, **(arrays or ARRAYS))
    return file.getvalue()


def same(found: dict[str, Any], expected: dict[str, Any] = ARRAYS) -> None:
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype
        assert found[key].shape == array.shape
        assert found[key].flags.writeable
        assert found[key].tolist() == array.tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(save: Callable[..., None], tmp_path: Path) -> None:
    """Stored and compressed, in memory, in a file and mapped."""
    data = saved(save)
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    same(safeload.loads(data))
    same(safeload.load(path))
    same(safeload.load(path, mmap=True))
    with path.open("rb") as file:
        same(safeload.load(file))
        assert file.tell() == len(data)
    report = safeload.scan(path)
    assert report.verdict == "clean"
    assert report.container == "npz"
    assert len(report.streams) == 1


def test_one_array(tmp_path: Path) -> None:
    """member= reads one, by either of its names, and index= a part of it; the others are not even unpacked."""
    path = tmp_path / "x.npz"
    path.write_bytes(saved())
    for name in ("a", "a.npy"):
        assert safeload.load(path, member=name).tolist() == ARRAYS["a"].tolist()
    assert safeload.load(path, member="a", index=slice(3, 5)).tolist() == [3, 4]
    assert safeload.load(path, member="objects", index=0) == {"x": 1}
    assert safeload.load(path, member="a", index=7, mmap=True) == 7
    damaged = bytearray(saved(np.savez_compressed))
    with zipfile.ZipFile(io.BytesIO(damaged)) as archive:
        at = archive.getinfo("b.npy").header_offset
    damaged[at + 60] ^= 0xFF
    assert safeload.loads(bytes(damaged), member="a").tolist() == ARRAYS["a"].tolist()
    with pytest.raises(FormatError):
        safeload.loads(bytes(damaged))
    with pytest.raises(FormatError, match="no member") as caught:
        safeload.load(path, member="c")
    assert "'a', 'b', 'objects', 'empty'" in str(caught.value)
    with pytest.raises(FormatError, match="several"):
        safeload.load(path, index=0)


def _zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_names_that_two_readers_take_differently() -> None:
    """To numpy "x.npy" is "x" and "x.npy"."""
    made = _zipped({"x.npy": _npy(np.arange(1)), "x.npy.npy": _npy(np.arange(2))})
    assert set(safeload.loads(made)) == {"x", "x.npy"}
    assert len(safeload.loads(made, member="x")) == 1
    with pytest.raises(FormatError, match="two arrays"):
        safeload.loads(made, member="x.npy")


def test_what_is_no_array(tmp_path: Path) -> None:
    """A pickle under the name of an array, and bytes behind an array, in whatever way they are packed."""
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(marker)!r}, 'w')",)

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for data in (
            pickle.dumps(Evil()),
            _npy(np.arange(3)) + pickle.dumps(Evil()),
            _npy(np.array([Evil()], dtype=object)),
            b"",
        ):
            made = _zipped({"good.npy": _npy(np.arange(3)), "evil.npy": data}, method)
            report = safeload.scan(made)
            assert report.verdict in ("malformed", "malicious")
            with pytest.raises(safeload.SafeloadError):
                safeload.loads(made)
    assert not marker.exists()


def test_crc_is_checked_in_every_way(tmp_path: Path) -> None:
    """CVE-2025-10156: of array bytes, too, stored or not."""
    path = tmp_path / "x.npz"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        made = bytearray(_zipped({"a.npy": _npy(np.arange(100))}, method))
        central = made.rindex(b"PK\x01\x02")
        for at in (14, central + 16):
            made[at] ^= 1
        path.write_bytes(made)
        for load in (
            lambda: safeload.load(path),
            lambda: safeload.loads(path.read_bytes()),
            lambda: safeload.load(path, member="a"),
        ):
            with pytest.raises(FormatError) as caught:
                load()
            assert caught.value.code == "format.crc"
        assert safeload.scan(path).verdict == "malformed"


def test_limits() -> None:
    """All arrays together count."""
    data = saved(np.savez_compressed, **{f"a{number}": np.zeros(1_000) for number in range(10)})
    with pytest.raises(LimitExceededError, match="max_unpacked_bytes"):
        safeload.loads(data, limits=Limits(max_unpacked_bytes=50_000))
    with pytest.raises(LimitExceededError, match="max_members"):
        safeload.loads(data, limits=Limits(max_members=5))
    assert safeload.scan(data, limits=Limits(max_members=5)).verdict == "unknown"
    bomb = saved(np.savez_compressed, a=np.zeros(10_000_000))
    with pytest.raises(LimitExceededError, match="max_ratio"):
        safeload.loads(bomb)
    assert safeload.loads(bomb, limits=Limits(max_ratio=2_000))["a"].shape == (10_000_000,)


def test_writing(tmp_path: Path) -> None:
    """What numpy.load reads, compressed and not, in an envelope and not."""
    key = safeload.Key.generate("hs256")
    for compress in (None, False, True, 0, 1, 9):
        data = safeload.dumps(ARRAYS, codec="npz", compress=compress)
        with np.load(io.BytesIO(data), allow_pickle=True) as archive:
            same({name: archive[name] for name in archive.files})
        same(safeload.loads(data))
        signed = safeload.dumps(ARRAYS, codec="npz", compress=compress, key=key)
        same(safeload.loads(signed, keys=safeload.KeyRing([key])))
    assert len(safeload.dumps(ARRAYS, codec="npz", compress=True)) < len(safeload.dumps(ARRAYS, codec="npz"))
    safeload.dump({"a": [1, 2]}, tmp_path / "x.npz", codec="npz")
    assert safeload.load(tmp_path / "x.npz")["a"].tolist() == [1, 2]
    for wrong in (np.arange(3), [np.arange(3)], {1: np.arange(3)}):
        with pytest.raises(TypeError, match="dict of arrays"):
            safeload.dumps(wrong, codec="npz")
    for level in (10, -1, "best"):
        with pytest.raises(ValueError, match="compress"):
            safeload.dumps(ARRAYS, codec="npz", compress=level)
