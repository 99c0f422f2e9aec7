"""What one run of ``scan`` found, ready to be rendered.

Rule: a file that was not looked at is never counted as clean. ``error`` means *not scanned*: unreadable, over a limit,
a Git LFS pointer, a pipe. ``skipped`` means looked at and no artifact of any known format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeload.findings import Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ScanResult", "was_scanned"]


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


def _all(report: Report) -> Iterator[Report]:
    yield report
    for member in report.members:
        yield from _all(member)


def was_scanned(report: Report) -> bool:
    """Whether the artifact and everything inside it was looked at."""
    return all(each.verdict is not Verdict.ERROR for each in _all(report))
