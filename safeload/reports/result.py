"""What one run of ``scan`` found, ready to be rendered.

Rule: a file that was not looked at is never counted as clean, nor hidden among the files that are no artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass

from safeload.findings import Report, Severity, Verdict

__all__ = ["ScanResult", "is_no_artifact", "was_scanned"]


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The reports of a scan.

    Attributes:
        artifacts: one report per artifact, in path order.
        version: of safeload.
        policy: digest of the policy that was applied, hex.
        not_entered: hidden directories that were passed over, in path order.
    """

    artifacts: tuple[Report, ...]
    version: str
    policy: str = ""
    not_entered: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, int]:
        """How many artifacts have each verdict; every verdict is there."""
        counts = {str(verdict): 0 for verdict in Verdict}
        for report in self.artifacts:
            counts[str(report.verdict)] += 1
        return counts


def is_no_artifact(report: Report) -> bool:
    """Whether the file was looked at and holds nothing to load: text, an image, an empty file, a detached signature."""
    if any(finding.rule_id == "format.empty" for finding in report.findings) or _is_sidecar(report):
        return True
    return report.verdict is Verdict.SKIPPED and report.container == "unknown"


def _is_sidecar(report: Report) -> bool:
    """A detached signature and nothing more; with anything behind it, it is an artifact that is judged."""
    seen = report.envelope or {}
    return seen.get("unverified_layout") == "DETACHED" and seen.get("unverified_total_size") == report.size


def was_scanned(report: Report) -> bool:
    """Whether the artifact and everything inside it was judged.

    Not judged: what could not be read, a Git LFS pointer, a format or an envelope that was not looked into, and what
    is over a limit, unless something worse was seen in it before the limit was reached.
    """
    if not all(map(was_scanned, report.members)):
        return False
    if report.verdict is Verdict.ERROR:
        return False
    if report.verdict is Verdict.SKIPPED:
        return is_no_artifact(report)
    if report.verdict is Verdict.UNKNOWN:
        serious = [finding for finding in report.findings if finding.severity > Severity.INFO]
        return not serious or not all(finding.rule_id.startswith("limit.") for finding in serious)
    return True
