"""Key providers: each failure has its own code and says what to do; no failure quotes a key."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from safeload.envelope.keys import Key, KeyEntry, KeyRing, KeyState
from safeload.envelope.keys.lines import format_lines, parse_lines
from safeload.envelope.keys.places import fetch_ring
from safeload.envelope.keys.providers import providers
from safeload.envelope.keys.providers.command import read_entries as run_command
from safeload.envelope.keys.providers.file import read_entries, write_entries
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key() -> Any:
    return Key.generate()


def refused(code: str, call: Any, *arguments: Any, hint: str = "") -> KeyProviderError:
    with pytest.raises(KeyProviderError) as caught:
        call(*arguments)
    assert caught.value.code == code
    assert hint in str(caught.value)
    return caught.value


# Environment


def test_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several keys, separated by commas or white space; the first one seals."""
    keys = [Key.generate(), Key.generate("ed25519"), Key.generate("ed25519-gcm").public]
    monkeypatch.setenv("SAFELOAD_KEYS", f" {keys[0].export()}, {keys[1].export()}\n{keys[2].export()},")
    ring = KeyRing.from_env("SAFELOAD_KEYS")
    assert [entry.key for entry in ring] == keys
    assert ring.primary == keys[0]
    assert len(fetch_ring("env:SAFELOAD_KEYS")) == 3
    assert len(fetch_ring("env:")) == 3


def test_env_unset_or_wrong(monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    """Unset and empty are told apart from a mistyped key, which is counted, not quoted."""
    monkeypatch.delenv("SAFELOAD_KEYS", raising=False)
    refused("keys.env-unset", KeyRing.from_env, hint="is not set")
    monkeypatch.setenv("SAFELOAD_KEYS", " , ")
    refused("keys.env-unset", KeyRing.from_env, hint="is empty")
    monkeypatch.setenv("SAFELOAD_KEYS", f"{key.export()} {key.export()[:-3]}")
    error = refused("keys.syntax", KeyRing.from_env, hint="key 2")
    assert key.export().split(".")[2] not in str(error)


# Files


def test_file_round_trip(tmp_path: Path) -> None:
    """What the writer writes, the reader reads: states, labels with spaces, grants, policies, times; mode 0600."""
    moment = datetime(2027, 1, 1, tzinfo=UTC)
    entries = [
        KeyEntry(Key.generate(), label="with space # and hash"),
        KeyEntry(
            Key.generate("ed25519").public,
            state=KeyState.VERIFY_ONLY,
            policy=("data", "sklearn"),
            grants=frozenset({"code"}),
        ),
        KeyEntry(Key.generate("hs256-gcm"), state=KeyState.REVOKED, not_before=moment, not_after=moment),
    ]
    path = tmp_path / "keys"
    write_entries(path, entries)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_entries(path) == entries
    assert list(KeyRing.from_file(path)) == entries
    assert list(fetch_ring(f"file:{path}")) == entries
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_file_is_not_overwritten(tmp_path: Path, key: Key) -> None:
    """A lost key cannot be made again, so overwriting must be asked for."""
    path = tmp_path / "keys"
    write_entries(path, [KeyEntry(key)])
    with pytest.raises(FileExistsError):
        write_entries(path, [KeyEntry(Key.generate())])
    assert read_entries(path)[0].key == key
    other = Key.generate()
    write_entries(path, [KeyEntry(other)], overwrite=True)
    assert read_entries(path)[0].key == other
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_file_system_without_hard_links(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be linked it is renamed, and still never overwritten."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_entries(tmp_path / "keys", [KeyEntry(key)])
    assert read_entries(tmp_path / "keys")[0].key == key
    with pytest.raises(FileExistsError):
        write_entries(tmp_path / "keys", [KeyEntry(key)])


def test_file_with_comments(tmp_path: Path, key: Key) -> None:
    """Comments, blank lines, a byte order mark and Windows line ends are all right."""
    path = tmp_path / "keys"
    path.write_bytes(f"\ufeff# the cache\r\n\r\n{key.export()} label=cache # main\r\n".encode())
    path.chmod(0o400)
    assert read_entries(path)[0].label == "cache"


@pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o700, 0o777])
def test_file_mode(tmp_path: Path, key: Key, mode: int) -> None:
    """A key file that others can read or write is refused with the command that mends it."""
    path = tmp_path / "keys"
    path.write_text(f"{key.export()}\n")
    path.chmod(mode)
    refused("keys.file-mode", read_entries, path, hint=f"chmod 600 {path}")


