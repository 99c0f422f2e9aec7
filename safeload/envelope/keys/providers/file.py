"""Keys from a file that only its owner can read, and the writer of such files.

Rule: the file is opened once without following a symlink, and everything is asked of that descriptor (``fstat``), so
that what was checked is what is read: swapping the path in between changes nothing. On Windows, where a mode says
nothing about who may read, only the kind of file is checked.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from safeload.envelope.keys.lines import format_lines, parse_lines
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.envelope.keys.entry import KeyEntry

__all__ = ["SCHEME", "fetch", "read_entries", "write_entries"]

SCHEME = "file"
_MAX_BYTES = 1 << 20


def fetch(locator: str) -> list[KeyEntry]:
    """The keys in the file ``locator``."""
    return read_entries(locator)


def read_entries(path: str | os.PathLike[str]) -> list[KeyEntry]:
    """The entries of the key file at ``path``.

    Raises:
        KeyProviderError: with its own code for each reason: ``keys.file-missing``, ``-symlink``, ``-type``,
            ``-mode``, ``-owner``, ``-unreadable``, ``-size``, ``keys.syntax``, ``keys.empty``.
    """
    name = os.fspath(path)
    try:
        # O_NONBLOCK: opening a pipe that somebody put in the file's place must not hang.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(name, flags)
    except (OSError, ValueError) as error:
        raise _open_failure(name, error) from None
    try:
        _check(name, os.fstat(descriptor))
        data = b""
        while len(data) <= _MAX_BYTES and (block := os.read(descriptor, _MAX_BYTES + 1 - len(data))):
            data += block
    finally:
        os.close(descriptor)
    if len(data) > _MAX_BYTES:
        raise KeyProviderError(
            f"key file {name} is larger than {_MAX_BYTES} bytes; is it a key file?", code="keys.file-size"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyProviderError(f"key file {name} is not UTF-8 text; is it a key file?", code="keys.syntax") from None
    return parse_lines(text, source=f"key file {name}")


def _open_failure(name: str, error: OSError | ValueError) -> KeyProviderError:
    number = getattr(error, "errno", None)
    if number in (errno.ELOOP, errno.EMLINK):
        return KeyProviderError(
            f"key file {name} is a symlink; give the path of the file itself", code="keys.file-symlink"
        )
    if number in (errno.ENOENT, errno.ENOTDIR):
        message = f"key file {name} does not exist; make it with `safeload keygen --output {name}`"
        return KeyProviderError(message, code="keys.file-missing")
    reason = os.strerror(number) if number else str(error)
    return KeyProviderError(f"key file {name} cannot be opened: {reason}", code="keys.file-unreadable")


def _check(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyProviderError(f"key file {name} is not a regular file; give the path of a file", code="keys.file-type")
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise KeyProviderError(
            f"key file {name} belongs to user {status.st_uid}, who could replace it; run `chown {os.geteuid()} {name}`",
            code="keys.file-owner",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o177:
        raise KeyProviderError(
            f"key file {name} has mode {mode:04o}, others may read or change it; run `chmod 600 {name}`",
            code="keys.file-mode",
        )


def write_entries(path: str | os.PathLike[str], entries: Iterable[KeyEntry], *, overwrite: bool = False) -> None:
    """Write a key file with mode 0600; a crash leaves the old file or the new one.

    Raises:
        FileExistsError: the file exists and ``overwrite`` is false: a lost key cannot be made again.
        ValueError: an entry has a policy that a file cannot hold.
    """
    target = Path(path)
    data = format_lines(entries).encode()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        if overwrite:
            temporary.replace(target)
        else:
            _name_new(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _name_new(temporary: Path, target: Path) -> None:
    """Give the file its name unless it is taken.

    Raises:
        FileExistsError: it is.
    """
    try:
        os.link(temporary, target, follow_symlinks=False)  # fails if the target exists, without a race
    except FileExistsError:
        raise FileExistsError(
            f"{target} exists already; a lost key cannot be made again, so choose another name"
        ) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists already; choose another name") from None
        temporary.replace(target)
