"""Scans in processes of their own: faster with several, and a hostile file that kills its process kills no scan.

Rules: each worker has one file at a time, so that its death has one culprit, which becomes a report; the results are in
the order of the files whatever the number of workers; a worker ends when its parent does.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import sys
import warnings
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, BinaryIO

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
    """The reports of ``paths``, in their order; ``advance`` is called after each."""
    loader_of(job)  # mistakes in the options end the run here; a forked worker inherits the loader
    results: dict[int, Report] = {}
    waiting = list(enumerate(paths))[::-1]
    crew = _Crew(job)
    try:
        for _ in range(min(jobs, len(paths))):
            crew.hire().give(*waiting.pop())
        while crew.workers:
            for worker in crew.finished():
                number, report = worker.take()
                results[number] = report
                advance()
                if worker.dead:
                    crew.dismiss(worker)
                    if waiting:
                        crew.hire().give(*waiting.pop())
                elif waiting:
                    worker.give(*waiting.pop())
                else:
                    crew.dismiss(worker)
    finally:
        crew.end()
    return [results[number] for number in range(len(paths))]


class _Worker:
    """One process and the file it is busy with."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self.process = process
        self.connection = connection
        self.dead = False
        self._number = -1
        self._path = ""

    def give(self, number: int, path: str) -> None:
        self._number, self._path = number, path
        try:
            self.connection.send(path)
        except OSError:
            self.dead = True

    def take(self) -> tuple[int, Report]:
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.dead = True
            self.process.join()
            code = self.process.exitcode or 0
            how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
            hint = "; was there enough memory?" if code == -signal.SIGKILL else ""
            message = f"the process that scanned it {how}{hint}; treat the file as hostile"
            return self._number, not_scanned(self._path, "scan.process-died", message)
        if isinstance(answer, AuditError):
            raise answer
        return self._number, answer


class _Crew:
    """The processes of one run."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.workers: list[_Worker] = []
        # Forking inherits what is imported already; elsewhere the platform's own way of starting is used.
        self.forks = sys.platform == "linux"
        self.context = multiprocessing.get_context("fork" if self.forks else None)

    def hire(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        # A fork holds copies of every open pipe: it closes them, or its siblings would never see their parent end.
        inherited = [worker.connection for worker in self.workers] + [ours] if self.forks else []
        process = self.context.Process(target=_serve, args=(theirs, self.job, inherited), daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; here they are those of idle numeric libraries.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        return worker

    def finished(self) -> list[_Worker]:
        ready = set(wait([worker.connection for worker in self.workers]))
        return [worker for worker in self.workers if worker.connection in ready]

    def dismiss(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join()

    def end(self) -> None:
        """End what still runs: after an interrupt nobody waits for a long file."""
        for worker in self.workers:
            worker.process.kill()
        for worker in list(self.workers):
            self.dismiss(worker)


def _serve(connection: Connection, job: Job, inherited: list[Connection]) -> None:
    """The life of a worker."""
    for other in inherited:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    while True:
        try:
            path = connection.recv()
        except (EOFError, OSError):
            return
        answer: Report | AuditError
        try:
            answer = scan_file(path, job)
        except AuditError as error:
            answer = error
        try:
            connection.send(answer)
        except OSError:
            return


def _scan_in_context(stream: BinaryIO, loader: Loader, job: Job) -> Report:
    """``Loader.scan`` for an envelope that is bound to a context."""
    from safeload.pipeline.request import JudgeOptions, ReadRequest
    from safeload.pipeline.scan import scan

    with loader.audit.operation("scan") as operation:
        return scan(
            stream, ReadRequest(JudgeOptions(loader.policy, loader.limits), loader.keys, job.context), operation
        )


def scan_file(path: str, job: Job) -> Report:
    """The report of one file; whatever goes wrong is in the report.

    Raises:
        AuditError: a trail that was asked for cannot be written; that is no property of the file, and ends the run.
    """
    try:
        loader = loader_of(job)
        with open_regular(path) as stream:
            report = loader.scan(stream) if job.context is None else _scan_in_context(stream, loader, job)
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
    findings = sorted(report.findings, key=_rank)
    return replace(report, findings=tuple(findings), members=tuple(map(_ordered, report.members)))


def _rank(finding: Finding) -> tuple[object, ...]:
    """What the policy says comes before what fickling guesses of the same operation."""
    rank = 0 if finding.rule_id == "policy.code" else 2 if finding.rule_id.startswith("fickling.") else 1
    return -finding.severity, rank, finding.location, finding.rule_id, finding.message
