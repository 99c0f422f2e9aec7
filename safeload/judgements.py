"""Clean judgements of this process, by the digest of what was judged.

A service loads the same model again and again. Judging is a function of the bytes, the policy, the limits and the
options, so bytes with the same SHA-256 under the same of those need not be judged twice. Rule: only clean verdicts are
kept, and what is kept is the list of names that may be resolved, and where arrays lie between opcodes, never an object.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    # Names by their spelling in the stream, and those that instances are made of.
    Known = tuple[Mapping[tuple[str, str], str], frozenset[str]]

__all__ = ["MAX_BYTES", "Judgements", "Known"]

_T = TypeVar("_T")

# Larger artifacts are mostly array bytes, which cost more to hash than to judge.
MAX_BYTES = 1 << 25
_ENTRIES = 256


class Judgements(Generic[_T]):
    """A bounded map from a key (digest and everything that the judgement depends on) to what is known of a clean stream."""

    def __init__(self, entries: int = _ENTRIES) -> None:
        self._entries = entries
        self._lock = threading.Lock()
        self._known: OrderedDict[Any, _T] = OrderedDict()

    def get(self, key: Any) -> _T | None:
        """What is known of a stream that was judged clean under ``key``, or ``None``."""
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def add(self, key: Any, known: _T) -> None:
        """Remember a clean judgement."""
        with self._lock:
            self._known[key] = known
            if len(self._known) > self._entries:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all judgements, for measurements."""
        with self._lock:
            self._known.clear()
