"""The words and styles that every report for people shares, so that one thing has one name everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from safeload.cli.reports.document import Span, Style
from safeload.facts.printable import printable_ascii
from safeload.findings import Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MEANING", "count", "distinct", "headline", "moment_text", "severity_span", "size_text", "verdict_span"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STYLE: Final[dict[Verdict, Style]] = {
    Verdict.CLEAN: "good",
    Verdict.SKIPPED: "dim",
    Verdict.UNKNOWN: "warn",
    Verdict.MALFORMED: "bad",
    Verdict.ERROR: "bad",
    Verdict.MALICIOUS: "bad",
}
_WORD: Final = {Verdict.ERROR: "not scanned"}

MEANING: Final[dict[Verdict, str]] = {
    Verdict.CLEAN: "everything it does is allowed by the policy",
    Verdict.SKIPPED: "no artifact of a format that safeload knows",
    Verdict.UNKNOWN: "not allowed by the policy; no evidence of harm",
    Verdict.MALFORMED: "damaged, or made to be read differently by different readers",
    Verdict.ERROR: "could not be judged",
    Verdict.MALICIOUS: "evidence of harm: do not load it with anything",
}


def verdict_span(verdict: Verdict, width: int = 0) -> Span:
    """The verdict as a styled word, padded to ``width``."""
    return Span(_WORD.get(verdict, str(verdict)).ljust(width), _STYLE[verdict])


def severity_span(severity: Severity) -> Span:
    """The severity as a styled word of eight columns."""
    style: Style = "bad" if severity >= Severity.HIGH else "warn" if severity >= Severity.LOW else "dim"
    return Span(str(severity).ljust(8), style)


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``1,000 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """The findings without repetitions of what a person would read."""
    return list({(each.rule_id, each.location, each.message): each for each in findings}.values())


def headline(message: str) -> str:
    """The part of a message that says what is wrong; the advice below it is for ``inspect``."""
    first, newline, _ = message.partition("\n")
    if newline and first.endswith(":") and ". " in first:
        first = first[: first.rindex(". ") + 1]
    return printable_ascii(first)


def size_text(size: int) -> str:
    """A size in bytes, with a rounded one beside it where that helps."""
    exact = count(size, "byte")
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{exact} ({size / factor:.1f} {unit})"
    return exact


def moment_text(microseconds: int) -> str:
    """A time in an envelope (microseconds UTC, 0 for never)."""
    if not microseconds:
        return "never"
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return f"{microseconds} microseconds after 1970"
