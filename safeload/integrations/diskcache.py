"""diskcache: a ``Disk`` that judges keys and values, and a ``Cache`` made with it.

diskcache pickles keys as well as values; a ``Disk`` that overrides ``fetch`` alone still unpickles hostile keys when the cache is
iterated. Without keys of the loader, text, bytes and numbers are stored as they are, as diskcache does. With keys every value is
signed and bound to its key, also text and numbers, so ``incr`` and ``read=True`` are not to be had there. Which key a value was asked for
by is what this thread has put last, as diskcache does before it reads. Values of queues (``push``, ``pull``, ``peek``) have no key that
is known before, and are signed as values of a queue.
"""

from __future__ import annotations

import io
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import diskcache
from diskcache.core import DBNAME, MODE_PICKLE, UNKNOWN

from safeload.errors import MissingKeyError
from safeload.integrations.values import MISS, OnRefused, Values

if TYPE_CHECKING:
    from safeload.api.loader import Loader

__all__ = ["Cache", "Disk"]

_QUEUE: Final = b"queue"


class Disk(diskcache.Disk):  # type: ignore[misc]
    """For ``diskcache.Cache(directory, disk=Disk)`` and ``FanoutCache``, with the default loader; :meth:`using` for another.

    With ``on_refused="miss"`` a refused value is as one whose file is gone: ``get`` returns the default. A refused key always raises.
    """

    values: ClassVar[Values] = Values(purpose="diskcache")

    def __init__(self, directory: str, **options: Any) -> None:
        super().__init__(directory, **options)
        self._asked = threading.local()

    @classmethod
    def using(cls, loader: Loader | None = None, *, on_refused: OnRefused = "raise") -> type[Disk]:
        """A class of disks with this loader: diskcache makes the disk itself, and would store what it is given as a setting."""
        return type("Disk", (cls,), {"values": Values(loader, on_refused=on_refused, purpose="diskcache")})

    def put(self, key: Any) -> tuple[Any, bool]:
        """The key as it is stored."""
        stored, raw = super().put(key)
        self._asked.key = _binding(stored, raw=raw)
        return stored, raw

    def get(self, key: Any, raw: bool) -> Any:
        """The key that is stored as ``key``, judged. It is not signed, and a value does not open under another key than its own."""
        self._asked.key = _binding(key, raw=raw)
        if raw:
            return super().get(key, raw)
        from safeload.api.loader import Loader

        loader = self.values.loader
        return Loader(policy=loader.policy, audit=loader.audit, limits=loader.limits).loads(bytes(key))

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> tuple[Any, ...]:
        """The value as it is stored."""
        if not self.values.signs and (read or type(value) in (str, bytes, int, float)):
            stored: tuple[Any, ...] = super().store(value, read, key=key)
            return stored
        if read:
            raise TypeError("a cache with keys signs whole values: give set() the bytes, not a file")
        data = self.values.dumps(value, _QUEUE if key is UNKNOWN else _binding(*super().put(key)))
        if len(data) < self.min_file_size:
            return 0, MODE_PICKLE, None, sqlite3.Binary(data)
        name, path = self.filename(key, value)
        self._write(path, io.BytesIO(data), "xb")
        return len(data), MODE_PICKLE, name, None

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """The value, judged.

        Raises:
            SafeloadError: it was refused.
            FileNotFoundError: the same, where that is a miss; diskcache takes it for one.
        """
        if mode == MODE_PICKLE:
            data = Path(self._directory, filename).read_bytes() if value is None and filename else bytes(value)
            loaded = self.values.loads(data, getattr(self._asked, "key", _QUEUE))
        elif self.values.signs:
            loaded = self.values.refused(
                MissingKeyError("the stored value is not signed, and this cache has keys", code="envelope.unsigned")
            )
        else:
            loaded = super().fetch(mode, filename, value, read)
        if loaded is MISS:
            raise FileNotFoundError("the stored value was refused")
        return loaded

    def ask_queue(self) -> None:
        """What is read next was stored by ``push``."""
        self._asked.key = _QUEUE


def _binding(stored: Any, raw: bool) -> bytes:
    """One text for a key as it is stored: the same number as text, as an int and as bytes are three keys."""
    kind = "pickle" if not raw else type(stored).__name__
    data = bytes(stored) if isinstance(stored, bytes | memoryview) else repr(stored).encode("utf-8", "surrogatepass")
    return f"{'bytes' if kind == 'memoryview' else kind}:".encode() + data


class Cache(diskcache.Cache):  # type: ignore[misc]
    """``diskcache.Cache`` whose keys and values are judged, and signed if the loader has keys.

    Args:
        directory, timeout, settings: as for ``diskcache.Cache``.
        loader: what judges and verifies; by default the default loader.
        on_refused: what a refused value is: ``"raise"``, or ``"miss"``.
    """

    def __init__(
        self,
        directory: str | None = None,
        timeout: float = 60,
        disk: type[Disk] | None = None,
        *,
        loader: Loader | None = None,
        on_refused: OnRefused = "raise",
        **settings: Any,
    ) -> None:
        super().__init__(directory, timeout, disk or Disk.using(loader, on_refused=on_refused), **settings)

    def pull(self, *arguments: Any, **options: Any) -> Any:
        """As in diskcache."""
        self.disk.ask_queue()
        return super().pull(*arguments, **options)

    def peek(self, *arguments: Any, **options: Any) -> Any:
        """As in diskcache."""
        self.disk.ask_queue()
        return super().peek(*arguments, **options)

    def __getstate__(self) -> Any:
        raise TypeError(f"a cache with a loader is not pickled; open {DBNAME}'s directory where it is used")
