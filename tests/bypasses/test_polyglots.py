"""Files that two programs read differently: a scan of the one reading says nothing about the other.

Some formats begin with bytes that their author chooses (the name of the first file in a tar archive, a zstd frame that is skipped), and
some programs look for one format before they look for another. Each payload only creates a marker.
"""

from __future__ import annotations

import io
import lzma
import pickle
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch_files as files
from pickle_parts import STOP, call, glob, proto

import safeload
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline.polyglot import PickleLook
from safeload.pipeline.request import JudgeOptions
from safeload.policy import Policy
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = pickle.dumps({"weights": [1, 2, 3]})
POLICY = ["data", "numpy", "torch"]
# Pushed, and out of the way again: what is cut out of a stream that is judged.
LONG = b"B" + struct.pack("<I", 1 << 15) + bytes(1 << 15) + b"0"


@pytest.fixture
def evil(marker: Path) -> bytes:
    """The opcodes of a payload that creates the marker, of protocol 0."""
    return call(glob("posix", "system"), f"touch {marker}") + STOP


def header(name: bytes, size: int = 0, kind: bytes = b"0") -> bytes:
    """A tar header with a name of any bytes."""
    made = bytearray(512)
    made[: len(name)] = name
    for start, end in ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345)):
        made[start:end] = b"0" * (end - start - 1) + b"\0"
    made[124:136] = b"%011o\0" % size
    made[156:157] = kind
    made[257:265] = b"ustar\00000"
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def tar_of(name: bytes, content: bytes) -> bytes:
    return header(name, len(content)) + content + bytes(-len(content) % 512 + 1024)


def npy(data: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.frombuffer(data, np.uint8))
    return file.getvalue()


def zip_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def refused(data: bytes, marker: Path) -> safeload.Report:
    report = safeload.scan(data, policy=POLICY)
    assert report.verdict in ("malformed", "malicious", "unknown")
    assert not safeload.is_safe(data, policy=POLICY)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(data, policy=POLICY)
    assert not marker.exists()
    return report


def literal(before: bytes = b"", behind: int = 0) -> bytes:
    """Opcodes as the name of a file in a tar archive: ``before``, and a literal over the rest of the header and more."""
    return before + b"B" + struct.pack("<I", 512 - len(before) - 5 + behind)


def _skipped_frame(evil: bytes) -> bytes:
    """A zstd frame that is skipped begins with SHORT_BINSTRING."""
    zstandard = pytest.importorskip("zstandard")
    body = bytes(36) + b"0" + evil
    return b"U\x2a\x4d\x18" + struct.pack("<L", len(body)) + body + zstandard.compress(GOOD)


