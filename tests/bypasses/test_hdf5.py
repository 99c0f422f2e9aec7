"""HDF5 files that make their reader crash, hang or run out of memory, and files that are HDF5 to one program and something else to another.

Each is small; what it announces, shares or points to is not. All are refused or loaded within the bounds of the process.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import safeload
from safeload.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

h5py = pytest.importorskip("h5py")

MAGIC = b"\x89HDF\r\n\x1a\n"


def _file(fill: Callable[[Any], object], **options: Any) -> bytearray:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return bytearray(buffer.getvalue())


def _nodes(data: bytes, kind: int, level: int | None = None) -> list[int]:
    """Where B-tree nodes of version 1 with children stand."""
    found, at = [], data.find(b"TREE")
    while at >= 0:
        used = struct.unpack_from("<H", data, at + 6)[0]
        if data[at + 4] == kind and used and (level is None or data[at + 5] == level):
            found.append(at)
        at = data.find(b"TREE", at + 1)
    return found


def _refused(isolated: Any, data: bytes, *codes: str) -> None:
    outcome = isolated(bytes(data))
    assert (outcome.kind, outcome.code) in [("refused", code) for code in codes]
    assert isolated(bytes(data), scan=True).code != "clean"


# ---------------------------------------------------------------- trees and headers


def test_a_node_that_is_its_own_child(isolated: Any) -> None:
    """libhdf5 follows it until its stack is full: for the members of a group, and for the chunks of an array."""
    groups = _file(lambda file: [file.create_group(f"{number:05}") for number in range(1500)])
    [root] = [at for at in _nodes(groups, 0) if groups[at + 5]]
    struct.pack_into("<Q", groups, root + 32, root)
    _refused(isolated, groups, "hdf5.tree")
    chunks = _file(lambda file: file.create_dataset("x", data=np.zeros(5000, "S1"), chunks=(1,)))
    inner = next(at for at in _nodes(chunks, 1) if chunks[at + 5])
    struct.pack_into("<Q", chunks, inner + 48, inner)
    _refused(isolated, chunks, "hdf5.tree")


def test_nodes_that_share_their_children(isolated: Any) -> None:
    """The walk would be exponential in the levels of the tree."""
    data = _file(lambda file: file.create_dataset("x", data=np.zeros(20000, "S1"), chunks=(1,)))
    for at in (at for at in _nodes(data, 1) if data[at + 5]):
        used = struct.unpack_from("<H", data, at + 6)[0]
        for entry in range(1, used):
            data[at + 48 + 32 * entry : at + 56 + 32 * entry] = data[at + 48 : at + 56]
    _refused(isolated, data, "hdf5.tree")


def test_names_that_share_their_bytes(isolated: Any) -> None:
    """The entries of a group point into one text, each one letter further: names of gigabytes in a file of megabytes."""

    def fill(file: Any) -> None:
        file.create_group("x" * 1_000_000)
        for number in range(2000):
            file.create_group(f"{number:05}")

    data = _file(fill)
    text = data.find(b"x" * 1000)
    heap, shift = data.find(b"HEAP"), 0
    while not 0 <= text - struct.unpack_from("<Q", data, heap + 24)[0] < 1 << 16:
        heap = data.find(b"HEAP", heap + 1)
    offset, at = text - struct.unpack_from("<Q", data, heap + 24)[0], data.find(b"SNOD")
    while at >= 0:
        for entry in range(struct.unpack_from("<H", data, at + 6)[0]):
            struct.pack_into("<Q", data, at + 8 + 40 * entry, offset + shift)
            shift += 1
        at = data.find(b"SNOD", at + 1)
    _refused(isolated, data, "format.malformed")


def test_attributes_without_an_index(isolated: Any) -> None:
    """libhdf5 looks for each from the first one on."""

    def fill(file: Any) -> None:
        for number in range(6000):
            file.attrs[f"a{number}"] = np.int8(1)

    _refused(isolated, _file(fill), "limit.attributes")
    few = _file(lambda file: [file.attrs.__setitem__(f"a{number}", number) for number in range(2000)])
    assert len(safeload.loads(bytes(few)).attrs) == 2000
    indexed = _file(fill, libver="latest")
    assert safeload.scan(bytes(indexed)).verdict is Verdict.CLEAN


def test_a_chain_of_soft_links(isolated: Any) -> None:
    """Each leads to the next one; resolved one after the other they take quadratic time, and libhdf5 follows sixteen."""

    def fill(file: Any, count: int) -> None:
        file["zz"] = [1]
        for number in range(count):
            file[f"s{number:05}"] = h5py.SoftLink(f"/s{number + 1:05}" if number + 1 < count else "/zz")

    assert isolated(bytes(_file(lambda file: fill(file, 12_000), libver="latest"))).kind == "loaded"
    short = safeload.loads(bytes(_file(lambda file: fill(file, 10))))
    assert short["s00000"] is short["zz"]


# ---------------------------------------------------------------- data that is shared


def test_chunks_that_share_their_bytes(isolated: Any) -> None:
    """Every chunk is the same two megabytes, slow to unpack, and there are hundreds."""
    count, chunks = 1_000_000, 300
    packed = b"\0A" * count

    def fill(file: Any) -> None:
        data = file.create_dataset("x", (count * chunks,), "S1", chunks=(count,), compression="lzf")
        for number in range(chunks):
            data.id.write_direct_chunk((number * count,), packed if not number else b"\0A")

    data = _file(fill)
    where = data.find(packed[:1000])
    for at in _nodes(data, 1, level=0):
        for entry in range(struct.unpack_from("<H", data, at + 6)[0]):
            struct.pack_into("<I", data, at + 24 + 32 * entry, len(packed))
            struct.pack_into("<Q", data, at + 48 + 32 * entry, where)
    _refused(isolated, data, "hdf5.overlap")


def test_texts_of_nothing(isolated: Any) -> None:
    """References to texts compress a thousand times, and each takes its time: there may be no more than the file can hold."""

    def fill(file: Any) -> None:
        data = file.create_dataset("x", (40_000_000,), h5py.string_dtype(), chunks=(1_000_000,), compression="gzip")
        packed = zlib.compress(bytes(16_000_000), 9)
        for number in range(40):
            data.id.write_direct_chunk((number * 1_000_000,), packed)

    _refused(isolated, _file(fill), "limit.elements")


def test_texts_that_are_one_text(isolated: Any) -> None:
    """The same reference again and again."""

    def fill(file: Any) -> None:
        file.create_dataset("x", (1_000_000,), h5py.string_dtype(), chunks=(1_000_000,), compression="gzip")
        file.create_dataset("y", data=["word"], dtype=h5py.string_dtype(), chunks=(1,))

    data = _file(fill)
    with h5py.File(io.BytesIO(bytes(data)), "r") as file:
        info = file["y"].id.get_chunk_info(0)
    reference = bytes(data[info.byte_offset : info.byte_offset + 16])
    buffer = io.BytesIO(bytes(data))
    with h5py.File(buffer, "r+") as file:
        file["x"].id.write_direct_chunk((0,), zlib.compress(reference * 1_000_000, 9))
    _refused(isolated, buffer.getvalue(), "limit.elements")


@pytest.mark.parametrize(("value", "code"), [(b"ca\nb%d\n.", "limit.members"), (b"(((\n(((%d", "")])
def test_many_that_begin_like_pickles(isolated: Any, value: bytes, code: str) -> None:
    """A hundred thousand small pickles are too many to be judged one by one; what only begins like one is passed over."""
    values = np.array([value % number for number in range(40_000)])
    data = bytes(_file(lambda file: file.create_dataset("x", data=values)))
    assert isolated(data).code == code
    same = bytes(_file(lambda file: file.create_dataset("x", data=np.full(40_000, b"N."))))
    assert isolated(same, scan=True).code == "clean"


def test_long_texts_that_begin_like_pickles(isolated: Any) -> None:
    """Opcodes without end, that compress: looking at them has a bound for all of a file."""
    text = b"(" + b"N0" * 499_999 + b"("

    def fill(file: Any) -> None:
        data = file.create_dataset("x", (1000,), f"S{len(text)}", chunks=(100,), compression="gzip")
        noise = np.random.default_rng(1).bytes(200_000)
        packed = zlib.compress(noise + bytes(len(text) - len(noise)) + text * 99, 9)
        for number in range(10):
            data.id.write_direct_chunk((number * 100,), packed)

    _refused(isolated, _file(fill), "limit.pickles")


# ---------------------------------------------------------------- what is made of it


def _model(weights: bytes) -> bytes:
    target = io.BytesIO()
    layer = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 3]}}
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.8.0"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return target.getvalue()


def _lattice(file: Any) -> None:
    group = file
    for _ in range(50):
        below = group.create_group("l")
        group["r"] = below
        group = below
    file["big"] = np.zeros(1_000_000, "u1")
    for number in range(3000):
        file[f"b{number}"] = file["big"]


def test_a_lattice_of_links_is_written_as_one(isolated: Any) -> None:
    """Groups with 2**50 ways to them, and an array that stands in thousands of places, are written as often as they are."""
    weights = bytes(_file(_lattice))
    loaded = safeload.loads(weights)
    again = safeload.loads(safeload.dumps(loaded, codec="hdf5"))
    assert again["l"] is again["r"]
    assert again["b7"] is again["big"]
    pytest.importorskip("keras")
    assert isolated(_model(weights), memory=1 << 33, guard=120.0).kind in ("loaded", "refused")


def test_equal_is_not_the_same() -> None:
    """Only what is one object is written once: not equal arrays, small values, or an array with other attributes elsewhere."""
    array = np.arange(3)
    data = safeload.dumps({"a": array, "b": array, "c": np.arange(3), "d": 5, "e": 5, "f": "x", "g": "x"}, codec="hdf5")
    with h5py.File(io.BytesIO(data), "r") as file:
        assert file["a"] == file["b"]
        assert all(file[one] != file[other] for one, other in ("ac", "de", "fg"))
    outer = safeload.loads(bytes(_file(lambda file: file.create_dataset("x", data=array))))
    outer["y"] = outer["x"]
    outer.member_attrs["y"] = {"unit": "m"}
    again = safeload.loads(safeload.dumps(outer, codec="hdf5"))
    assert again.member_attrs == {"y": {"unit": "m"}}


# ---------------------------------------------------------------- two formats at once


def _at_512(make: Callable[[int], bytes]) -> bytes:
    """What ``make(padding)`` gives when the HDF5 file in it stands where libhdf5 looks for one."""
    return next(data for data in map(make, range(1200)) if data.find(MAGIC) == 512)


def _polyglots() -> Iterator[tuple[str, bytes]]:
    hostile = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["x", None, None]}}]},
    }
    body = bytes(
        _file(lambda file: file.attrs.__setitem__("model_config", json.dumps(hostile)), userblock_size=512)[512:]
    )

    def npy(padding: int) -> bytes:
        target = io.BytesIO()
        np.save(target, np.frombuffer(bytes(padding) + body, "u1"))
        return target.getvalue()

    def npz(padding: int) -> bytes:
        target = io.BytesIO()
        np.savez(target, a=np.frombuffer(bytes(padding) + body, "u1"))
        return target.getvalue()

    def keras(padding: int) -> bytes:
        target = io.BytesIO(_model(bytes(_file(lambda file: file.create_group("layers")))))
        with zipfile.ZipFile(target) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("assets/words", bytes(padding) + body)
            for name, content in entries.items():
                archive.writestr(name, content)
        return target.getvalue()

    def safetensors(padding: int) -> bytes:
        header = json.dumps({"a": {"dtype": "U8", "shape": [len(body)], "data_offsets": [0, len(body)]}}).encode()
        header = header.ljust(padding)
        return struct.pack("<Q", len(header)) + header + body

    def packed(padding: int) -> bytes:
        inner = gzip.compress(b"\x80\x04N.")
        extra = bytes(padding) + body
        return inner[:3] + b"\4" + inner[4:10] + struct.pack("<H", len(extra)) + extra + inner[10:]

    for make in (npy, npz, keras, safetensors, packed):
        yield make.__name__, _at_512(make)


@pytest.mark.parametrize("name", ["npy", "npz", "keras", "safetensors", "packed"])
def test_hdf5_inside_another_format(name: str) -> None:
    """HDF5 files may begin at 512: a clean array file, or Keras model, was a hostile model for whoever opens it as HDF5."""
    data = dict(_polyglots())[name]
    with h5py.File(io.BytesIO(data), "r") as file:
        assert "Lambda" in file.attrs["model_config"]
    report = safeload.scan(data)
    assert report.verdict is Verdict.MALFORMED
    assert [finding.rule_id for finding in report.findings] == ["format.polyglot"]
    for options in ({}, {"arrays": "numpy"}):
        with pytest.raises(safeload.FormatError):
            safeload.loads(data, **options)


def _tar(content: bytes, announced: int | None = None) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo("a.h5")
        entry.size = len(content) if announced is None else announced
        archive.addfile(entry, io.BytesIO(content[: entry.size]))
        for name, rest in (("b", content[entry.size :]),) if announced is not None else ():
            entry = tarfile.TarInfo(name)
            entry.size = len(rest)
            archive.addfile(entry, io.BytesIO(rest))
    return target.getvalue()


def test_hdf5_first_in_a_tar_archive() -> None:
    """It stands where an HDF5 file may begin: harmless if it is the member, refused if it reaches beyond it."""
    good = bytes(_file(lambda file: file.create_dataset("x", data=[1, 2])))
    report = safeload.scan(_tar(good))
    assert (report.verdict, report.container, report.members[0].container) == (Verdict.CLEAN, "tar", "hdf5")
    assert safeload.loads(_tar(good))["x"].tolist() == [1, 2]
    hostile = bytes(
        _file(lambda file: file.attrs.__setitem__("model_config", json.dumps({"class_name": "Lambda", "config": {}})))
    )
    assert safeload.scan(_tar(hostile)).verdict is Verdict.UNKNOWN
    assert safeload.scan(_tar(good, 512)).verdict is Verdict.MALFORMED
