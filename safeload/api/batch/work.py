"""What is to be done with each item of a run, and how it gets into other processes.

Rules: whatever goes wrong with an item is its outcome, never the end of the run. Keys do not cross into other processes:
there only the place that keys come from is known (``"env:SAFELOAD_KEYS"``), and each process opens it itself; no
argument, no repr and no pickle holds key material. Audit events of other processes reach every sink: a trail is written where
the work is done, other sinks get their events with the outcome, and a required sink that cannot cross is a reason not to start.
"""

from __future__ import annotations

import functools
import os
import pickle
import threading
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.audit import Auditor, Event
    from safeload.envelope.keys import Key, KeyRing
    from safeload.findings import Report
    from safeload.limits import Limits
    from safeload.policy import Policy

__all__ = ["COLLECTOR", "ItemLoader", "Outcome", "Packed", "Task", "Work", "opened"]

# Bound here, because a guard that is installed later judges what others unpickle, not what our own processes send.
_loads = pickle.loads


class Task(NamedTuple):
    """One item.

    Attributes:
        number: its place in the sources.
        source: the source; for a dump the target.
        value: the object to write.
        known: the short stamp that a journal has for it.
        problem: why there is nothing to be tried.
        doubtful: a process that may have worked on it died, so it is not done in the process that asked.
    """

    number: int
    source: Any
    value: Any = None
    known: bytes | None = None
    problem: Exception | None = None
    doubtful: bool = False


class Outcome(NamedTuple):
    """How a task ended. ``stamp`` is for the journal; ``events`` are for sinks of the process that asked."""

    number: int
    value: Any = None
    error: Exception | None = None
    skipped: bool = False
    stamp: str = ""
    events: tuple[Event, ...] = ()


class Packed(NamedTuple):
    """An outcome on its way out of a process."""

    number: int
    data: bytes

    def open(self) -> Outcome:
        """The outcome. The bytes come from our own worker, over its pipe, and are trusted like its memory."""
        outcome: Outcome = _loads(self.data)
        return outcome


class ItemLoader(Protocol):
    """What a run needs of a :class:`~safeload.Loader`, which is handed in: batches are a part of loaders, not the other way round."""

    @property
    def policy(self) -> Policy:
        """What artifacts may contain."""
        ...

    @property
    def keys(self) -> KeyRing | None:
        """The key ring."""
        ...

    @property
    def audit(self) -> Auditor:
        """Where events go."""
        ...

    @property
    def limits(self) -> Limits:
        """What an artifact may cost."""
        ...

    @property
    def signers(self) -> Mapping[str, Any] | None:
        """What signers may do."""
        ...

    @property
    def urls(self) -> bool:
        """Whether a name may be a URL."""
        ...

    def load(self, source: Any, /, **options: Any) -> Any:
        """Load one artifact."""
        ...

    def scan(self, source: Any, /, **options: Any) -> Report:
        """Report on one artifact."""
        ...

    def dump(self, obj: Any, target: Any, /, **options: Any) -> None:
        """Write one object."""
        ...

    def keyless(self, audit: Auditor) -> ItemLoader:
        """The loader without its keys, for other processes."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What every task of a run is done with.

    Attributes:
        action: the name of a function of :mod:`safeload.api.batch.actions`.
        loader: policy, limits, audit, and keys unless ``keys`` says otherwise.
        options: further arguments of the action.
        keys: a ring, or the place of one.
        key: the key to seal with, or the place of a ring whose first active key it is.
        stamped: whether outcomes have a stamp.
        began: of a run that goes on from a journal: when, in seconds of the epoch. Older debris of targets is removed.
        run: a token of this run.
        parent: the process that asked.
    """

    action: str
    loader: ItemLoader
    options: Mapping[str, Any] = field(default_factory=dict)
    keys: KeyRing | str | None = None
    key: Key | str | None = None
    stamped: bool = False
    began: float = 0.0
    run: str = ""
    parent: int = 0

    def ring(self) -> KeyRing | None:
        """The keys to open with."""
        if isinstance(self.keys, str):
            return _fetched(self.run, self.keys)
        return self.loader.keys if self.keys is None else self.keys

    def sealing_key(self) -> Key | None:
        """The key to seal with."""
        return _fetched(self.run, self.key).primary if isinstance(self.key, str) else self.key

    def why_here(self) -> str:
        """Why this cannot be done in other processes, ``""`` if it can."""
        keys = self.loader.keys if self.keys is None else self.keys
        for what, held in (("keys", keys), ("key", self.key)):
            if held is not None and not isinstance(held, str):
                return (
                    f"keys do not cross into other processes; say where each process finds them ({what}='env:SAFELOAD_KEYS', "
                    "'file:/path' or 'command:[...]'), or use backend='threading'"
                )
        stuck = [sink for sink in self.loader.audit.required if not getattr(sink, "crosses", False)]
        if stuck:
            return (
                f"the required audit sink {getattr(stuck[0], 'name', type(stuck[0]).__name__)!r} cannot take the attempts of other "
                "processes before they begin; use a trail without a key, or backend='threading'"
            )
        return ""

    def packed(self) -> bytes:
        """This work for other processes; :meth:`why_here` has to be ``""``.

        Raises:
            TypeError: something in the options cannot cross.
        """
        loader = self.loader
        auditor = loader.audit
        if auditor.active:
            from safeload.audit import Auditor

            crossing = [sink for sink in auditor.sinks if getattr(sink, "crosses", False)]
            if len(crossing) < len(auditor.sinks):
                crossing.append(COLLECTOR)
            auditor = Auditor(sinks=crossing, required=auditor.required, host=auditor.host)
        keyless = loader.keyless(auditor)
        try:
            return zlib.compress(pickle.dumps(replace(self, loader=keyless, parent=os.getpid()), 5), 1)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise TypeError(
                f"an argument cannot cross into other processes ({error}); use backend='threading'"
            ) from error


@functools.lru_cache(maxsize=8)
def _fetched(run: str, place: str) -> KeyRing:
    """The ring at ``place``, read once for a run and process."""
    del run
    from safeload.envelope.keys.places import fetch_ring

    return fetch_ring(place)


class _Collector:
    """Keeps the events of this thread's task until they leave with its outcome."""

    name: str = "collector"
    crosses: ClassVar[bool] = True

    def __init__(self) -> None:
        self._of = threading.local()

    def emit(self, event: Event, /) -> None:
        self._list().append(dict(event))

    def _list(self) -> list[Event]:
        found: list[Event] = self._of.__dict__.setdefault("events", [])
        return found

    def take(self) -> tuple[Event, ...]:
        events = self._list()
        taken = tuple(events)
        events.clear()
        return taken

    def __reduce__(self) -> str:
        return "COLLECTOR"


COLLECTOR = _Collector()


@functools.lru_cache(maxsize=4)
def opened(packed: bytes) -> Work:
    """The work that another process has packed, unpacked once."""
    work: Work = _loads(zlib.decompress(packed))  # from the process that asked, over its own pipe
    return work
