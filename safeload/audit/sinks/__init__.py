"""Where events go. One sink is one module of this package, and adding one is adding one module.

A sink module defines ``SINK``, a class with a ``name``, ``emit(event)`` and a class method ``of(value)`` that makes a
sink of what a caller passed as ``audit=``, or returns ``None`` if the value is not its kind. A sink never changes the
event, and raises when it could not deliver it: whether that stops the operation is the auditor's decision.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.audit.event import Event

__all__ = ["RegisteredSink", "Sink", "registry"]


@runtime_checkable
class Sink(Protocol):
    """Takes events: anything with a ``name`` and an ``emit``."""

    name: str

    def emit(self, event: Event, /) -> None:
        """Deliver one event, or raise. Called from any thread."""


class RegisteredSink(Sink, Protocol):
    """What the class of a sink module offers on top: being made from the value of ``audit=``."""

    required_by_default: ClassVar[bool]

    @classmethod
    def of(cls, value: object, /) -> Self | None:
        """A sink for ``value``, or ``None``."""


@functools.cache
def registry() -> Mapping[str, type[RegisteredSink]]:
    """The sinks of this package by name, in the order of their modules' names."""
    found: dict[str, type[RegisteredSink]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        sink: type[RegisteredSink] = importlib.import_module(f"{__name__}.{module}").SINK
        found[sink.name] = sink
    return found
