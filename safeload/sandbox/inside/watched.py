"""A detonated artifact's process: the same jail, but its system calls are asked about instead of forbidden.

Rule: the listener is handed over and the way to it closed before a byte of the artifact is read. What this process says of
itself (audit events) is a hint; what the kernel says of it is evidence.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from safeload.sandbox.inside.cell import import_quietly
from safeload.sandbox.inside.rebuild import rebuild
from safeload.sandbox.inside.report import answer, piece, told
from safeload.sandbox.kernel.filters import CHANNEL, listener_filter, watched_filter
from safeload.sandbox.kernel.jail import (
    Bounds,
    become_readable,
    die_with_parent,
    drop_privileges,
    install,
    limit_resources,
    listen,
)
from safeload.sandbox.kernel.landlock import restrict_files
from safeload.sandbox.kernel.machine import machine

if TYPE_CHECKING:
    from safeload.sandbox.inside.cell import Walls

__all__ = ["detonated"]

_MAX_HINTS = 200
_HINTS = (
    "import",
    "exec",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "open",
    "shutil.",
    "urllib.",
    "http.",
    "webbrowser.",
    "pty.",
    "compile",
)


def detonated(channel: socket.socket, parent: int, walls: Walls, job: dict[str, Any], source: int) -> None:
    """Load the artifact while every call that is not harmless is asked about."""
    try:
        os.setsid()
        import_quietly(job["modules"])
        limit_resources(Bounds(**job["bounds"]), processes=64)
        drop_privileges()
        die_with_parent(parent)
        become_readable()
        if walls.landlock:
            restrict_files()
        listener = listen(watched_filter(machine(), CHANNEL))
        socket.send_fds(channel, [b'{"listening":1}'], [listener])
        os.close(listener)
        install(listener_filter(machine()))
    except BaseException as error:  # noqa: BLE001 - a jail with a missing wall handles nothing
        answer({"failed": "lock", **told(error)})
        return
    try:
        pieces = [piece(source, *place) for place in job["pieces"]]
        os.close(source)
        sys.addaudithook(_Hints().hear)
        loaded = rebuild(job["form"], pieces, job["options"])
        kind = type(loaded)
        name = f"{kind.__module__}.{kind.__qualname__}"
        del loaded, kind  # finalizers are part of what an artifact can do
        gc.collect()
        answer({"done": name})
    except BaseException as error:  # noqa: BLE001 - whatever the artifact raises
        answer({"failed": "load", **told(error)})


class _Hints:
    """Tells what the interpreter's own audit events say; an artifact can forge or silence them."""

    def __init__(self) -> None:
        self._left = _MAX_HINTS
        self._busy = False

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if self._busy or self._left <= 0 or not event.startswith(_HINTS):
            return
        self._busy = True  # what the lines below do would be heard again
        try:
            self._left -= 1
            words = [word if type(word) is str else type(word).__name__ for word in arguments[:2]]
            answer({"hint": event[:100], "words": [word[:200] for word in words]})
        finally:
            self._busy = False
