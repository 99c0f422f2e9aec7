"""The kernel's notices about system calls of a watched process, and how they are answered (seccomp_unotify(2)).

Rule: a call is either answered here, without being done, or let through; it is let through only if nothing that it points to
matters, because the watched process can change its memory after it was read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import struct
from typing import NamedTuple

__all__ = ["Notice", "Notices", "read_memory", "read_text", "read_words"]

# _IOC numbers of linux/seccomp.h, the same on every architecture.
_RECEIVE, _ANSWER, _IS_VALID, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_NOTICE = struct.Struct("=QIIiIQ6Q")
_GO_ON = 1
_SEND_AT_ONCE = 2
_CLOSE_ON_EXEC = 0o2000000
_PAGE = 4096
_MAX_WORDS = 32


class Notice(NamedTuple):
    """A call that waits for an answer."""

    number: int
    pid: int
    call: int
    arguments: tuple[int, ...]


class Notices:
    """The listener's end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def next(self) -> Notice | None:
        """The next call; ``None`` if the one that was announced is gone."""
        data = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, data)
        except OSError:
            return None
        number, pid, _, call, _, _, *arguments = _NOTICE.unpack(data)
        return Notice(number, pid, call, tuple(arguments))

    def is_valid(self, notice: Notice) -> bool:
        """Whether the process still waits: else what was read at its number may be another's."""
        try:
            fcntl.ioctl(self.descriptor, _IS_VALID, struct.pack("=Q", notice.number))
        except OSError:
            return False
        return True

    def fail(self, notice: Notice, code: int = errno.EPERM) -> None:
        """The call fails with this ``errno``."""
        self._answer(notice, 0, -code, 0)

    def pretend(self, notice: Notice, value: int = 0) -> None:
        """The call seems to have succeeded."""
        self._answer(notice, value, 0, 0)

    def let(self, notice: Notice) -> None:
        """The call is done."""
        self._answer(notice, 0, 0, _GO_ON)

    def give(self, notice: Notice, descriptor: int) -> None:
        """The call returns a copy of one of our descriptors."""
        request = struct.pack("=QIIII", notice.number, _SEND_AT_ONCE, descriptor, 0, _CLOSE_ON_EXEC)
        try:
            fcntl.ioctl(self.descriptor, _ADD_DESCRIPTOR, request)
        except OSError:  # before Linux 5.14, or it has as many as it may
            self.fail(notice, errno.EMFILE)

    def _answer(self, notice: Notice, value: int, error: int, flags: int) -> None:
        with contextlib.suppress(OSError):  # it was killed meanwhile
            fcntl.ioctl(self.descriptor, _ANSWER, struct.pack("=QqiI", notice.number, value, error, flags))


def read_memory(pid: int, address: int, length: int) -> bytes:
    """What stands in a watched process's memory; less where it ends."""
    found = b""
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123 - unbuffered
            while len(found) < length:
                place = address + len(found)
                memory.seek(place)
                found += memory.read(min(length - len(found), _PAGE - place % _PAGE))
    except (OSError, ValueError, OverflowError):
        pass
    return found


def read_text(pid: int, address: int, limit: int = 512) -> str:
    """A text that ends in a zero byte."""
    if not address:
        return ""
    return read_memory(pid, address, limit).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def read_words(pid: int, address: int) -> list[str]:
    """An array of texts, as ``execve`` takes it."""
    words: list[str] = []
    while address and len(words) < _MAX_WORDS:
        pointer = read_memory(pid, address + 8 * len(words), 8)
        if len(pointer) != 8 or pointer == bytes(8):
            break
        words.append(read_text(pid, int.from_bytes(pointer, "little"), 256))
    return words
