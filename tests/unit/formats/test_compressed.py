"""Artifacts that are compressed as a whole: read as Python's own readers do, refused where they disagree, bounded while unpacking."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sys
import zlib
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

import safeload
from safeload.errors import FormatError, LimitExceededError, TruncatedError
from safeload.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUE = {"a": list(range(300))}
DATA = pickle.dumps(VALUE)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


def _lz4(data: bytes) -> bytes:
    frame = pytest.importorskip("lz4.frame")
    made: bytes = frame.compress(data)
    return made


def _zstd(data: bytes) -> bytes:
    made: bytes = pytest.importorskip("zstandard").compress(data)
    return made


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip, "zlib": zlib.compress, "bzip2": bz2.compress, "xz": lzma.compress, "lzma": _alone, "lz4": _lz4, "zstd": _zstd,
}  # fmt: skip
SINGLE = ("zlib", "lzma")


@pytest.mark.parametrize("name", COMPRESS)
def test_pickles(name: str, tmp_path: Path) -> None:
    """The object of the artifact inside, from memory and from a file."""
    made = COMPRESS[name](DATA)
    path = tmp_path / "x"
    path.write_bytes(made)
    assert safeload.loads(made) == safeload.load(path) == VALUE
    report = safeload.scan(path)
    assert (report.verdict, report.container) == ("clean", name)
    (member,) = report.members
    assert (member.verdict, member.container, member.size) == ("clean", "pickle", len(DATA))
    assert report.to_dict()["members"][0]["sha256"] == safeload.scan(DATA).sha256


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 3_000_000])
def test_sizes(name: str, size: int) -> None:
    """Empty contents, contents that need more than one piece, and contents that do not compress."""
    for data in (bytes(size), np.random.default_rng(0).bytes(size)):
        made = COMPRESS[name](pickle.dumps(data))
        assert safeload.loads(made) == data
    with pytest.raises(FormatError):
        safeload.loads(COMPRESS[name](b""))


@pytest.mark.parametrize("name", COMPRESS)
def test_other_artifacts(name: str) -> None:
    """Whatever is inside is examined again: arrays, a part of one, another compressed file."""
    file = io.BytesIO()
    np.save(file, np.arange(10))
    made = COMPRESS[name](file.getvalue())
    assert safeload.loads(made).tolist() == list(range(10))
    assert safeload.loads(made, index=3) == 3
    assert safeload.loads(made, mmap=True).tolist() == list(range(10))
    for other in COMPRESS.values():
        assert safeload.loads(COMPRESS[name](other(DATA))) == VALUE
    with pytest.raises(FormatError) as caught:
        safeload.loads(COMPRESS[name](DATA), member="a")
    assert caught.value.code == "format.member"


@pytest.mark.parametrize("compress", [1, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_joblib_files(compress: Any, tmp_path: Path) -> None:
    """What joblib compresses as a whole file."""
    path = tmp_path / "x.joblib"
    joblib.dump({"a": np.arange(1_000), "b": VALUE}, path, compress=compress)
    found = safeload.load(path)
    assert found["a"].tolist() == list(range(1_000))
    assert found["b"] == VALUE
    assert safeload.scan(path).members[0].container == "joblib"


@pytest.mark.parametrize("name", COMPRESS)
def test_streams_one_behind_the_other(name: str) -> None:
    """One artifact in several streams, where the usual readers agree on that."""
    compress = COMPRESS[name]
    made = b"".join(compress(DATA[at : at + 50]) for at in range(0, len(DATA), 50))
    if name in SINGLE:
        with pytest.raises(FormatError, match="follow"):
            safeload.loads(made)
    else:
        assert safeload.loads(made) == VALUE


@pytest.mark.parametrize("name", COMPRESS)
def test_something_behind(name: str) -> None:
    """Rubbish, zeros, the start of another stream, and a second artifact."""
    made = COMPRESS[name](DATA)
    for behind in (b"!", b"\0", bytes(4), made[:3], made[:12], DATA, COMPRESS[name](DATA)):
        padding = not any(behind) and (name == "gzip" or (name == "xz" and len(behind) == 4))
        if padding:
            assert safeload.loads(made + behind) == VALUE
            continue
        with pytest.raises(FormatError):
            safeload.loads(made + behind)
        if behind != COMPRESS[name](DATA) or name in SINGLE:  # those are two pickles, which are judged one by one
            assert safeload.scan(made + behind).verdict == "malformed"


@pytest.mark.parametrize("name", COMPRESS)
def test_truncated_and_damaged(name: str) -> None:
    """Wherever it ends, and whichever byte is wrong: never another object."""
    made = COMPRESS[name](DATA)
    for size in range(len(made)):
        with pytest.raises(FormatError):
            safeload.loads(made[:size])
    with pytest.raises(TruncatedError):
        safeload.loads(made[:-1])
    for at in range(len(made)):
        damaged = bytearray(made)
        damaged[at] ^= 0x55
        try:
            found = safeload.loads(bytes(damaged))
        except safeload.SafeloadError:
            continue
        assert found == VALUE or name in ("lzma", "lz4", "zstd")  # these have no checksum by default


def _bomb(name: str, size: int) -> bytes:
    """``size`` zeros, made without having them."""
    block = bytes(1 << 20)
    made: Any
    if name in ("gzip", "zlib"):
        made = zlib.compressobj(9, zlib.DEFLATED, 31 if name == "gzip" else 15)
    elif name == "bzip2":
        made = bz2.BZ2Compressor()
    elif name in ("xz", "lzma"):
        made = lzma.LZMACompressor(lzma.FORMAT_XZ if name == "xz" else lzma.FORMAT_ALONE, preset=0)
    elif name == "zstd":
        made = pytest.importorskip("zstandard").ZstdCompressor().compressobj()
    else:
        made = pytest.importorskip("lz4.frame").LZ4FrameCompressor()
    parts = [made.begin()] if name == "lz4" else []
    parts += [made.compress(block) for _ in range(size >> 20)]
    parts.append(made.flush())
    return b"".join(parts)


_LIMITED = """
import resource, sys
import safeload, numpy
soft = 300 << 20
for name in sys.argv[1:]:
    data = open(name, "rb").read()
    safeload.scan(data[:50])
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + soft, resource.RLIM_INFINITY))
    report = safeload.scan(name)
    try:
        safeload.load(name)
    except safeload.SafeloadError as error:
        print(report.verdict, error.code)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
