"""Files as the command line reads and writes them.

Reading: opened once, without waiting for the other end of a pipe, and only a regular file. Writing: to a temporary file
beside the target that takes its name when it is complete, so that a crash leaves the old file or the new one.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from safeload.cli.failure import Failure, os_reason
from safeload.errors import LimitExceededError
from safeload.source.locations import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kind_of", "new_file", "open_regular", "refuse_existing", "refuse_link", "replace_text"]

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str:
    """What a thing that is no regular file is, as words."""
    return next((name for test, name in _KINDS if test(mode)), "no regular file")


def _opener(path: str, flags: int) -> int:
    # O_NONBLOCK: a named pipe that nobody writes to would otherwise hang the command for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _open_url(url: str) -> BinaryIO:
    from safeload.limits import DEFAULT_LIMITS
    from safeload.source.locations import fetch

    try:
        file: BinaryIO = fetch(url, DEFAULT_LIMITS.max_artifact_bytes)  # type: ignore[assignment]
    except FileNotFoundError:
        raise Failure(f"{url} does not exist", "check the spelling") from None
    except (OSError, ValueError, ImportError, LimitExceededError) as error:
        reason = os_reason(error) if isinstance(error, OSError) and error.strerror else str(error)
        raise Failure(f"{url} cannot be read: {reason}", "see how fsspec finds the credentials of this store") from None
    return file


def open_regular(path: str) -> BinaryIO:
    """The regular file at ``path``, or a private copy of what a URL names, open for reading. The caller closes it.

    Raises:
        Failure: there is none, or it cannot be read.
    """
    if is_remote(path):
        return _open_url(path)
    try:
        stream = open(path, "rb", opener=_opener)  # noqa: SIM115 - handed to the caller; needs the opener
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114 - a str from the command line
            raise Failure(f"{path} is a symlink to something that does not exist", "restore its target") from None
        raise Failure(f"{path} does not exist", "check the spelling and the directory you are in") from None
    except IsADirectoryError:
        raise Failure(f"{path} is a directory", "name the files in it; `safeload scan` takes directories") from None
    except PermissionError:
        raise Failure(f"{path} cannot be read: permission denied", f"see who may with `ls -l {path}`") from None
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise Failure(f"{path} is a socket, not a regular file", "name a file that holds an artifact") from None
        raise Failure(f"{path} cannot be read: {os_reason(error)}", "check the path and the disk") from None
    except ValueError:
        raise Failure("a path cannot hold a NUL character", "check the spelling") from None
    mode = os.fstat(stream.fileno()).st_mode
    if not stat.S_ISREG(mode):
        stream.close()
        raise Failure(f"{path} is {kind_of(mode)}, not a regular file", "copy what it holds into a file first")
    return stream


def refuse_existing(path: str, *, force: bool) -> None:
    """Stop before any work is done if ``path`` exists and may not be overwritten.

    Raises:
        Failure: it exists.
    """
    if os.path.lexists(path) and not force:
        raise Failure(f"{path} exists", "choose another name with --output, or overwrite it with --force")
    if os.path.isdir(path):  # noqa: PTH112 - a str from the command line
        raise Failure(f"{path} is a directory", "give the name of the file to write with --output")
    folder = os.path.dirname(path) or "."  # noqa: PTH120 - the same
    if not os.path.isdir(folder):  # noqa: PTH112 - the same
        raise Failure(f"{path} cannot be written: there is no directory {folder}", f"make it with `mkdir -p {folder}`")


@contextmanager
def new_file(path: str, *, force: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write that appears at ``path`` when the block ends well, and leaves no trace when it does not.

    Raises:
        Failure: ``path`` exists and ``force`` is false, or it cannot be written.
    """
    refuse_existing(path, force=force)
    target = Path(path)
    temporary = target.with_name(f".{target.name[:200]}.{os.urandom(8).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {os_reason(error)}", "choose another place with --output") from None
    try:
        with open(descriptor, "w+b") as stream:  # noqa: PTH123 - a descriptor
            yield stream
            stream.flush()
            os.fsync(descriptor)
        _publish(temporary, target, force=force)
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise Failure(f"{path} was not written: {os_reason(error)}", "free some space and run it again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path, *, force: bool) -> None:
    if force:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target, follow_symlinks=False)  # fails if the target has appeared meanwhile
    except FileExistsError:
        raise Failure(f"{target} exists", "it was made meanwhile; choose another name, or use --force") from None
    except (OSError, NotImplementedError):  # a file system without hard links
        if os.path.lexists(target):
            raise Failure(f"{target} exists", "it was made meanwhile; choose another name, or use --force") from None
        temporary.replace(target)


def refuse_link(path: str) -> None:
    """Stop before any work is done if a report at ``path`` would be written through a symbolic link.

    Who can plant a link in a directory that a scan writes to would choose the file that the report overwrites.

    Raises:
        Failure: it is a link, and not one of the system's own such as ``/dev/stderr``.
    """
    if os.path.islink(path) and not _is_own_stream(path):  # noqa: PTH114 - a str from the command line
        raise Failure(f"{path} is a symbolic link, and a report never follows one", "name the file that it leads to")


def _is_own_stream(path: str) -> bool:
    """Whether ``path`` names an open file of this process: ``/dev/stdout``, ``/dev/fd/63`` of a shell's ``>(...)``."""
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120 - a str
    return folder in ("/dev", os.path.realpath("/dev/fd"), os.path.realpath("/proc/self/fd"))


def replace_text(path: str, text: str) -> None:
    """Write a report to ``path``, replacing an older one, whole or not at all.

    A device or pipe (``/dev/stderr``, a process substitution) is written to directly.

    Raises:
        Failure: ``path`` is a symbolic link, or cannot be written.
    """
    refuse_link(path)
    own = _is_own_stream(path)
    if own or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)):  # noqa: PTH110, PTH113, PTH112
        flags = os.O_WRONLY | os.O_APPEND | (0 if own else getattr(os, "O_NOFOLLOW", 0))
        stream: IO[str]
        with open(os.open(path, flags), "w", encoding="utf-8", errors="backslashreplace") as stream:  # noqa: PTH123
            stream.write(text)
        return
    with new_file(path, force=True) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
