"""``safeload sandbox``: what the sandbox can promise on this machine."""

from __future__ import annotations

import click

from safeload.cli.base import SETTINGS, show, write_text
from safeload.cli.base import command as make_command
from safeload.cli.failure import EXIT_NO, EXIT_YES
from safeload.cli.reports.document import Line, Span
from safeload.facts.printable import json_text, printable

__all__ = ["command"]


@click.group("sandbox", short_help="Measure the sandbox of this machine.", context_settings=SETTINGS)
def command() -> None:
    """Measure the sandbox of this machine."""


_ATTEST_EXAMPLES = """
safeload sandbox attest
# In a container image's test:
safeload sandbox attest --require seccomp-only
"""


@make_command("attest", "Does the sandbox hold here?", examples=_ATTEST_EXAMPLES, group=command)
@click.option(
    "--require",
    type=click.Choice(["full", "seccomp-only"]),
    default="full",
    show_default=True,
    help="The level to have.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def attest(*, require: str, as_json: bool) -> int:
    """Try in a jailed process what the sandbox forbids, and say what came of it.

    Exit code 0 if the level is what is required or better, 1 if it is not.
    """
    from safeload.sandbox import attest as measure
    from safeload.sandbox.attestation import LEVELS

    found = measure()
    enough = LEVELS.index(found.level) >= LEVELS.index(require)
    if as_json:
        write_text(json_text({"level": found.level, "missing": found.missing, "checks": dict(found.checks)}))
    else:
        lines = [Line.of("level       ", Span(found.level, "good" if enough else "bad"))]
        lines += [Line.of(f"  {name:<10}{printable(seen)}", hang=12) for name, seen in found.checks.items()]
        if found.missing:
            lines += [Line(), Line.of(f"missing: {printable(found.missing)}", hang=2)]
        show(lines)
    return EXIT_YES if enough else EXIT_NO
