"""``--format json``: for programs. The keys are fixed by ``schema_version``; a new one is added, none is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.facts.printable import json_text

if TYPE_CHECKING:
    from safeload.cli.reports.result import ScanResult
    from safeload.findings import Report

__all__ = ["FORMAT", "SCHEMA_VERSION", "SUMMARY", "artifact", "render"]

FORMAT = "json"
SUMMARY = "for programs; the keys are stable"
SCHEMA_VERSION = 1


def artifact(report: Report) -> dict[str, Any]:
    """The entry of one artifact, with those of its members."""
    return {
        "path": report.path,
        "sha256": report.sha256,
        "size": report.size,
        "container": report.container,
        "verdict": str(report.verdict),
        "findings": [finding.to_dict() for finding in report.findings],
        "globals": list(report.globals),
        "members": [artifact(member) for member in report.members],
    }


def render(result: ScanResult) -> str:
    """The result as one JSON document."""
    return json_text(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "safeload", "version": result.version, "policy": result.policy},
            "summary": result.summary,
            "artifacts": [artifact(report) for report in result.artifacts],
            "not_entered": list(result.not_entered),
        }
    )
