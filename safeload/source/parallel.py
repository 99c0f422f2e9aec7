"""Run one function over many chunks in a few threads. For work that releases the GIL: hashing and reading.

Rule: the first error wins and reaches the caller; the threads are gone when the call returns, whatever happened. In a
child that was forked meanwhile they never were, so there the call fails.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from safeload.errors import LoadError
from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workers", "cpu_count"]

_MAX_THREADS: Final = 8  # beyond, memory bandwidth is the bound
_WORTH_A_THREAD: Final = 1 << 20  # bytes of work that outweigh starting a thread (about 0.1 ms)


def cpu_count() -> int:
    """CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Workers:
    """``work(i)`` for every ``i`` below ``count``, begun at once in background threads.

    Args:
        work: the function; it must be safe to call from several threads for different numbers.
        count: how many numbers.
        total_bytes: size of the whole work, which decides how many threads it is worth.
    """

    def __init__(self, work: Callable[[int], None], count: int, total_bytes: int) -> None:
        self._work = work
        self._count = count
        self._next = 0
        self._lock = forks.lock()
        self._error: BaseException | None = None
        self._process = os.getpid()
        self._threads: list[threading.Thread] = []
        wanted = min(_MAX_THREADS, cpu_count(), count, total_bytes // _WORTH_A_THREAD)
        for _ in range(wanted - 1):
            thread = threading.Thread(target=self._run, name="safeload-chunks", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads to be had: the caller's thread does the work
                break
            self._threads.append(thread)

    def finish(self) -> None:
        """Take part until everything is done, then raise the first error, if any."""
        self._run()
        for thread in self._threads:
            thread.join()
        if os.getpid() != self._process:
            # What the threads had taken was never done in this process, and might be the check of a tag.
            raise LoadError("the process was forked in the middle of this operation; begin it anew", code="load.forked")
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Stop handing out work and wait for the threads."""
        with self._lock:
            self._next = self._count
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                number = self._next
                if number >= self._count:
                    return
                self._next = number + 1
            try:
                self._work(number)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                with self._lock:
                    self._error = self._error or error
                    self._next = self._count
