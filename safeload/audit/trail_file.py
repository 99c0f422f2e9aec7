"""Opening a trail to read it: the file itself, or what is in it if log rotation has compressed it."""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from safeload.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["opened"]

_GZIP: Final = b"\x1f\x8b"
_MOST_UNPACKED: Final = 1 << 36
_LOOKS: Final = 25  # at the end of a trail, until it is that of a whole line: a writer needs some 10 µs for one
_BETWEEN_LOOKS: Final = 0.002  # seconds


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """The open trail and the size it has between two appends."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        message = f"cannot read the trail {os.fspath(path)}: {error.strerror or type(error).__name__}"
        raise AuditError(message, code="audit.unreadable") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AuditError(f"{os.fspath(path)} is not a regular file, so no trail", code="audit.not-a-file")
    with os.fdopen(fd, "rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if packed:
            with _unpacked(file, path) as unpacked:
                yield unpacked
        else:
            yield file, _settled_size(file)


@contextmanager
def _unpacked(file: BinaryIO, path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """What a compressed trail holds: log rotation compresses what it has moved away."""
    import gzip
    import tempfile
    import zlib

    with tempfile.TemporaryFile() as plain:
        try:
            with gzip.GzipFile(fileobj=file) as packed:
                while block := packed.read(1 << 20):
                    plain.write(block)
                    if plain.tell() > _MOST_UNPACKED:
                        raise AuditError(
                            f"{os.fspath(path)} unpacks to more than {_MOST_UNPACKED:,} bytes", code="audit.unreadable"
                        )
        except (OSError, EOFError, zlib.error) as error:
            message = f"cannot unpack the trail {os.fspath(path)}: {type(error).__name__}"
            raise AuditError(message, code="audit.unreadable") from error
        length = plain.tell()
        plain.seek(0)
        yield plain, length


def _settled_size(file: BinaryIO) -> int:
    """The size of the trail between two appends: half a line of a writer at work is not a torn line.

    A reader takes no lock: one that is stopped while it holds it would stop every writer.
    """
    for _ in range(_LOOKS):
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - 1))
        if not size or file.read(1) == b"\n":
            break
        time.sleep(_BETWEEN_LOOKS)
    file.seek(0)
    return size
