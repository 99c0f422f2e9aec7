"""Files that change while they are signed: a signature never vouches for a mix of two versions."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import safeload
from safeload.cli import main
from safeload.envelope import seal_detached, seal_path, seal_to
from safeload.source import steady

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 3 << 20
OLD = 1_000_000_000


class Shared(io.FileIO):
    """An open file that another program writes to, once, as soon as the first part of it was read."""

    change: Callable[[str], None]

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        change, self.change = self.change, lambda _path: None
        change(str(self.name))
        return count


def rewritten(path: str) -> None:
    """Another version of the same length."""
    with Path(path).open("r+b") as file:
        file.write(b"b" * SIZE)


def unnoticed(path: str) -> None:
    """The same, with the time of change set back."""
    status = Path(path).stat()
    rewritten(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


WRITERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "seal_to": lambda file, key, _target: seal_to(io.BytesIO(), file, key, length=SIZE),
    "seal_path": lambda file, key, target: seal_path(target, file, key, length=SIZE),
    "seal_detached": lambda file, key, _target: seal_detached(file, key, length=SIZE),
}


@pytest.mark.parametrize("suite", ["ed25519", "hs256-gcm"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("change", [rewritten, unnoticed])
def test_a_file_that_changes_is_not_signed(
    change: Callable[[str], None], writer: str, suite: Any, tmp_path: Path
) -> None:
    """By any writer and in any layout; what was written before is no envelope, and no file of that name is left."""
    if (writer, suite) == ("seal_detached", "hs256-gcm"):
        pytest.skip("a detached signature encrypts nothing")
    path, target = tmp_path / "x", tmp_path / "x.sle"
    path.write_bytes(b"a" * SIZE)
    os.utime(path, (OLD, OLD))
    with Shared(path) as file:
        file.change = change
        with pytest.raises(safeload.FormatError) as caught:
            WRITERS[writer](file, safeload.Key.generate(suite), target)
    assert caught.value.code == "format.changed"
    assert not target.exists()


def test_a_write_that_no_time_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write in the same tick of the clock, or one that began before: what was written to lately is read twice."""
    stamp = (SIZE, time.time_ns(), 0)
    monkeypatch.setattr(steady.SteadyRead, "_stamped", lambda _self: stamp)
    path = tmp_path / "x"
    path.write_bytes(b"a" * SIZE)
    with Shared(path) as file:
        file.change = rewritten
        with pytest.raises(safeload.FormatError):
            seal_detached(file, safeload.Key.generate("ed25519"), length=SIZE)
    with path.open("rb") as file:
        assert seal_detached(file, safeload.Key.generate("ed25519"))


@pytest.mark.parametrize("options", [[], ["--raw"], ["--detached"]])
@pytest.mark.parametrize("command", ["sign", "encrypt"])
def test_on_the_command_line(
    command: str,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1, a sentence, and no file, whichever way the file is read."""
    if (command, options) == ("encrypt", ["--detached"]):
        pytest.skip("a detached signature encrypts nothing")
    path, key = tmp_path / "x.pkl", tmp_path / "k.key"
    path.write_bytes(b"\x80\x04B" + SIZE.to_bytes(4, "little") + b"a" * SIZE + b".")
    assert main(["keygen", "--suite", "hs256-gcm" if command == "encrypt" else "hs256", "--output", str(key)]) == 0
    finish = steady.SteadyRead.finish

    def changed(read: steady.SteadyRead) -> None:
        rewritten(str(path))
        finish(read)

    monkeypatch.setattr(steady.SteadyRead, "finish", changed)
    assert main([command, str(path), "--key-file", str(key), *options]) == 1
    assert "changed while it was read" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["k.key", "x.pkl"]
