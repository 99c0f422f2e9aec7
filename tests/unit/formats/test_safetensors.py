"""safetensors files: strict headers, lazy members, and what is a pickle as well."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import safeload

if TYPE_CHECKING:
    from pathlib import Path

W = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
B = {"dtype": "BOOL", "shape": [2], "data_offsets": [24, 26]}


def made(header: Any, data: bytes = bytes(26), *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def refused(data: bytes) -> safeload.Report:
    report = safeload.scan(data)
    assert report.verdict != "clean"
    with pytest.raises(safeload.SafeloadError) as caught:
        safeload.loads(data)
    assert caught.value.code != "internal.error"
    return report


def test_round_trip(tmp_path: Path) -> None:
    """Every dtype, no items and no dimensions; from memory, from a file, and mapped."""
    arrays = {code: np.ones((2, 3), code) for code in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "u8", "?", "c8")}
    arrays |= {
        "empty": np.empty((0, 2)),
        "scalar": np.array(3),
        "big": np.arange(3, dtype=">i4"),
        "t": np.ones((2, 3)).T,
    }
    data = safeload.dumps(arrays, codec="safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    report = safeload.scan(path)
    assert (report.container, report.verdict) == ("safetensors", "clean")
    for loaded in (safeload.loads(data), safeload.load(path), safeload.load(path, mmap=True)):
        assert loaded.keys() == arrays.keys()
        assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
        loaded["f4"][0, 0] = 5
    assert path.read_bytes() == data


def test_as_the_library_writes() -> None:
    """Byte for byte, so that other programs map it as well."""
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"b": np.arange(3, dtype="i2"), "a": np.arange(6.0).reshape(2, 3), "c": np.array([True])}
    data = safeload.dumps(arrays, codec="safetensors")
    assert data == library.save(arrays)
    noted = library.save(arrays, metadata={"format": "np"})
    assert safeload.loads(noted).keys() == arrays.keys()


def test_members(tmp_path: Path) -> None:
    """One array, or a part of it, without reading the others."""
    arrays = {"w": np.arange(12.0).reshape(3, 4), "x": np.zeros(3)}
    path = tmp_path / "x.safetensors"
    safeload.dump(arrays, path, codec="safetensors")
    assert np.array_equal(safeload.load(path, member="w"), arrays["w"])
    part = safeload.load(path, member="w", index=(slice(1, 3), 0))
    assert np.array_equal(part, [4, 8])
    assert part.flags.owndata
    with pytest.raises(safeload.FormatError, match="w"):
        safeload.load(path, member="y")
    with pytest.raises(safeload.FormatError, match="member"):
        safeload.load(path, index=0)


@pytest.mark.parametrize(
    "header",
    [
        b'{"w":' + json.dumps(W).encode() + b',"w":' + json.dumps(W).encode() + b"}",
        b'{"w":{"dtype":"F32","dtype":"F32","shape":[2,3],"data_offsets":[0,26]}}',
        {"w": {**W, "more": 1}},
        {"w": {"dtype": "F32", "shape": [2, 3]}},
        {"w": {**W, "shape": [2, 4]}},
        {"w": {**W, "shape": [2.0, 3]}},
        {"w": {**W, "shape": [True, 6]}},
        {"w": {**W, "shape": [-2, -3]}},
        {"w": {**W, "shape": [1 << 40, 1 << 40]}},
        {"w": {**W, "dtype": "F4"}},
        {"w": {**W, "dtype": 1}},
        {"w": {**W, "data_offsets": [24, 0]}},
        {"w": {**W, "data_offsets": [0, 24, 26]}},
        {"w": {**W, "data_offsets": [2, 26]}},
        {"w": W},
        {"w": W, "b": {**B, "data_offsets": [22, 24]}},
        {"w": W, "b": {**B, "data_offsets": [25, 27]}},
        {"w": W, "b": B, "c": {**B, "data_offsets": [0, 2]}},
        {"w": W, "b": B, "__metadata__": {"a": 1}},
        {"w": W, "b": B, "__metadata__": []},
        {"w": W, "b": [B]},
        b'{"w":' + b"[" * 100_000 + b"}",
        b'{"w":NaN}',
        b'{"w":' + b"9" * 5_000 + b"}",
        b'{"\xff":1}',
        b'{"w":1',
        b'{"w":1}}',
    ],
)
def test_strict(header: Any) -> None:
    """Readers of such a header would see different tensors, or bytes that nobody sees."""
    refused(made(header))


def test_sizes() -> None:
    """The length of the header, and all of the file, are what they say."""
    good = made({"w": W, "b": B})
    assert safeload.scan(good).verdict == "clean"
    refused(good + b"\0")
    refused(good[:-1])
    for size in (0, 1, len(good), 1 << 26, 1 << 62, (1 << 64) - 1):
        refused(made({"w": W, "b": B}, size=size))


def test_large_header(tmp_path: Path) -> None:
    """A header is bounded before it is read."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write((1 << 26).to_bytes(8, "little") + b'{"')
        file.truncate(1 << 27)
    with pytest.raises(safeload.LimitExceededError):
        safeload.load(path)


PAYLOAD = b"cos\nsystem\n(X\x01\x00\x00\x00xtR"


@pytest.mark.parametrize("prefix", [b"B\x20\x00\x00\x00", b"X\x20\x00\x00\x00", b"\x80\x02B\x20\x00\x00\x00"])
@pytest.mark.parametrize("end", [b".", b"", b"!"])
def test_pickle_as_well(prefix: bytes, end: bytes) -> None:
    """The length is an opcode that skips the header's start: pickle.load runs what follows, complete or not."""
    prefix = prefix.ljust(8, b"\0")
    size = int.from_bytes(prefix, "little")
    skipped = 0x20 + prefix.index(b"\x20") + 4 - 8
    text = b'{"__metadata__":{"p":"'
    text = text.ljust(skipped) + PAYLOAD.replace(b"\n", b"\\n")
    text = text.replace(b"\\n", b"\n") + end  # a newline in a string is no JSON; the refusal comes before
    text += b'"}}'
    data = prefix + text + b" " * (size - len(text))
    report = refused(data)
    assert report.verdict == "malformed"
    assert report.findings[0].rule_id == "format.polyglot"


def test_lengths_that_look_like_opcodes() -> None:
    """PROTO, NEWTRUE and STOP, a text: honest lengths of headers, and nothing comes of them."""
    for size in (0x0280, 0x0380, 0x0480, 0x2E88, 0x1058, 0x0158):
        text = json.dumps({"w": W, "b": B}).encode()
        data = made(text + b" " * (size - len(text)))
        assert safeload.scan(data).verdict == "clean", hex(size)
        assert safeload.loads(data).keys() == {"w", "b"}


def test_archive_behind() -> None:
    """A zip archive in the bytes of the last tensor."""
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(1))
    behind = file.getvalue()
    header = {"w": {"dtype": "U8", "shape": [len(behind)], "data_offsets": [0, len(behind)]}}
    assert refused(made(header, behind)).findings[0].rule_id == "format.polyglot"


def test_what_cannot_be_written() -> None:
    """The message names the array."""
    for value in (
        [1],
        {"w": [1]},
        {1: np.zeros(1)},
        {"w": np.array(["a"])},
        {"w": np.array([None])},
        {"__metadata__": np.zeros(1)},
    ):
        with pytest.raises(TypeError):
            safeload.dumps(value, codec="safetensors")
