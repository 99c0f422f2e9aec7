"""``scan --detonate``: what no policy knows is loaded in the sandbox, and what it tries there is evidence.

Rule: only ``unknown`` is detonated: what is clean needs it not, what is malicious neither. A run that cannot take place, or
that shows nothing, is said in the report and makes no verdict better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safeload.cli.failure import Failure
from safeload.errors import SafeloadError, SandboxUnavailableError
from safeload.findings import Finding, Report, Severity, Verdict

if TYPE_CHECKING:
    from safeload.cli.workers import Job

__all__ = ["detonated"]


def detonated(report: Report, job: Job) -> Report:
    """The report with what a detonation has shown.

    Raises:
        Failure: there is no sandbox on this machine.
    """
    if report.verdict is not Verdict.UNKNOWN or not report.was_scanned:
        return report
    from safeload.cli.workers import loader_of
    from safeload.sandbox import detonate
    from safeload.sandbox.watch.detonation import with_detonation

    try:
        seen = detonate(report.path, keys=loader_of(job).keys, context=job.context)
    except SandboxUnavailableError as error:
        raise Failure(str(error), "see `safeload sandbox attest`, or scan without --detonate") from error
    except (SafeloadError, OSError) as error:
        return _not_run(report, str(error))
    if seen.report.sha256 != report.sha256:
        return _not_run(report, "the file was changed after it was judged")
    return with_detonation(report, seen)


def _not_run(report: Report, why: str) -> Report:
    finding = Finding(
        "detonation.not-run", Severity.LOW, f"it was not loaded in the sandbox: {why}", verdict=Verdict.UNKNOWN
    )
    return replace(report, findings=(*report.findings, finding))
