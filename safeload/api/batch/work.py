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
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from safeload.errors import LoadError, SafeloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.api.loader import Loader
    from safeload.audit import Event
    from safeload.envelope.keys import Key, KeyRing

__all__ = ["Outcome", "Packed", "Task", "Work", "run_packed"]

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
    loader: Loader
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
                crossing.append(_COLLECTOR)
            auditor = Auditor(sinks=crossing, required=auditor.required, host=auditor.host)
        keyless = type(loader)(policy=loader.policy, audit=auditor, limits=loader.limits, signers=loader.signers)
        try:
            return zlib.compress(pickle.dumps(replace(self, loader=keyless, parent=os.getpid()), 5), 1)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise TypeError(
                f"an argument cannot cross into other processes ({error}); use backend='threading'"
            ) from error

    def do(self, task: Task) -> Outcome:
        """The outcome of ``task``; raises nothing but what ends a process (an interrupt)."""
        from safeload.api.batch import actions

        if task.problem is not None:
            return Outcome(task.number, error=task.problem)
        try:
            act = getattr(actions, self.action)
            outcome: Outcome = act(self, task)
            return outcome
        except SystemExit as error:
            # Raised by what an artifact was allowed to call; it must not end a worker and with it the run.
            return Outcome(task.number, error=LoadError(f"loading it raised SystemExit({error.code!r})"))
        except Exception as error:  # noqa: BLE001 - one item must not end the run
            return Outcome(task.number, error=error)


@functools.lru_cache(maxsize=8)
def _fetched(run: str, place: str) -> KeyRing:
    """The ring at ``place``, read once for a run and process."""
    del run
    from safeload.envelope.keys.providers import fetch_ring

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
        return "_COLLECTOR"


_COLLECTOR = _Collector()


@functools.lru_cache(maxsize=4)
def _opened(packed: bytes) -> Work:
    work: Work = _loads(zlib.decompress(packed))  # from the process that asked, over its own pipe
    return work


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
    _COLLECTOR.take()
    work = _opened(packed)
    if task.doubtful and os.getpid() == work.parent:
        raise RuntimeError("joblib offers no other process for it")
    _end_with(work.parent)
    outcome = work.do(task)._replace(events=_COLLECTOR.take())
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
