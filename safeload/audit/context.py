"""What a program says about the request that it is at work for: a correlation id and labels, for every event of this thread or task.

Where OpenTelemetry is loaded, events carry the ids of the trace and span that are current; it is never imported for that. Rule: what is said here is
the program's own text, and is bounded and escaped like an artifact's.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from safeload.audit.event import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["audit_context", "said", "trace_ids"]

_MOST_LABELS: Final = 16
_MOST_OF_A_LABEL: Final = 64


class Said(NamedTuple):
    """What is said in the innermost context."""

    correlation_id: str = ""
    labels: Mapping[str, str] = MappingProxyType({})


_said: ContextVar[Said] = ContextVar("safeload.audit.context", default=Said())  # noqa: B039 - it cannot be changed
said = _said.get


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
    outer = _said.get()
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
    token = _said.set(Said(own, MappingProxyType(merged)))
    try:
        yield
    finally:
        _said.reset(token)


def trace_ids() -> dict[str, str]:
    """The ids of the current trace and span of OpenTelemetry, if it is loaded and there is one."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    try:
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return {}
        return {"trace_id": f"{current.trace_id:032x}", "span_id": f"{current.span_id:016x}"}
    except Exception:  # noqa: BLE001 - the boundary to foreign code; an event without ids is better than none
        return {}
