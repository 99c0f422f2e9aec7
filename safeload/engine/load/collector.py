"""No garbage collection while a stream is rebuilt.

Unpickling allocates many containers and frees none, so every collection it triggers walks a growing heap for nothing;
on plain data that is half of ``pickle.load``'s time. Rule: the collector is left as it was found, whatever happens.
"""

from __future__ import annotations

import gc
import threading

__all__ = ["CollectorPause"]

_lock = threading.Lock()
_depth = 0
_was_enabled = False


class CollectorPause:
    """Context manager; nests and may be used by several threads: the last one out restores the collector."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _depth, _was_enabled  # noqa: PLW0603 - the collector is a property of the process
        with _lock:
            if _depth == 0:
                _was_enabled = gc.isenabled()
                gc.disable()
            _depth += 1

    def __exit__(self, *_exception: object) -> None:
        global _depth  # noqa: PLW0603
        with _lock:
            _depth -= 1
            if _depth == 0 and _was_enabled:
                gc.enable()
