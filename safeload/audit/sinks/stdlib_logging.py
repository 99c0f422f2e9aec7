"""The logging sink: one record per event on the standard library logger ``safeload.audit``.

Attempts are DEBUG, results INFO (ok), WARNING (refused) or ERROR. The whole event is the record's attribute
``safeload`` for structured handlers; the message is its short form, already escaped. A handler's own failure is
handled by :mod:`logging` (it prints or swallows it), so this sink cannot vouch for delivery: use the trail as a
required sink.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar, Final, Self

if TYPE_CHECKING:
    from safeload.audit.event import Event

__all__ = ["LoggingSink"]

_LEVELS: Final = {None: logging.DEBUG, "ok": logging.INFO, "refused": logging.WARNING, "error": logging.ERROR}
_SHORT: Final = ("outcome", "verdict", "reason_code", "sha256", "key_id", "correlation_id")


class LoggingSink:
    """Logs events.

    Args:
        logger: a logger, or the name of one.
    """

    name: str = "logging"
    required_by_default: ClassVar[bool] = False

    def __init__(self, logger: logging.Logger | str = "safeload.audit") -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger

    @classmethod
    def of(cls, value: object, /) -> Self | None:
        """A sink for a logger or an adapter's logger."""
        return cls(value) if isinstance(value, logging.Logger) else None

    def emit(self, event: Event, /) -> None:
        """Log one event at the level of its outcome."""
        level = _LEVELS.get(event.get("outcome"), logging.ERROR)  # type: ignore[call-overload]
        if self._logger.isEnabledFor(level):
            short = " ".join(f"{name}={event[name]}" for name in _SHORT if name in event)
            self._logger.log(level, "%s %s %s", event["event"], event["phase"], short, extra={"safeload": dict(event)})


SINK = LoggingSink
