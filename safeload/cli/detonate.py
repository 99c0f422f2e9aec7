"""``safeload detonate``: load an artifact where nothing that it does is done, and say what it tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeload.cli.base import command as make_command
from safeload.cli.base import raw_path, show, write_text
from safeload.cli.context import Context, context_options
from safeload.cli.failure import EXIT_NO, EXIT_NOT_SCANNED, Failure
from safeload.cli.files import open_regular
from safeload.cli.key_options import KeySource, key_options
from safeload.cli.reports.document import Document, Line, Span
from safeload.cli.reports.wording import verdict_span
from safeload.errors import SandboxUnavailableError
from safeload.facts.printable import json_text, printable

if TYPE_CHECKING:
    from safeload.sandbox import Detonation

__all__ = ["command", "detonation_lines"]

_EXAMPLES = """
safeload detonate model.pkl
safeload detonate model.pkl --timeout 30 --format json

Exit codes:
1  it tried something that no data would
2  usage error, or no sandbox on this machine
3  it tried nothing, which does not make it clean
"""
_ENDS = {
    "finished": "it was loaded to its end",
    "raised": "it raised an error",
    "ended": "its process ended by itself",
    "timeout": "its time was over",
    "flooded": "it made more system calls than are looked at",
}


@make_command("detonate", "What does this file try when it is loaded?", examples=_EXAMPLES)
@click.argument("file", type=raw_path())
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds that the artifact gets.",
)
@context_options
@key_options
def command(*, file: str, format_name: str, timeout: float, context: Context, keys: KeySource) -> int:
    """Load FILE in the sandbox, where everything it tries is written down and nothing is done.

    Programs are not executed, files not opened, connections not made. Needs Linux with seccomp and Landlock.
    """
    from safeload.sandbox import detonate

    open_regular(file).close()  # its errors are about the command line, not about an artifact
    try:
        seen = detonate(file, timeout=timeout, keys=keys.ring_if_named(), context=context)
    except SandboxUnavailableError as error:
        raise Failure(str(error), "see `safeload sandbox attest`") from error
    if format_name == "json":
        write_text(json_text({**seen.to_dict(), "path": file}))
    else:
        show(detonation_lines(seen, file))
    return EXIT_NO if seen.evidence else EXIT_NOT_SCANNED


def detonation_lines(seen: Detonation, path: str) -> Document:
    """The result for a person."""
    lines = [Line.of(Span(printable(path), "title")), Line.of("  verdict     ", verdict_span(seen.verdict))]
    lines.append(Line.of(f"  judged      {seen.report.verdict}"))
    said = f": {seen.said}" if seen.said else ""
    lines.append(Line.of(f"  outcome     {_ENDS.get(seen.outcome, seen.outcome)}{said}", hang=14))
    lines.append(Line.of(f"  level       {seen.level}"))
    lines.append(Line())
    if not seen.attempts:
        lines.append(
            Line.of("It tried nothing. That does not make it clean: it can wait, or need what it was not given.")
        )
    for attempt, times in seen.attempts:
        often = f" ({times} times)" if times > 1 else ""
        style = Span(f"{attempt.kind:<10}", "bad" if attempt.is_evidence else "dim")
        lines.append(Line.of("  ", style, f"{attempt.detail}{often}", hang=12))
    if seen.hints:
        lines += [Line(), Line.of(Span("what the interpreter in the jail said of itself (can be forged)", "dim"))]
        lines += [Line.of(Span(f"  {hint}", "dim"), hang=4) for hint in seen.hints[:30]]
    return lines
