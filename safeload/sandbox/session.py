"""One jailed process at work: its job, its answers, and what it means when there is none.

Rule: an answer is taken only whole. Its memory is sealed first, which the kernel refuses while anybody could still write to
it, and then read as if an enemy had written it. Whatever else happens, the process is killed.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Any

from safeload.errors import LimitExceededError, LoadError, SandboxError, SandboxViolationError
from safeload.facts.printable import printable
from safeload.sandbox.artifact import seal
from safeload.sandbox.data.decode import decode
from safeload.sandbox.data.layout import BODY_AT, DescriptorMemory, MalformedError, Room
from safeload.sandbox.deadline import Deadline
from safeload.sandbox.inside.wire import receive, send

if TYPE_CHECKING:
    from safeload.limits import Limits
    from safeload.sandbox.artifact import Artifact
    from safeload.sandbox.zygotes import Child, ZygoteHandle

__all__ = ["Session"]

_EXIT_SECONDS = 5.0
_GRACE_MS = 200


class Session:
    """A jailed process that works on one artifact."""

    def __init__(self, zygote: ZygoteHandle, limits: Limits, deadline: Deadline) -> None:
        self._limits = limits
        self._zygote = zygote
        self._child: Child = zygote.child(deadline)

    def start(self, artifact: Artifact, deadline: Deadline, *, serves: bool, describe: bool) -> Any:
        """Have the artifact loaded; its data, or what is said about an object that stays inside.

        Raises:
            SandboxError, LoadError, LimitExceededError: there is no result, and the process is gone.
        """
        limits = self._limits
        job = {
            "bounds": {
                "memory": limits.max_sandbox_memory,
                # A served object may be asked for years; then the user's clock alone decides.
                "cpu_seconds": (1 << 31) if serves else limits.max_sandbox_seconds + 1,
                "file_bytes": limits.max_sandbox_result + BODY_AT,
            },
            "modules": artifact.modules.own,
            "pieces": artifact.places,
            "form": artifact.form,
            "options": artifact.options,
            "serves": serves,
            "describe": describe,
        }
        return self._exchange(job, artifact.descriptor, deadline, number=0)

    def ask(self, request: dict[str, Any], arguments: int, deadline: Deadline) -> Any:
        """Ask a served object something."""
        return self._exchange(request, arguments, deadline, number=request["number"])

    def pause(self) -> None:
        """Stop the process until it is asked again: an artifact must not compute on its own account."""
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """See :meth:`pause`."""
        self._child.signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the process."""
        self._child.close()

    def forget(self) -> None:
        """In a forked child: leave the process, which is the parent's, alone."""
        self._child.forget()

    def _exchange(self, message: dict[str, Any], given: int, deadline: Deadline, *, number: int) -> Any:
        result = os.memfd_create("safeload-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            self._send(message, given, result, deadline)
            answer = self._answer(deadline)
            if answer is None:
                raise self._ended()
            if "failed" in answer:
                raise self._failure(answer)
            if answer.get("number") != number or type(answer.get("size")) is not int:
                raise SandboxViolationError(
                    "the jailed process gave an answer to another question", code="sandbox.answer"
                )
            return self._result(result, answer["size"])
        finally:
            os.close(result)

    def _send(self, message: dict[str, Any], given: int, result: int, deadline: Deadline) -> None:
        channel = self._child.channel
        channel.settimeout(deadline.left())
        try:
            send(channel, message, (given, result))
        except TimeoutError:
            raise deadline.over() from None
        except OSError:
            raise self._ended() from None

    def _answer(self, deadline: Deadline) -> dict[str, Any] | None:
        channel = self._child.channel
        channel.settimeout(deadline.left())
        try:
            answer, descriptors = receive(channel)
        except TimeoutError:
            raise deadline.over() from None
        except ConnectionError:
            return None
        except ValueError:
            raise SandboxViolationError(
                "the jailed process gave an answer that is none", code="sandbox.answer"
            ) from None
        for descriptor in descriptors:  # it holds none that it did not get, but what it sends is not kept
            os.close(descriptor)
        return answer

    def _result(self, descriptor: int, size: int) -> Any:
        try:
            seal(descriptor)
        except OSError:
            raise SandboxViolationError(
                "the jailed process kept its result open for changes, so nothing of it was read", code="sandbox.result"
            ) from None
        held = os.fstat(descriptor).st_size
        if not 0 < size <= held:
            raise SandboxViolationError(
                "the jailed process said that its result is longer than it is", code="sandbox.result"
            )
        try:
            room = Room(self._limits.max_sandbox_result + BODY_AT, min(self._limits.max_json_bytes, 1 << 28))
            return decode(DescriptorMemory(descriptor, size), room)
        except MalformedError as error:
            raise SandboxViolationError(
                f"the jailed process gave a result that is no plain data: {printable(str(error))}",
                code="sandbox.result",
            ) from None

    def _failure(self, answer: dict[str, Any]) -> Exception:
        """The error for what the jailed process says went wrong; its words are the artifact's, and are quoted as such."""
        kind, name, text = answer.get("kind"), _words(answer.get("type"), 100), _words(answer.get("text"), 500)
        if answer["failed"] == "lock":
            return SandboxError(
                f"the jail could not be closed, so nothing was loaded: {name}: {text}", code="sandbox.lock"
            )
        if kind == "memory":
            return LimitExceededError(
                f"the artifact needs more than max_sandbox_memory={self._limits.max_sandbox_memory:,} bytes in the sandbox; "
                "raise Limits(max_sandbox_memory=...) if it may",
                code="limit.sandbox-memory",
                stage="sandbox",
            )
        if kind == "size":
            return LimitExceededError(
                f"the result is too large for the sandbox: {text}; raise Limits(max_sandbox_result=...) if it may be",
                code="limit.sandbox-result",
                stage="sandbox",
            )
        if kind == "plain":
            return LoadError(
                f"the result holds {text}, which is no plain data and stays in the sandbox; use safeload.sandbox.open(...), "
                "or take a description of it with on_other='describe'",
                code="sandbox.not-plain",
                stage="sandbox",
            )
        hint = ""
        if kind == "import":
            module = _words(answer.get("module"), 100)
            hint = (
                f"; if you trust it, name it: libraries=[{module!r}]"
                if module
                else "; name what it needs in libraries=[...]"
            )
        return LoadError(f"in the sandbox: {name}: {text}{hint}", code="sandbox.raised", stage="sandbox")

    def _ended(self) -> Exception:
        """The error for a process that closed its channel: it is dead, dies, or pretends to."""
        child = self._child
        poll = select.poll()
        poll.register(child.descriptor, select.POLLIN)
        pretends = not poll.poll(_GRACE_MS)
        child.signal(signal.SIGKILL)
        status = self._zygote.status(child.pid, Deadline(_EXIT_SECONDS))
        if pretends:
            return SandboxViolationError("the jailed process closed its channel and went on", code="sandbox.channel")
        if status is None:
            return SandboxError("the jailed process is gone, and nobody saw how it ended")
        if not os.WIFSIGNALED(status):
            return SandboxError(f"the jailed process ended without a result (exit status {os.WEXITSTATUS(status)})")
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return SandboxViolationError("the artifact tried something that the sandbox forbids, and was killed")
        if number in (signal.SIGKILL, signal.SIGXCPU):
            return SandboxError(
                "the jailed process was killed: it used up its time of computing, or the machine its memory",
                code="sandbox.killed",
            )
        return SandboxError(
            f"the jailed process crashed ({signal.Signals(number).name}); so would a program that loads this artifact",
            code="sandbox.crashed",
        )


def _words(value: Any, limit: int) -> str:
    return printable(value[:limit]) if type(value) is str else ""
