"""Clean judgements of this process, by the digest of what was judged.

A service loads the same model again and again. Judging is a function of the bytes, the policy, the limits and the
options, so bytes with the same SHA-256 under the same of those need not be judged twice. Rule: only clean verdicts are
kept, and what is kept is the list of names that may be resolved, and where arrays lie between opcodes, never an object.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Mapping

    # Names by their spelling in the stream, and those that instances are made of.
    Known = tuple[Mapping[tuple[str, str], str], frozenset[str]]

__all__ = ["MAX_BYTES", "Judgements", "Known", "Place"]

_T = TypeVar("_T")

# Larger artifacts are mostly array bytes, which cost more to hash than to judge.
MAX_BYTES = 1 << 25
_ENTRIES = 256
# From this length on it is worth a thread to hash beside the analysis.
_LARGE = 1 << 20


class Digest:
    """The SHA-256 of some bytes, of large ones computed beside whatever else is done."""

    __slots__ = ("_data", "_thread", "_value")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._value: bytes | None = None
        self._thread: threading.Thread | None = None
        if len(data) >= _LARGE:
            self._thread = threading.Thread(target=self._compute, name="safeload-digest", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # there are too many
                self._thread = None

    def _compute(self) -> bytes:
        value = self._value = hashlib.sha256(self._data).digest()
        return value

    def value(self) -> bytes:
        """The digest, as soon as it is there."""
        if self._thread is not None:
            self._thread.join()
        return self._value or self._compute()


class Place(Generic[_T]):
    """Where the judgement of some bytes is, or will be.

    Attributes:
        known: what is known of them, ``None`` if they were not judged clean.
    """

    __slots__ = ("_digest", "_judgements", "_rest", "known")

    def __init__(self, judgements: Judgements[_T], data: bytes | memoryview, rest: tuple[Any, ...]) -> None:
        self._judgements = judgements
        self._rest = (len(data), *rest)
        self._digest = Digest(data)
        # Nothing of that length was judged under these: the digest can wait.
        self.known = judgements.get(self._key()) if judgements.may_know(self._rest) else None

    def _key(self) -> tuple[Any, ...]:
        return (self._rest, self._digest.value())

    def keep(self, known: _T) -> None:
        """Remember a clean judgement."""
        self._judgements.add(self._key(), known)


class Judgements(Generic[_T]):
    """A bounded map from a key (digest and everything that the judgement depends on) to what is known of a clean stream."""

    def __init__(self, entries: int = _ENTRIES) -> None:
        self._entries = entries
        self._lock = forks.lock()
        self._known: OrderedDict[Any, _T] = OrderedDict()

    def place(self, data: bytes | memoryview, *rest: Any) -> Place[_T]:
        """The place for a judgement of ``data``, which depends on ``rest`` too."""
        return Place(self, data, rest)

    def may_know(self, rest: tuple[Any, ...]) -> bool:
        """Whether any bytes were judged under ``rest``."""
        with self._lock:
            return any(key[0] == rest for key in self._known)

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
