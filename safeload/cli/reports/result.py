"""What one run of ``scan`` found, ready to be rendered.

Rule: a file that was not looked at is never counted as clean, nor hidden among the files that are no artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass

from safeload.findings import Report, Verdict

__all__ = ["ScanResult"]


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
