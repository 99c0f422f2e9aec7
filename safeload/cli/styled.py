"""Colours through ``rich``, where it is installed and standard output is a terminal. Nothing depends on it.

Rule: hostile text is given to rich as text, never as its markup language.
"""

from __future__ import annotations

import importlib.util
from typing import IO, TYPE_CHECKING, Any, Final

from safeload.cli.reports.document import wrap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.cli.reports.document import Line, Style

__all__ = ["available", "progress", "show"]

_STYLES: Final[dict[Style, str]] = {
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "dim": "dim",
    "title": "bold",
}


def available() -> bool:
    """Whether rich can be imported."""
    return importlib.util.find_spec("rich") is not None


def show(lines: Iterable[Line], stream: IO[str], width: int) -> None:
    """Write ``lines`` with colours."""
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.text import Text

    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    python = Syntax("", "python", theme="ansi_dark", background_color="default")
    for line in lines:
        for part in wrap(line, width):
            text = Text(no_wrap=True, end="")
            for span in part.spans:
                if span.style == "code":
                    code = python.highlight(span.text)
                    code.rstrip()
                    text.append_text(code)
                else:
                    text.append(span.text, _STYLES.get(span.style))
            text.rstrip()
            console.print(text)


def progress(stream: IO[str]) -> Any:
    """A progress bar that removes itself, or ``None`` where it would only be noise."""
    if not (stream.isatty() and available()):
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), console=Console(file=stream), transient=True
    )