PICKLES: dict[str, Callable[[bytes], bytes]] = {
    "name in a tar": lambda evil: tar_of(literal(), b"0" + evil),
    "zstd frame that is skipped": _skipped_frame,
    "behind a long literal": lambda evil: tar_of(literal(behind=1 << 15), bytes(1 << 15) + b"0" + evil[:-1] + b"\xff"),
    "behind a number that pickle does not write": lambda evil: tar_of(literal(b"I 1\n0"), b"0" + evil),
    "behind a high memo index": lambda evil: tar_of(literal(b"Nr\0\0\1\0"), b"0" + evil),
    "behind a frame that is too long": lambda evil: tar_of(literal(b"\x95\xff\xff\xff\0\0\0\0\0"), b"0" + evil),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_are_something_else_too(name: str, evil: bytes, marker: Path) -> None:
    """Nothing but a pickle begins with PROTO; a pickle need not begin with it, and may be a valid file of another format."""
    data = PICKLES[name](evil)
    assert refused(data, marker).findings[0].rule_id == "format.polyglot"
    assert safeload.scan(zip_of("inner", data)).verdict == "malformed"
    assert safeload.scan(tar_of(b"inner", data)).verdict == "malformed"


def test_pickle_as_a_header_that_says_nothing(evil: bytes, marker: Path) -> None:
    """A PyTorch file of 0.1.10 may have headers of dates in front, whose names no reader of the archive looks at."""
    parts = files.tar_parts(files.number(1), [], [])
    good = files.tar_file(parts)
    assert safeload.loads(good, policy=POLICY) == 1
    # The literal covers the rest of the header and the date; the opcodes stand in the padding of its block.
    date = b"11 mtime=1\n"
    padding = (b"0" + evil).ljust(512 - len(date), b"\0")
    data = header(literal(behind=len(date)), len(date), b"x") + date + padding + good
    assert refused(data, marker).findings[0].rule_id == "format.polyglot"


@pytest.mark.parametrize(
    "head", [b"data/1.txt", b"I1.txt", b"LICENSE", b"VERSION", b"Science/1.pkl", b"(a)", b"N", b"GGUF.txt", b"ZFS.txt", b"BZhx"]
)  # fmt: skip
def test_names_that_are_nothing_else(head: bytes) -> None:
    """Names of files begin with letters that are opcodes, and with what could be magic; they are names."""
    data = tar_of(head, GOOD)
    assert safeload.scan(data).verdict == "clean"
    assert safeload.loads(data) == {"weights": [1, 2, 3]}


def test_formats_that_are_a_tar_archive_too(evil: bytes, marker: Path) -> None:
    """torch.load looks for a tar archive of 0.1.10 before it looks for its own magic number, or for anything else."""
    whole = proto(2) + evil
    behind = files.tar_file({**files.tar_parts(files.number(1), [], []), "storages": whole})
    start = files.MAGIC + files.whole(files.number(1001)) + proto(2) + b"}" + files.text("k") + b"T"
    size = 512 - len(start) - 4 + len(behind)
    end = b"s." + files.whole(files.number(5)) + files.whole(b"]")
    legacy = header(start + struct.pack("<I", size)) + behind + end
    described = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % (512 - 74 + len(behind))
    array = header(b"\x93NUMPY\x01\x00" + struct.pack("<H", 64) + described.ljust(63) + b"\n") + behind
    with tarfile.open(fileobj=io.BytesIO(legacy)) as archive:
        assert "storages" in archive.getnames()
    assert len(np.load(io.BytesIO(array)))
    for data in (legacy, array):
        assert refused(data, marker).findings[0].rule_id == "format.polyglot"


@pytest.mark.parametrize("behind", [b"", b"x", bytes(60_000)], ids=len)
def test_zip_archives_inside_of_arrays(behind: bytes, evil: bytes, marker: Path) -> None:
    """Python's zipfile finds an archive whatever stands in front of it, and whatever follows it."""
    data = npy(b"some" + zip_of("config.json", evil) + behind)
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["config.json"]
    assert refused(data, marker).findings[0].rule_id == "format.polyglot"


def test_zip_archives_inside_of_tar_archives(evil: bytes, marker: Path) -> None:
    """A whole one is a file in the archive like any other; one that is put together of several files is nobody's."""
    assert safeload.loads(tar_of(b"a.zip", zip_of("a.pkl", GOOD))) == {"weights": [1, 2, 3]}
    made = zip_of("a.pkl", evil)
    cut = made.index(b"PK\x01\x02")
    first = header(b"a", cut) + made[:cut] + bytes(-cut % 512)
    rest = bytearray(made[cut:])
    struct.pack_into("<L", rest, len(rest) - 6, len(first) + 512)
    data = first + tar_of(b"b", bytes(rest))
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["a.pkl"]
    refused(data, marker)


def test_array_bytes_that_are_opcodes_for_pickle(evil: bytes, marker: Path) -> None:
    """Joblib reads the bytes of an array past the unpickler; a program that unpickles the file runs them."""
    state = {"subclass": np.ndarray, "shape": (1 << 16,), "order": "C", "dtype": np.dtype("u1"), "allow_mmap": False}
    described = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + pickle.dumps(state, 2)[2:-1] + b"b"
    for payload in (b"0" + evil, b"0I 1\n0" + evil, b"0" + evil[:-1] + b"\xff", LONG + b"0" + evil[:-1] + b"\xff"):
        data = proto(2) + described + payload.ljust(1 << 16, b"\0") + STOP
        assert len(joblib_load(data)) == 1 << 16
        report = safeload.scan(data)
        assert "format.polyglot" in {finding.rule_id for finding in report.findings}
        assert report.verdict == ("malformed" if payload[1:2] == b"I" else "malicious")
    assert not marker.exists()


def joblib_load(data: bytes) -> np.ndarray:
    import joblib

    return joblib.load(io.BytesIO(data))


def test_long_literals_hide_nothing_in_a_broken_pickle(evil: bytes, marker: Path) -> None:
    """A literal that is cut out of the stream is there for the judgement of a stream that breaks behind the payload."""
    report = safeload.scan(proto(2) + LONG + evil[:-1] + b"\xff")
    assert report.verdict == "malicious"
    assert not marker.exists()


@pytest.mark.parametrize("dictionary", [1 << 12, 1 << 15, 3 << 20, 1 << 23])
def test_lzma_with_any_dictionary(dictionary: int, evil: bytes, marker: Path) -> None:
    """Joblib unpacks whatever begins with the usual properties; the size of the dictionary is the author's."""
    chosen = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary}]
    assert safeload.loads(lzma.compress(GOOD, lzma.FORMAT_ALONE, filters=chosen)) == {"weights": [1, 2, 3]}
    assert refused(lzma.compress(evil, lzma.FORMAT_ALONE, filters=chosen), marker).verdict == "malicious"


