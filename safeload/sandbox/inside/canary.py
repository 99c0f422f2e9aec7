"""Does the jail hold, on this machine, now? Canaries try what it forbids.

Rule: a wall is believed in only after somebody ran against it. A kernel version proves nothing: filters can be compiled out,
forbidden by a container, or emulated without effect. Each attempt has a process of its own, jailed by exactly the code that
jails artifacts, with only one of the two walls up, so that a hole in one is not hidden by the other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from safeload.sandbox.inside.cell import Walls, enter, lock
from safeload.sandbox.kernel.jail import Bounds
from safeload.sandbox.kernel.landlock import landlock_version

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["observe"]

_BOUNDS = Bounds(memory=1 << 28, cpu_seconds=2, file_bytes=1 << 20)
_PATIENCE = 5.0
_FILE = __file__
_DENIED, _SUCCEEDED, _NO_WALL = 10, 11, 12  # exit codes; an errno follows through the channel


def _read() -> None:
    os.open(_FILE, os.O_RDONLY)


def _write() -> None:
    os.open(f"/tmp/safeload-canary-{os.getpid()}", os.O_WRONLY | os.O_CREAT)  # noqa: S108 - it must not come into being


def _network() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _signal() -> None:
    os.kill(os.getppid(), 0)


def _process() -> None:
    if os.fork() == 0:
        os._exit(0)


def _execute() -> None:
    os.execv("/proc/self/exe", ["python", "-V"])  # noqa: S606


def _memory() -> None:
    bytearray(_BOUNDS.memory * 2)


_ATTEMPTS: dict[str, Callable[[], None]] = {
    "read": _read,
    "write": _write,
    "network": _network,
    "signal": _signal,
    "process": _process,
    "execute": _execute,
    "memory": _memory,
}
_FILES = ("read", "write")


def observe(owner: int) -> tuple[str, dict[str, str]]:
    """The level that was measured, and what was seen; called by the zygote ``owner`` before it does anything else."""
    seen = {name: _outcome(owner, attempt, Walls(landlock=False)) for name, attempt in _ATTEMPTS.items()}
    held = all(_holds(outcome) for outcome in seen.values())
    landlock = _landlock(owner)
    seen["landlock"] = landlock
    level = "insufficient" if not held else "full" if landlock.startswith("version ") else "seccomp-only"
    return level, seen


def _holds(outcome: str) -> bool:
    return outcome.startswith(("denied", "killed by SIGSYS"))


def _landlock(owner: int) -> str:
    try:
        version = landlock_version()
    except OSError as error:
        return f"unavailable: {errno.errorcode.get(error.errno or 0, error.errno)}"
    for name in _FILES:
        outcome = _outcome(owner, _ATTEMPTS[name], Walls(seccomp=False))
        if not outcome.startswith("denied"):
            return f"without effect: {name} {outcome}"
    return f"version {version}"


def _outcome(owner: int, attempt: Callable[[], None], walls: Walls) -> str:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _try(theirs, owner, attempt, walls)
        finally:
            os._exit(_NO_WALL)
    theirs.close()
    with ours:
        status = _wait(pid)
        text = ""
        with contextlib.suppress(OSError):
            ours.setblocking(False)
            text = ours.recv(200).decode("ascii", "replace")
    with contextlib.suppress(OSError):
        Path(f"/tmp/safeload-canary-{pid}").unlink()  # noqa: S108
    return _described(status, text)


def _try(channel: socket.socket, owner: int, attempt: Callable[[], None], walls: Walls) -> None:
    """Never returns to the caller's code in the child."""
    try:
        channel = enter(channel, owner)
        lock(owner, _BOUNDS, walls)
    except OSError as error:
        with contextlib.suppress(OSError):
            channel.send(f"{error.filename or ''} {errno.errorcode.get(error.errno or 0, error.errno)}".encode())
        os._exit(_NO_WALL)
    try:
        attempt()
    except OSError as error:
        os.write(channel.fileno(), errno.errorcode.get(error.errno or 0, "?").encode())
        os._exit(_DENIED)
    except MemoryError:
        os.write(channel.fileno(), b"MemoryError")
        os._exit(_DENIED)
    os._exit(_SUCCEEDED)


def _wait(pid: int) -> int | None:
    """The status of a child; one that does not end is killed, and has none."""
    end = time.monotonic() + _PATIENCE
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        select.select([], [], [], 0.0005)


def _described(status: int | None, text: str) -> str:
    if status is None:
        return "did not end"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    code = os.WEXITSTATUS(status)
    if code == _DENIED:
        return f"denied: {text}"
    return f"no wall: {text}" if code == _NO_WALL else "succeeded"
