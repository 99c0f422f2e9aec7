"""Scans in processes of their own: faster with several, and a hostile file that kills its process kills no scan.

Rules: a process has some files at a time; when it dies, those that it has not answered are scanned again one by one, so
that the death has one culprit, which becomes a report. The results are in the order of the files whatever the number of
processes. Another process is started only when the files that are left are worth it: small ones are not.
"""

from __future__ import annotations

import functools
import signal
from collections import deque
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from safeload.cli import processes
from safeload.cli.discover import not_scanned
from safeload.cli.failure import Failure
from safeload.cli.files import open_regular
from safeload.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safeload.api.loader import Loader
    from safeload.cli.key_options import KeySource
    from safeload.findings import Finding, Report

__all__ = ["Job", "loader_of", "scan_files"]


@dataclass(frozen=True, slots=True)
class Job:
    """How every file of a run is scanned, as what the person typed: it crosses into processes, keys must not."""

    policies: tuple[str, ...]
    keys: KeySource
    audit: str | None = None
    context: str | tuple[str, str] | None = None


@functools.cache
def loader_of(job: Job) -> Loader:
    """The loader of a job, made once per process.

    Raises:
        Failure: the policy is not one.
        SafeloadError: keys or audit cannot be used.
    """
    from safeload.cli.policies import loader

    return loader(job.policies, keys=job.keys.ring_if_named(), audit=job.audit)


def scan_files(paths: Sequence[str], job: Job, jobs: int, advance: Callable[[], object]) -> list[Report]:
    """The reports of ``paths``, in their order; ``advance`` is called after each.

    Raises:
        AuditError: a trail that was asked for cannot be written.
    """
    _prepare(job)
    crew = _Crew(paths, job, jobs, advance)
    try:
        return crew.run()
    finally:
        crew.end()


def _prepare(job: Job) -> None:
    """Make here what every file needs: mistakes in the options end the run, and a forked worker inherits the rest."""
    from safeload.api.contents import prepare_scans

    prepare_scans(loader_of(job).policy)


_MOST: Final = 32  # files that a worker has at a time
_PATIENCE: Final = 0.1  # seconds that a worker keeps answers, and after which another one may be worth its start
_WORTH: Final = 0.2  # seconds of work that is left, by what was done so far, for which it is


class _Worker:
    """One process and the files that it has not answered yet, in its order."""

    def __init__(self, job: Job, others: Sequence[_Worker]) -> None:
        self.process: processes.Process = processes.start(
            functools.partial(_serve, job), [other.process for other in others]
        )
        self.files: deque[tuple[int, str]] = deque()


