"""Envelopes in files: positions, pipes, wrappers, files that change, bounded memory, crash safety."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import socket
import stat
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from safeload.envelope import (
    Layout,
    decrypt_to,
    open_bytes,
    open_file,
    open_path,
    seal,
    seal_path,
    seal_to,
    verify_path,
)
from safeload.envelope import views as views_module
from safeload.errors import EnvelopeError, SafeloadError
from safeload.limits import Limits
from safeload.source.atomic import AtomicFile

SIZES = [0, 1, 70_000, 1 << 17, (1 << 20) + 5, 5 << 20]


def code_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(SafeloadError) as caught:
        call(*arguments, **options)
    return caught.value.code


@pytest.mark.parametrize("size", SIZES)
def test_every_way(kind: Any, size: int, tmp_path: Path) -> None:
    """What is sealed to a path, an open file or a pipe opens from a path, an open file and a pipe."""
    key, layout = kind
    payload = os.urandom(size)
    path = tmp_path / "envelope"
    total = seal_path(path, payload, key, layout=layout, chunk_log2=16)
    assert path.stat().st_size == total
    stream = io.BytesIO()
    assert seal_to(stream, [payload[:5], payload[5:]], key, layout=layout, chunk_log2=16) == total
    assert open_bytes(stream.getvalue(), key).payload == payload
    opened = open_path(path, key)
    assert opened.payload == payload
    with path.open("rb") as file:
        assert open_file(file, key).payload == payload
        assert file.tell() == total
    assert verify_path(path, key).size == size
    assert decrypt_to(path, tmp_path / "payload", key).size == size
    assert (tmp_path / "payload").read_bytes() == payload
    with (tmp_path / "payload").open("rb") as source:
        seal_path(path, source, key, layout=layout)
    assert open_path(path, key).payload == payload
    assert {file.name for file in tmp_path.iterdir()} == {"envelope", "payload"}


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_pipe_and_socket(kind: Any, size: int) -> None:
    """A pipe or a socket carries an envelope; nothing behind it is swallowed when asked not to."""
    key, layout = kind
    payload = os.urandom(size)
    data = seal(payload, key, layout=layout)
    left, right = socket.socketpair()
    writer = threading.Thread(target=lambda: (left.sendall(data + data + b"more"), left.close()))
    writer.start()
    with right, right.makefile("rb") as file:
        assert open_file(file, key, exact=False).payload == payload
        assert open_file(file, key, exact=False).payload == payload
        assert file.read() == b"more"
    writer.join()


def test_several_in_one_file(kind: Any, tmp_path: Path) -> None:
    """With `exact=False` one envelope is read from where the file stands, and the file stands behind it."""
    key, layout = kind
    path = tmp_path / "two"
    first, second = seal(b"one", key, layout=layout), seal(b"two", key, layout=layout)
    path.write_bytes(b"front" + first + second)
    with path.open("rb") as file:
        file.seek(5)
        assert open_file(file, key, exact=False).payload == b"one"
        assert file.tell() == 5 + len(first)
        assert open_file(file, key).payload == b"two"
        file.seek(5)
        assert code_of(open_file, file, key) == "envelope.trailing-bytes"


def test_wrappers_are_read_through_their_own_read(keys: dict[str, Any], tmp_path: Path) -> None:
    """A decompressor reports the descriptor of the compressed file: its bytes must not be taken from there."""
    path = tmp_path / "x.gz"
    data = seal(os.urandom(2 << 20), keys["hs256"])
    with gzip.open(path, "wb") as file:
        file.write(data)
    with gzip.open(path, "rb") as file:
        assert open_file(file, keys["hs256"]).payload == open_bytes(data, keys["hs256"]).payload
    with gzip.open(path, "rb") as source, pytest.raises(ValueError, match="length"):
        seal(source, keys["hs256"])
    out = io.BytesIO()
    with gzip.open(path, "rb") as source:
        seal_to(out, source, keys["hs256-gcm"], length=len(data))
    assert open_bytes(out.getvalue(), keys["hs256-gcm"]).payload == data


def test_subclass_of_a_file_is_not_bypassed(keys: dict[str, Any], tmp_path: Path) -> None:
    """An overridden `read` is respected: only exactly the standard file types are read by descriptor."""
    path = tmp_path / "x"
    seal_path(path, b"x", keys["hs256"])

    class Shifted(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            return bytes(byte ^ 1 for byte in super().read(size) or b"")

    with Shifted(path) as file:
        assert code_of(open_file, file, keys["hs256"]) == "envelope.not-an-envelope"


def test_wrong_kinds_of_file(keys: dict[str, Any], tmp_path: Path) -> None:
    """A directory, a named pipe, a missing file, text mode: each its own clear error, and nothing hangs."""
    key = keys["hs256"]
    assert code_of(open_path, tmp_path, key) == "envelope.not-a-file"
    os.mkfifo(tmp_path / "fifo")
    assert code_of(open_path, tmp_path / "fifo", key) == "envelope.not-a-file"
    assert code_of(open_path, "/dev/null", key) == "envelope.not-a-file"
    with pytest.raises(FileNotFoundError):
        open_path(tmp_path / "none", key)
    (tmp_path / "text").write_text("x")
    with (tmp_path / "text").open() as file, pytest.raises(TypeError, match="rb"):
        open_file(file, key)
    with pytest.raises(TypeError):
        open_file(b"bytes", key)
    assert code_of(open_path, tmp_path / "text", key) == "envelope.not-an-envelope"
    (tmp_path / "empty").touch()
    assert code_of(open_path, tmp_path / "empty", key) == "envelope.not-an-envelope"
    with pytest.raises(IsADirectoryError):
        seal_path(tmp_path, b"x", key)
    with pytest.raises(ValueError, match="pipe"):
        seal_path(tmp_path / "fifo", b"x", key)
    with pytest.raises(FileNotFoundError):
        seal_path(tmp_path / "none" / "x", b"x", key)


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_file_that_becomes_shorter(kind: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cut while it is read gives an error, not a crash and not a payload."""
    key, layout = kind
    path = tmp_path / "x"
    total = seal_path(path, os.urandom(size), key, layout=layout)
    real = os.pread

    def cut(descriptor: int, count: int, offset: int) -> bytes:
        data = real(descriptor, count, offset)
        os.truncate(path, total // 2)
        return data

    monkeypatch.setattr(os, "pread", cut)
    if size > 1 << 20:
        assert code_of(open_path, path, key) in {"envelope.changed", "envelope.truncated", "envelope.verification"}
        assert code_of(decrypt_to, path, tmp_path / "y", key).startswith("envelope.")
    assert not (tmp_path / "y").exists()


def test_file_that_changes_after_verification(keys: dict[str, Any], tmp_path: Path) -> None:
    """The payload is private memory: writing to the file afterwards changes nothing."""
    for suite, key in keys.items():
        for size in (10, 3 << 20):
            path = tmp_path / f"{suite}{size}"
            payload = os.urandom(size)
            seal_path(path, payload, key)
            opened = open_path(path, key)
            path.write_bytes(bytes(path.stat().st_size))
            assert opened.payload == payload


@pytest.mark.parametrize("layout", [Layout.INLINE, Layout.INDEXED])
def test_file_that_changes_between_two_passes(keys: dict[str, Any], layout: Layout, tmp_path: Path) -> None:
    """`decrypt_to` of a large INLINE body reads twice; the second reading accepts only what the first one verified."""
    from safeload.envelope.body import prepare
    from safeload.envelope.opening import make_demand

    path = tmp_path / "x"
    seal_path(path, bytes(3 << 20), keys["hs256"], layout=layout)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        prepared = prepare(views_module.FileView(descriptor), make_demand(keys["hs256"]))
        chunks = prepared.body.chunks()
        next(chunks)
        with path.open("r+b") as file:
            file.seek(2 << 20)
            file.write(b"evil")
        with pytest.raises(EnvelopeError) as caught:
            for _ in chunks:
                pass
        assert caught.value.code == "envelope.verification"
    finally:
        os.close(descriptor)


def test_failed_decryption_leaves_nothing(kind: Any, tmp_path: Path) -> None:
    """A bad last chunk leaves the old target, and no temporary file."""
    key, layout = kind
    path, target = tmp_path / "x", tmp_path / "target"
    target.write_bytes(b"old")
    data = bytearray(seal(os.urandom(300_000), key, layout=layout, chunk_log2=16))
    at = len(data) - 1 if layout is not Layout.INDEXED else len(data) // 2
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(EnvelopeError):
        decrypt_to(path, target, key)
    assert target.read_bytes() == b"old"
    assert {file.name for file in tmp_path.iterdir()} == {"x", "target"}


def test_decrypted_files_are_private(keys: dict[str, Any], tmp_path: Path) -> None:
    """A new plaintext file is readable by its owner alone; an existing one keeps its mode."""
    seal_path(tmp_path / "x", b"x", keys["hs256-gcm"])
    decrypt_to(tmp_path / "x", tmp_path / "y", keys["hs256-gcm"])
    assert stat.S_IMODE((tmp_path / "y").stat().st_mode) == 0o600
    (tmp_path / "y").chmod(0o640)
    decrypt_to(tmp_path / "x", tmp_path / "y", keys["hs256-gcm"])
    assert stat.S_IMODE((tmp_path / "y").stat().st_mode) == 0o640


# Crash safety


@pytest.mark.parametrize("where", ["write", "fsync", "replace", "fchmod"])
def test_crash_while_sealing(kind: Any, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure at any step of writing leaves the old file whole and no temporary file."""
    key, layout = kind
    path = tmp_path / "x"
    seal_path(path, b"old", key, layout=layout)
    before = path.read_bytes()
    real_write = os.write
    calls = 0

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    def fail_later(descriptor: int, data: Any) -> int:
        nonlocal calls
        calls += 1
        return real_write(descriptor, data) if calls < 3 else fail()

    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(os, "write", fail_later)
        elif where == "replace":
            patch.setattr(Path, "replace", fail)
        else:
            patch.setattr(os, where, fail)
        with pytest.raises(OSError, match="No space"):
            seal_path(path, os.urandom(200_000), key, layout=layout, chunk_log2=16)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_source_that_fails_or_lies(kind: Any, tmp_path: Path) -> None:
    """A payload file that ends early, grows or breaks leaves the old target."""
    key, layout = kind
    path = tmp_path / "x"
    seal_path(path, b"old", key, layout=layout)
    before = path.read_bytes()

    class Broken(io.BytesIO):
        def readinto(self, _: Any) -> int:
            raise OSError("disk on fire")

    for source, length in ((io.BytesIO(b"short"), 10), (io.BytesIO(b"too long"), 3), (Broken(b"x" * 9), 9)):
        with pytest.raises(OSError):
            seal_path(path, source, key, layout=layout, length=length)
        assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_modes_of_sealed_files(keys: dict[str, Any], tmp_path: Path) -> None:
    """New files get what open() would give them, existing ones keep their mode, and a mode can be asked for."""
    plain = tmp_path / "plain"
    plain.touch()
    seal_path(tmp_path / "new", b"x", keys["hs256"])
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    plain.chmod(0o604)
    seal_path(plain, b"x", keys["hs256"])
    assert stat.S_IMODE(plain.stat().st_mode) == 0o604
    seal_path(tmp_path / "secret", b"x", keys["hs256"], mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_unfinished_file_is_private(tmp_path: Path) -> None:
    """While it is written, nobody else can read it, and the target does not exist."""
    with AtomicFile(tmp_path / "x") as file:
        file.write(b"half")
        (temporary,) = tmp_path.iterdir()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        assert temporary.name.endswith(".tmp")
    assert not list(tmp_path.iterdir())


def test_symlink_is_replaced_not_followed(keys: dict[str, Any], tmp_path: Path) -> None:
    """A link planted at the target cannot redirect the write."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to(victim)
    seal_path(link, b"x", keys["hs256"])
    assert victim.read_bytes() == b"precious"
    assert not link.is_symlink()


def test_raw_files_that_write_partially(keys: dict[str, Any]) -> None:
    """A raw file may take only part of a write; the rest follows."""

    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, data: Any) -> int:
            self.data += bytes(data[:1000])
            return min(len(data), 1000)

    for key in keys.values():
        slow = Slow()
        payload = os.urandom(10_000)
        seal_to(slow, payload, key)
        assert open_bytes(bytes(slow.data), key).payload == payload


# Memory and threads


@pytest.mark.parametrize("suite", ["hs256", "hs256-gcm", "ed25519-gcm"])
def test_bounded_memory(keys: dict[str, Any], suite: str, tmp_path: Path) -> None:
    """Sealing, verifying and decrypting a 32 MiB file takes a few chunks of memory."""
    key = keys[suite]
    source, sealed = tmp_path / "source", tmp_path / "sealed"
    with source.open("wb") as file:
        file.truncate(32 << 20)
    tracemalloc.start()
    try:
        with source.open("rb") as file:
            seal_path(sealed, file, key)
        verify_path(sealed, key)
        decrypt_to(sealed, tmp_path / "out", key)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_announced_size_is_not_allocated_from_a_pipe(keys: dict[str, Any]) -> None:
    """A pipe that announces 32 GiB and delivers nothing costs nothing."""
    data = seal(b"x", keys["hs256"])
    huge = data[:40] + (32 << 30).to_bytes(8, "big") + data[48:]

    class Pipe:
        def __init__(self) -> None:
            self.file = io.BytesIO(huge)

        def read(self, size: int) -> bytes:
            return self.file.read(size)

    tracemalloc.start()
    try:
        assert code_of(open_file, Pipe(), keys["hs256"]) == "envelope.truncated"
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert (
        code_of(open_file, Pipe(), keys["hs256"], limits=Limits(max_artifact_bytes=1 << 30))
        == "limit.max-artifact-bytes"
    )


def test_stream_from_a_pipe_is_not_allocated_before_its_header_holds(keys: dict[str, Any]) -> None:
    """For STREAM the announced size is authenticated before memory of that size is asked for."""
    data = seal(b"x", keys["hs256-gcm"])
    huge = data[:40] + (60 << 30).to_bytes(8, "big") + data[48:]

    class Pipe:
        def __init__(self) -> None:
            self.file = io.BytesIO(huge)

        def read(self, size: int) -> bytes:
            return self.file.read(size)

    assert code_of(open_file, Pipe(), keys["hs256-gcm"]) == "envelope.verification"


def test_one_key_in_many_threads(keys: dict[str, Any]) -> None:
    """Keys and rings are shared by threads without locks: every result is right."""
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for key in keys.values():
                for _ in range(15):
                    payload = os.urandom(100 + number)
                    assert (
                        open_bytes(seal(payload, key, context=str(number)), key, context=str(number)).payload == payload
                    )
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_concurrent_writers_of_one_path(keys: dict[str, Any], tmp_path: Path) -> None:
    """Whoever wins, the file is a whole envelope at every moment."""
    path = tmp_path / "x"
    seal_path(path, b"0" * 5000, keys["hs256"])
    threads = [
        threading.Thread(target=lambda n=n: [seal_path(path, str(n).encode() * 5000, keys["hs256"]) for _ in range(5)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(set(bytes(open_path(path, keys["hs256"]).payload))) == 1
    for thread in threads:
        thread.join()
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_without_threads(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started the caller's own does the work."""

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    payload = os.urandom(5 << 20)
    assert open_bytes(seal(payload, keys["hs256"]), keys["hs256"]).payload == payload


def test_error_in_a_thread_reaches_the_caller(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong chunk found by any thread is the caller's error, and no thread stays behind."""
    from safeload.source import parallel

    monkeypatch.setattr(parallel, "cpu_count", lambda: 4)
    data = bytearray(seal(os.urandom(8 << 20), keys["hs256"]))
    for at in (200, 4 << 20, (8 << 20) - 1):
        data[at] ^= 1
        with pytest.raises(EnvelopeError):
            open_bytes(bytes(data), keys["hs256"])
        data[at] ^= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "safeload-chunks"]


def test_descriptors_do_not_leak(keys: dict[str, Any], tmp_path: Path) -> None:
    """Success and failure close what was opened."""
    path = tmp_path / "x"
    seal_path(path, bytes(2 << 20), keys["hs256"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for key in (keys["hs256"], keys["hs256-gcm"]):
        for call in (
            open_path,
            verify_path,
            lambda p, k: decrypt_to(p, tmp_path / "y", k),
            lambda p, k: open_path(tmp_path, k),
        ):
            with contextlib.suppress(SafeloadError):
                call(path, key)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_systems_without_positioned_reads(
    kind: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no pread (Windows), seeking and reading under a lock gives the same."""
    key, layout = kind
    payload = os.urandom(size)
    path = tmp_path / "x"
    seal_path(path, payload, key, layout=layout)
    monkeypatch.delattr(os, "pread")
    monkeypatch.delattr(os, "preadv")
    assert open_path(path, key).payload == payload
    assert decrypt_to(path, tmp_path / "y", key).size == size
    assert (tmp_path / "y").read_bytes() == payload


def test_no_memory_for_the_payload(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An authorised signer's payload that does not fit is a limit, not a crash."""
    import mmap

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    data = seal(bytes(5 << 20), keys["hs256-gcm"])
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert code_of(open_bytes, data, keys["hs256-gcm"]) == "limit.memory"


@pytest.mark.parametrize("wrong", ["slk1.hs256.x.y", b"x" * 32, bytearray(32), None, 5])
def test_what_is_no_key(keys: dict[str, Any], wrong: Any) -> None:
    """Text and raw bytes are never keys, also where they happen to have a method of the right name."""
    for suite in ("hs256", "hs256-gcm"):
        with pytest.raises(TypeError, match="key ring"):
            open_bytes(seal(b"x", keys[suite]), wrong)


def test_file_open_for_reading_and_writing(keys: dict[str, Any], tmp_path: Path) -> None:
    """What was written through the same file object and not yet flushed is read too."""
    with (tmp_path / "x").open("w+b") as file:
        total = seal_to(file, b"payload", keys["hs256"])
        file.seek(0)
        assert open_file(file, keys["hs256"]).payload == b"payload"
        assert file.tell() == total


def test_sources_with_only_read(keys: dict[str, Any]) -> None:
    """A payload source needs no more than `read`, when its length is given; without it, the error says so."""

    class Source:
        def __init__(self) -> None:
            self.file = io.BytesIO(b"payload")

        def read(self, size: int) -> bytes:
            return self.file.read(min(size, 3))

    out = io.BytesIO()
    seal_to(out, Source(), keys["hs256"], length=7)
    assert open_bytes(out.getvalue(), keys["hs256"]).payload == b"payload"
    with pytest.raises(ValueError, match="length="):
        seal_to(out, Source(), keys["hs256"])
