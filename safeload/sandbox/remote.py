"""``sandbox.open``: an object that lives in the jail and is asked from outside.

A model is not plain data, and need not come out: what is wanted of it is. Rules: every question has a deadline, and a process that
misses it is killed; between questions it is stopped, so that it computes nothing on its own account; one that died is replaced
at the next question, from the same sealed bytes. What earlier questions changed in it is lost then.
"""

from __future__ import annotations

import os
import queue
import sys
from typing import TYPE_CHECKING, Any, Self

from safeload.errors import LimitExceededError, LoadError, SandboxError, SandboxTimeoutError
from safeload.facts import forks
from safeload.sandbox.artifact import seal, write_at
from safeload.sandbox.attestation import check_level
from safeload.sandbox.data.encode import encode
from safeload.sandbox.data.layout import NotPlainError, TooLargeError
from safeload.sandbox.deadline import Deadline
from safeload.sandbox.libraries import check_libraries
from safeload.sandbox.loading import check_other, limits_of, prepared, ready_zygote
from safeload.sandbox.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from safeload.limits import Limits
    from safeload.sandbox.artifact import Artifact

__all__ = ["Remote", "open_remote"]

# Libraries whose objects a program passes to models: where it uses them itself, the jail has them too.
_PASSED = ("pandas", "scipy.sparse")


