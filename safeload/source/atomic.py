"""Write a file so that a crash leaves the old file or the new one, never half of one.

A temporary file in the same directory, readable by its owner alone until it is complete; ``fsync``; rename; ``fsync``
of the directory (without it the rename itself may be lost). Rule: the target's name is touched once, by the rename.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Self

__all__ = ["AtomicFile"]


class AtomicFile:
    """A context manager: ``write`` as often as needed, then ``commit``; leaving without commit leaves no trace.

    Args:
        path: the file to write. A symlink of that name is replaced, not followed.
        mode: permissions of a new file; ``None`` for what ``open(path, "wb")`` would give. An existing file keeps its
            own.

    Raises:
        OSError: the directory cannot be written, or ``path`` is a directory.
        ValueError: ``path`` is a pipe or device, which cannot be replaced.
    """

    def __init__(self, path: str | os.PathLike[str], *, mode: int | None = None) -> None:
        self._path = Path(path)
        self._mode = self._final_mode(mode)
        self._temporary = self._path.with_name(f".{self._path.name[:100]}.{os.urandom(8).hex()}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        # With no mode asked for, the kernel's umask decides: the file is created as open() would, asked for its mode,
        # and closed to others before it holds a byte.
        self._descriptor = os.open(self._temporary, flags, 0o666 if self._mode is None else 0o600)
        if self._mode is None:
            self._mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
            self._change_mode(0o600)

    def _final_mode(self, mode: int | None) -> int | None:
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return mode
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{self._path} is a directory; give the name of a file in it")
        if stat.S_ISREG(status.st_mode):
            return stat.S_IMODE(status.st_mode) & 0o777
        if stat.S_ISLNK(status.st_mode):
            return mode
        raise ValueError(f"{self._path} is a pipe or device and cannot be replaced; open it and write to the open file")

    def _change_mode(self, mode: int) -> None:
        if hasattr(os, "fchmod"):
            os.fchmod(self._descriptor, mode)

    def write(self, data: Any) -> None:
        """Write all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def commit(self) -> None:
        """Make the file durable and give it its name."""
        assert self._mode is not None  # noqa: S101 - set in __init__
        os.fsync(self._descriptor)
        self._change_mode(self._mode)
        os.close(self._descriptor)
        self._descriptor = -1
        self._temporary.replace(self._path)
        self._sync_directory()

    def _sync_directory(self) -> None:
        if os.name != "posix":
            return
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            # Some file systems (FUSE, network) cannot; the rename is still atomic there, only its durability is theirs.
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._temporary.unlink(missing_ok=True)
