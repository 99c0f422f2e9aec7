"""What is kept of a member that nothing will be rebuilt of, and of the same bytes when they are met again.

Rule: what judging a member needed (bytes, programs, traced arguments) ends with its judgement. It takes some twenty kilobytes, and an
archive can have a hundred thousand members: 1,388 bytes of nested zip took 1.2 GB, and 48 s to judge 65,536 times the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from safeload.errors import SafeloadError
from safeload.findings import Finding, Report, Severity, StreamInfo, Verdict
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from safeload.formats.base import Member
    from safeload.pipeline.tree import JudgedArtifact
    from safeload.source.blob import Blob

__all__ = ["Repeated", "Summary", "at_hand", "digest_of"]

_SHOWN = 200
# Bytes up to this size are hashed before they are judged; above it only what was unpacked, which took longer than that.
_SMALL = 1 << 20
_KEPT = 1 << 16


class Summary(NamedTuple):
    """What is left of an artifact: its report, and the first error in it.

    Attributes:
        report: ``None`` if nothing is to be said of it.
        clean: whether it says nothing against loading what it is in.
        error, internal: what a load raises for it. held: the artifacts in it, however deep.
    """

    report: Report | None
    clean: bool
    held: int
    error: SafeloadError | None = None
    internal: Exception | None = None

    @classmethod
    def of(cls, artifact: JudgedArtifact, digest: str) -> Summary:
        """The summary of ``artifact``, whose bytes have the SHA-256 ``digest`` (``""``: not known yet)."""
        if artifact.is_no_artifact():
            return cls(None, artifact.clean(), artifact.held)
        report = _plain(artifact, digest)
        if report is not None:
            return cls(report, clean=True, held=0)
        report = artifact.report(path=artifact.name, size=artifact.size, sha256=digest)
        if report is None or report.is_no_artifact:
            report = None
        elif not digest:
            report = replace(report, sha256=digest_of(artifact.blob))
        first = next((part for part in artifact.parts() if part.internal is not None or part.error is not None), None)
        if first is None:
            return cls(report, artifact.clean(), artifact.held)
        return cls(report, artifact.clean(), artifact.held, first.error, first.internal)

    def again(self, name: str) -> Summary:
        """What is said of the same bytes under another name: where they were judged, and not all of it once more."""
        known = self.report
        if known is None:
            return self
        findings: tuple[Finding, ...] = ()
        if known.findings or known.members:
            severity = max((finding.severity for finding in known.findings), default=Severity.INFO)
            message = f"has the same bytes as {known.path[:_SHOWN]!a}, and was judged there"
            findings = (Finding("archive.repeated", severity, message, verdict=known.verdict),)
        report = Report(
            known.verdict, findings, container=known.container, sha256=known.sha256, size=known.size, path=name
        )
        return self._replace(report=report)


def _plain(artifact: JudgedArtifact, digest: str) -> Report | None:
    """The report of one clean pickle of plain data, which most members of large archives are."""
    if len(artifact.judgements) != 1 or artifact.findings or artifact.split is not None or not digest:
        return None
    (judgement,) = artifact.judgements
    if judgement.program is not None or judgement.findings or judgement.notes:
        return None
    streams = (StreamInfo(0, judgement.census.size, judgement.census.protocol),)
    return Report(
        Verdict.CLEAN,
        streams=streams,
        container=artifact.container,
        sha256=digest,
        size=artifact.size,
        path=artifact.name,
    )


class Repeated:
    """The members of one artifact that were judged, by their bytes and how deep they lie: a limit depends on that."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Summary] = {}

    def digest(self, member: Member) -> str:
        """SHA-256 of the member's bytes, hex; ``""`` where it is not worth it, or they are not read whole and alone."""
        blob = member.blob
        if member.request is not None and (member.request.part.member, member.request.part.index) != (None, None):
            return ""
        return digest_of(blob) if blob.size <= _SMALL or blob.budget is not None else ""

    def get(self, digest: str, depth: int) -> Summary | None:
        """What is known of these bytes."""
        return self._known.get((digest, depth)) if digest else None

    def add(self, digest: str, depth: int, summary: Summary) -> None:
        """Remember it."""
        if digest:
            self._known[digest, depth] = summary


def at_hand(member: Member) -> Member:
    """``member`` with its bytes read once, if they are few: a dozen looks at each of very many small files take seconds."""
    blob = member.blob
    if type(blob) is MemoryBlob or blob.size > _KEPT:
        return member
    try:
        kept = blob.kept()
    except SafeloadError:  # whoever judges it meets the error again
        return member
    blob.release()
    return member._replace(blob=kept)


def digest_of(blob: Blob) -> str:
    """SHA-256 of ``blob``, hex; ``""`` if it cannot be unpacked."""
    if blob.size <= _KEPT and type(blob) is MemoryBlob:
        return hashlib.sha256(blob.read(0, blob.size)).hexdigest()
    digest = hashlib.sha256()
    try:
        for chunk in blob.chunks():
            digest.update(chunk)
    except SafeloadError:
        return ""
    return digest.hexdigest()
