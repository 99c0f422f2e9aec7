"""Scanning: the way of an artifact, stopped before the load. It cannot load.

Rule: a scan never raises for what is in an artifact; whatever cannot be judged is said in the report, and is not clean.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Any

from safeload.artifact import ENVELOPE, open_artifact, open_envelope, opened_stream, signer_options
from safeload.errors import EnvelopeError, FormatError, LimitExceededError, PolicyError, SafeloadError
from safeload.findings import Finding, Report, Severity, Verdict
from safeload.formats.detect import HEAD, known_container, looks_like_pickle_head
from safeload.formats.sources import BytesSource, FileSource, source_for_file
from safeload.pipeline import judge, judge_broken
from safeload.verdict import Judgement, Options, report_of

if TYPE_CHECKING:
    from safeload.artifact import Demands
    from safeload.audit import Operation
    from safeload.envelope import Opened
    from safeload.program import Program

__all__ = ["scan"]

_MAX_STREAMS = 20_000


def scan(source: Any, demands: Demands, options: Options, operation: Operation) -> Report:
    """The report of ``source``: a path, an open binary file, or bytes-like."""
    path = ""
    try:
        if isinstance(source, (str, os.PathLike)):
            path = os.fsdecode(source)
            with open_artifact(source) as file:
                data = source_for_file(file).rest(options.limits.max_artifact_bytes)
        elif hasattr(source, "read"):
            data = source_for_file(source).rest(options.limits.max_artifact_bytes)
        else:
            data = bytes(memoryview(source))
    except SafeloadError as error:
        return Report(*_of_error(error), path=path)
    facts: dict[str, Any] = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    if operation.recording:
        operation.set(sha256=facts["sha256"], size=len(data))
    report = _scan_bytes(data, demands, options, operation, facts)
    if operation.recording:
        operation.set(verdict=report.verdict, findings=report.findings, container=report.container)
    return report


def _scan_bytes(data: bytes, demands: Demands, options: Options, operation: Operation, facts: dict[str, Any]) -> Report:
    if data[:1] == ENVELOPE:
        return _scan_envelope(data, demands, options, operation, facts)
    if not data:
        finding = Finding("format.empty", Severity.LOW, "the file is empty", verdict=Verdict.MALFORMED)
        return Report(Verdict.MALFORMED, (finding,), **facts)
    return _scan_streams(data, options, operation, facts)


def _scan_streams(data: bytes, options: Options, operation: Operation, facts: dict[str, Any]) -> Report:
    """All pickle streams of ``data``, one after the other."""
    judgements: list[Judgement] = []
    findings: list[Finding] = []
    position = 0
    while position < len(data):
        if len(judgements) == _MAX_STREAMS:
            findings.append(_too_many(position))
            break
        try:
            judgement = _judged(data, position, options, operation)
        except SafeloadError as error:
            broken = _broken(error, options)
            if not judgements and broken is None and not looks_like_pickle_head(data):
                return _not_a_pickle(data, error, facts)
            if broken is None and judgements and type(error) is FormatError:
                findings.append(_trailing(len(data) - position, position))
                break
            if broken is not None:
                judgements.append(broken)
                if _is_joblib(broken):
                    facts = {**facts, "container": "joblib"}
                    findings.append(_JOBLIB)
                    break
            findings.append(_finding_of(error, f"stream {len(judgements) - (broken is not None)}, byte {position}"))
            break
        except Exception as error:  # noqa: BLE001 - a scan reports; an error in a check is never clean
            findings.append(_internal(error))
            break
        judgements.append(judgement)
        position += judgement.census.size
    else:
        if position < len(data):
            findings.append(
                _of_error(LimitExceededError(f"more than {_MAX_STREAMS:,} pickles in one file", code="limit.streams"))[
                    1
                ][0]
            )
    return report_of(judgements, findings=findings, **facts)


def programs(path: str | os.PathLike[str]) -> list[Program]:
    """The programs of an artifact's streams, for learning a policy from it. Loads nothing.

    Raises:
        FormatError: it is no well-formed pickle file.
        PolicyError: there is evidence of harm in it, so nothing may be learned from it.
    """
    from safeload.audit import SILENT
    from safeload.limits import DEFAULT_LIMITS
    from safeload.policy import Policy

    options = Options(Policy.packs(), DEFAULT_LIMITS)
    with open_artifact(path) as file:
        data = source_for_file(file).rest(options.limits.max_artifact_bytes)
    found: list[Program] = []
    position = 0
    with SILENT.operation("scan") as operation:
        while position < len(data):
            judgement = _judged(data, position, options, operation)
            position += judgement.census.size
            harmful = next((finding for finding in judgement.findings if finding.verdict is Verdict.MALICIOUS), None)
            if harmful is not None:
                raise PolicyError(f"nothing was learned from {path}: {harmful.message}", code=harmful.rule_id)
            if judgement.program is not None:
                found.append(judgement.program)
    return found


def _trailing(size: int, position: int) -> Finding:
    message = (
        f"{size:,} bytes follow the pickle that ends at byte {position}, and they are no pickle; readers of the file may "
        "treat them differently. Cut them off if they are not meant to be there"
    )
    return Finding("format.trailing", Severity.MEDIUM, message, f"byte {position}", verdict=Verdict.MALFORMED)


_PYTHON_2 = Finding(
    "format.encoding",
    Severity.INFO,
    "has strings of Python 2 that are not ASCII; load it with encoding='latin1' (or 'bytes')",
    verdict=Verdict.CLEAN,
)


_JOBLIB = Finding(
    "format.joblib",
    Severity.MEDIUM,
    "a joblib file: array bytes stand between its opcodes, and this version of safeload cannot judge what follows the first "
    "one. Save it with pickle or safeload.dump to have it judged as a whole",
)


def _is_joblib(judgement: Judgement) -> bool:
    """Whether a stream broke off where joblib put the bytes of an array."""
    uses = judgement.program.uses if judgement.program else ()
    return any(use.name == "joblib.numpy_pickle.NumpyArrayWrapper" for use in uses)


def _too_many(position: int) -> Finding:
    message = f"the file holds more than {_MAX_STREAMS:,} pickles; what follows byte {position} was not looked at. Split the file"
    return Finding("limit.streams", Severity.HIGH, message, f"byte {position}", verdict=Verdict.UNKNOWN)


def _judged(data: bytes, position: int, options: Options, operation: Operation) -> Judgement:
    """Judge the stream at ``position`` whatever the encoding of its Python 2 strings; who loads it has to name it."""
    try:
        return judge(_source(data, position), options, operation)
    except FormatError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
    judgement = judge(_source(data, position), options._replace(encoding="latin1"), operation)
    return judgement._replace(notes=(*judgement.notes, _PYTHON_2))


def _source(data: bytes, position: int) -> BytesSource | FileSource:
    """A stream inside ``data``, without a copy of all that follows it."""
    if not position:
        return BytesSource(data)
    file = io.BytesIO(data)  # shares the bytes
    file.seek(position)
    return FileSource(file, position)


def _broken(error: SafeloadError, options: Options) -> Judgement | None:
    """What the stream would have done before it breaks."""
    if error.broken_stream is None:
        return None
    code, protocol = error.broken_stream
    return judge_broken(code(), protocol, options)


def _not_a_pickle(data: bytes, error: SafeloadError, facts: dict[str, Any]) -> Report:
    container = known_container(data[:HEAD])
    if container is None and isinstance(error, FormatError):
        finding = Finding(
            "format.unknown", Severity.INFO, "not an artifact of a format that safeload knows", verdict=Verdict.SKIPPED
        )
        return Report(Verdict.SKIPPED, (finding,), **facts)
    if container is None:
        return Report(*_of_error(error), **facts)
    if container == "git-lfs-pointer":
        message = "this is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull' and scan again"
        finding = Finding("format.lfs-pointer", Severity.MEDIUM, message, verdict=Verdict.SKIPPED)
    else:
        message = f"a {container} file; this version of safeload does not look inside"
        finding = Finding("format.unsupported", Severity.LOW, message, verdict=Verdict.SKIPPED)
    return Report(Verdict.SKIPPED, (finding,), container=container, **facts)


def _scan_envelope(
    data: bytes, demands: Demands, options: Options, operation: Operation, facts: dict[str, Any]
) -> Report:
    from safeload.envelope import inspect_prelude

    try:
        seen: dict[str, Any] | None = {"verified": False, **inspect_prelude(data)}
    except SafeloadError:
        seen = None
    facts = {**facts, "container": "envelope", "envelope": seen}
    if demands.keys is None:
        message = "a signed envelope; its payload was not looked at, because no keys were given to verify it"
        finding = Finding("envelope.no-keys", Severity.MEDIUM, message, verdict=Verdict.SKIPPED)
        return Report(Verdict.SKIPPED, (finding,), **facts)
    try:
        opened = open_envelope(data, demands, operation)
        signed = signer_options(opened, demands, options)
        payload, buffers = opened_stream(opened, demands)
    except SafeloadError as error:
        return Report(*_of_error(error), **facts)
    facts["envelope"] = _envelope_facts(opened)
    try:
        judgement = judge(BytesSource(payload), signed, operation, buffers=buffers)
        if judgement.census.size != len(payload):
            raise FormatError("bytes follow the pickle in the envelope", code="format.trailing")
    except SafeloadError as error:
        broken = _broken(error, signed)
        return report_of([broken] if broken else [], findings=[_finding_of(error, "payload")], **facts)
    return report_of([judgement], **facts)


def _envelope_facts(opened: Opened) -> dict[str, Any]:
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


def _finding_of(error: SafeloadError, location: str = "") -> Finding:
    severity, verdict = Severity.MEDIUM, Verdict.MALFORMED
    if error.code == "format.buffers":
        severity, verdict = Severity.LOW, Verdict.UNKNOWN
    elif isinstance(error, LimitExceededError | EnvelopeError) or error.code.startswith(
        ("format.extension", "policy.")
    ):
        severity, verdict = Severity.HIGH, Verdict.UNKNOWN
    return Finding(error.code, severity, str(error), location, verdict=verdict)


def _of_error(error: SafeloadError) -> tuple[Verdict, tuple[Finding, ...]]:
    finding = _finding_of(error)
    return finding.verdict, (finding,)


def _internal(error: Exception) -> Finding:
    message = f"an internal error ({type(error).__name__}) stopped the analysis; please report it with the file"
    return Finding("internal.error", Severity.HIGH, message, verdict=Verdict.ERROR)
