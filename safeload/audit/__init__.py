"""The audit trail: what was done to which artifact, by which key, under which policy, and how it ended.

This package knows nothing about how artifacts are read; the pipeline opens an operation per stage and tells it what
it learns. No event holds payload content. See :mod:`safeload.audit.auditor` for the rules and
:mod:`safeload.audit.event` for the fields; ``event.schema.json`` beside this file is their JSON Schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.audit.auditor import SILENT, Auditor, Operation
from safeload.audit.event import Event, Fields

if TYPE_CHECKING:
    from safeload.audit.chain import Head
    from safeload.audit.coerce import build
    from safeload.audit.context import audit_context
    from safeload.audit.sinks import Sink
    from safeload.audit.sinks.callable import CallableSink
    from safeload.audit.sinks.jsonl import JsonlSink
    from safeload.audit.sinks.memory import MemorySink
    from safeload.audit.sinks.stdlib_logging import LoggingSink
    from safeload.audit.trail import TrailReport, read_trail, trail_head, verify_trail

__all__ = [
    "SILENT",
    "Auditor",
    "CallableSink",
    "Event",
    "Fields",
    "Head",
    "JsonlSink",
    "LoggingSink",
    "MemorySink",
    "Operation",
    "Sink",
    "TrailReport",
    "audit_context",
    "build",
    "read_trail",
    "trail_head",
    "verify_trail",
]

# What only programs that configure or read an audit need; `import safeload` does not pay for it.
_LAZY = {
    "audit_context": "context",
    "CallableSink": "sinks.callable",
    "Head": "chain",
    "JsonlSink": "sinks.jsonl",
    "LoggingSink": "sinks.stdlib_logging",
    "MemorySink": "sinks.memory",
    "Sink": "sinks",
    "TrailReport": "trail",
    "build": "coerce",
    "read_trail": "trail",
    "trail_head": "trail",
    "verify_trail": "trail",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return value
