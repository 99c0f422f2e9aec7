"""What a check noticed, and what is known about an artifact: the shared vocabulary of every stage.

Plain data, no judgement: stages make findings, the pipeline turns them into a verdict, reports render
them. Nothing here imports another part of safeload.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Finding", "Report", "Severity", "StreamInfo", "Suggestion", "Verdict", "worst_verdict"]


class Severity(enum.IntEnum):
    """How much a finding matters; the order is the comparison."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


class Verdict(enum.StrEnum):
    """What was decided about an artifact; only ``CLEAN`` loads."""

    CLEAN = "clean"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    ERROR = "error"
    MALICIOUS = "malicious"


_ORDER = tuple(Verdict)


def worst_verdict(*verdicts: Verdict) -> Verdict:
    """The most serious of ``verdicts`` (``CLEAN`` for none)."""
    return max(verdicts, key=_ORDER.index, default=Verdict.CLEAN)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check noticed.

    Attributes:
        rule_id: stable id such as ``"policy.call-not-allowed"``.
        severity: how much it matters.
        message: one sentence for a person, with what to do next where that helps.
        location: where in the artifact (``"stream 0"``, ``"stream 0, byte 17"``), or ``""``.
        evidence: what was seen, for instance the global's name; never payload data.
        verdict: what this finding alone would make of the artifact.
    """

    rule_id: str
    severity: Severity
    message: str
    location: str = ""
    evidence: str = ""
    verdict: Verdict = Verdict.UNKNOWN

    def to_dict(self) -> dict[str, str]:
        """The five public fields, as in ``scan --format json``."""
        return {
            "rule_id": self.rule_id,
            "severity": str(self.severity),
            "message": self.message,
            "location": self.location,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One pickle opcode stream of an artifact.

    ``offset`` and ``size`` are in bytes, ``protocol`` is the highest the stream uses, ``operations`` the distinct
    operations as ``"<kind> <global>"`` and ``program`` their digest (hex SHA-256).
    """

    offset: int
    size: int
    protocol: int
    operations: tuple[str, ...] = ()
    program: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {
            "offset": self.offset,
            "size": self.size,
            "protocol": self.protocol,
            "operations": list(self.operations),
            "program": self.program,
        }


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a policy would have to allow for an artifact that it does not know; nobody has judged whether it should.

    Attributes:
        packs: shipped packs to add, which cover some of the names.
        names: what no pack covers and would have to be allowed by name.
        toml: a ``safeload.toml`` that says so, on top of the policy, with a comment on what each permission means.
        obstacles: what would refuse the artifact all the same.
    """

    packs: tuple[str, ...]
    names: tuple[str, ...]
    toml: str
    obstacles: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.toml

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {
            "packs": list(self.packs),
            "names": list(self.names),
            "toml": self.toml,
            "obstacles": list(self.obstacles),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything known about one artifact without loading it.

    Attributes:
        verdict: ``clean``, ``unknown``, ``malicious``, ``malformed``, ``error`` or ``skipped``.
        findings: what the checks noticed, most serious first.
        globals: names the artifact would import (``module.qualname``), in order of first use.
        streams: one entry per pickle stream.
        container: the outer format (``"pickle"``, ``"envelope"`` ...), ``"unknown"`` if not recognised.
        envelope: signer, suite, times and claims of an envelope, or ``None``; ``verified`` says whether they hold.
        sha256: hex digest of the whole artifact. ``size``: its length in bytes.
        source_code: fickling's decompiled program, ``""`` for pure data.
        members: reports of artifacts inside this one.
        suggestion: for an ``unknown`` artifact, what would have to be allowed; ``None`` where no policy can.
    """

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    globals: tuple[str, ...] = ()
    streams: tuple[StreamInfo, ...] = ()
    container: str = "unknown"
    envelope: dict[str, Any] | None = None
    sha256: str = ""
    size: int = 0
    source_code: str = ""
    path: str = ""
    members: tuple[Report, ...] = field(default=())
    suggestion: Suggestion | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; the keys of one artifact in ``scan --format json`` and those of ``inspect``."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "size": self.size,
            "container": self.container,
            "verdict": str(self.verdict),
            "findings": [finding.to_dict() for finding in self.findings],
            "globals": list(self.globals),
            "members": [member.to_dict() for member in self.members],
            "streams": [stream.to_dict() for stream in self.streams],
            "envelope": self.envelope,
            "source_code": self.source_code,
            "suggestion": None if self.suggestion is None else self.suggestion.to_dict(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON text (ASCII, so that hostile names cannot steer a terminal)."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=True)

    def every(self) -> Iterator[Report]:
        """This report and those of all members, however deep."""
        yield self
        for member in self.members:
            yield from member.every()

    @property
    def is_no_artifact(self) -> bool:
        """Whether the file was looked at and holds nothing to load: text, an image, an empty file, a detached signature."""
        if any(finding.rule_id == "format.empty" for finding in self.findings) or self._is_sidecar:
            return True
        return self.verdict is Verdict.SKIPPED and self.container == "unknown"

    @property
    def _is_sidecar(self) -> bool:
        """A detached signature and nothing more; with anything behind it, it is an artifact that is judged."""
        seen = self.envelope or {}
        return seen.get("unverified_layout") == "DETACHED" and seen.get("unverified_total_size") == self.size

    @property
    def was_scanned(self) -> bool:
        """Whether the artifact and everything inside it was judged.

        Not judged: what could not be read, a Git LFS pointer, a format or an envelope that was not looked into, and what
        is over a limit, unless something worse was seen in it before the limit was reached.
        """
        if not all(member.was_scanned for member in self.members):
            return False
        if self.verdict is Verdict.ERROR or any(finding.rule_id == "archive.not-judged" for finding in self.findings):
            return False
        if self.verdict is Verdict.SKIPPED:
            return self.is_no_artifact
        if self.verdict is Verdict.UNKNOWN:
            serious = [finding for finding in self.findings if finding.severity > Severity.INFO]
            return not serious or not all(finding.rule_id.startswith("limit.") for finding in serious)
        return True
