"""Taking everything away from this process, in the only order that works.

1. descriptors: nothing inherited stays open but what is named;
2. resource limits, before privileges are gone;
3. ``no_new_privs``, so that an unprivileged process may install filters and no set-uid program gives anything back;
   libraries are imported here, under a filter and a Landlock ruleset that let files be read: as nobody, who comes next, a
   process may not reach a Python that is installed in somebody's home;
4. user, groups and capabilities;
5. signal at the parent's death and ``dumpable``: after 4, which resets both;
6. Landlock, which needs system calls that the last filter takes away;
7. the filter, last.

Rule: a step that fails raises. A jail with a missing wall is no jail, and whoever asked for it has to hear of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safeload.sandbox.kernel.bpf import compiled
from safeload.sandbox.kernel.machine import prctl, syscall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.sandbox.kernel.bpf import Instruction

__all__ = [
    "NOBODY",
    "Bounds",
    "close_others",
    "die_with_parent",
    "drop_privileges",
    "give_up_gains",
    "install",
    "limit_resources",
    "listen",
]

NOBODY = 65534
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38
_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_CAPABILITY_VERSION_3 = 0x20080522


class Bounds(NamedTuple):
    """What a jailed process may use: bytes of memory beyond what it has, seconds of CPU, bytes of one file, descriptors."""

    memory: int
    cpu_seconds: int
    file_bytes: int
    descriptors: int = 8


def close_others(first: int) -> None:
    """Close every descriptor from ``first`` on."""
    try:
        syscall("close_range", first, 0xFFFFFFFF, 0)
    except OSError:
        os.closerange(first, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 12))


def limit_resources(bounds: Bounds, *, processes: int = 0) -> None:
    """Set the limits that no later code of this process can raise again; ``processes`` counts all of its user's."""
    size, data = _memory_in_use()
    _lower(resource.RLIMIT_CORE, 0)  # a core dump is a file, with other people's data in it
    _lower(resource.RLIMIT_AS, size + bounds.memory)
    _lower(resource.RLIMIT_DATA, data + bounds.memory)
    _lower(resource.RLIMIT_CPU, bounds.cpu_seconds)  # the user's clock decides; this holds when the user is gone
    _lower(resource.RLIMIT_FSIZE, bounds.file_bytes)
    _lower(resource.RLIMIT_NPROC, processes)
    _lower(resource.RLIMIT_NOFILE, bounds.descriptors)
    for name in ("RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_SIGPENDING"):
        with contextlib.suppress(ValueError, OSError):  # gVisor has none of them; the filter denies what they bound
            _lower(getattr(resource, name), 0)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bound, bound))


def _memory_in_use() -> tuple[int, int]:
    # In bytes: a text's codec may not be imported yet, and can no longer be.
    lines = dict(line.split(b":", 1) for line in Path("/proc/self/status").read_bytes().splitlines() if b":" in line)
    return int(lines[b"VmSize"].split()[0]) * 1024, int(lines[b"VmData"].split()[0]) * 1024


def drop_privileges() -> None:
    """Become nobody where that is allowed; without capabilities in any case.

    Raises:
        OSError: capabilities are left.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # a container without CAP_SETUID: then only the capabilities go
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall("capset", ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def give_up_gains() -> None:
    """No program that this process would execute, set-uid or not, gives it anything (``no_new_privs``)."""
    prctl(_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when ``parent`` dies, and let nobody of the same user look into this process.

    Raises:
        OSError: the parent is dead already.
    """
    prctl(_SET_PDEATHSIG, signal.SIGKILL)
    prctl(_SET_DUMPABLE, 0)
    if os.getppid() != parent:
        raise OSError(errno.ESRCH, "the parent is gone")


def become_readable() -> None:
    """Let the supervisor, if it has the same user, read this process's memory: it must see what calls point to."""
    prctl(_SET_DUMPABLE, 1)


def install(program: Sequence[Instruction] | ctypes.Structure) -> None:
    """Put a filter, compiled or not, on this process, for good.

    Raises:
        OSError: the kernel has no seccomp filters, or something forbids installing one.
    """
    made = program if isinstance(program, ctypes.Structure) else compiled(program)
    syscall("seccomp", _SET_MODE_FILTER, 0, ctypes.byref(made))


def listen(program: Sequence[Instruction]) -> int:
    """Put a filter on this process that asks; the descriptor on which it asks.

    Raises:
        OSError: the kernel has no notifications (before 5.0), or something forbids them.
    """
    return syscall("seccomp", _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(compiled(program)))
