"""``--format text``: for people, one block per artifact, the worst news impossible to overlook."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from safeload.cli.reports.document import Document, Line, Span, plain
from safeload.cli.reports.wording import count, distinct, headline, severity_span, verdict_span
from safeload.facts.printable import printable, printable_ascii
from safeload.findings import Finding, Report, Severity, Suggestion, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.cli.reports.result import ScanResult

__all__ = ["FORMAT", "SUMMARY", "document", "render"]

FORMAT = "text"
SUMMARY = "for people"

_COLUMN: Final = 13  # the longest verdict, "not scanned", and a gap
_MOST: Final = 6  # findings of one artifact; `inspect` shows all of them


def render(result: ScanResult) -> str:
    """The report without styles and unwrapped, as a pipe or a file gets it."""
    return plain(document(result))


def document(result: ScanResult, *, quiet: bool = False) -> Document:
    """The report as styled lines; ``quiet`` leaves the clean artifacts out."""
    lines: Document = []
    for report in result.artifacts:
        if not (quiet and report.verdict is Verdict.CLEAN):
            lines += _artifact(report)
    if lines:
        lines.append(Line())
    lines += _summary(result)
    return lines


def _artifact(report: Report) -> Iterator[Line]:
    verdict = verdict_span(report.verdict if report.was_scanned else Verdict.ERROR, _COLUMN)
    yield Line.of(verdict, Span(printable(report.path), "title"), hang=_COLUMN)
    if report.verdict is Verdict.CLEAN:
        return
    if verdict.style == "dim" or not report.was_scanned:
        for finding in report.findings[:1]:
            yield Line.of(" " * _COLUMN, headline(finding.message), hang=_COLUMN)
        return
    shown = distinct(finding for finding in report.findings if finding.severity > Severity.INFO)
    shown = shown or distinct(report.findings)
    for finding in shown[:_MOST]:
        yield _finding(finding)
    if len(shown) > _MOST:
        yield Line.of(" " * _COLUMN, Span(f"... and {count(len(shown) - _MOST, 'more finding')}", "dim"))
    if report.suggestion is not None and not report.suggestion.obstacles:
        yield _suggestion(report.suggestion)
    for member in report.members:
        if member.verdict not in (Verdict.CLEAN, Verdict.SKIPPED):
            inside = f"inside: {printable_ascii(member.path) or member.container}"
            yield Line.of(" " * _COLUMN, verdict_span(member.verdict), Span(f" {inside}"), hang=_COLUMN + 2)


def _suggestion(suggestion: Suggestion) -> Line:
    """In one line; `inspect` prints what to paste."""
    parts = [f"--policy {pack}" for pack in suggestion.packs]
    if suggestion.names:
        parts.append(
            f"{count(len(suggestion.names), 'name')} of {printable_ascii(_modules(suggestion.names))} to allow one by one"
        )
    text = f"to allow it: {', '.join(parts)}; `safeload inspect FILE` prints the TOML"
    return Line.of(" " * _COLUMN, Span(text, "dim"), hang=_COLUMN)


def _modules(names: tuple[str, ...]) -> str:
    tops = list(dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in names))
    return ", ".join(tops[:3]) + (", ..." if len(tops) > 3 else "")


def _finding(finding: Finding) -> Line:
    where = f", {finding.location}" if finding.location else ""
    rule = Span(f" [{printable_ascii(finding.rule_id + where)}]", "dim")
    return Line.of(
        " " * _COLUMN, severity_span(finding.severity), " ", headline(finding.message), rule, hang=_COLUMN + 9
    )


def _summary(result: ScanResult) -> Iterator[Line]:
    missed = [report for report in result.artifacts if not report.was_scanned]
    counts = Counter(str(report.verdict) for report in result.artifacts if report.was_scanned)
    judged = counts.total() - counts["skipped"]
    if judged:
        parts: list[str | Span] = [f"{count(judged, 'artifact')} scanned: "]
        parts += _joined(
            [
                Span(f"{counts[verdict]} {verdict}", verdict_span(verdict).style)
                for verdict in (Verdict.MALICIOUS, Verdict.MALFORMED, Verdict.UNKNOWN, Verdict.CLEAN)
                if counts[verdict]
            ]
        )
        yield Line.of(*parts)
    else:
        # "No issues found" after looking at nothing is how other scanners mislead.
        yield Line.of(Span("no artifact was scanned", "warn"), ": nothing here was judged")
    if missed:
        yield Line.of(Span(f"{count(len(missed), 'file')} not scanned", "bad"), "; the reason stands above")
    if counts["skipped"]:
        yield Line.of(Span(f"{count(counts['skipped'], 'file')} skipped: no artifact of a known format", "dim"))
    if result.not_entered:
        hidden = ", ".join(printable(path) for path in result.not_entered[:3])
        more = f" and {len(result.not_entered) - 3} more" if len(result.not_entered) > 3 else ""
        yield Line.of(Span(f"hidden directories passed over: {hidden}{more} (scan them with --hidden)", "dim"), hang=2)
    yield from _advice(counts)


def _joined(spans: list[Span]) -> Iterator[str | Span]:
    for number, span in enumerate(spans):
        if number:
            yield ", "
        yield span


def _advice(counts: Counter[str]) -> Iterator[Line]:
    if counts["malicious"]:
        yield Line.of(
            "Do not load malicious artifacts with anything; `safeload inspect FILE` shows what they would run."
        )
    if counts["unknown"]:
        yield Line.of(
            "Unknown means: not allowed by the policy, no evidence of harm. If you trust where the file comes from, "
            "look at it with `safeload inspect FILE`, then add a pack (`--policy sklearn`, see `safeload policy show`) "
            "or allow exactly what it does with `safeload policy learn FILE`."
        )
