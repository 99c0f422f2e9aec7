"""``safeload audit``: is a trail whole, and what does it say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from safeload.cli.base import SETTINGS, raw_path, show, write_text
from safeload.cli.base import command as make_command
from safeload.cli.failure import EXIT_NO, EXIT_YES, Failure
from safeload.cli.reports.document import Document, Line, Span
from safeload.cli.reports.wording import count
from safeload.errors import AuditError
from safeload.facts.printable import json_text, printable, printable_ascii

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.audit import Event, TrailReport

__all__ = ["command"]

_MOST = 20


@click.group("audit", short_help="Check and read audit trails.", context_settings=SETTINGS)
def command() -> None:
    """Check and read audit trails (JSON lines files that `audit=` writes)."""


_VERIFY_EXAMPLES = """
safeload audit verify trail.jsonl
# A trail that was rotated, with what was compressed; the key that its lines carry macs of:
safeload audit verify trail.jsonl* --key-file trail.key
# Print the head, keep it elsewhere, and prove later that nothing was cut off:
safeload audit verify trail.jsonl --anchor 41:9f86d081884c7d65...
"""


@make_command("verify", "Is the trail whole?", examples=_VERIFY_EXAMPLES, group=command)
@click.argument("trails", nargs=-1, required=True, type=raw_path(), metavar="TRAIL...")
@click.option("--key-file", type=raw_path(), metavar="FILE", help="The key of the trail, in a key file.")
@click.option("--key-env", metavar="NAME", help="The key of the trail, in an environment variable.")
@click.option("--anchor", metavar="SEQ:DIGEST", help="A head of this trail that was kept elsewhere.")
@click.option("--previous", metavar="DIGEST", help="Head digest of the file that was rotated away before this one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(
    *,
    trails: tuple[str, ...],
    key_file: str | None,
    key_env: str | None,
    anchor: str | None,
    previous: str | None,
    as_json: bool,
) -> int:
    """Check that no line of TRAIL... was edited, removed, inserted or moved.

    Several files are one trail that was rotated, in any order, compressed or not: each has to follow another one. Exit code 0 if the chain
    holds, 1 if it is broken, 2 if a trail cannot be read. A chain cannot show that its end was cut off or that the whole file was rewritten; an
    anchor can.
    """
    from safeload.audit.trails import verify_trails

    head = _parse_anchor(anchor)
    try:
        reports = verify_trails(trails, _trail_key(key_file, key_env), anchor=head, previous=previous)
    except AuditError as error:
        raise Failure(str(error), "give the path of a JSON lines trail that you may read") from None
    if as_json:
        found = [{"trail": path, **report.to_dict()} for path, report in reports]
        write_text(json_text(reports[0][1].to_dict() if len(found) == 1 else found))
    else:
        before = previous if len(reports) == 1 else reports
        for path, report in reports:
            show(_verification(path, report, (head, before)))
    return EXIT_YES if all(report.ok for _, report in reports) else EXIT_NO


def _trail_key(key_file: str | None, key_env: str | None) -> Any:
    """The shared secret that the lines of a trail carry macs of; ``None`` if none is named."""
    from safeload.envelope.keys import KeyRing

    if key_file is None and key_env is None:
        return None
    if key_file is not None and key_env is not None:
        raise Failure("--key-file and --key-env name two keys", "give one of them")
    ring = KeyRing.from_file(key_file) if key_file is not None else KeyRing.from_env(key_env or "")
    keys = [entry.key for entry in ring if hasattr(entry.key, "mac")]
    if len(keys) != 1:
        raise Failure(
            f"there are {len(keys)} keys there that a trail can have",
            "a trail has one, of the suite hs256 or another shared secret",
        )
    return keys[0]


def _parse_anchor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    seq, _, digest = text.partition(":")
    if not seq.isdecimal() or len(digest) != 64 or not all(char in "0123456789abcdef" for char in digest):
        raise Failure(
            "--anchor is a number, a colon and 64 hex digits",
            "copy it from the line `head` of an earlier `safeload audit verify`",
        )
    return int(seq), digest


def _verification(trail: str, report: TrailReport, given: tuple[object, ...]) -> Document:
    """The report in words. ``given``: what shows that nothing is missing at its end, and before its beginning."""
    anchored, followed = (each is not None for each in given)

    def entry(label: str, *parts: str | Span) -> Line:
        return Line.of("  ", Span(label.ljust(12), "dim"), *parts, hang=14)

    title = Span(printable(trail), "title")
    if report.broken is None:
        part = bool(report.starts_after.strip("0")) and not followed
        lines = [Line.of(Span("a part", "warn"), "  ", title) if part else Line.of(Span("whole", "good"), "   ", title)]
        if part:
            lines.append(entry("follows", f"{report.starts_after}: give the file before it too, or --previous"))
    else:
        lines = [Line.of(Span("broken", "bad"), "  ", title)]
        lines.append(
            entry("line", f"{report.broken.line}: {report.broken.kind}: {printable_ascii(report.broken.message)}")
        )
        lines.append(entry("what now", "trust nothing from the line before it on; compare with a copy from elsewhere"))
    lines.append(entry("events", f"{report.events:,}"))
    if report.broken is None and report.events:
        lines.append(entry("head", f"{report.head.seq}:{report.head.digest}"))
    if report.keyed:
        checked = "checked" if report.checked else "not checked: give --key-file or --key-env"
        lines.append(entry("keyed", f"{count(report.keyed, 'line')} with a mac, {checked}"))
    if report.torn or report.torn_end:
        torn = count(len(report.torn) + report.torn_end, "line")
        lines.append(entry("torn", f"{torn} cut short by a crash; nothing else is affected"))
    if report.unfinished:
        number = len(report.unfinished)
        lines.append(
            entry("unfinished", Span(count(number, "operation"), "warn"), ": running now, or the process died")
        )
        lines += [Line.of("    ", *_event(event), hang=6) for event in report.unfinished[:_MOST]]
    if not anchored and report.broken is None:
        lines.append(entry("not proved", "that the end was not cut off; keep the head elsewhere for --anchor"))
    return lines


_SHOW_EXAMPLES = """
safeload audit show trail.jsonl
# What was refused, newest last:
safeload audit show trail.jsonl --outcome refused --last 20
# What one request did, and what is refused from now on:
safeload audit show trail.jsonl --correlation request-7
safeload audit show trail.jsonl --verdict malicious --follow
"""


@make_command("show", "Print the events.", examples=_SHOW_EXAMPLES, group=command)
@click.argument("trail", type=raw_path())
@click.option("--outcome", type=click.Choice(["ok", "refused", "error"]), help="Only results with this outcome.")
@click.option("--event", "name", metavar="NAME", help="Only events of this name, such as load or safeload.load.")
@click.option("--since", metavar="TIME", help="Only events from this time on, such as 2026-12-01 or 2026-12-01T09:30.")
@click.option("--verdict", metavar="NAME", help="Only events with this verdict, such as malicious.")
@click.option("--source", metavar="TEXT", help="Only events of artifacts with this in their path or URL.")
@click.option("--correlation", metavar="ID", help="Only events of this request or operation.")
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until interrupted.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N of those.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def show_trail(*, trail: str, follow: bool, last: int | None, as_json: bool, **wanted: str | None) -> int:
    """Print the events of TRAIL, one per line, oldest first. It does not check the chain; `audit verify` does."""
    from collections import deque

    from safeload.audit import read_trail
    from safeload.audit.reading import chosen_events, follow_trail

    found = 0
    try:
        chosen = chosen_events(follow_trail(trail) if follow else read_trail(trail), wanted)
        for event in deque(chosen, maxlen=last) if last and not follow else chosen:
            found += 1
            if as_json:
                write_text(json_text(event, indent=None))
            else:
                show([Line.of(*_event(event), hang=4)])
    except AuditError as error:
        raise Failure(str(error), "give the path of a JSON lines trail that you may read") from None
    except ValueError as error:
        raise Failure(str(error), "write it as 2026-12-01 or 2026-12-01T09:30 (UTC)") from None
    if not found and not as_json:
        sys.stderr.write("safeload: no such event in this trail\n")
    return EXIT_YES


def _event(event: Event) -> Iterator[str | Span]:
    """One event as words: time, what, how it ended, and what identifies the artifact."""

    def text(field: str, width: int = 0) -> str:
        value: Any = event.get(field, "")
        return printable_ascii(value if isinstance(value, str) else str(value)).ljust(width)

    outcome = event.get("outcome")
    yield Span(text("time")[:23].rstrip("Z") + "Z", "dim")
    yield f"  {text('event').removeprefix('safeload.'):<9}"
    if event.get("phase") == "attempt":
        yield Span("attempt  ", "dim")
    else:
        yield Span(text("outcome", 9), "good" if outcome == "ok" else "bad")
    for field in ("reason_code", "verdict", "globals", "source", "container", "size", "key_id", "sha256"):
        if field in event:
            value = text(field)
            yield f"{field}={value[:16] if field in ('key_id', 'sha256') else value} "
