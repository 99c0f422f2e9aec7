"""An advisory lock on an open file, for several processes that append to one trail.

Rule: the lock belongs to the *open file*, so two sinks of one process exclude each other as well (``flock``; POSIX
record locks would not, and closing any other descriptor of the file would drop them). Windows locks one byte far
behind the end of the file. Waiting is bounded: whoever may read the trail may also hold its lock.
"""

from __future__ import annotations

import errno
import sys
import time
from typing import Final

from safeload.errors import AuditError

__all__ = ["acquire", "release"]

_BUSY: Final = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_FIRST_PAUSE: Final = 0.0005  # seconds; an append takes some 10 µs
_LONGEST_PAUSE: Final = 0.02

if sys.platform == "win32":
    import msvcrt
    import os

    _LOCK_OFFSET: Final = 1 << 62  # msvcrt locks are mandatory: lock a byte that nobody reads or writes

    def _try_lock(fd: int) -> None:
        os.lseek(fd, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def release(fd: int) -> None:
        """Release the lock on ``fd``."""
        os.lseek(fd, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    try:
        import fcntl
    except ImportError:  # pragma: no cover  (WebAssembly builds)
        fcntl = None  # type: ignore[assignment]

    def _try_lock(fd: int) -> None:
        if fcntl is None:  # pragma: no cover
            message = "this platform has no file locks, which a trail needs; use a callable or logging sink instead"
            raise AuditError(message, code="audit.no-locks")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(fd: int) -> None:
        """Release the lock on ``fd``."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def acquire(fd: int, timeout: float) -> None:
    """Lock the open file ``fd``, waiting at most ``timeout`` seconds.

    Raises:
        AuditError: somebody else held the lock all the time, or the platform has no locks.
        OSError: the file system cannot lock this file.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        try:
            _try_lock(fd)
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        else:
            return
        if time.monotonic() >= deadline:
            message = f"another process holds the lock of the trail for more than {timeout:g} s; end it (see lslocks)"
            raise AuditError(message, code="audit.lock-timeout")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
