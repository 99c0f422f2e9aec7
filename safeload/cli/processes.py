"""Processes that answer requests: forked where that is safe and cheap, elsewhere spawned by ``multiprocessing``.

Rules: a process has its own pipes and holds no end of another's, or that one would outlive the parent; it ends when the
parent does; it leaves by ``os._exit``, so nothing that the parent registered for its own exit runs twice. The modules of
``multiprocessing`` cost more to import than a small file to scan, so they are imported only where they are used.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Process", "start", "wait"]

_LENGTH: Final = 8
_FORKS: Final = sys.platform == "linux"  # elsewhere libraries of the system may not survive a fork


class Process(Protocol):
    """A process that takes requests and gives an answer to each, in order, perhaps several at once."""

    def send(self, request: Any) -> None:
        """Give it a request.

        Raises:
            OSError: it is gone.
        """

    def receive(self) -> Any:
        """Its next message.

        Raises:
            EOFError, OSError: it is gone.
        """

    def end(self, *, kill: bool = False) -> int:
        """Close its pipes, wait until it is gone; its exit code, negative for a signal."""


def start(serve: Callable[[Callable[[], Any], Callable[[Any], None]], None], others: Sequence[Process]) -> Process:
    """Start a process that runs ``serve(receive, send)``.

    Args:
        serve: a function that ends when ``receive`` raises ``EOFError``; picklable where processes are not forked.
        others: those that run already.
    """
    return _Forked(serve, others) if _FORKS else _Spawned(serve)


def wait(processes: Sequence[Any], timeout: float | None) -> list[Any]:
    """Those of ``processes`` that have something to receive, or are gone; none if ``timeout`` seconds pass."""
    if _FORKS:
        poll = select.poll()
        by_descriptor = {each.answers: each for each in processes}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(None if timeout is None else timeout * 1000)
        return [by_descriptor[descriptor] for descriptor, _ in ready]
    from multiprocessing import connection

    by_connection = {each.connection: each for each in processes}
    return [by_connection[each] for each in connection.wait(list(by_connection), timeout)]


class _Forked:
    """A fork of this process: what is imported already is there."""

    def __init__(
        self, serve: Callable[[Callable[[], Any], Callable[[Any], None]], None], others: Sequence[Process]
    ) -> None:
        requests, self._requests = os.pipe()
        self.answers, answers = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; here they are those of idle numeric libraries.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid:
            os.close(requests)
            os.close(answers)
            return
        code = 1
        try:
            for other in (*others, self):
                assert isinstance(other, _Forked)  # noqa: S101 - for the type checker
                other.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
            serve(lambda: _receive(requests), lambda answer: _send(answers, answer))
            code = 0
        finally:
            os._exit(code)

    def send(self, request: Any) -> None:
        _send(self._requests, request)

    def receive(self) -> Any:
        return _receive(self.answers)

    def close(self) -> None:
        os.close(self._requests)
        os.close(self.answers)

    def end(self, *, kill: bool = False) -> int:
        if kill:
            os.kill(self._pid, signal.SIGKILL)
        self.close()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _send(descriptor: int, value: Any) -> None:
    data = pickle.dumps(value, 5)
    view = memoryview(len(data).to_bytes(_LENGTH, "little") + data)
    while view:
        view = view[os.write(descriptor, view) :]


def _receive(descriptor: int) -> Any:
    size = int.from_bytes(_read(descriptor, _LENGTH), "little")
    return pickle.loads(_read(descriptor, size))  # from a fork of this very process


def _read(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Spawned:
    """A new interpreter: nothing of this process is there but what is sent."""

    def __init__(self, serve: Callable[[Callable[[], Any], Callable[[Any], None]], None]) -> None:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: Any = context.Process(target=_run, args=(serve, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, request: Any) -> None:
        self.connection.send(request)

    def receive(self) -> Any:
        return self.connection.recv()

    def end(self, *, kill: bool = False) -> int:
        if kill:
            self._process.kill()
        self.connection.close()
        self._process.join()
        return self._process.exitcode or 0


def _run(serve: Callable[[Callable[[], Any], Callable[[Any], None]], None], connection: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(connection.recv, connection.send)
