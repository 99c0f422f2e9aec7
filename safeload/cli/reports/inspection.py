"""Everything known about one artifact, for a person who has to decide what to do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.cli.reports.document import Document, Line, Span
from safeload.cli.reports.wording import (
    MEANING,
    count,
    distinct,
    headline,
    moment_text,
    severity_span,
    size_text,
    verdict_span,
)
from safeload.facts.printable import printable, printable_ascii
from safeload.findings import Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safeload.findings import Finding, Report, StreamInfo, Suggestion

__all__ = ["inspection"]

_LABEL = 12


def inspection(report: Report) -> Document:
    """The report as styled lines, members included."""
    return list(_artifact(report, title=printable(report.path) or "artifact"))


def _artifact(report: Report, title: str) -> Iterator[Line]:
    yield Line.of(Span(title, "title"))
    if report.was_scanned:
        yield _entry("verdict", verdict_span(report.verdict), f": {MEANING[report.verdict]}")
    else:
        yield _entry("verdict", verdict_span(Verdict.ERROR), ": it could not be judged, or not whole; see the findings")
    yield _entry("container", printable_ascii(report.container))
    yield _entry("size", size_text(report.size))
    if report.sha256:
        yield _entry("sha256", report.sha256)
    yield from _envelope(report.envelope)
    yield from _streams(report.streams)
    yield from _block("globals", map(printable_ascii, report.globals), "names it would import")
    yield from _findings(report.findings)
    yield from _suggestion(report.suggestion)
    if report.source_code.strip():
        yield from _heading("program", "what it would do when loaded, decompiled")
        for number, code in enumerate(report.source_code.rstrip("\n").split("\n"), 1):
            # The gutter keeps hostile text from starting a line.
            yield Line.of(Span(f"  {number:>4} | ", "dim"), Span(printable_ascii(code.replace("\t", "    ")), "code"))
    for member in report.members:
        yield Line()
        yield from _artifact(member, title=f"{title} -> {printable_ascii(member.path) or 'member'}")


def _entry(label: str, *parts: str | Span) -> Line:
    return Line.of("  ", Span(label.ljust(_LABEL), "dim"), *parts, hang=_LABEL + 2)


def _heading(name: str, note: str = "") -> Iterator[Line]:
    yield Line()
    yield Line.of("  ", Span(name, "title"), Span(f"  {note}" if note else "", "dim"))


def _block(name: str, texts: Iterable[str], note: str) -> Iterator[Line]:
    texts = list(texts)
    if texts:
        yield from _heading(f"{name} ({len(texts)})", note)
        for text in texts:
            yield Line.of("    ", text, hang=6)


def _streams(streams: tuple[StreamInfo, ...]) -> Iterator[Line]:
    if not streams:
        return
    yield from _heading(f"streams ({len(streams)})", "pickle opcode streams")
    for number, stream in enumerate(streams):
        program = f", program {printable_ascii(stream.program)[:16]}" if stream.program else ""
        size = count(stream.size, "byte")
        yield Line.of(f"    {number}: protocol {stream.protocol}, offset {stream.offset:,}, {size}{program}", hang=7)
        if not stream.operations:
            yield Line.of("       ", Span("pure data: imports nothing, calls nothing", "dim"))
        for operation in stream.operations:
            yield Line.of("       ", printable_ascii(operation), hang=9)


def _findings(findings: tuple[Finding, ...]) -> Iterator[Line]:
    if not findings:
        return
    serious = [finding for finding in distinct(findings) if finding.severity > Severity.INFO]
    notes = [finding for finding in distinct(findings) if finding.severity <= Severity.INFO]
    functions = [finding for finding in notes if finding.rule_id == "code.function"]
    notes = [finding for finding in notes if finding.rule_id != "code.function"]
    if serious:
        yield from _heading(f"findings ({len(serious)})", "most serious first")
        yield from _serious(serious)
    texts = (printable_ascii(finding.message.removeprefix("makes the function ")) for finding in functions)
    yield from _block("functions", texts, "it would make out of bytecode when loaded")
    if notes:
        # What fickling says of any call, also of those that the policy names with a reason: no cause for alarm.
        yield from _heading(f"notes ({len(notes)})", "for information; they did not count against it")
        for finding in notes:
            yield Line.of(
                "    ", Span(printable_ascii(finding.rule_id), "dim"), f"  {headline(finding.message)}", hang=6
            )


def _suggestion(suggestion: Suggestion | None) -> Iterator[Line]:
    """What would have to be allowed: for the person who knows where the file comes from."""
    if suggestion is None:
        return
    known = "shipped packs know all of it" if not suggestion.names else "only if you know where the file comes from"
    yield from _heading("to allow it", f"{known}; in safeload.toml:")
    for text in suggestion.toml.rstrip("\n").split("\n"):
        yield Line.of("    ", Span(printable_ascii(text), "dim" if text.startswith("#") else "code"), hang=6)
    for text in suggestion.obstacles:
        yield Line.of("    ", Span("still refused: ", "warn"), printable_ascii(text.partition("\n")[0]), hang=6)


def _serious(findings: list[Finding]) -> Iterator[Line]:
    for finding in findings:
        where = f"  ({printable_ascii(finding.location)})" if finding.location else ""
        yield Line.of(
            "    ", severity_span(finding.severity), " ", printable_ascii(finding.rule_id), Span(where, "dim"), hang=13
        )
        first, *more = finding.message.split("\n")
        yield Line.of("      ", printable_ascii(first), hang=6)
        for text in more:  # behind a gutter: a line break that an attacker smuggled in forges nothing
            yield Line.of(Span("      | ", "dim"), printable_ascii(text))
        if finding.evidence and finding.evidence not in finding.message:
            yield Line.of("      ", Span("seen: ", "dim"), printable_ascii(finding.evidence), hang=8)


def _envelope(envelope: dict[str, Any] | None) -> Iterator[Line]:
    if envelope is None:
        yield _entry("envelope", "none: nobody vouches for these bytes")
        return
    verified = envelope.get("verified") is True
    if verified:
        yield _entry("envelope", Span("verified", "good"), ": the signature holds for these bytes")
    else:
        yield _entry(
            "envelope", Span("NOT VERIFIED", "bad"), ": anybody may have written what follows; give the key to check it"
        )
    for name, value in envelope.items():
        if name == "verified" or value in (None, "", {}, []):
            continue
        label = name.removeprefix("unverified_").removesuffix("_us").replace("_", " ")
        label = printable_ascii(label).ljust(16) if verified else f"unverified {printable_ascii(label).ljust(16)}"
        for text in [moment_text(value)] if name.endswith("_us") and isinstance(value, int) else _values(value):
            yield Line.of("    ", Span(label, "dim"), text, hang=6)


def _values(value: Any, limit: int = 40) -> Iterator[str]:
    """Values as one-line texts; a mapping as one line per entry, so that a long manifest stays readable."""
    if isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            if number == limit:
                yield f"... {len(value) - limit} more"
                return
            yield f"{printable_ascii(str(key))} = {', '.join(_flat(item))}"
    else:
        yield ", ".join(_flat(value))


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{printable_ascii(str(key))}={'; '.join(_flat(item))}"
    else:
        yield printable_ascii(str(value))
