"""Scanning: the stages of :mod:`safeload.pipeline.stages` up to the fifth. What rebuilds cannot be imported from here.

    (1) read         the bytes, to their end
    (2) open         an envelope is authenticated if there are keys; without them the report says that it is one
    (3) signer       whose policy, grants and manifest judge from here on
    (4) detect       the container, by the bytes, or by what the envelope says
    (5) judge        every stream and every member

Rule: a scan never raises for what is in an artifact. Whatever cannot be judged is said in the report, and is not clean; a scan
that raised could be kept from reporting the next file by a broken one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, PolicyError, SafeloadError
from safeload.findings import Finding, Report, Severity, Verdict
from safeload.formats.base import WHOLE
from safeload.formats.damage import diagnose, is_model_name
from safeload.formats.detect import HEAD
from safeload.pipeline.container import ContainerWalk
from safeload.pipeline.request import JudgeOptions, check_size
from safeload.pipeline.sequence import broken_judgement, finding_of, judged_stream
from safeload.pipeline.signer import is_pickled, open_envelope, opened_stream, payload_format, signer_options
from safeload.pipeline.stages import ENVELOPE, open_artifact, record_digest
from safeload.pipeline.verdict import report_of
from safeload.policy.cautions import with_cautions
from safeload.source.blob import Blob, FileBlob, MemoryBlob
from safeload.source.sources import FileSource, source_for_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.audit import Operation
    from safeload.envelope import Opened
    from safeload.pipeline.request import ReadRequest
    from safeload.pipeline.tree import JudgedArtifact
    from safeload.pipeline.verdict import Judgement
    from safeload.program import Program

__all__ = ["envelope_facts", "scan"]


def scan(source: Any, request: ReadRequest, operation: Operation) -> Report:
    """The report of ``source``: a path or URL, an open binary file, or bytes-like."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        try:
            with open_artifact(source, request.limits.max_artifact_bytes) as file:
                return _scan_file(file, path, request, operation)
        except SafeloadError as error:
            return _report_of_error(error, path=path)
    if hasattr(source, "read"):
        return _scan_file(source, "", request, operation)
    return _scan_blob(MemoryBlob(bytes(memoryview(source))), "", request, operation)


_SMALL = 1 << 16


def _scan_file(file: Any, path: str, request: ReadRequest, operation: Operation) -> Report:
    """Scan an open file to its end; one that can be read at random access stays where it is."""
    try:
        reader = source_for_file(file)
        limits = request.limits
        blob: Blob = (
            FileBlob(file) if isinstance(reader, FileSource) else MemoryBlob(reader.rest(limits.max_artifact_bytes))
        )
        check_size(blob.size, limits)
        # A small file is read once, and not a piece for each format that looks at it.
        looked_at = blob.kept() if blob.size <= _SMALL else blob
        report = _scan_blob(looked_at, path, request, operation)
        name = path or getattr(file, "name", "")
        if report.is_no_artifact and isinstance(name, str) and is_model_name(name):
            report = _damaged(report, looked_at)
        blob.unchanged()
    except SafeloadError as error:
        return _report_of_error(error, path=path)
    if isinstance(blob, FileBlob):
        file.seek(0, os.SEEK_END)
    return report


def _scan_blob(blob: Blob, path: str, request: ReadRequest, operation: Operation) -> Report:
    # (1) The report names the digest of the bytes that were looked at.
    facts: dict[str, Any] = {"path": path, "sha256": record_digest(blob, operation), "size": blob.size}
    # (2) An envelope is asked for by nobody: a scan reports what there is.
    if blob.head(1) == ENVELOPE:
        report = _scan_envelope(blob.read(0, blob.size), request, operation, facts)
    else:
        # (3) Nobody has signed it: the caller's policy decides.
        # (4) (5) The walk detects, as it does for each member, and judges.
        walk = ContainerWalk(request.part, request.judging, operation, loading=False)
        report = with_cautions(walk.examine(blob).report(**facts), request.judging.policy)
    if operation.recording:
        operation.set(verdict=report.verdict, findings=report.findings, container=report.container)
    return report


def _damaged(report: Report, blob: Blob) -> Report:
    """The report of what is called like a model and is none: malformed, if its bytes tell what happened to it."""
    diagnosis = diagnose(blob.head(HEAD))
    if diagnosis is None or not diagnosis.damaged:
        return report
    finding = Finding("format.damaged", Severity.MEDIUM, diagnosis.message, verdict=Verdict.MALFORMED)
    return replace(report, verdict=Verdict.MALFORMED, findings=(finding,))


