"""What every command has: examples in its help, ``--debug`` after its name, safe output."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from safeload.cli.reports.document import plain
from safeload.facts.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.cli.reports.document import Line

__all__ = ["SETTINGS", "command", "note", "raw_path", "show", "write_text"]

SETTINGS = {"help_option_names": ["-h", "--help"]}


def command(
    name: str, short: str, *, examples: str, group: click.Group | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """A decorator that makes a command; ``short`` is its line in the list of commands.

    ``examples`` stand at the end of its help: lines, and after an empty line further paragraphs with a title each.
    """
    first, *rest = examples.strip().split("\n\n")
    lines = ["\b", "Examples:", *(f"  {line}" for line in first.splitlines())]
    for paragraph in rest:
        title, *entries = paragraph.splitlines()
        lines += ["", "\b", title, *(f"  {line}" for line in entries)]
    epilog = "\n".join(lines)

    def decorate(function: Callable[..., Any]) -> click.Command:
        debug = click.option(
            "--debug", is_flag=True, hidden=True, expose_value=False, callback=_set_debug, help="Show tracebacks."
        )
        made = click.command(name, short_help=short, epilog=epilog, context_settings=SETTINGS)(debug(function))
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def _set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj["debug"] = True


def raw_path(**options: Any) -> click.Path:
    """The type of a path argument. Whether it exists is found out by opening it, once, where it is used."""
    return click.Path(path_type=str, **options)


def show(lines: Iterable[Line], *, stderr: bool = False) -> None:
    """Styled lines on a terminal that can show them, plain ones everywhere else."""
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        stream.write(plain(lines))
        return
    width = max(40, os.get_terminal_size(stream.fileno()).columns or 80)
    if "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb":
        from safeload.cli import styled

        if styled.available():
            styled.show(lines, stream, width)
            return
    stream.write(plain(lines, width))


def write_text(text: str) -> None:
    """``text`` on standard output as it is: the renderers have escaped what needs it."""
    sys.stdout.write(text)


def note(text: str) -> None:
    """A remark on standard error, which is not part of the result."""
    sys.stderr.write(f"safeload: {printable(text)}\n")
