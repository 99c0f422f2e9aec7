"""Small files that unpack to large ones: the memory of a scan does not grow with them, and what a load may take has a bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

import safeload
from safeload import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB = 1 << 20


def _sparse(size: int) -> bytes:
    """Zeros with a few bytes of noise, so that it packs well and not suspiciously well."""
    piece = os.urandom(4_000) + bytes(_MIB - 4_000)
    return piece * (size // _MIB)


def _zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", data)
    return file.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zip": _zip,
    "zip in gzip": lambda data: gzip.compress(_zip(data)),
}


@pytest.mark.parametrize("packing", PACKED)
def test_memory_of_a_scan_does_not_grow_with_what_is_unpacked(packing: str, isolated: Any) -> None:
    """256 MiB of array bytes are scanned in much less memory: what is large is in a temporary file."""
    file = io.BytesIO()
    np.save(file, np.frombuffer(_sparse(256 * _MIB), np.uint8))
    data = PACKED[packing](file.getvalue())
    limits = Limits(max_unpacked_memory=8 * _MIB, max_ratio=100_000)
    outcome = isolated(data, scan=True, memory=128 * _MIB, limits=limits)
    assert outcome[:2] == ("scanned", "clean"), outcome


def test_a_load_takes_the_memory_of_the_object_once(isolated: Any) -> None:
    """What was unpacked is not in memory beside the object."""
    content = _sparse(256 * _MIB)
    data = gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", len(content)) + content + b".", 1)
    outcome = isolated(data, memory=400 * _MIB, limits=Limits(max_unpacked_memory=8 * _MIB))
    assert outcome.kind == "loaded", outcome


def test_large_results_of_small_files() -> None:
    """Above 1 GiB the ratio has to be that of real data, and the message names the limit to raise."""
    data = gzip.compress(_sparse(32 * _MIB)) * 33
    with pytest.raises(safeload.LimitExceededError, match="max_large_ratio") as caught:
        safeload.loads(data)
    assert caught.value.code == "limit.ratio"
    report = safeload.scan(data)
    assert (report.verdict, [finding.rule_id for finding in report.findings]) == ("unknown", ["limit.ratio"])


# One opcode, or a few, that make much of little.
OBJECTS = {
    "sets": b"\x8f",
    "frozensets": b"(\x91",
    "lists": b"]",
    "lists of protocol 0": b"(l",
    "dicts": b"}",
    "tuples": b"N\x85",
    "None": b"N",
    "memo": b"N\x94",
    "marks": b"(",
    "texts": b"\x8c\x02ab",
}


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_of_few_bytes(kind: str, scan: bool, isolated: Any) -> None:
    """A kilobyte of gzip holds millions of opcodes, and each makes an object: they are counted before they are made."""
    opcodes = OBJECTS[kind] * (12 * _MIB // len(OBJECTS[kind]))
    data = gzip.compress(b"\x80\x04](" + opcodes + b"e.", 1)
    outcome = isolated(data, scan=scan, memory=700 * _MIB, limits=Limits(max_unpacked_objects=1 << 27))
    assert outcome[:2] == (("scanned", "unknown") if scan else ("refused", "limit.unpacked-objects")), outcome


def test_objects_of_several_streams_count_together() -> None:
    """The pickles of all arrays of objects in an npz file are loaded at once."""
    array = np.array([[set() for _ in range(1_000)] for _ in range(10)], object)
    file = io.BytesIO()
    np.savez_compressed(file, **{f"a{number}": array for number in range(4)})
    assert safeload.loads(file.getvalue())["a3"].shape == (10, 1_000)
    for limit, enough in ((1 << 22, False), (1 << 24, True)):
        report = safeload.scan(file.getvalue(), limits=Limits(max_unpacked_objects=limit))
        assert (report.verdict == "clean") is enough, report.findings


def test_real_artifacts_that_pack_well_load(tmp_path: Any) -> None:
    """Sparse data and a large dict of texts, as joblib compresses them."""
    array = np.zeros(4_000_000)
    array[::2_000] = np.arange(2_000)
    words = {f"word{number}": number for number in range(100_000)}
    for name, obj in (("array", array), ("words", words)):
        joblib.dump(obj, tmp_path / name, compress=9)
        loaded = safeload.load(tmp_path / name)
        assert np.array_equal(loaded, array) if name == "array" else loaded == words
        assert safeload.scan(tmp_path / name).verdict == "clean"


def test_no_room_for_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is said as such, by a load and by a scan."""
    import safeload.source.spill as spill

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill, "_nameless", full)
    data = gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", 4 * _MIB) + _sparse(4 * _MIB) + b".")
    limits = Limits(max_unpacked_memory=_MIB)
    with pytest.raises(safeload.LimitExceededError, match="TMPDIR"):
        safeload.loads(data, limits=limits)
    assert [finding.rule_id for finding in safeload.scan(data, limits=limits).findings] == ["limit.temporary-space"]
    assert len(safeload.loads(data)) == 4 * _MIB


def test_what_was_encrypted_is_not_written_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The payload of an encrypted envelope stays in memory whatever it unpacks to; of a signed one it may be spilled."""
    import safeload.source.spill as spill

    made: list[int] = []
    nameless = spill._nameless
    monkeypatch.setattr(spill, "_nameless", lambda: made.append(1) or nameless())
    arrays = {"a": np.zeros(1_000_000)}
    limits = Limits(max_unpacked_memory=_MIB)
    for suite, spilled in (("hs256-gcm", False), ("hs256", True)):
        key = safeload.Key.generate(suite)
        data = safeload.dumps(arrays, codec="joblib", key=key, compress=3)
        assert safeload.loads(data, keys=key, limits=limits)["a"].shape == (1_000_000,)
        assert safeload.scan(data, keys=key, limits=limits).verdict == "clean"
        assert bool(made) is spilled