def test_file_owner(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file of another user is refused: that user could replace it."""
    path = tmp_path / "keys"
    write_entries(path, [KeyEntry(key)])
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    refused("keys.file-owner", read_entries, path, hint="chown")


def test_file_kinds(tmp_path: Path, key: Key) -> None:
    """Symlink, directory, pipe, missing, empty, too large, binary: each its own answer, and none hangs."""
    path = tmp_path / "keys"
    write_entries(path, [KeyEntry(key)])
    link = tmp_path / "link"
    link.symlink_to(path)
    refused("keys.file-symlink", read_entries, link, hint="symlink")
    refused("keys.file-type", read_entries, tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    refused("keys.file-type", read_entries, tmp_path / "pipe")
    refused("keys.file-missing", read_entries, tmp_path / "none", hint="keygen")
    refused("keys.file-missing", read_entries, path / "below")
    refused("keys.file-unreadable", read_entries, "a\0b")
    for content, code in (
        (b"", "keys.empty"),
        (b"# nothing\n", "keys.empty"),
        (b"\xff\xfe", "keys.syntax"),
        (b"#" * (2 << 20), "keys.file-size"),
    ):
        other = tmp_path / "other"
        other.write_bytes(content)
        other.chmod(0o600)
        refused(code, read_entries, other)


def test_file_swapped_between_check_and_use(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what is read: replacing the path after the check changes nothing."""
    path = tmp_path / "keys"
    write_entries(path, [KeyEntry(key)])
    evil = tmp_path / "evil"
    write_entries(evil, [KeyEntry(Key.generate())])
    real = os.fstat

    def swap(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if evil.exists():
            evil.replace(path)
        return status

    monkeypatch.setattr(os, "fstat", swap)
    assert read_entries(path)[0].key == key


@pytest.mark.parametrize(
    ("suffix", "hint"),
    [(" state=retired", "verify-only"), (" grants=root", "'code'"), (" colour=red", "state="), (" stray", "state="),
     (" label=", "no value"), (" label=a label=b", "twice"), (" not-after=soon", "ISO"), (" label='open", "quotation")],
)  # fmt: skip
def test_line_mistakes(key: Key, suffix: str, hint: str) -> None:
    """A wrong attribute names the line and what may stand there; the key itself is not quoted."""
    error = refused(
        "keys.syntax", lambda: parse_lines(f"# one\n{key.export()}{suffix}\n", source="file"), hint="line 2"
    )
    assert hint.lower() in str(error).lower()
    assert key.export().split(".")[2] not in str(error)


def test_line_that_is_a_mistyped_secret(key: Key) -> None:
    """Also for a line that does not parse at all."""
    error = refused("keys.syntax", lambda: parse_lines(key.export()[1:], source="file"))
    assert key.export().split(".")[2] not in str(error)


def test_writer_refuses_what_a_file_cannot_hold(tmp_path: Path, key: Key) -> None:
    """A policy object, a comma in a name or a line break in a label would not come back as they were."""
    for entry in (
        KeyEntry(key, policy=object()),
        KeyEntry(key, policy=("a,b",)),
        KeyEntry(key, label="a\nb"),
        KeyEntry(key, label="a\u2028b"),
    ):
        with pytest.raises(ValueError):
            write_entries(tmp_path / "keys", [entry])
        assert not list(tmp_path.iterdir())
    assert "policy=data" in format_lines([KeyEntry(key, policy="data")])


# Commands


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_command(key: Key) -> None:
    """A program's output in the format of a key file."""
    ring = KeyRing.from_command(python(f"print('{key.export()} label=vault')"))
    assert ring.primary == key
    assert ring.entries[0].label == "vault"


def test_command_failures(key: Key) -> None:
    """Missing program, failure, silence, noise: own codes, and neither output nor errors are quoted."""
    refused("keys.command-missing", run_command, ["/nonexistent/program"])
    error = refused(
        "keys.command-failed",
        run_command,
        python(f"import sys; print('{key.export()}'); sys.exit('{key.export()}')"),
        hint="status 1",
    )
    assert key.export()[10:30] not in str(error)
    refused("keys.empty", run_command, python("pass"))
    refused("keys.syntax", run_command, python("import sys; sys.stdout.buffer.write(b'\\xff')"))
    refused("keys.syntax", fetch_ring, "command:pass show x")
    for wrong in ("a string", [], [1], b"x"):
        with pytest.raises(TypeError):
            run_command(wrong)  # type: ignore[arg-type]


def test_command_runs_no_shell(tmp_path: Path) -> None:
    """Shell syntax in an argument is an argument."""
    marker = tmp_path / "marker"
    refused("keys.command-missing", run_command, [f"true; touch {marker}"])
    refused("keys.empty", run_command, ["true", f"; touch {marker}"])
    assert not marker.exists()


def test_command_limits() -> None:
    """A program that hangs or floods is ended, and the caller goes on."""
    start = time.monotonic()
    refused(
        "keys.command-limit", lambda: run_command(python("import time; time.sleep(60)"), timeout=0.3), hint="seconds"
    )
    flood = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    refused("keys.command-limit", lambda: run_command(python(flood), timeout=20), hint="more than")
    assert time.monotonic() - start < 20
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(5)


# The OS key store


def test_keyring(monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    """The stored password is a key list; missing entry and failing backend have their own codes."""
    keyring = pytest.importorskip("keyring")
    stored = {("safeload", "safeload"): key.export(), ("team/models", "ci"): f"{key.export()} label=ci"}
    monkeypatch.setattr(keyring, "get_password", lambda service, user: stored.get((service, user)))
    assert KeyRing.from_keyring("safeload").primary == key
    assert fetch_ring("keyring:safeload").primary == key
    assert fetch_ring("keyring:team/models/ci").entries[0].label == "ci"
    refused("keys.keyring-empty", fetch_ring, "keyring:other", hint="keyring set other safeload")
    refused("keys.syntax", fetch_ring, "keyring:")

    def locked(*_: str) -> str:
        raise RuntimeError(f"secret {key.export()}")

    monkeypatch.setattr(keyring, "get_password", locked)
    error = refused("keys.keyring-failed", fetch_ring, "keyring:safeload", hint="RuntimeError")
    assert key.export()[10:30] not in str(error)


def test_keyring_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    refused("keys.keyring-missing", fetch_ring, "keyring:safeload", hint="safeload[keyring]")


# The registry


def test_registry() -> None:
    """Providers are found by their file; a wrong location lists them."""
    assert set(providers()) == {"command", "env", "file", "keyring"}
    for wrong in ("vault:x", "nothing", ""):
        with pytest.raises(ValueError, match="env:"):
            fetch_ring(wrong)


def test_failing_plugin_is_wrapped(monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    """A provider's own exception leaves as KeyProviderError and takes no secret with it."""

    def broken(_: str) -> list[KeyEntry]:
        raise RuntimeError(f"while reading {key.export()}")

    monkeypatch.setattr(providers()["env"], "fetch", broken)
    error = refused("keys.provider", fetch_ring, "env:X", hint="RuntimeError")
    assert key.export()[10:30] not in str(error)
    assert error.__cause__ is None
