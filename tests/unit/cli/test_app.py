"""Whatever goes wrong ends in a line or two on standard error and in its exit code."""

from __future__ import annotations

import os

import click
import pytest

from safeload.cli import app, main
from safeload.cli.scan import exit_code
from safeload.errors import AuditError, FormatError, KeyProviderError
from safeload.findings import Finding, Report, Severity, Verdict


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FormatError("damaged; fetch it again"), 1, "damaged; fetch it again"),
        (KeyProviderError("no key"), 2, "no key"),
        (AuditError("sink"), 2, "sink"),
        (OSError(28, "No space left on device", "/tmp/x"), 2, "/tmp/x: no space left on device"),
        (OSError("odd"), 2, "oserror"),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.exceptions.Abort(), 130, "interrupted"),
        (ZeroDivisionError("x\x1b[2J"), 2, "internal error: ZeroDivisionError: x\\x1b[2J"),
        (SystemExit(4), 4, ""),
    ],
)
def test_every_error_becomes_a_message_and_a_code(monkeypatch, capsys, error, code, words):
    """No traceback, no escape sequence, and only answers of "no" are 1."""

    def fail(**_kwargs):
        raise error

    monkeypatch.setattr(app.app, "main", fail)
    assert main([]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 2


def test_debug_shows_the_traceback(monkeypatch, capsys):
    """For a bug report."""

    def fail(**_kwargs):
        raise ZeroDivisionError

    monkeypatch.setenv("SAFELOAD_DEBUG", "1")
    monkeypatch.setattr(app.app, "main", fail)
    assert main([]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(monkeypatch, capfd):
    """As in ``safeload … | head``."""

    def fail(**_kwargs):
        raise BrokenPipeError

    saved = os.dup(1)
    try:
        monkeypatch.setattr(app.app, "main", fail)
        assert main([]) == 141
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert capfd.readouterr().err == ""


LIMIT = Finding("limit.memo", Severity.HIGH, "too much")
INTERNAL = Finding("internal.error", Severity.HIGH, "bug", verdict=Verdict.ERROR)
CLEAN = Report(Verdict.CLEAN)
UNKNOWN = Report(Verdict.UNKNOWN)
MALFORMED = Report(Verdict.MALFORMED)
MALICIOUS = Report(Verdict.MALICIOUS)
ERROR = Report(Verdict.ERROR)
BUG = Report(Verdict.ERROR, (INTERNAL,))
LFS = Report(Verdict.SKIPPED, container="git-lfs-pointer")
OVER = Report(Verdict.UNKNOWN, (LIMIT,))
TEXT = Report(Verdict.SKIPPED)


@pytest.mark.parametrize(
    ("reports", "unknown", "malicious"),
    [
        ([], 0, 0),
        ([CLEAN, TEXT], 0, 0),
        ([CLEAN, UNKNOWN], 1, 0),
        ([MALFORMED], 1, 3),
        ([MALICIOUS, ERROR, BUG], 1, 1),
        ([BUG, ERROR, MALICIOUS], 1, 1),
        ([ERROR, CLEAN], 3, 3),
        ([LFS], 3, 3),
        ([OVER], 3, 3),
        ([OVER, UNKNOWN], 1, 3),
        ([ERROR, BUG], 2, 2),
        ([BUG, LFS], 2, 2),
    ],
)
def test_exit_codes_of_a_scan(reports, unknown, malicious):
    """Clean, found, broken and not scanned are four different answers."""
    assert exit_code(reports, "unknown") == unknown
    assert exit_code(reports, "malicious") == malicious
