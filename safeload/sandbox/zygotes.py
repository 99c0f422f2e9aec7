"""The zygotes of this process: started when first needed, replaced when old or dead, gone when the process goes.

Rule: a zygote belongs to the process that started it. After a fork the child forgets it: two processes that talked on one
control socket would get each other's children. A zygote whose answer did not come in time is never asked again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import SafeloadError, SandboxError, SandboxUnavailableError
from safeload.facts import forks
from safeload.sandbox.inside.wire import receive, send
from safeload.sandbox.kernel.machine import machine

if TYPE_CHECKING:
    from safeload.sandbox.deadline import Deadline

__all__ = ["Child", "ZygoteHandle", "close_all", "zygote"]

_MAX_CHILDREN = 1_000  # then a new zygote: its children share the layout of its memory, so guesses about it add up
_MAX_ZYGOTES = 4
_BOOT = "import sys;sys.path.append(sys.argv[2]);from safeload.sandbox.inside.zygote import main;main(int(sys.argv[1]))"
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "TZ": "UTC",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # jemalloc would start a thread
    "KERAS_BACKEND": "torch",
    **{f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "POLARS")},
}


class Child(NamedTuple):
    """A jailed process that waits for its work."""

    pid: int
    channel: socket.socket
    descriptor: int  # a pidfd: the number of a process that died may be another one's
    zygote: ZygoteHandle

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def close(self) -> None:
        """Kill it, and close what this process holds of it."""
        self.signal(signal.SIGKILL)
        os.close(self.descriptor)
        self.channel.close()
        self.zygote.left()

    def forget(self) -> None:
        """Close what this process holds of it, and let it live."""
        os.close(self.descriptor)
        self.channel.close()


class ZygoteHandle:
    """One zygote, as its program sees it. Safe to use from many threads."""

    def __init__(self, deadline: Deadline) -> None:
        machine()
        self.owner = os.getpid()
        self.usable = True
        self.modules: set[str] = set()
        self._lock = forks.lock()
        self._made = 0
        self._live = 0
        self._process, self._control = _start()
        try:
            ready = self._received(deadline)[0]
        except BaseException:
            self.close()
            raise
        self.level: str = ready["level"]
        self.seen: dict[str, str] = ready["seen"]

    def child(self, deadline: Deadline) -> Child:
        """A jailed process.

        Raises:
            SandboxError: the zygote is gone. SandboxTimeoutError: it does not answer.
        """
        with self._asking(deadline):
            send(self._control, {"action": "child"})
            answer, descriptors = self._received(deadline)
            if len(descriptors) != 2:  # this process has as many as it may: the kernel gave what it could
                for each in descriptors:
                    os.close(each)
                raise SandboxError(
                    "this process has too many open files for the sandbox; close some, or raise its limit"
                )
            channel, descriptor = descriptors
            self._made += 1
            self._live += 1
            if self._made >= _MAX_CHILDREN:
                self.usable = False
        return Child(answer["pid"], socket.socket(fileno=channel), descriptor, self)

    def load_libraries(self, modules: list[str], path: list[str], deadline: Deadline) -> None:
        """Import trusted modules in the zygote, those that it does not have."""
        wanted = [name for name in modules if name not in self.modules]
        if not wanted:
            return
        with self._asking(deadline):
            send(self._control, {"action": "import", "modules": wanted, "path": path})
            self._received(deadline)
            self.modules.update(wanted)

    def status(self, pid: int, deadline: Deadline) -> int | None:
        """How a child ended, as ``os.waitpid`` tells it; the child must be dead, or killed."""
        with self._asking(deadline):
            send(self._control, {"action": "status", "pid": pid})
            status = self._received(deadline)[0].get("status")
        return status if isinstance(status, int) else None

    def left(self) -> None:
        """A child was closed; the last one of a zygote that is used no more closes it."""
        with self._lock:
            self._live -= 1
            finished = not self.usable and not self._live
        if finished:
            self.close()

    def retire(self) -> None:
        """Take no new children; closed when the last one is."""
        with self._lock:
            self.usable = False
            finished = not self._live
        if finished:
            self.close()

    @contextlib.contextmanager
    def _asking(self, deadline: Deadline) -> Any:
        if not self._lock.acquire(timeout=deadline.left()):
            raise deadline.over()
        try:
            yield
        except SafeloadError:  # before OSError, which a timeout also is
            self._give_up()
            raise
        except (OSError, ValueError, KeyError) as error:
            self._give_up()
            raise SandboxError(f"the sandbox's own process is gone: {type(error).__name__}; try again") from error
        except BaseException:
            self._give_up()
            raise
        finally:
            self._lock.release()

    def _received(self, deadline: Deadline) -> tuple[dict[str, Any], list[int]]:
        self._control.settimeout(deadline.left())
        try:
            answer, descriptors = receive(self._control)
        except TimeoutError:
            raise deadline.over() from None
        if answer is None:
            raise SandboxError(f"the sandbox's own process ended: {self._last_words()}")
        return answer, descriptors

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return f"exit status {self._process.returncode}"

    def _give_up(self) -> None:
        """After a question without an answer: the next answer could be the one to it."""
        self.usable = False
        self._process.kill()
        if not self._live:
            self.close()

    def close(self) -> None:
        """End the zygote, and with it its children."""
        self.usable = False
        self._control.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """In a forked child: close what belongs to the parent, without a word to the zygote."""
        self.usable = False
        self._control.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    package = str(Path(__file__).resolve().parents[2])
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, with fixed arguments
            [_interpreter(), "-I", "-B", "-c", _BOOT, str(theirs.fileno()), package],
            env=_ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a terminal's Ctrl-C is for the program
        )
    except OSError as error:
        ours.close()
        raise SandboxUnavailableError(
            f"the sandbox could not start {_interpreter()!r}: {error.filename or ''} {error.strerror}",
            code="sandbox.start",
        ) from error
    finally:
        theirs.close()
    return process, ours


def _interpreter() -> str:
    """The Python to start. In a program that embeds Python, ``sys.executable`` is that program."""
    named = Path(sys.executable or "")
    if named.name.startswith(("python", "pypy")):
        return str(named)
    return str(Path(sys.exec_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}"))


_zygotes: dict[frozenset[str], ZygoteHandle] = {}
_zygotes_lock = forks.lock()


def zygote(libraries: frozenset[str], deadline: Deadline) -> ZygoteHandle:
    """The zygote for artifacts that may use these libraries of the caller's own, which others must not see.

    Raises:
        SandboxUnavailableError: this machine has no sandbox, or it cannot be started.
    """
    if not _zygotes_lock.acquire(timeout=deadline.left()):
        raise deadline.over()
    try:
        found = _zygotes.pop(libraries, None)
        if found is None or not found.usable or found.owner != os.getpid():
            if found is not None and found.owner == os.getpid():
                found.retire()
            found = ZygoteHandle(deadline)
        _zygotes[libraries] = found  # at the end: the one that was not used for the longest time stands first
        old = [_zygotes.pop(next(iter(_zygotes)))] if len(_zygotes) > _MAX_ZYGOTES else []
    finally:
        _zygotes_lock.release()
    for handle in old:
        handle.retire()
    return found


def close_all() -> None:
    """End every zygote of this process."""
    with _zygotes_lock:
        handles = list(_zygotes.values())
        _zygotes.clear()
    for handle in handles:
        if handle.owner == os.getpid():
            handle.close()


def _after_fork() -> None:
    for handle in _zygotes.values():
        handle.forget()
    _zygotes.clear()


atexit.register(close_all)
os.register_at_fork(after_in_child=_after_fork)
