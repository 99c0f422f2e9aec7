"""All pickle streams of an artifact, one behind the other, judged for a report. Loads nothing.

Rule: whatever cannot be judged becomes a finding, and is not clean; of a stream that breaks, what it would have done before
is judged, because ``pickle.load`` executes opcodes as they come.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from safeload.engine.census import Census
from safeload.errors import EnvelopeError, FormatError, LimitExceededError, SafeloadError
from safeload.facts.printable import printable_ascii
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.detect import looks_like_pickle_head
from safeload.pipeline.plain import load_plain
from safeload.pipeline.stream import has_arrays, is_short, judge, judge_broken
from safeload.pipeline.verdict import Judgement
from safeload.source.blob_source import BlobSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from safeload.audit import Operation
    from safeload.pipeline.request import JudgeOptions
    from safeload.source.blob import Blob

__all__ = [
    "Pickles",
    "any_encoding",
    "broken_judgement",
    "finding_of",
    "internal_error",
    "judge_streams",
    "judged_stream",
    "lenient_findings",
]

_MAX_STREAMS = 20_000
_MOST_SPACE = 64
_LOOKED_AT = 1 << 20


class Pickles(NamedTuple):
    """What was found: the streams judged, findings about the file as a whole, and its container.

    ``error`` is what stopped at the first byte where the artifact is no pickle at all; ``arrays``: it is to be read by
    :mod:`safeload.pipeline.joblib.walk`, and ``error`` is where a plain unpickler comes to the first array.
    """

    judgements: list[Judgement]
    findings: list[Finding]
    container: str = "pickle"
    error: SafeloadError | None = None
    arrays: bool = False


def judge_streams(blob: Blob, options: JudgeOptions, operation: Operation) -> Pickles:
    """Judge every stream of ``blob``; never raises for what is in it."""
    found = Pickles([], [])
    position = 0
    while position < blob.size:
        if len(found.judgements) == _MAX_STREAMS:
            found.findings.append(_too_many(position))
            break
        try:
            judgement = _short(blob, position, options) or judged_stream(blob, position, options, operation)
        except SafeloadError as error:
            return _stopped(found, blob, position, error, options)
        except Exception as error:  # noqa: BLE001 - a scan reports; an error in a check is never clean
            found.findings.append(internal_error(error))
            break
        found.judgements.append(judgement.settled())
        position += judgement.census.size
        if options.spending is not None:
            try:
                options.spending.judge(len(judgement.census.code), traced=judgement.program is not None)
            except LimitExceededError as error:
                found.findings.append(finding_of(error, f"byte {position}"))
                break
    return found


# Short streams of plain data take a shorter way, as in a load.
_SHORT = 4_096


def _short(blob: Blob, position: int, options: JudgeOptions) -> Judgement | None:
    """The judgement of a short stream that is all of ``blob``, proven harmless by its shape alone; ``None``: look at it properly."""
    if position or blob.size > _SHORT:
        return None
    data = blob.read(0, blob.size)
    if not is_short(data, options):
        return None
    try:
        load_plain(data, options)  # does the unpickler accept it? It can do nothing but build it
    except SafeloadError:
        return None
    return Judgement(Census(data, [], len(data), data[1], has_code=False, mutable=False))


def _stopped(found: Pickles, blob: Blob, position: int, error: SafeloadError, options: JudgeOptions) -> Pickles:
    """The result when the stream at ``position`` cannot be judged."""
    if not found.judgements and has_arrays(error):
        return found._replace(arrays=True, error=error)
    broken = broken_judgement(error, options)
    judgements, findings = found.judgements, found.findings
    if broken is None and not judgements and not looks_like_pickle_head(blob.head(2)):
        return found._replace(error=error)
    if broken is None and judgements and type(error) is FormatError:
        findings.append(_trailing(blob, position))
        return found
    findings.append(finding_of(error, f"stream {len(judgements)}, byte {position}"))
    if broken is not None:
        judgements.append(broken)
    if broken is None or not any(finding.verdict is Verdict.MALICIOUS for finding in broken.findings):
        findings += lenient_findings(blob, position)
    return found


def lenient_findings(blob: Blob, position: int = 0) -> list[Finding]:
    """What a less strict unpickler would do of harm in a malformed stream; nothing if it does none."""
    from safeload.engine.lenient_names import harmful_call

    name = harmful_call(blob.read(position, min(_LOOKED_AT, blob.size - position)))
    if name is None:
        return []
    shown = printable_ascii(name)
    message = f"malformed, but an unpickler that is less strict reads it and calls {shown}; this is a way to run code"
    return [Finding("format.lenient", Severity.CRITICAL, message, f"byte {position}", name, Verdict.MALICIOUS)]


def judged_stream(
    blob: Blob, position: int, options: JudgeOptions, operation: Operation, *, buffers: Iterable[Any] | None = None
) -> Judgement:
    """Judge the stream at ``position`` whatever the encoding of its Python 2 strings; who loads it has to name it.

    Raises:
        SafeloadError: it cannot be judged.
    """

    def judged(options: JudgeOptions) -> Judgement:
        return judge(BlobSource(blob, position, skims=True), options, operation, buffers=buffers)

    return any_encoding(judged, options)


def any_encoding(judged: Callable[[JudgeOptions], Judgement], options: JudgeOptions) -> Judgement:
    """What ``judged`` says of a stream, for a scan: Python 2 strings that are not ASCII are read as Latin-1 and noted."""
    try:
        return judged(options)
    except FormatError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
    judgement = judged(replace(options, encoding="latin1"))
    return judgement._replace(notes=(*judgement.notes, _PYTHON_2))


def _trailing(blob: Blob, position: int) -> Finding:
    size = blob.size - position
    what = f"{size:,} bytes follow" if size > 1 else "one byte follows"
    if size <= _MOST_SPACE and not blob.read(position, size).strip():
        what = f"{'a line break' if size == 1 else 'white space'} ({size:,} byte{'s' * (size > 1)}), as editors add, follows"
    message = (
        f"{what} the pickle that ends at byte {position}, and is no pickle; readers of the file may treat it differently. "
        f"If it is not meant to be there, cut it off: truncate -s {position} FILE"
    )
    return Finding("format.trailing", Severity.MEDIUM, message, f"byte {position}", verdict=Verdict.MALFORMED)


_PYTHON_2 = Finding(
    "format.encoding",
    Severity.INFO,
    "has strings of Python 2 that are not ASCII; load it with encoding='latin1' (or 'bytes')",
    verdict=Verdict.CLEAN,
)


def _too_many(position: int) -> Finding:
    message = f"the file holds more than {_MAX_STREAMS:,} pickles; what follows byte {position} was not looked at. Split the file"
    return Finding("limit.streams", Severity.HIGH, message, f"byte {position}", verdict=Verdict.UNKNOWN)


def broken_judgement(error: SafeloadError, options: JudgeOptions) -> Judgement | None:
    """What the stream would have done before it breaks."""
    if error.broken_stream is None:
        return None
    code, protocol, buffers = error.broken_stream
    whole = code()
    judgement = judge_broken(whole, protocol, options, buffers)
    if options.spending is not None:
        with contextlib.suppress(LimitExceededError):  # whoever goes on to the next stream asks first
            options.spending.judge(len(whole), traced=judgement is not None)
    return judgement


def finding_of(error: SafeloadError, location: str = "") -> Finding:
    """What a refusal amounts to in a report."""
    severity, verdict = Severity.MEDIUM, Verdict.MALFORMED
    if error.code == "format.buffers":
        severity, verdict = Severity.LOW, Verdict.UNKNOWN
    elif error.code in ("format.unsupported", "format.missing-extra", "format.lfs-pointer"):
        verdict = Verdict.SKIPPED
    elif isinstance(error, LimitExceededError | EnvelopeError) or error.code.startswith(
        ("format.extension", "policy.")
    ):
        severity, verdict = Severity.HIGH, Verdict.UNKNOWN
    return Finding(error.code, severity, str(error), location, verdict=verdict)


def internal_error(error: Exception) -> Finding:
    """The finding for an error in a check itself."""
    message = f"an internal error ({type(error).__name__}) stopped the analysis; please report it with the file"
    return Finding("internal.error", Severity.HIGH, message, verdict=Verdict.ERROR)
