"""Progress that a person sees: a bar where ``rich`` is installed, else one line, and nothing where nobody looks."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeload.api.batch.result import Counts

__all__ = ["reporting"]

_PAUSE: Final = 0.1  # seconds between two writings of the line


@contextlib.contextmanager
def reporting(
    progress: bool | Callable[[Counts], object], verb: str, total: int | None
) -> Iterator[Callable[[Counts], object]]:
    """A function that is told the counts after each item.

    Args:
        progress: ``True`` for a person at standard error, a function to be called, or ``False``.
        verb: what is done, such as ``"scanning"``.
        total: how many items there are, if known.
    """
    if callable(progress):
        yield progress
    elif not progress or not sys.stderr.isatty():
        yield lambda _: None
    else:
        with _bar(verb, total) or _Line(verb) as show:
            yield show


def _bar(verb: str, total: int | None) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return None

    @contextlib.contextmanager
    def shown() -> Iterator[Callable[[Counts], object]]:
        columns = (
            TextColumn(verb),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[failed]}"),
        )
        with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
            task = bar.add_task("", total=total, failed="")
            yield lambda counts: bar.update(task, completed=counts.done, failed=_failed(counts))

    return shown()


def _failed(counts: Counts) -> str:
    return f"{counts.failed} failed" if counts.failed else ""


class _Line:
    """One line that is written over."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._written = 0.0

    def __call__(self, counts: Counts) -> None:
        now = time.monotonic()
        if now - self._written < _PAUSE and counts.done != counts.total:
            return
        self._written = now
        of = "" if counts.total is None else f"/{counts.total}"
        failed = f", {_failed(counts)}" if counts.failed else ""
        sys.stderr.write(f"\r{self._verb} {counts.done}{of}{failed}\x1b[K")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
