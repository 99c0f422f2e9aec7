"""Helpers for testing what a program audits.

    >>> from safeload.audit.testing import capture
    >>> with capture() as events:
    ...     pass  # safeload.loads(data)
    >>> events
    []

``capture`` sees every event of the process, whichever auditor makes it, and checks each against the schema.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from safeload.audit import auditor
from safeload.audit.sinks.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from safeload.audit.event import Event

__all__ = ["assert_valid", "capture", "event_schema"]


@contextmanager
def capture(*, validate: bool = True) -> Iterator[list[Event]]:
    """A list that receives every event made while the context lasts, by any auditor and in any thread.

    With ``validate``, every captured event is checked by :func:`assert_valid` when the context ends without an error.
    """
    sink = MemorySink()
    auditor.taps.append(sink)
    try:
        yield sink.events
    finally:
        auditor.taps[:] = [tap for tap in auditor.taps if tap is not sink]
    if validate:
        for event in sink.events:
            assert_valid(event)


def event_schema() -> dict[str, Any]:
    """The JSON Schema of events, a copy."""
    text = files("safeload.audit").joinpath("event.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(event_schema())


def assert_valid(event: Mapping[str, object]) -> None:
    """Check ``event`` against the event schema.

    Raises:
        AssertionError: it does not match; the message names the fields.
    """
    problems = [
        f"{'.'.join(map(str, error.path)) or 'event'}: {error.message}" for error in _validator().iter_errors(event)
    ]
    if problems:
        raise AssertionError("invalid audit event: " + "; ".join(problems))
