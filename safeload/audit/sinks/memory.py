"""The memory sink: keeps events in a list, for tests and for programs that ship them in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from safeload.audit.event import Event

__all__ = ["MemorySink"]


class MemorySink:
    """Appends a copy of every event to :attr:`events`.

    Attributes:
        events: what arrived, oldest first.
        limit: the oldest events are dropped beyond this many; ``None`` keeps all.
    """

    name: str = "memory"
    required_by_default: ClassVar[bool] = False

    def __init__(self, *, limit: int | None = None) -> None:
        self.events: list[Event] = []
        self.limit = limit

    @classmethod
    def of(cls, value: object, /) -> Self | None:
        """The sink for ``audit="memory"`` does not exist: nobody could read it."""
        del value
        return None

    def emit(self, event: Event, /) -> None:
        """Keep one event."""
        self.events.append(dict(event))
        if self.limit is not None and len(self.events) > self.limit:
            del self.events[: -self.limit or None]


SINK = MemorySink