def _scan_envelope(data: bytes, request: ReadRequest, operation: Operation, facts: dict[str, Any]) -> Report:
    facts = {**facts, "container": "envelope", "envelope": _unverified(data)}
    if request.keys is None:
        message = "a signed envelope; its payload was not looked at, because no keys were given to verify it"
        finding = Finding("envelope.no-keys", Severity.MEDIUM, message, verdict=Verdict.SKIPPED)
        return Report(Verdict.SKIPPED, (finding,), **facts)
    try:
        # (2) Nothing of the payload is looked at before it is authentic.
        opened = open_envelope(data, request, operation)
        # (3) What the signer may do is what its key's entry says, and its manifest.
        judging = signer_options(opened, request)
        facts["envelope"] = envelope_facts(opened)
        # (4) The envelope says what its payload is.
        if is_pickled(opened):
            payload, buffers = opened_stream(opened, request, judging)
        else:
            form = payload_format(opened, judging)
            # (5) Every stream and every member.
            walk = ContainerWalk(request.part, judging, operation, loading=False, spills=not opened.suite.encrypts)
            return with_cautions(walk.examine(MemoryBlob(opened.payload), known=form).report(**facts), judging.policy)
    except SafeloadError as error:
        return _report_of_error(error, **facts)
    # (5) The one stream that the payload is.
    try:
        judgement = judged_stream(MemoryBlob(payload), 0, judging, operation, buffers=buffers)
        if judgement.census.size != len(payload):
            raise FormatError("bytes follow the pickle in the envelope", code="format.trailing")
    except SafeloadError as error:
        broken = broken_judgement(error, judging)
        return report_of([broken] if broken else [], findings=[finding_of(error, "payload")], **facts)
    return with_cautions(report_of([judgement], **facts), judging.policy)


def _unverified(data: bytes) -> dict[str, Any] | None:
    """What an envelope's prelude says before anything is verified; ``None`` if it makes no sense."""
    from safeload.envelope import inspect_prelude

    try:
        return {"verified": False, **inspect_prelude(data)}
    except SafeloadError:
        return None


def envelope_facts(opened: Opened) -> dict[str, Any]:
    """What is known about a verified envelope, without its payload."""
    return {
        "verified": True,
        "key_id": opened.key_id.hex(),
        "label": opened.entry.label,
        "suite": opened.suite.label,
        "layout": opened.layout.name.lower(),
        "codec": opened.codec_name,
        "version": opened.version,
        "created_us": opened.created_us,
        "expires_us": opened.expires_us,
        "payload_size": opened.size,
        "claims": opened.claims,
    }


def _report_of_error(error: SafeloadError, **facts: Any) -> Report:
    """The report of an artifact about which nothing is known but why it could not be judged."""
    finding = finding_of(error)
    return Report(finding.verdict, (finding,), **facts)


def programs(path: str | os.PathLike[str]) -> list[Program]:
    """The programs of an artifact's streams, for learning a policy from it. Loads nothing.

    Raises:
        FormatError: it is no well-formed pickle file.
        PolicyError: there is evidence of harm in it, or it carries code, so nothing may be learned from it.
    """
    from safeload.audit import SILENT
    from safeload.limits import DEFAULT_LIMITS
    from safeload.policy import Policy

    options = JudgeOptions(Policy.packs(), DEFAULT_LIMITS)
    with open_artifact(path) as file, SILENT.operation("scan") as operation:
        walk = ContainerWalk(WHOLE, options, operation, loading=False)
        walk.learns = True
        examined = walk.examine(FileBlob(file))
        found = list(_judgements(examined))
    for judgement in found:
        harmful = next((finding for finding in judgement.findings if _teaches_nothing(finding)), None)
        if harmful is not None:
            raise PolicyError(f"nothing was learned from {path}: {harmful.message}", code=harmful.rule_id)
    return [judgement.program for judgement in found if judgement.program is not None]


def _teaches_nothing(finding: Finding) -> bool:
    """Whether no policy may be learned from an artifact: it is harmful, or no policy could let it in."""
    return finding.verdict is Verdict.MALICIOUS or finding.rule_id == "policy.code"


def _judgements(examined: JudgedArtifact) -> Iterator[Judgement]:
    """Of every stream of an artifact and of its members; raises for what could not be judged."""
    if examined.error is not None:
        raise examined.error
    wrong = next((finding for finding in examined.findings if finding.verdict is not Verdict.CLEAN), None)
    if wrong is not None:
        raise FormatError(wrong.message, code=wrong.rule_id)
    yield from examined.judgements
    for member in examined.members:
        if not member.report().is_no_artifact:
            yield from _judgements(member)
