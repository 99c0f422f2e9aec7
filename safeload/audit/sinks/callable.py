"""The callable sink: hands each event to a function, for queues, metrics and everything without a sink of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.audit.event import Event

__all__ = ["CallableSink"]


class CallableSink:
    """Calls ``function(event)`` with a dict of its own; what it returns is ignored, what it raises is a failure."""

    name: str = "callable"
    required_by_default: ClassVar[bool] = False

    def __init__(self, function: Callable[[Event], object], *, name: str = "callable") -> None:
        if not callable(function):
            raise TypeError(f"an audit function must be callable, not {type(function).__name__}")
        self.name = name
        self._function = function

    @classmethod
    def of(cls, value: object, /) -> Self | None:
        """A sink for any callable; a class is taken for a mistake (``audit=JsonlSink`` without its path)."""
        return cls(value) if callable(value) and not isinstance(value, type) else None

    def emit(self, event: Event, /) -> None:
        """Call the function with a copy, so that it cannot change what other sinks get."""
        self._function(dict(event))


SINK = CallableSink