class Remote:
    """An object in the sandbox; made by :func:`safeload.sandbox.open`.

    Any number of threads may ask; as many questions as there are ``processes`` are answered at a time. From asyncio:
    ``await asyncio.to_thread(remote.call, "predict", X)``. Works on after a fork, with processes of its own.

    Attributes:
        restarts: how often a process was replaced because it had died or was killed.
    """

    def __init__(
        self,
        artifact: Artifact,
        require: str,
        limits: Limits,
        trusted: frozenset[str],
        *,
        describe: bool,
        processes: int,
    ) -> None:
        self._artifact = artifact
        self._require = require
        self._limits = limits
        self._trusted = trusted
        self._describe = describe
        self._processes = processes
        self._closed = False
        self._lock = forks.lock()
        self.restarts = 0
        self._summary: dict[str, Any] = {}
        self._new_slots()

    def call(self, name: str, /, *arguments: Any, timeout: float | None = None, **named: Any) -> Any:
        """Call a method (``"predict"``, ``"estimator.predict"``; ``""`` for the object itself) and return its result.

        Arguments and result are plain data, NumPy arrays and pandas frames, and are copied.

        Args:
            name: of the method.
            arguments, named: for the method.
            timeout: seconds for the answer, waiting for a free process and starting one included; by default
                ``max_sandbox_seconds``.

        Raises:
            SandboxTimeoutError: no answer in time. SandboxViolationError, SandboxError: the process is gone.
            LoadError: the method raised; or its result is no plain data.
            LimitExceededError: memory, or a result over its limit.
            TypeError: an argument is no plain data.
        """
        return self._ask("call", name, timeout, {"arguments": list(arguments), "named": named})

    def get(self, name: str, *, timeout: float | None = None) -> Any:
        """The value of an attribute (``"classes_"``, ``"estimator.coef_"``); raises like :meth:`call`."""
        return self._ask("get", name, timeout, None)

    def describe(self, *, timeout: float | None = None) -> dict[str, Any]:
        """What the object says that it is: ``type``, ``attributes`` and ``methods``; raises like :meth:`call`."""
        found = self._ask("describe", "", timeout, None)
        return found if type(found) is dict else {}

    def close(self) -> None:
        """End its processes and give their memory back. A question that is being asked ends with an error."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for session in list(self._sessions):
            self._drop(session)
        self._artifact.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Remote {self._summary.get('type', 'object')} in the sandbox{', closed' if self._closed else ''}>"

    def start(self, deadline: Deadline) -> None:
        """Start the first process, so that what is wrong with the artifact is known at once."""
        slots = self._slots
        slot = slots.get()
        try:
            slot = self._started(deadline)
        finally:
            slots.put(slot)

    def _new_slots(self) -> None:
        self._owner = os.getpid()
        self._sessions: set[Session] = set()
        self._slots: queue.LifoQueue[Session | None] = queue.LifoQueue()  # last in, first out: one warm process is best
        for _ in range(self._processes):
            self._slots.put(None)

    def _ask(self, action: str, name: str, timeout: float | None, given: dict[str, Any] | None) -> Any:
        if type(name) is not str:
            raise TypeError(f"the name must be a text, not {type(name).__name__}")
        deadline = Deadline(self._limits.max_sandbox_seconds if timeout is None else timeout)
        if self._owner != os.getpid():
            self._after_fork()
        request = {"action": action, "name": name, "describe": self._describe, "number": 1, "size": 0}
        memory = self._written(given or {})
        try:
            request["size"] = os.fstat(memory).st_size
            return self._asked(request, memory, deadline)
        finally:
            os.close(memory)

    def _asked(self, request: dict[str, Any], memory: int, deadline: Deadline) -> Any:
        slots = self._slots
        try:
            session = slots.get(timeout=deadline.left())
        except queue.Empty:
            raise SandboxTimeoutError(
                f"every process of this object was busy for {deadline.seconds:g} seconds; open it with more processes=",
                code="sandbox.busy",
            ) from None
        try:
            if self._closed:
                raise SandboxError("this object of the sandbox was closed", code="sandbox.closed")
            if session is None:
                session = self._started(deadline)
            session.resume()
            answer = session.ask(request, memory, deadline)
            session.pause()
            return answer
        except (LoadError, LimitExceededError):  # an answer: the object lives
            if session is not None:
                session.pause()
            raise
        except BaseException:
            if session is not None:
                self._drop(session)
                session = None
                self.restarts += 1
            raise
        finally:
            slots.put(session)

    def _started(self, deadline: Deadline) -> Session:
        zygote = ready_zygote(self._artifact, self._require, self._trusted, deadline)
        session = Session(zygote, self._limits, deadline)
        try:
            summary = session.start(self._artifact, deadline, serves=True, describe=True)
        except BaseException:
            session.close()
            raise
        self._summary = summary if type(summary) is dict else {}
        session.pause()
        with self._lock:
            self._sessions.add(session)
        return session

    def _drop(self, session: Session) -> None:
        with self._lock:
            known = session in self._sessions
            self._sessions.discard(session)
        if known:
            session.close()

    def _after_fork(self) -> None:
        """The processes are the parent's: leave them alone, and start others."""
        for session in self._sessions:
            session.forget()
        self._new_slots()

    def _written(self, value: Any) -> int:
        """Arguments in sealed memory."""
        memory = os.memfd_create("safeload-arguments", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            encode(value, lambda offset, data: write_at(memory, offset, data), self._limits.max_sandbox_memory)
            seal(memory)
        except NotPlainError as error:
            os.close(memory)
            raise TypeError(
                f"an argument holds {error}, which is no plain data; pass arrays, frames or plain values"
            ) from None
        except TooLargeError as error:
            os.close(memory)
            raise ValueError(f"the arguments are too large for the sandbox: {error}") from None
        except BaseException:
            os.close(memory)
            raise
        return memory


def open_remote(
    source: Any,
    *,
    keys: Any = None,
    context: Any = None,
    require: str = "full",
    limits: Limits | None = None,
    on_other: str = "refuse",
    libraries: Iterable[str] | None = None,
    processes: int = 1,
) -> Remote:
    """Load an artifact in the sandbox and leave it there, to be asked.

    Args:
        source, keys, context, require, limits, libraries: as for :func:`safeload.sandbox.load`.
        on_other: for results that are no plain data.
        processes: how many questions are answered at a time, each by a process with the whole object.

    Returns:
        A :class:`Remote`; close it, or use it in a ``with`` statement.

    Raises:
        As :func:`safeload.sandbox.load`.
    """
    check_other(on_other)
    chosen = limits_of(limits)
    check_level(require)
    trusted = check_libraries(libraries)
    if type(processes) is not int or processes < 1:
        raise ValueError(f"processes must be a whole number of at least 1, got {processes!r}")
    deadline = Deadline(chosen.max_sandbox_seconds)
    needs = [name for name in _PASSED if name in sys.modules]
    artifact = prepared(source, keys, context, chosen, trusted, needs)
    remote = Remote(artifact, require, chosen, trusted, describe=on_other == "describe", processes=processes)
    try:
        remote.start(deadline)
    except BaseException:
        remote.close()
        raise
    return remote
