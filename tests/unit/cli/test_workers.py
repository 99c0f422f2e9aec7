"""Files are scanned in processes whose death is a report, in an order that does not depend on their number."""

from __future__ import annotations

import os
import pickle
import signal
import sys

import pytest

from safeload.cli import workers
from safeload.cli.key_options import KeySource
from safeload.errors import KeyProviderError
from safeload.findings import Report, Verdict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="patched functions reach a worker only by fork")
JOB = workers.Job((), KeySource(unsigned=True))


@pytest.fixture
def patched(monkeypatch):
    """Let the workers do something else than to scan."""

    def patch(function):
        monkeypatch.setattr(workers, "scan_file", function)
        monkeypatch.setattr(workers, "_prepare", lambda _job: None)

    return patch


@pytest.mark.parametrize("jobs", [1, 3, 50])
def test_results_are_in_the_order_of_the_files(patched, jobs):
    """Whatever finishes first."""
    patched(lambda path, _job: Report(Verdict.CLEAN, path=path))
    paths = [str(number) for number in range(20)]
    steps = []
    reports = workers.scan_files(paths, JOB, jobs, lambda: steps.append(1))
    assert [report.path for report in reports] == paths
    assert len(steps) == 20


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_that_kills_its_process_is_reported_and_the_others_are_scanned(patched, jobs):
    """A hostile file that finds a hole in the interpreter must not hide its neighbours, nor pass for clean."""

    def scan(path, _job):
        if path == "signal":
            os.kill(os.getpid(), signal.SIGUSR1)
        if path == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if path == "exit":
            os._exit(3)
        return Report(Verdict.CLEAN, path=path)

    patched(scan)
    reports = workers.scan_files(["a", "signal", "killed", "exit", "b"], JOB, jobs, lambda: None)
    assert [str(report.verdict) for report in reports] == ["clean", "error", "error", "error", "clean"]
    messages = [report.findings[0].message for report in reports[1:4]]
    assert f"signal {signal.SIGUSR1:d}" in messages[0]
    assert "signal 9; was there enough memory?" in messages[1]
    assert "status 3" in messages[2]


def test_the_culprit_among_many_is_found(patched):
    """Files have a process together; one that kills it costs none of the others its report."""
    bad = {"7", "8", "130", "299"}
    patched(lambda path, _job: os._exit(9) if path in bad else Report(Verdict.CLEAN, path=path))
    paths = [str(number) for number in range(300)]
    steps = []
    reports = workers.scan_files(paths, JOB, 2, lambda: steps.append(1))
    assert {path for path, report in zip(paths, reports, strict=True) if report.verdict is Verdict.ERROR} == bad
    assert len(reports) == len(steps) == 300


@pytest.mark.parametrize(("patience", "worth", "expected"), [(0.0, -1.0, 3), (0.0, 1e9, 1), (1e5, -1.0, 1)])
def test_another_process_is_started_when_it_is_worth_it(patched, monkeypatch, patience, worth, expected):
    """A start costs more than many small files."""
    patched(lambda path, _job: Report(Verdict.CLEAN, path=path))
    monkeypatch.setattr(workers, "_PATIENCE", patience)
    monkeypatch.setattr(workers, "_WORTH", worth)
    started = []
    start = workers.processes.start
    monkeypatch.setattr(workers.processes, "start", lambda *args: started.append(1) or start(*args))
    workers.scan_files([str(number) for number in range(200)], JOB, 3, lambda: None)
    assert len(started) == expected


def test_where_processes_are_not_forked(tmp_path, monkeypatch):
    """The way of other systems gives the same answers, and says how a process died."""
    monkeypatch.setattr(workers.processes, "_FORKS", False)
    (tmp_path / "good").write_bytes(pickle.dumps([1]))
    (tmp_path / "bad").write_bytes(b"\x80\x04N")
    paths = [str(tmp_path / name) for name in ("good", "bad", "gone")]
    reports = workers.scan_files(paths, JOB, 1, lambda: None)
    assert [str(report.verdict) for report in reports] == ["clean", "malformed", "error"]
    process = workers.processes.start(os._exit, [])
    assert workers.processes.wait([process], 60) == [process]
    with pytest.raises((EOFError, OSError)):
        process.receive()
    assert process.end() == 1


def test_an_interrupt_ends_the_workers(patched):
    """Nobody waits for a long file after Ctrl-C."""
    patched(lambda path, _job: signal.pause() if path == "long" else Report(Verdict.CLEAN))

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.scan_files(["short", "long", "long"], JOB, 2, interrupt)


def test_no_files_need_no_process(patched):
    """An empty tree is scanned at once."""
    patched(None)
    assert workers.scan_files([], JOB, 2, lambda: None) == []


def test_mistakes_in_the_options_end_the_run_before_it_starts(monkeypatch):
    """A missing key is one error, not one per file."""
    monkeypatch.delenv("SAFELOAD_NOT_SET", raising=False)
    with pytest.raises(KeyProviderError):
        workers.scan_files(["a"], workers.Job((), KeySource(env="SAFELOAD_NOT_SET")), 1, lambda: None)


def test_whatever_goes_wrong_with_one_file_is_in_its_report(tmp_path, monkeypatch):
    """Unreadable, gone, changed, out of memory, a bug: a report each."""
    assert workers.scan_file(str(tmp_path), JOB).findings[0].message == "is a directory"
    assert "does not exist" in workers.scan_file(str(tmp_path / "gone"), JOB).findings[0].message
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([1]))
    report = workers.scan_file(str(path), JOB)
    assert report.verdict is Verdict.CLEAN
    assert report.path == str(path)

    for error, rule in (
        (OSError(5, "Input/output error"), "scan.unreadable"),
        (MemoryError(), "scan.memory"),
        (RuntimeError("secret"), "internal.error"),
    ):

        class Loader:
            def scan(self, _stream, error=error, **_options):
                raise error

        monkeypatch.setattr(workers, "loader_of", lambda _job, kind=Loader: kind())
        report = workers.scan_file(str(path), JOB)
        assert report.verdict is Verdict.ERROR
        assert report.findings[0].rule_id == rule
        assert "secret" not in report.findings[0].message
