"""The machine this runs on, and the two doors to its kernel: ``syscall`` and ``prctl`` of the C library.

Rule: an architecture that has no table here is refused, never guessed. Both doors are opened when this module is
imported, before anything is locked: a jailed process can load no library any more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import SandboxUnavailableError
from safeload.sandbox.kernel.syscalls import numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Machine", "hear_of_ends_only", "machine", "machine_named", "prctl", "syscall"]

# AUDIT_ARCH_* of linux/audit.h: the machine's ELF number, 64 bits, little endian.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Machine(NamedTuple):
    """A processor architecture: its name, its number in seccomp filters, its system calls."""

    name: str
    audit_arch: int
    calls: Mapping[str, int]


def machine_named(name: str) -> Machine:
    """The machine of this name (``"x86_64"`` or ``"aarch64"``).

    Raises:
        SandboxUnavailableError: there is no table for it.
    """
    arch = _AUDIT_ARCH.get(name)
    if arch is None:
        raise SandboxUnavailableError(
            f"the sandbox needs a processor of the kind x86_64 or aarch64, and this one is {name or 'unknown'}; "
            "load the artifact under a policy that names what it contains, or run this on such a machine",
            code="sandbox.machine",
        )
    return Machine(name, arch, numbers(name))


def machine() -> Machine:
    """The machine this runs on.

    Raises:
        SandboxUnavailableError: it is none that the sandbox knows, or does not run Linux.
    """
    if sys.platform != "linux":
        raise SandboxUnavailableError(
            f"the sandbox needs Linux (seccomp, Landlock), and this is {sys.platform}; "
            "load the artifact under a policy that names what it contains, or run this in a Linux container",
            code="sandbox.platform",
        )
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise SandboxUnavailableError(
            "the sandbox needs a 64-bit little-endian Python; use a 64-bit interpreter", code="sandbox.machine"
        )
    return machine_named(platform.machine())


_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
if _libc is not None:
    _libc.syscall.restype = ctypes.c_long


def syscall(name: str, *arguments: Any) -> int:
    """Call the kernel; the result.

    Raises:
        OSError: the kernel refused.
    """
    number = machine().calls.get(name)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *passed))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def prctl(option: int, *arguments: int) -> int:
    """``prctl(2)`` with what it needs of its five arguments.

    Raises:
        OSError: the kernel refused.
    """
    padded = [*arguments, 0, 0, 0, 0][:4]
    result = int(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(value) for value in padded)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"prctl {option}")
    return result


_FLAGS_AT, _SIGACTION_SIZE, _SA_NOCLDSTOP = 136, 152, 1  # of struct sigaction, as glibc and musl have it on 64 bits


def hear_of_ends_only(number: int) -> None:
    """Have SIGCHLD, whose handler is set, tell of children that end, not of those that are stopped and go on."""
    action = ctypes.create_string_buffer(_SIGACTION_SIZE)
    if _libc.sigaction(number, None, action) == 0:
        flags = ctypes.c_int.from_buffer(action, _FLAGS_AT)
        flags.value |= _SA_NOCLDSTOP
        _libc.sigaction(number, action, None)