class _Crew:
    """The processes of one run, and what is left to do."""

    def __init__(self, paths: Sequence[str], job: Job, jobs: int, advance: Callable[[], object]) -> None:
        self._job = job
        self._most = jobs
        self._advance = advance
        self._waiting = deque(enumerate(paths))
        self._suspects: deque[tuple[int, str]] = deque()  # of a process that died: each is scanned alone
        self._results: dict[int, Report] = {}
        self._workers: list[_Worker] = []
        self._began = monotonic()

    def run(self) -> list[Report]:
        """Scan everything."""
        if self._waiting:
            self._hire()
        while self._workers:
            ready = processes.wait([worker.process for worker in self._workers], self._patience())
            for worker in [worker for worker in self._workers if worker.process in ready]:
                self._hear(worker)
            if len(self._workers) < self._most and self._is_worth_another():
                self._hire()
        return [self._results[number] for number in range(len(self._results))]

    def end(self) -> None:
        """End what still runs: after an interrupt nobody waits for a long file."""
        while self._workers:
            self._workers.pop().process.end(kill=True)

    def _patience(self) -> float | None:
        return _PATIENCE if self._waiting and len(self._workers) < self._most else None

    def _is_worth_another(self) -> bool:
        spent = monotonic() - self._began
        if not self._waiting or spent < _PATIENCE:
            return False
        return spent / (len(self._results) or 1) * len(self._waiting) > _WORTH

    def _hire(self) -> None:
        worker = _Worker(self._job, self._workers)
        self._workers.append(worker)
        self._give(worker)

    def _give(self, worker: _Worker) -> None:
        """Give ``worker`` its next files, fewer the fewer are left, or let it go."""
        if self._suspects:
            worker.files.append(self._suspects.popleft())
        else:
            fair = len(self._waiting) // (4 * self._most)
            for _ in range(min(max(1, min(fair, _MOST)), len(self._waiting))):
                worker.files.append(self._waiting.popleft())
        if not worker.files:
            self._workers.remove(worker)
            worker.process.end()
            return
        try:
            worker.process.send([path for _, path in worker.files])
        except OSError:
            self._bury(worker)

    def _hear(self, worker: _Worker) -> None:
        """Take what ``worker`` has to say."""
        try:
            answers = worker.process.receive()
        except (EOFError, OSError):
            self._bury(worker)
            return
        for answer in answers:
            if isinstance(answer, AuditError):
                raise answer
            self._settle(worker.files.popleft()[0], answer)
        if not worker.files:
            self._give(worker)

    def _settle(self, number: int, report: Report) -> None:
        self._results[number] = report
        self._advance()

    def _bury(self, worker: _Worker) -> None:
        """Find out whose fault the death of ``worker`` is, and go on with another process."""
        self._workers.remove(worker)
        code = worker.process.end()
        if len(worker.files) == 1:
            number, path = worker.files[0]
            how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
            hint = "; was there enough memory?" if code == -signal.SIGKILL else ""
            message = f"the process that scanned it {how}{hint}; treat the file as hostile"
            self._settle(number, not_scanned(path, "scan.process-died", message))
        else:
            self._suspects.extend(worker.files)
        if self._suspects or self._waiting:
            self._hire()


def _serve(job: Job, receive: Callable[[], Any], send: Callable[[Any], None]) -> None:
    """The life of a worker."""
    while True:
        try:
            paths = receive()
        except (EOFError, OSError):
            return
        answers: list[Report | AuditError] = []
        said = monotonic()
        for number, path in enumerate(paths, 1):
            try:
                answers.append(scan_file(path, job))
            except AuditError as error:
                answers.append(error)
            if number == len(paths) or monotonic() - said > _PATIENCE:
                try:
                    send(answers)
                except OSError:
                    return
                answers = []
                said = monotonic()


def scan_file(path: str, job: Job) -> Report:
    """The report of one file; whatever goes wrong is in the report.

    Raises:
        AuditError: a trail that was asked for cannot be written; that is no property of the file, and ends the run.
    """
    try:
        loader = loader_of(job)
        with open_regular(path) as stream:
            report = loader.scan(stream, context=job.context)
    except Failure as error:
        reason = error.message.removeprefix(f"{path} ")
        return not_scanned(path, "scan.unreadable", reason)
    except AuditError:
        raise
    except OSError as error:
        return not_scanned(path, "scan.unreadable", f"could not be read to its end: {error.strerror or error}")
    except MemoryError:
        return not_scanned(path, "scan.memory", "needs more memory than there is; scan it alone, with --jobs 1")
    except Exception as error:  # noqa: BLE001 - one file must not end the scan of the others
        message = f"an internal error ({type(error).__name__}) stopped the analysis; please report it with the file"
        return not_scanned(path, "internal.error", message)
    return _ordered(replace(report, path=path))


def _ordered(report: Report) -> Report:
    """The report with its findings in an order that no hash seed decides: two runs are compared byte for byte."""
    if len(report.findings) < 2 and not report.members:
        return report
    findings = sorted(report.findings, key=_rank)
    return replace(report, findings=tuple(findings), members=tuple(map(_ordered, report.members)))


def _rank(finding: Finding) -> tuple[object, ...]:
    """What the policy says comes before what fickling guesses of the same operation."""
    rank = 0 if finding.rule_id == "policy.code" else 2 if finding.rule_id.startswith("fickling.") else 1
    return -finding.severity, rank, finding.location, finding.rule_id, finding.message
