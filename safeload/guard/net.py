"""The net: one audit hook that hears of every global that an unpickler of CPython looks up.

Rule: safeload's own lookups were judged with their stream and pass; which they are is told by the code that raises the event,
and by nothing that an artifact could name. Every other event of the process costs one comparison.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from safeload.guard.state import block, process

if TYPE_CHECKING:
    from types import CodeType

    from safeload.guard.state import State

__all__ = ["install_hook"]

_installed: list[bool] = []


def install_hook() -> None:
    """Install the hook, once per process; it stays."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_hook(_own_code()))


def _own_code() -> frozenset[CodeType]:
    from safeload.api.batch import work
    from safeload.api.pickle_classes import Unpickler
    from safeload.engine.load.unpickler import RestrictedUnpickler

    functions: tuple[Any, ...] = (
        RestrictedUnpickler.find_class,
        Unpickler.find_class,
        work.Packed.open,  # what comes from our own processes
        work.opened.__wrapped__,
    )
    return frozenset(function.__code__ for function in functions)


def _hook(own: frozenset[CodeType]) -> Any:
    in_block, of_process, frame = block.get, process, sys._getframe  # noqa: SLF001 - who asks is the question

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            state: State | None = in_block() or of_process[0]
            if state is not None and arguments not in state.allowed and frame(1).f_code not in own:
                state.meet(*arguments)

    return hook
