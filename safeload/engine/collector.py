"""No garbage collection while a stream is rebuilt.

Unpickling allocates many containers and frees none, so every collection it triggers walks a growing heap for nothing;
on plain data that is half of ``pickle.load``'s time. Rule: the collector is left as it was found, whatever happens, also
in a child that is forked while other threads of its parent load: they never leave their pause there.
"""

from __future__ import annotations

import gc
import os
from threading import get_ident
from typing import Final

from safeload.facts import forks

__all__ = ["CollectorPause", "pause"]

_lock: Final = forks.lock()
_depth: Final[dict[int, int]] = {}  # of each thread that is in a pause
_was_enabled = False


class CollectorPause:
    """Context manager; nests and may be used by several threads: the last one out restores the collector."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _was_enabled  # noqa: PLW0603 - the collector is a property of the process
        thread = get_ident()
        with _lock:
            if not _depth:
                _was_enabled = gc.isenabled()
            # Noted before it is done and, below, undone before it is forgotten: a fork may fall between the two.
            _depth[thread] = _depth.get(thread, 0) + 1
            gc.disable()

    def __exit__(self, *_exception: object) -> None:
        thread = get_ident()
        with _lock:
            left = _depth[thread] - 1
            if left:
                _depth[thread] = left
                return
            if _was_enabled and len(_depth) == 1:
                gc.enable()
            del _depth[thread]


def _after_fork() -> None:
    """Forget the pauses of threads that the child does not have."""
    mine = _depth.get(get_ident(), 0)
    others = len(_depth) - bool(mine)
    _depth.clear()
    if mine:
        _depth[get_ident()] = mine
    elif others and _was_enabled:
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


pause: Final = CollectorPause()
