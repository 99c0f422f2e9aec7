"""What a watched process is told about its system calls, and what is written down.

It is deceived where that shows more: sockets are ours and connect to nobody, files that it writes are memory, what it sends is
taken. Programs are never executed, files of the machine never opened, signals never delivered. Rule: a table names what is let
through; everything that it does not name fails and is evidence.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.facts.printable import printable
from safeload.sandbox.watch.notices import Notice, Notices, read_memory, read_text, read_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Attempt", "Supervisor"]

_MAX_ATTEMPTS = 400
_MAX_LOOKS = 100
_MAX_FAKES = 16
_MAX_FORKS = 8
_MAX_DETAIL = 500
# Nothing that they point to matters, and nothing outside of the process changes.
_LET = frozenset(
    "wait4 waitid pipe pipe2 dup dup2 dup3 poll ppoll select pselect6 close_range geteuid getgid getegid getppid getpgrp getpgid "
    "rt_sigtimedwait set_tid_address epoll_create1 eventfd2 umask sched_setaffinity".split()
)
_PRETEND = frozenset(
    "setsid setpgid listen setsockopt shutdown prctl fsync flock setuid setgid setreuid setresuid setresgid setgroups recvfrom recvmsg recvmmsg".split()
)
# What libraries ask for without meaning harm; the answer is that of a poorer machine.
_QUIET = {
    "uname": errno.EPERM, "sysinfo": errno.EPERM, "membarrier": errno.ENOSYS, "prlimit64": errno.EPERM, "getrlimit": errno.EPERM,
    "statfs": errno.ENOENT, "fstatfs": errno.EPERM, "rseq": errno.ENOSYS, "getpeername": errno.ENOTCONN,
    "getsockname": errno.ENOTSOCK, "getsockopt": errno.ENOTSOCK,
}  # fmt: skip
# Where libraries are searched for, and what the C library reads on its own account.
_COMMON = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/", "/usr/share/zoneinfo/", "/usr/share/locale/",
           "/etc/ld.so.cache", "/etc/localtime")  # fmt: skip
_PATH_AT = {
    "open": 0, "openat": 1, "openat2": 1, "creat": 0, "stat": 0, "lstat": 0, "newfstatat": 1, "statx": 1, "access": 0, "faccessat": 1,
    "faccessat2": 1, "readlink": 0, "readlinkat": 1, "chdir": 0, "mkdir": 0, "mkdirat": 1, "rmdir": 0, "unlink": 0, "unlinkat": 1,
    "rename": 0, "renameat": 1, "renameat2": 1, "link": 0, "linkat": 1, "symlink": 0, "symlinkat": 0, "chmod": 0, "fchmodat": 1,
    "fchmodat2": 1, "chown": 0, "fchownat": 1, "truncate": 0, "mknod": 0, "mknodat": 1, "utimensat": 1, "setxattr": 0, "chroot": 0,
}  # fmt: skip
_LOOKS = frozenset("stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat".split())
_WRITES = 0x1 | 0x2 | 0o100 | 0o1000 | 0o2000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND
_OPEN_FLAGS_AT = {"open": 1, "openat": 2}
_CLONE_NAMESPACES = 0x7E020000 | 0x80
_CLONE_THREAD = 0x10000
_COPIES = (0, 1030)  # F_DUPFD, F_DUPFD_CLOEXEC
_F_SETFD = 2
_FIONBIO = 0x5421


class Attempt(NamedTuple):
    """Something that a watched process tried.

    ``kind`` is ``execute``, ``connect``, ``send``, ``read``, ``write``, ``file``, ``process``, ``signal``, ``call`` or ``look``; ``detail`` is
    text for a person, escaped and cut.
    """

    kind: str
    detail: str

    @property
    def is_evidence(self) -> bool:
        """Whether no data would do this while it is loaded; looking whether a file exists is not."""
        return self.kind != "look"


class Supervisor:
    """Answers notices and remembers attempts."""

    def __init__(self, notices: Notices, names: Mapping[int, str]) -> None:
        self.notices = notices
        self._names = names
        installed = {*sys.path, sys.base_prefix, sys.prefix}
        self._libraries = (*_COMMON, *(path.rstrip("/") + "/" for path in installed if path.startswith("/")))
        self._above = {path[: end + 1] for path in self._libraries for end, letter in enumerate(path) if letter == "/"}
        self._forks = 0
        self._fakes: list[socket.socket] = []
        self.attempts: dict[Attempt, int] = {}

    def answer(self, notice: Notice) -> None:
        """Answer one notice."""
        name = self._names.get(notice.call, f"number {notice.call}")
        handle = _HANDLERS.get(name)
        if handle is not None:
            handle(self, notice, name)
        elif name in _LET:
            self.notices.let(notice)
        elif name in _PATH_AT:
            self._path(notice, name)
        elif name in _QUIET:
            self.notices.fail(notice, _QUIET[name])
        else:
            if name not in _PRETEND:
                self._note(notice, "call", f"{name}({', '.join(hex(value) for value in notice.arguments[:3])})")
            (self.notices.pretend if name in _PRETEND else self.notices.fail)(notice)

    def note(self, kind: str, detail: str) -> None:
        """Remember an attempt."""
        attempt = Attempt(kind, printable(detail[:_MAX_DETAIL]))
        if attempt not in self.attempts:
            # Looks have a room of their own: with thousands of them an artifact would crowd out what it does next.
            room = _MAX_LOOKS if kind == "look" else _MAX_ATTEMPTS
            if sum((known.kind == "look") is (kind == "look") for known in self.attempts) >= room:
                return
        self.attempts[attempt] = self.attempts.get(attempt, 0) + 1

    def close(self) -> None:
        """Look what was sent on our sockets, and close them."""
        for fake in self._fakes:
            fake.setblocking(False)
            try:
                sent = fake.recv(256)
            except OSError:
                sent = b""
            if sent:
                self.note("send", f"{len(sent)} bytes or more: {sent[:64]!r}")
            fake.close()

    def _note(self, notice: Notice, kind: str, detail: str) -> None:
        if self.notices.is_valid(notice):  # else the memory that was read may be another process's
            self.note(kind, detail)

    def _path(self, notice: Notice, name: str) -> None:
        path = read_text(notice.pid, notice.arguments[_PATH_AT[name]])
        ours = path in ("", ".") or path.startswith(self._libraries) or path.rstrip("/") + "/" in self._above
        if name in _OPEN_FLAGS_AT:
            self._open(notice, path, notice.arguments[_OPEN_FLAGS_AT[name]], ours=ours)
            return
        if name in _LOOKS:
            if not ours:
                self._note(notice, "look", path)
            self.notices.fail(notice, errno.ENOENT)
            return
        self._note(notice, "file", f"{name} {path}")
        self.notices.fail(notice, errno.EACCES)

    def _open(self, notice: Notice, path: str, flags: int, *, ours: bool) -> None:
        if not flags & _WRITES:
            if not ours:  # a module that is searched for is no attempt
                self._note(notice, "read", path)
            self.notices.fail(notice, errno.ENOENT)
            return
        self._note(notice, "write", path)
        memory = os.memfd_create("safeload-fake", os.MFD_CLOEXEC)
        try:
            self.notices.give(notice, memory)
        finally:
            os.close(memory)

    def _execute(self, notice: Notice, name: str) -> None:
        at = 1 if name == "execveat" else 0
        path, words = read_text(notice.pid, notice.arguments[at]), read_words(notice.pid, notice.arguments[at + 1])
        self._note(notice, "execute", f"{path} {words}")
        self.notices.fail(notice, errno.EACCES)

    def _fork(self, notice: Notice, name: str) -> None:
        flags = notice.arguments[0] if name == "clone" else 0
        if flags & _CLONE_THREAD:
            self.notices.fail(notice, errno.EAGAIN)  # threads are no harm, and are not needed
            return
        self._forks += 1
        # What is forked is watched like its parent, and what it means to execute is worth knowing.
        if self._forks <= _MAX_FORKS and not flags & _CLONE_NAMESPACES:
            self._note(notice, "process", "a new process")
            self.notices.let(notice)
        else:
            self._note(notice, "process", f"{name} {flags:#x}")
            self.notices.fail(notice, errno.EAGAIN)

    def _socket(self, notice: Notice, _name: str) -> None:
        family, kind = notice.arguments[:2]
        names = {1: "unix", 2: "inet", 10: "inet6"}
        self._note(notice, "connect", f"a socket of family {names.get(family, family)}")
        if len(self._fakes) >= _MAX_FAKES:
            self.notices.fail(notice, errno.EMFILE)
            return
        # For a datagram too a stream: what is sent on it is kept until it is looked at.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._fakes.append(ours)
        theirs.setblocking(not kind & socket.SOCK_NONBLOCK)
        ours.shutdown(socket.SHUT_WR)  # whoever reads from it gets its end, not a wait
        with theirs:
            self.notices.give(notice, theirs.fileno())

    def _connect(self, notice: Notice, name: str) -> None:
        self._note(notice, "connect", f"{name} {_address(notice, 1, 2)}")
        self.notices.pretend(notice)

    def _send(self, notice: Notice, name: str) -> None:
        data = read_memory(notice.pid, notice.arguments[1], min(notice.arguments[2], 64)) if name == "sendto" else b""
        to = _address(notice, 4, 5) if name == "sendto" and notice.arguments[4] else ""
        self._note(notice, "send", f"{name} {to} {data!r}")
        self.notices.pretend(notice, notice.arguments[2] if name == "sendto" else 0)

    def _signal(self, notice: Notice, name: str) -> None:
        self._note(notice, "signal", f"{name}{tuple(_signed(value) for value in notice.arguments[:3])}")
        self.notices.fail(notice, errno.EPERM)

    def _fcntl(self, notice: Notice, _name: str) -> None:
        if notice.arguments[1] in (*_COPIES, _F_SETFD):
            self.notices.let(notice)
        else:
            self.notices.fail(notice, errno.EPERM)

    def _ioctl(self, notice: Notice, _name: str) -> None:
        if notice.arguments[1] == _FIONBIO:  # a socket with a timeout; it points to a number that says yes or no
            self.notices.let(notice)
        else:
            self.notices.fail(notice, errno.ENOTTY)

    def _code(self, notice: Notice, name: str) -> None:
        self._note(notice, "call", f"{name} of executable memory")
        self.notices.fail(notice, errno.EACCES)


def _address(notice: Notice, at: int, size_at: int) -> str:
    data = read_memory(notice.pid, notice.arguments[at], min(notice.arguments[size_at], 128))
    family = struct.unpack_from("=H", data)[0] if len(data) >= 2 else -1
    if family == socket.AF_INET and len(data) >= 8:
        return f"{socket.inet_ntoa(data[4:8])}:{int.from_bytes(data[2:4], 'big')}"
    if family == socket.AF_INET6 and len(data) >= 24:
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{int.from_bytes(data[2:4], 'big')}"
    if family == socket.AF_UNIX:
        path = data[2:].rstrip(b"\0") if data[2:3] == b"\0" else data[2:].partition(b"\0")[0]
        return f"unix {path!r}"
    return f"family {family}"


def _signed(value: int) -> int:
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


_HANDLERS: dict[str, Callable[[Any, Notice, str], None]] = {
    **dict.fromkeys(("execve", "execveat"), Supervisor._execute),  # noqa: SLF001 - the table of this class
    **dict.fromkeys(("clone", "fork", "vfork"), Supervisor._fork),  # noqa: SLF001
    "socket": Supervisor._socket,  # noqa: SLF001
    **dict.fromkeys(("connect", "bind"), Supervisor._connect),  # noqa: SLF001
    **dict.fromkeys(("sendto", "sendmsg", "sendmmsg"), Supervisor._send),  # noqa: SLF001
    **dict.fromkeys(("kill", "tkill", "tgkill", "rt_sigqueueinfo"), Supervisor._signal),  # noqa: SLF001
    "fcntl": Supervisor._fcntl,  # noqa: SLF001
    "ioctl": Supervisor._ioctl,  # noqa: SLF001
    **dict.fromkeys(("mmap", "mprotect", "pkey_mprotect"), Supervisor._code),  # noqa: SLF001
}
