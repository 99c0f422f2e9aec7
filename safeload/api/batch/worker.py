"""Doing tasks: in the process that asked, or in another one that was given the work.

Rule: whatever goes wrong with an item is its outcome, never the end of the run; an exception that left a worker would take with it the
items that are done beside it.
"""

from __future__ import annotations

import functools
import os
import pickle
import threading
import time
from typing import Any

from safeload.api.batch import actions
from safeload.api.batch.work import COLLECTOR, Outcome, Packed, Task, Work, opened
from safeload.errors import LoadError, SafeloadError

__all__ = ["do", "run_packed"]


def do(work: Work, task: Task) -> Outcome:
    """The outcome of ``task``; raises nothing but what ends a process (an interrupt)."""
    if task.problem is not None:
        return Outcome(task.number, error=task.problem)
    try:
        act = getattr(actions, work.action)
        outcome: Outcome = act(work, task)
        return outcome
    except SystemExit as error:
        # Raised by what an artifact was allowed to call; it must not end a worker and with it the run.
        return Outcome(task.number, error=LoadError(f"loading it raised SystemExit({error.code!r})"))
    except Exception as error:  # noqa: BLE001 - one item must not end the run
        return Outcome(task.number, error=error)


@functools.cache
def _end_with(parent: int) -> None:
    """End this process when its parent is gone: joblib's own workers would wait five minutes for more to do."""
    if os.getppid() != parent:  # a worker of somebody else's, perhaps on another machine
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="safeload-parent-watch", daemon=True).start()


def run_packed(packed: bytes, task: Task) -> Packed:
    """Do ``task`` in this process, which is not the one that asked."""
    COLLECTOR.take()
    work = opened(packed)
    if task.doubtful and os.getpid() == work.parent:
        raise RuntimeError("joblib offers no other process for it")
    _end_with(work.parent)
    outcome = do(work, task)._replace(events=COLLECTOR.take())
    try:
        return Packed(task.number, pickle.dumps(outcome, 5))
    except Exception as error:  # noqa: BLE001 - whatever the object's own methods raise
        return Packed(task.number, pickle.dumps(outcome._replace(**_without(outcome, error)), 5))


def _without(outcome: Outcome, cause: Exception) -> dict[str, Any]:
    """What is said of an outcome that cannot be brought back."""
    if outcome.error is not None:
        code = outcome.error.code if isinstance(outcome.error, SafeloadError) else None
        return {"error": LoadError(f"{type(outcome.error).__name__}: {str(outcome.error)[:300]}", code=code)}
    message = (
        f"loaded, but it cannot be brought back from its process ({type(cause).__name__} when it was pickled); "
        "use backend='threading'"
    )
    return {"value": None, "error": LoadError(message, code="batch.not-picklable"), "stamp": ""}
