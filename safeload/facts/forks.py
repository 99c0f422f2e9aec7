"""Locks that a forked child can take.

``os.fork`` copies a process with one thread. A lock that another thread held at that moment stays held in the child for
ever: without this module the child's next load hangs in a cache of judgements, in the audit trail or in the pause of the
garbage collector. Rule: every lock of the package is made here. What such a lock guards must be usable in any
state in which another thread can leave it; counters of threads need a handler of their own.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

__all__ = ["lock", "rlock"]

_made: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def lock() -> threading.Lock:
    """A new lock that is free in a forked child, whoever held it in the parent."""
    made = threading.Lock()
    _made.add(made)
    return made


def rlock() -> threading.RLock:
    """The same of a lock that one thread may take several times."""
    made = threading.RLock()
    _made.add(made)
    return made


def _free_all() -> None:
    for each in _made:
        each._at_fork_reinit()  # noqa: SLF001 - as logging and concurrent.futures do


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