@pytest.mark.parametrize("name", COMPRESS)
def test_bombs(name: str, tmp_path: Path) -> None:
    """What unpacks to far more than it is: refused while it is unpacked, in bounded memory."""
    import subprocess

    path = tmp_path / "bomb"
    path.write_bytes(_bomb(name, 1 << 28))
    once = COMPRESS[name](path.read_bytes())
    other = tmp_path / "nested"
    other.write_bytes(once)
    limited = "safeload.configure(limits=safeload.Limits(max_unpacked_bytes=100 << 20))\n" if name == "lz4" else ""
    script = _LIMITED.replace("soft =", f"{limited}soft =")
    run = subprocess.run(
        [sys.executable, "-c", script, path, other], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.stderr == ""
    expected = "limit.unpacked-bytes" if name == "lz4" else "limit.ratio"
    assert run.stdout.split() == ["unknown", expected, "unknown", "limit.ratio"]


def test_limits() -> None:
    """All that is unpacked on the way to an object counts together."""
    data = pickle.dumps(np.random.default_rng(0).bytes(100_000))
    limits = Limits(max_unpacked_bytes=150_000)
    assert safeload.loads(_gzip(data), limits=limits)
    with pytest.raises(LimitExceededError) as caught:
        safeload.loads(_gzip(_gzip(data)), limits=limits)
    assert caught.value.code == "limit.unpacked-bytes"
    assert safeload.scan(_gzip(_gzip(data)), limits=limits).verdict == "unknown"
    with pytest.raises(LimitExceededError, match="streams"):
        safeload.loads(
            b"".join(_gzip(DATA[at : at + 50]) for at in range(0, len(DATA), 50)), limits=Limits(max_members=3)
        )


def test_depth() -> None:
    """Files in files in files, down to max_depth."""
    made = DATA
    for _ in range(6):
        made = _gzip(made)
    assert safeload.loads(made) == VALUE
    deeper = _gzip(made)
    with pytest.raises(LimitExceededError) as caught:
        safeload.loads(deeper)
    assert caught.value.code == "limit.depth"
    assert safeload.scan(deeper).verdict == "unknown"
    assert safeload.loads(deeper, limits=Limits(max_depth=7)) == VALUE


def test_many_small_streams() -> None:
    """A file of many empty streams costs no more than its size."""
    made = _gzip(b"") * 20_000 + _gzip(DATA)
    assert safeload.loads(made) == VALUE


@pytest.mark.parametrize(
    "text", [b"x^2 + y^2 = z^2\n" * 50, b"x\x01", b"BZhang wrote this\n" * 30, b"]\x00\x00 no", b"x^2"]
)
def test_text_that_begins_like_a_compressed_file(text: bytes) -> None:
    """A weak magic is no reason to call a text damaged."""
    report = safeload.scan(text)
    assert (report.verdict, report.container) == ("skipped", "unknown")
    assert safeload.scan(_gzip(text)).container == "unknown"


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be unpacked here is recognised, not clean, and says what to install."""
    for name, package, made in (
        ("lz4", "lz4.frame", b"\x04\x22\x4d\x18" + bytes(20)),
        ("zstd", "zstandard", b"(\xb5/\xfd" + bytes(20)),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(FormatError, match=rf"pip install 'safeload\[{name}\]'") as caught:
            safeload.loads(made)
        assert caught.value.code == "format.missing-extra"
        report = safeload.scan(made)
        assert (report.verdict, report.container) == ("skipped", name)


def test_memory_that_a_file_asks_for() -> None:
    """The dictionary of an lzma stream can be announced as 4 GiB."""
    made = bytearray(_alone(DATA))
    made[1:5] = b"\xff\xff\xff\xff"
    with pytest.raises(FormatError):
        safeload.loads(bytes(made))