def test_lzma_that_asks_for_memory(evil: bytes, marker: Path) -> None:
    """A dictionary of 1 GiB is not unpacked, and not passed over either."""
    made = bytearray(lzma.compress(evil, lzma.FORMAT_ALONE))
    struct.pack_into("<L", made, 1, 1 << 30)
    assert refused(bytes(made), marker).findings[0].rule_id == "limit.memory"


@pytest.mark.parametrize(
    ("data", "acts"),
    [
        (b"N.", False),  # the length of a header can be a whole pickle
        (b"N" * 9 + b".", True),
        (b"\x93NUMPY", False),
        (b"I01\n\xff", False),
        (b"I 1\n0cos\nsystem\n)R\xff", True),
        (b"I 1\n0N\xff", False),
        (b"I010\n0cos\nsystem\n)R.", True),
        (b"Ix\n.", False),
        (b"F1\0a\nI1\0b\ncos\nsystem\n)R.", True),
        (b"Nr\xff\xff\xff\xffcos\nsystem\n)R.", True),
        (b"Nr\xff\xff\xff\xff0.", False),
        (b"\x82\x01cos\nsystem\n)R.", True),
        (b"Pid\ncos\nsystem\n)R.", False),
        (b"NPid\ncos\nsystem\n)R\xff", False),
        (b"c\n\n.", False),
        (b"\x80\x04\x80\x04cos\nsystem\n)R.", True),
        (b"\x95\x05" + bytes(7) + b"N\xff\xff\xff\xff", False),
        (b"\x95\x05" + bytes(7) + b"NX\x13\0\0\0aaaaaaaaaaaaaaaaaaacos\nsystem\n)R.", True),
        (b"0N.", False),
    ],
)
def test_what_acts_as_a_pickle(data: bytes, acts: bool) -> None:
    """Where the census stops and CPython may go on, a file acts; where the unpickler stops before, it does not."""
    look = PickleLook(JudgeOptions(Policy.packs("data"), DEFAULT_LIMITS))
    assert look.acts(MemoryBlob(data)) is acts


def test_many_small_bombs() -> None:
    """Parts that are each too small for a bomb are one together: what counts is the artifact that they are packed in."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        for number in range(12):
            archive.writestr(f"{number}", bytes(8 << 20))
    report = safeload.scan(file.getvalue(), limits=safeload.Limits(max_ratio=100))
    assert "limit.ratio" in {finding.rule_id for finding in report.findings}
    assert report.verdict == "unknown"
