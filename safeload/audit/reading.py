"""Choosing from the events of a trail, and following one that is being written."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safeload.audit.chain import parse
from safeload.audit.trail import read_trail

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from safeload.audit.event import Event

__all__ = ["chosen_events", "follow_trail"]

_PAUSE: Final = 0.2


def chosen_events(events: Iterator[Event], wanted: Mapping[str, str | None]) -> Iterator[Event]:
    """Those of ``events`` that answer a question.

    Args:
        events: of a trail.
        wanted: ``outcome``, ``verdict``, ``name`` of the event, ``source`` (a part of it), ``correlation`` and ``since``, each ``None`` for any.

    Raises:
        ValueError: ``since`` is no time.
    """
    tests: list[Callable[[Event], bool]] = []
    if (outcome := wanted.get("outcome")) is not None:
        tests.append(lambda event: event.get("outcome") == outcome)
    if (verdict := wanted.get("verdict")) is not None:
        tests.append(lambda event: event.get("verdict") == verdict)
    if (name := wanted.get("name")) is not None:
        tests.append(lambda event: event.get("event") in (name, f"safeload.{name}"))
    if (part := wanted.get("source")) is not None:
        tests.append(lambda event: part in str(event.get("source", "")))
    if (correlation := wanted.get("correlation")) is not None:
        tests.append(lambda event: event.get("correlation_id") == correlation)
    if (since := wanted.get("since")) is not None:
        begin = _utc(since)
        tests.append(lambda event: str(event.get("time", "")) >= begin)
    return (event for event in events if all(test(event) for test in tests))


def _utc(text: str) -> str:
    """A time as events write it; one without a zone is UTC."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None
    zoned = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    return zoned.isoformat(timespec="microseconds")[:26] + "Z"


def follow_trail(path: str | os.PathLike[str], *, until: Callable[[], Any] = lambda: False) -> Iterator[Event]:
    """The events of a trail, and then those that are written to it, across its rotation, until ``until`` says so.

    Raises:
        AuditError: the file cannot be read or is no file.
    """
    yield from read_trail(path)  # which also says what is wrong with the path
    place = Path(path)
    file = place.open("rb")
    try:
        file.seek(0, 2)
        rest = b""
        while not until():
            block = file.read(1 << 16)
            if not block:
                time.sleep(_PAUSE)
                if _was_moved(file, place):
                    file.close()
                    file, rest = place.open("rb"), b""
                continue
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if record := parse(line):
                    yield record.event
    finally:
        file.close()


def _was_moved(file: Any, place: Path) -> bool:
    """Whether the path names another file by now."""
    import os

    try:
        return not os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False  # between the two renames of a rotation
