"""``sandbox.detonate``: load an artifact where everything it tries is seen and nothing of it is done.

Rule: what was seen is evidence, what was not seen is none. An artifact can wait, look around, or need something that it was not
given; so a quiet run makes nothing clean, and the verdict of a judgement only ever gets worse here.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safeload.errors import SandboxError, SandboxUnavailableError
from safeload.facts.printable import printable
from safeload.findings import Finding, Report, Severity, Verdict
from safeload.sandbox.deadline import Deadline
from safeload.sandbox.inside.wire import receive, send
from safeload.sandbox.kernel.machine import machine
from safeload.sandbox.libraries import check_libraries
from safeload.sandbox.loading import limits_of, prepared, ready_zygote
from safeload.sandbox.watch.notices import Notices
from safeload.sandbox.watch.supervisor import Attempt, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.limits import Limits
    from safeload.sandbox.artifact import Artifact
    from safeload.sandbox.zygotes import Child

__all__ = ["Detonation", "detonate", "with_detonation"]

_SECONDS = 10.0
_START_SECONDS = 60.0  # libraries are imported in it, and nothing of the artifact runs
_MAX_NOTICES = 20_000
_MAX_HINTS = 200
_FILE_BYTES = 1 << 26
# What payloads use: without it they would fail before they try anything.
_TOOLS = frozenset(
    "subprocess socket ssl ctypes shutil tempfile urllib.request http.client webbrowser pty platform importlib.util "
    "mmap xmlrpc.client ftplib smtplib sqlite3 multiprocessing threading asyncio glob pathlib base64 runpy code timeit pdb cProfile".split()
)


@dataclass(frozen=True)
class Detonation:
    """What an artifact did when it was let.

    Attributes:
        outcome: ``"finished"``, ``"raised"``, ``"ended"`` (the process ended by itself, or was killed by a wall), ``"timeout"`` or ``"flooded"``
            (more system calls than are looked at).
        said: what it became, or raised, in the words of the jailed process.
        attempts: what it tried, in order, each with how often. The kernel saw it.
        hints: what the interpreter in the jail said that it did (audit events); an artifact can forge or silence them.
        level: of the sandbox it ran in.
        report: what the judgement said of it before.
    """

    outcome: str
    said: str
    attempts: tuple[tuple[Attempt, int], ...]
    hints: tuple[str, ...]
    level: str
    report: Report

    @property
    def evidence(self) -> tuple[Attempt, ...]:
        """Attempts that no data would make."""
        return tuple(attempt for attempt, _ in self.attempts if attempt.is_evidence)

    @property
    def verdict(self) -> Verdict:
        """``malicious`` if it tried something; else what the judgement said, and never ``clean``."""
        if self.evidence:
            return Verdict.MALICIOUS
        return Verdict.UNKNOWN if self.report.verdict is Verdict.CLEAN else self.report.verdict

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "path": self.report.path,
            "sha256": self.report.sha256,
            "verdict": str(self.verdict),
            "judged": str(self.report.verdict),
            "outcome": self.outcome,
            "said": self.said,
            "level": self.level,
            "attempts": [
                {"kind": attempt.kind, "detail": attempt.detail, "times": times, "evidence": attempt.is_evidence}
                for attempt, times in self.attempts
            ],
            "hints": list(self.hints),
        }


def detonate(
    source: Any,
    *,
    timeout: float = _SECONDS,
    keys: Any = None,
    context: Any = None,
    require: str = "full",
    limits: Limits | None = None,
    libraries: Iterable[str] | None = None,
) -> Detonation:
    """Load an artifact, whatever its verdict, where all it tries is seen and nothing is done.

    Args:
        source: path or binary file.
        timeout: seconds that the artifact gets.
        keys, context, require, limits, libraries: as for :func:`safeload.sandbox.load`.

    Raises:
        SandboxUnavailableError: this machine cannot give what ``require`` says, or its kernel has no notifications.
        SafeloadError: the artifact could not be read, verified or decrypted.
    """
    chosen = limits_of(limits)
    trusted = check_libraries(libraries) | _TOOLS
    Deadline(timeout)  # a timeout that is none is a mistake
    artifact = prepared(source, keys, context, chosen, trusted, refuse=False)
    try:
        return _detonated(artifact, timeout, require, chosen, trusted)
    finally:
        artifact.close()


def with_detonation(report: Report, seen: Detonation) -> Report:
    """A report with what a detonation has shown; its verdict only gets worse."""
    findings = [
        Finding(
            f"detonation.{attempt.kind}",
            Severity.CRITICAL,
            f"when it was loaded in the sandbox, it tried: {attempt.detail} (nothing of it was done)",
            evidence=attempt.kind,
            verdict=Verdict.MALICIOUS,
        )
        for attempt in seen.evidence[:20]
    ]
    if findings:
        return replace(report, verdict=Verdict.MALICIOUS, findings=(*findings, *report.findings))
    quiet = f"it was loaded in the sandbox and tried nothing ({seen.outcome}), which does not make it clean"
    finding = Finding("detonation.quiet", Severity.INFO, quiet, verdict=Verdict.CLEAN)
    return replace(report, findings=(*report.findings, finding))


def _detonated(artifact: Artifact, timeout: float, require: str, limits: Limits, trusted: frozenset[str]) -> Detonation:
    start = Deadline(_START_SECONDS)
    zygote = ready_zygote(artifact, require, trusted, start)
    child = zygote.child(start)
    try:
        job = {
            "watched": True,
            "bounds": {
                "memory": limits.max_sandbox_memory,
                "cpu_seconds": int(timeout) + 2,
                "file_bytes": _FILE_BYTES,
                "descriptors": 64,
            },
            "modules": artifact.modules.own,
            "pieces": artifact.places,
            "form": artifact.form,
            "options": artifact.options,
        }
        child.channel.settimeout(start.left())
        send(child.channel, job, (artifact.descriptor,))
        listener = _listener(child)
        names = {number: name for name, number in machine().calls.items()}
        supervisor = Supervisor(Notices(listener), names)
        try:
            run = _Run(child, supervisor)
            outcome = run.watch(Deadline(timeout))
        finally:
            os.close(listener)
            _kill_all(child)
            supervisor.close()
    finally:
        child.close()
    attempts = tuple(supervisor.attempts.items())
    return Detonation(outcome, run.said, attempts, tuple(run.hints), zygote.level, artifact.report)


def _listener(child: Child) -> int:
    try:
        message, descriptors = receive(child.channel)
    except (OSError, ValueError) as error:
        raise SandboxError(f"the watched process did not start: {type(error).__name__}") from error
    if message is None or len(descriptors) != 1:
        for descriptor in descriptors:
            os.close(descriptor)
        said = printable(str((message or {}).get("text", "it ended"))[:200])
        raise SandboxUnavailableError(
            f"the kernel cannot watch a process for safeload: {said}; detonation needs seccomp user notification (Linux 5.5 or "
            "newer, and no container that forbids it)",
            code="sandbox.no-notifications",
        )
    return descriptors[0]


def _kill_all(child: Child) -> None:
    """Kill the process and those that it forked, which are in its group."""
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


class _Run:
    """One detonation under way."""

    def __init__(self, child: Child, supervisor: Supervisor) -> None:
        self._child = child
        self._supervisor = supervisor
        self.said = ""
        self.hints: list[str] = []
        self._done = ""

    def watch(self, deadline: Deadline) -> str:
        """Answer notices until the artifact is done, or its time is over; how it ended."""
        notices = self._supervisor.notices
        poll = select.poll()
        poll.register(notices.descriptor, select.POLLIN)
        poll.register(self._child.channel.fileno(), select.POLLIN)
        seen = 0
        while not self._done:
            try:
                ready = poll.poll(deadline.left() * 1000)
            except TimeoutError:
                return "timeout"
            for descriptor, event in ready:
                if descriptor == self._child.channel.fileno():
                    self._hear()
                elif event & select.POLLIN:
                    seen += 1
                    if seen > _MAX_NOTICES:
                        return "flooded"
                    notice = notices.next()
                    if notice is not None:
                        self._supervisor.answer(notice)
                elif event & select.POLLHUP:  # every watched process is gone; what they said last is still to be read
                    poll.unregister(descriptor)
        return self._done

    def _hear(self) -> None:
        try:
            message, descriptors = receive(self._child.channel)
        except (OSError, ValueError):
            message, descriptors = None, []
        for descriptor in descriptors:
            os.close(descriptor)
        if message is None:
            self._done = "ended"
        elif "hint" in message:
            words = message.get("words")
            if len(self.hints) < _MAX_HINTS and type(words) is list:
                self.hints.append(printable(" ".join(str(word)[:200] for word in [message["hint"], *words[:2]])))
        elif "done" in message:
            self._done, self.said = "finished", printable(str(message["done"])[:200])
        else:
            self._done = "raised"
            self.said = printable(f"{message.get('type')}: {message.get('text')}"[:500])
