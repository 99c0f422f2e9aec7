"""The zygote: a small process that has imported what artifacts need, and forks a jailed child for each.

It is started by a fresh exec in isolated mode with an environment of its own, never forked from the program: a program has
keys, connections and threads. It handles no byte of any artifact. Rules: one thread; no exception of a child may return into
its code; a child that ended is reaped at once; when the program goes, by whatever death, so does the zygote, and its children
with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys

from safeload.sandbox.inside import worker
from safeload.sandbox.inside.canary import observe
from safeload.sandbox.inside.cell import Walls, import_quietly
from safeload.sandbox.inside.wire import receive, send
from safeload.sandbox.kernel.machine import hear_of_ends_only

__all__ = ["Zygote", "main"]

_SPARES = 2
_MAX_STATUSES = 1_000
# Imported on their first use by what the last lock would then deny.
_WARM = tuple(
    """encodings.latin_1 encodings.ascii encodings.utf_16 encodings.utf_16_le encodings.utf_16_be encodings.utf_32
    encodings.utf_8_sig encodings.cp437 encodings.cp1252 encodings.iso8859_1 encodings.iso8859_15 encodings.idna
    encodings.unicode_escape encodings.raw_unicode_escape encodings.hex_codec zlib gzip bz2 lzma json decimal fractions uuid
    zoneinfo collections.abc warnings linecache _strptime copyreg ctypes""".split()
)


class Zygote:
    """Serves one program over its control socket."""

    def __init__(self, control: socket.socket, spares: int = _SPARES) -> None:
        self._control = control
        self._wanted = spares
        self._spares: list[tuple[int, socket.socket]] = []
        self._statuses: dict[int, int] = {}
        self._children: set[int] = set()
        self._pid = os.getpid()
        self._walls = Walls()

    def run(self) -> None:
        """Serve until the program is gone."""
        program = os.pidfd_open(os.getppid())  # its end is seen here even if a child of it keeps the socket open
        control = self._control.fileno()
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        hear_of_ends_only(signal.SIGCHLD)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        level, seen = observe(self._pid)
        self._walls = Walls(landlock=level == "full")
        import_quietly(_WARM)
        self._settle()
        self._reap()
        send(self._control, {"ready": self._pid, "level": level, "seen": seen})
        while True:
            self._fill()
            ready, _, _ = select.select([control, woken, program], [], [])
            if program in ready:
                return
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                self._reap()
            if control in ready and not self._answer():
                return

    def _answer(self) -> bool:
        request, _ = receive(self._control)
        if request is None:
            return False
        action = request["action"]
        if action == "child":
            self._hand_over()
        elif action == "import":
            self._import(request["modules"], request["path"])
        elif action == "status":
            self._tell_status(request["pid"])
        return True

    def _hand_over(self) -> None:
        pid, channel = self._spares.pop(0) if self._spares else self._fork()
        descriptor = os.pidfd_open(pid)
        try:
            send(self._control, {"pid": pid}, (channel.fileno(), descriptor))
        finally:
            os.close(descriptor)
            channel.close()

    def _import(self, modules: list[str], path: list[str]) -> None:
        """Import trusted libraries here, once, so that the children have them; those that wait are outdated then."""
        sys.path.extend(entry for entry in path if entry not in sys.path)
        importlib.invalidate_caches()
        before = len(sys.modules)
        done = import_quietly(modules)
        if len(sys.modules) != before:
            for pid, channel in self._spares:
                channel.close()
                os.kill(pid, signal.SIGKILL)
            self._spares.clear()
            self._settle()
        send(self._control, {"imported": len(done), "missing": [name for name in modules if name not in done][:100]})

    def _tell_status(self, pid: int) -> None:
        """How a child that is dead or dying ended."""
        if pid in self._children:
            self._forget(*os.waitpid(pid, 0))
        send(self._control, {"status": self._statuses.pop(pid, None)})

    def _settle(self) -> None:
        """Put what was imported out of the collector's sight: its passes would copy every page into every child."""
        gc.collect()
        gc.freeze()

    def _fill(self) -> None:
        while len(self._spares) < self._wanted:
            self._spares.append(self._fork())

    def _fork(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                ours.close()
                worker.work(theirs, self._pid, self._walls)
            finally:
                os._exit(0)
        theirs.close()
        self._children.add(pid)
        return pid, ours

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._forget(pid, status)

    def _forget(self, pid: int, status: int) -> None:
        self._children.discard(pid)
        self._statuses[pid] = status
        while len(self._statuses) > _MAX_STATUSES:
            del self._statuses[next(iter(self._statuses))]
        for spare in [spare for spare in self._spares if spare[0] == pid]:
            spare[1].close()
            self._spares.remove(spare)


def main(descriptor: int) -> None:
    """Serve on this descriptor; called by the command line that the program starts."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then closes the control socket
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Zygote(control).run()
