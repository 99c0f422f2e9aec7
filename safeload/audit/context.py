"""What a program says about the request that it is at work for: a correlation id and labels, for every event of this thread or task.

Where OpenTelemetry is loaded, events carry the ids of the trace and span that are current; it is never imported for that. Rule: what is said here is
the program's own text, and is bounded and escaped like an artifact's.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from safeload.audit.event import Said, clean, saying

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["audit_context"]

_MOST_LABELS: Final = 16
_MOST_OF_A_LABEL: Final = 64


@contextmanager
def audit_context(correlation_id: str | None = None, labels: Mapping[str, str] | None = None) -> Iterator[None]:
    """Say which request the operations inside of the ``with`` block belong to.

    Args:
        correlation_id: the id that all their events have, and the errors that they raise (``error.correlation_id``).
        labels: at most 16 names with values, in addition to those of an outer context.

    Raises:
        TypeError: an id or a label is no text.
        ValueError: there are too many labels.
    """
    outer = saying.get()
    if correlation_id is not None and (not isinstance(correlation_id, str) or not correlation_id):
        raise TypeError("a correlation id is text that is not empty")
    merged = dict(outer.labels)
    for name, value in (labels or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("labels are names and values in text")
        merged[clean(name, _MOST_OF_A_LABEL)] = clean(value)
    if len(merged) > _MOST_LABELS:
        raise ValueError(f"there are {len(merged)} labels, and an event has at most {_MOST_LABELS}")
    own = outer.correlation_id if correlation_id is None else clean(correlation_id)
    token = saying.set(Said(own, MappingProxyType(merged)))
    try:
        yield
    finally:
        saying.reset(token)
