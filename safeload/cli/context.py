"""``--context`` and ``--purpose``: the place that an envelope belongs to, the same for every command."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from safeload.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Context", "context_options"]

Context = str | tuple[str, str] | None


def context_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--context`` and ``--purpose``; the command gets ``context``."""

    @functools.wraps(function)
    def wrapper(*args: Any, binding: str | None, purpose: str | None, **kwargs: Any) -> Any:
        if purpose is not None and binding is None:
            raise Failure("--purpose needs --context", "give both, as the other side does")
        context = binding if purpose is None or binding is None else (purpose, binding)
        return function(*args, context=context, **kwargs)

    for option in (
        click.option("--purpose", metavar="TEXT", help="What the place is for, beside --context."),
        click.option(
            "--context",
            "binding",
            metavar="TEXT",
            help="The place the envelope belongs to, such as a model's name; readers must give the same.",
        ),
    ):
        wrapper = option(wrapper)
    return wrapper
