"""The JSON lines sink: appends events to a trail, a tamper-evident file that several processes may share.

Rules. One event is one line is one ``write`` on an ``O_APPEND`` descriptor under an exclusive lock; the line's place
in the hash chain is taken under the same lock, so all writers make one chain. What a crash left of a line is closed
off and vouched for by the next writer. Whoever may read the trail can hold its lock: after one wait in full the sink
waits only briefly until the lock is free again. The trail is a regular file with mode 0600 at creation, and never a
symbolic link: who can plant a link would choose the file that is written. When the path names another file than before
(rotation), the sink goes on there, and the new file's first line carries on the old one's digest.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Self

from safeload.audit import lock
from safeload.audit.chain import GENESIS, MAX_LINE, START, Head, MacKey, digest, encode, parse
from safeload.errors import AuditError
from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.audit.event import Event

__all__ = ["JsonlSink"]

_FLAGS: Final = (
    os.O_RDWR | os.O_APPEND | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hang the open; it is refused right after
    | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_WINDOWS: Final = (2 * 1024, 8 * MAX_LINE)  # how far to look back for the last whole line: usually, at most
_BRIEFLY: Final = 0.05  # seconds; thousands of appends of writers that are well
_FIRST_LINE: Final = b'{"seq":0,"prev":"'


class _Tail(NamedTuple):
    """How a trail ends: its last whole line, and what has to be written before the next."""

    head: Head
    torn: str = ""
    newline: bytes = b""


class JsonlSink:
    """Appends events to the trail at ``path``; required by default.

    Args:
        path: the trail; created when the first event arrives. Its directory must exist.
        key: a secret key of safeload (``Key.generate("hs256")``), or an object with ``mac(bytes) -> bytes``; then nobody without the key can forge lines, or rewrite the chain.
        fsync: wait for the disk after each event; without it, a crash of the machine can lose the last events.
        lock_timeout: seconds to wait for other writers; once. While the lock stays taken, later events wait 0.05 s.
    """

    name: str = "jsonl"
    required_by_default: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: MacKey | None = None,
        fsync: bool = False,
        lock_timeout: float = 10.0,
    ) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow the link that open refuses
        if key is not None and not callable(getattr(key, "mac", None)):
            raise TypeError(
                f"the key of a trail is a shared secret, such as Key.generate('hs256'), not {type(key).__name__}"
            )
        self._key = key
        self._fsync = fsync
        self._timeout = lock_timeout
        self._fd = -1
        self._size = 0  # of the file after our last write: unchanged means that nobody wrote since
        self._head: Head | None = None  # of the open file, at that size
        self._locked_out = False  # the lock was not to be had the last time
        self._link = GENESIS  # the digest that a new file's first line carries on
        self._mutex = forks.lock()
        _live.add(self)

    @property
    def crosses(self) -> bool:
        """Whether it works in another process too: all writers of a trail make one chain. A key does not cross."""
        return self._key is None

    def __reduce__(self) -> tuple[object, ...]:
        if self._key is not None:
            raise TypeError("a trail with a key is never pickled: a pickle of a key leaks it")
        return _again, (str(self.path), self._fsync, self._timeout)

    @classmethod
    def of(cls, value: object, /) -> Self | None:
        """A sink for a path."""
        return cls(value) if isinstance(value, str | os.PathLike) else None

    def emit(self, event: Event, /) -> None:
        """Append one event.

        Raises:
            AuditError: the trail could not be written; nothing, or a torn line, was added.
        """
        with self._mutex:
            try:
                size = self._open_locked()
                try:
                    self._append(event, size)
                finally:
                    lock.release(self._fd)
            except OSError as error:
                self._head = None
                raise self._unwritable(error) from error

    def head(self) -> Head:
        """The end of the trail as it is now, for anchoring it elsewhere (see :func:`safeload.audit.verify_trail`)."""
        with self._mutex:
            try:
                size = self._open_locked()
                try:
                    return self._tail(size).head
                finally:
                    lock.release(self._fd)
            except OSError as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        with self._mutex:
            self._close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Bound beforehand: when the interpreter ends, this module may have lost its names already.
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            self._fd = -1
            close(fd)

    def _close(self) -> None:
        fd, self._fd, self._head = self._fd, -1, None
        if fd >= 0:
            os.close(fd)

    def _after_fork(self) -> None:
        # The child shares the parent's open file, and with it the lock: it needs its own.
        self._close()

    def _open_locked(self) -> int:
        """Have the file that the path names now open and locked; its size."""
        for _ in range(16):  # each round is one rotation between opening and locking
            if self._fd < 0:
                self._fd = self._open()
            self._lock()
            status = os.fstat(self._fd)
            try:
                named = self.path.lstat()
            except FileNotFoundError:
                named = None
            if named is not None and os.path.samestat(named, status):
                return status.st_size
            # Rotated away. Whoever held the lock before us saw the old name, so the old file is final now.
            try:
                self._link = self._tail(status.st_size).head.digest
            finally:
                self._close()
        raise AuditError(f"the trail {self.path} is replaced all the time; stop what does it", code="audit.unstable")

    def _lock(self) -> None:
        timeout = min(self._timeout, _BRIEFLY) if self._locked_out else self._timeout
        self._locked_out = True
        lock.acquire(self._fd, timeout)
        self._locked_out = False

    def _open(self) -> int:
        if not hasattr(os, "O_NOFOLLOW") and self.path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        fd = os.open(self.path, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            message = f"the trail {self.path} is not a regular file; name a file, or use a callable sink for a pipe"
            raise AuditError(message, code="audit.not-a-file")
        return fd

    def _append(self, event: Event, size: int) -> None:
        tail = self._tail(size)
        line = encode(event, tail.head, torn=tail.torn, key=self._key)
        if len(line) > MAX_LINE:
            raise AuditError(f"an event of {len(line)} bytes does not fit into a trail line ({MAX_LINE})")
        data = tail.newline + line + b"\n"
        self._head = None
        written = os.write(self._fd, data)
        if written != len(data):  # the disk is full, or a file size limit: take the part back while we hold the lock
            os.ftruncate(self._fd, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._fsync:
            os.fsync(self._fd)
        self._size = size + written
        self._head = Head(tail.head.seq + 1, digest(line))

    def _tail(self, size: int) -> _Tail:
        if self._head is not None and size == self._size:
            return _Tail(self._head)
        if size == 0:
            return _Tail(Head(-1, self._head.digest if self._head else self._link))
        if self._head is not None and size < self._size:
            # Lines that we wrote are gone. Go on from what we know, so that the gap shows when the trail is verified.
            return _Tail(self._head, newline=b"" if self._read(size - 1, 1) == b"\n" else b"\n")
        for window in _WINDOWS:
            tail = _find_tail(self._read(max(0, size - window), min(size, window)), whole=size <= window)
            if tail is not None:
                return tail
        message = (
            f"{self.path} does not end in audit events, so it is not appended to; move it away, or name another file"
        )
        raise AuditError(message, code="audit.not-a-trail")

    def _read(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._fd, length, offset)
        os.lseek(self._fd, offset, os.SEEK_SET)  # harmless: O_APPEND writes go to the end whatever the position
        return os.read(self._fd, length)

    def _unwritable(self, error: OSError) -> AuditError:
        advice = {
            errno.ELOOP: "it is a symbolic link, and a trail must not be one: name the file itself",
            errno.ENOENT: "its directory does not exist: create it",
            errno.EISDIR: "it is a directory: name a file in it",
            errno.ENOSPC: "the disk is full: free some space",
        }.get(
            error.errno or 0, f"{error.strerror or type(error).__name__}: give this process the right to append to it"
        )
        return AuditError(f"cannot write the trail {self.path}: {advice}", code="audit.unwritable")


def _again(path: str, fsync: bool, lock_timeout: float) -> JsonlSink:
    return JsonlSink(path, fsync=fsync, lock_timeout=lock_timeout)


def _find_tail(data: bytes, *, whole: bool) -> _Tail | None:
    """The tail in the last bytes of a trail, or ``None`` if no whole line is among them."""
    newline = b"" if data.endswith(b"\n") else b"\n"
    lines = (data[:-1] if not newline else data).split(b"\n")
    for back, line in enumerate(reversed(lines)):
        if back == len(lines) - 1 and not whole:
            return None  # may begin in the middle of a line
        if record := parse(line):
            debris = lines[len(lines) - back :]
            return _Tail(Head(record.seq, digest(line)), digest(b"\n".join(debris)) if debris else "", newline)
    # Not one whole line. Only the torn beginning of a first line is a trail; anything else is somebody's file.
    if whole and (data.startswith(_FIRST_LINE) or _FIRST_LINE.startswith(data)):
        return _Tail(START, digest(b"\n".join(lines)), newline)
    return None


_live: weakref.WeakSet[JsonlSink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_live):
        sink._after_fork()  # noqa: SLF001  the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

SINK = JsonlSink
