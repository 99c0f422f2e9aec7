"""How a freshly forked child of the zygote becomes a jail, in two steps.

``enter`` takes away what no job needs; children that wait for one have done it. ``lock`` sets the job's limits and closes
the last lock. Between the two stands, where a job needs it, the import of libraries under a lock of its own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.sandbox.kernel.bpf import compiled
from safeload.sandbox.kernel.filters import CHANNEL, importing_filter, sealed_filter
from safeload.sandbox.kernel.jail import (
    close_others,
    die_with_parent,
    drop_privileges,
    give_up_gains,
    install,
    limit_resources,
)
from safeload.sandbox.kernel.landlock import restrict_files
from safeload.sandbox.kernel.machine import machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.sandbox.kernel.jail import Bounds

__all__ = ["Walls", "enter", "import_quietly", "last_lock", "lock"]


class Walls(NamedTuple):
    """Which of the two walls a jail has; both, unless the caller accepted less."""

    seccomp: bool = True
    landlock: bool = True


def enter(channel: socket.socket, parent: int) -> socket.socket:
    """Keep one descriptor and no environment; the channel under its new number."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    kept = channel.detach()
    if kept != CHANNEL:
        os.dup2(kept, CHANNEL, inheritable=False)
    close_others(CHANNEL + 1)
    for name in list(os.environ):
        if not name.endswith(
            "_NUM_THREADS"
        ):  # OpenBLAS raises SIGINT if it may start no thread but thinks that it should
            del os.environ[name]
    give_up_gains()
    die_with_parent(parent)
    return socket.socket(fileno=CHANNEL)


@functools.cache
def last_lock(pid: int, *, serves: bool) -> Any:
    """The compiled filter that seals process ``pid``; asked for ahead of the job, it costs the job nothing."""
    return compiled(sealed_filter(machine(), pid, serves=serves))


def lock(parent: int, bounds: Bounds, walls: Walls, *, modules: Iterable[str] = (), serves: bool = False) -> None:
    """Close the jail; first, under a lock that still reads libraries, import ``modules``.

    Raises:
        OSError: a wall cannot be put up.
    """
    limit_resources(bounds)
    wanted = [name for name in modules if name not in sys.modules]
    if wanted:
        if walls.landlock:
            restrict_files([*(path for path in sys.path if path), sys.base_prefix, "/usr/lib", "/lib", "/lib64"])
        if walls.seccomp:
            install(importing_filter(machine(), os.getpid()))
        import_quietly(wanted)
    drop_privileges()
    die_with_parent(parent)  # again: a change of the user resets it
    if walls.landlock:
        restrict_files()
    if walls.seccomp:
        install(last_lock(os.getpid(), serves=serves))


def import_quietly(modules: Iterable[str]) -> list[str]:
    """Import what can be imported; the names of those that were. What fails is missed later, by whoever needs it."""
    done = []
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
            done.append(name)
    return done
