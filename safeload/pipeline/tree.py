"""What is known of an artifact that was taken apart: a tree of judgements, its report, and whether all of it is clean.

Rule: it can only say what was found. What makes an object of it is :mod:`safeload.pipeline.assemble`, which a scan cannot reach.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, SafeloadError
from safeload.findings import Finding, Report, Severity, Verdict, worst_verdict
from safeload.formats.archives import some_names
from safeload.pipeline.sequence import finding_of, internal_error
from safeload.pipeline.summary import Summary, digest_of
from safeload.pipeline.verdict import refusal, report_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.formats.base import Split
    from safeload.pipeline.request import JudgeOptions
    from safeload.pipeline.verdict import Judgement
    from safeload.source.blob import Blob

__all__ = ["JudgedArtifact", "no_artifact"]


class JudgedArtifact:
    """An artifact that was taken apart and judged.

    Attributes:
        name: what the container around it calls it, ``""`` for none. ``blob``: its bytes.
        container: what it is.
        judgements: of its streams, with the ``options`` under which each was judged.
        members: the artifacts in it; ``summaries``: all that is kept of those of which nothing will be rebuilt.
        unjudged: the names of those that are of no format that anything here judges.
        held: how many artifacts there are in it, however deep.
        findings: about it as a whole.
        needed: whether the rebuild will ask for it.
    """

    __slots__ = (
        "blob",
        "container",
        "error",
        "findings",
        "held",
        "internal",
        "judgements",
        "members",
        "mmap",
        "name",
        "needed",
        "options",
        "size",
        "split",
        "summaries",
        "unjudged",
    )  # fmt: skip

    def __init__(self, name: str, blob: Blob, *, mmap: bool = False, needed: bool = True) -> None:
        self.mmap = mmap
        self.name = name
        self.blob = blob
        self.size = blob.size
        self.container = "unknown"
        self.split: Split | None = None
        self.judgements: list[Judgement] = []
        self.options: list[JudgeOptions] = []
        self.members: list[JudgedArtifact] = []
        self.summaries: list[Summary] = []
        self.held = 0
        self.findings: list[Finding] = []
        self.error: SafeloadError | None = None
        self.internal: Exception | None = None
        self.needed = needed
        self.unjudged: list[str] = []

    def fail(self, error: SafeloadError, location: str = "") -> None:
        """Note what refused; the first error is the one that a load raises."""
        self.findings.append(finding_of(error, location))
        if self.error is None:
            self.error = error

    def report(self, **facts: Any) -> Report:
        """Everything known, members included; ``facts`` are further attributes of :class:`Report`."""
        facts = {"container": self.container, **facts}
        report = report_of(self.judgements, findings=self.findings, **facts)
        named = getattr(self.split, "globals", ())  # by the format itself, not in a stream
        if named:
            report = replace(report, globals=tuple(dict.fromkeys((*report.globals, *named))))
        if not self.held:
            return report
        reports = (member.named_report() for member in self.members)
        kept = [member.report for member in self.summaries if member.report is not None]
        unjudged = [*self.unjudged]
        for member in reports:
            if not member.is_no_artifact:
                kept.append(member)
            elif member.size:
                unjudged.append(member.path)
        if not kept and not self.judgements and not self.findings:
            finding = no_artifact("holds no artifact of a format that safeload knows")
            return replace(report, verdict=Verdict.SKIPPED, findings=(finding,), container="unknown")
        verdict = worst_verdict(report.verdict, *{member.verdict for member in kept})
        if unjudged:
            verdict = worst_verdict(verdict, Verdict.SKIPPED)
            report = replace(report, findings=(*report.findings, _not_judged(unjudged)))
        return replace(report, verdict=verdict, members=tuple(kept))

    def named_report(self) -> Report:
        """The report of a member."""
        return self.report(path=self.name, size=self.size, sha256=digest_of(self.blob))

    def clean(self) -> bool:
        """Whether nothing in it, and in its members, speaks against loading it."""
        if not self.needed and self.is_no_artifact():
            return True
        findings = [*self.findings, *(finding for judgement in self.judgements for finding in judgement.findings)]
        if not all(finding.verdict is Verdict.CLEAN for finding in findings):
            return False
        return all(member.clean for member in self.summaries) and all(member.clean() for member in self.members)

    def is_no_artifact(self) -> bool:
        """Whether it was looked at, and is of no format that anything loads."""
        return (
            self.error is None
            and not self.judgements
            and not self.summaries
            and not self.members
            and {finding.rule_id for finding in self.findings} == {"format.unknown"}
        )

    def refuse(self) -> None:
        """Raise unless everything is clean.

        Raises:
            SafeloadError: the error that stopped a check, or a :class:`PolicyError` with the whole report.
        """
        if self.clean():
            return
        for part in self.parts():
            if part.internal is not None:
                raise FormatError(str(internal_error(part.internal).message), code="internal.error") from part.internal
            if part.error is not None:
                part.error.report = part.error.report or self.report()
                raise part.error
        raise refusal(self.report())

    def before_streams(self) -> int | None:
        """The bytes before its streams, if it ends with the last of them; ``None`` if it is all of its blob."""
        split = self.split
        if split is None or (len(split.streams) == 1 and split.streams[0].blob is self.blob):
            return 0
        before: int | None = getattr(split, "before_streams", None)
        return before

    @property
    def end(self) -> int:
        """Where it ends in its blob; what follows in an open file is somebody else's."""
        before = self.before_streams()
        if before is None:
            return self.blob.size
        return before + sum(judgement.census.size for judgement in self.judgements)

    def parts(self) -> Iterator[JudgedArtifact | Summary]:
        """The artifact and everything in it; of what was summed up only the first error."""
        yield self
        yield from self.summaries
        for member in self.members:
            yield from member.parts()


def _not_judged(names: list[str]) -> Finding:
    """What is said of files beside artifacts that nothing here reads: another program may run what they say."""
    files = f"{len(names):,} files" if len(names) > 1 else "1 file"
    message = f"holds {files} of no format that safeload judges, so not all of it was judged: {some_names(names)}"
    return Finding("archive.not-judged", Severity.MEDIUM, message, verdict=Verdict.SKIPPED)


def no_artifact(what: str) -> Finding:
    """The finding for what was looked at and holds nothing to load."""
    return Finding("format.unknown", Severity.INFO, what, verdict=Verdict.SKIPPED)
