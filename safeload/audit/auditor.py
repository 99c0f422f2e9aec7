"""The auditor: writes the two events of an operation and decides what a failing sink means.

Rules. The attempt is written before the operation starts, so that a file that kills the process leaves a trace. A
required sink that fails stops the operation with :class:`~safeload.errors.AuditError`: on the attempt before a byte
is looked at, on the result before the object is handed out. An optional sink that fails is counted and changes
nothing. An operation that already fails keeps its own error. ``sys.audit`` (PEP 578) is raised for every phase, with
or without sinks:

    ``sys.audit("safeload.<op>", phase, correlation_id, reason, sha256)``

Without a sink an operation is one small object and these two calls, far below 1 µs.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from time import perf_counter_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, Self, Unpack

from safeload.audit.event import (
    AUDIT_NAMES,
    FIELD_NAMES,
    Event,
    Fields,
    Op,
    Phase,
    describe_error,
    make_event,
    new_id,
    said,
    trace_ids,
)
from safeload.errors import AuditError, SafeloadError
from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from safeload.audit.sinks import Sink

__all__ = ["SILENT", "Auditor", "Operation"]

_INHERITED: Final = ("sha256", "size", "container")  # what a stage says about the artifact, its whole operation says

_audit: Final = sys.audit  # bound once: faster, and not to be replaced later

# Process-wide extra sinks, filled by safeload.audit.testing.capture and nothing else.
taps: list[Sink] = []


class _Emitting(threading.local):
    active = False


_emitting = _Emitting()


class Operation:
    """One operation that is being audited; use it as a context manager.

    This base class is also the whole implementation for an auditor without sinks, and is kept minimal for that:
    it raises the ``sys.audit`` events and remembers only what those carry.
    """

    __slots__ = ("_name", "_sha256", "correlation_id")

    # Whether anyone reads the fields; gathering costly ones can be left out if not.
    recording: ClassVar[bool] = False

    def __init__(self, name: str, correlation_id: str, sha256: str) -> None:
        self._name = name
        self.correlation_id = correlation_id
        self._sha256 = sha256

    def set(self, **fields: Unpack[Fields]) -> None:
        """Add ``fields`` to the result event."""
        if "sha256" in fields:
            self._sha256 = fields["sha256"]

    def child(self, op: Op, /, **fields: Unpack[Fields]) -> Operation:
        """An operation inside this one: same correlation id, same artifact."""
        return Operation(
            AUDIT_NAMES[op], self.correlation_id, fields.get("sha256", self._sha256) if fields else self._sha256
        )

    def __enter__(self) -> Self:
        _audit(self._name, "attempt", self.correlation_id, "", self._sha256)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            _audit(self._name, "result", self.correlation_id, "", self._sha256)
        else:
            _audit_failure(self._name, self.correlation_id, error, self._sha256)


def _audit_failure(name: str, correlation_id: str, error: BaseException, sha256: str) -> None:
    _, code, reason = describe_error(error)
    if isinstance(error, SafeloadError) and not error.correlation_id:
        error.correlation_id = correlation_id
    try:
        _audit(name, "result", correlation_id, reason or code, sha256)
    except Exception as hook_error:  # noqa: BLE001  a hook may veto by raising, but not hide why this failed
        error.add_note(f"an audit hook raised {type(hook_error).__name__} for the result of {name}")


class _RecordedOperation(Operation):
    """An operation of an auditor that has sinks."""

    __slots__ = ("_auditor", "_fields", "_op", "_parent", "_start", "operation_id")

    recording = True

    def __init__(
        self, auditor: Auditor, op: str, correlation_id: str, parent: str, fields: Mapping[str, object]
    ) -> None:
        sha256 = fields.get("sha256", "")
        super().__init__(AUDIT_NAMES[op], correlation_id, sha256 if isinstance(sha256, str) else "")
        self._auditor = auditor
        self._op = op
        self._parent = parent
        self._fields: dict[str, object] = {}
        self._add(fields)
        self.operation_id = new_id()
        self._start = 0

    def _add(self, fields: Mapping[str, object]) -> None:
        if not fields.keys() <= FIELD_NAMES:
            unknown = ", ".join(sorted(fields.keys() - FIELD_NAMES))
            raise TypeError(f"no such audit field: {unknown} (see safeload.audit.Fields)")
        self._fields.update(fields)

    def set(self, **fields: Unpack[Fields]) -> None:
        self._add(fields)
        if "sha256" in fields:
            self._sha256 = fields["sha256"]

    def child(self, op: Op, /, **fields: Unpack[Fields]) -> Operation:
        inherited: dict[str, object] = {name: self._fields[name] for name in _INHERITED if name in self._fields}
        inherited.update(fields)
        return _RecordedOperation(self._auditor, op, self.correlation_id, self._op, inherited)

    def __enter__(self) -> Self:
        super().__enter__()
        self._start = perf_counter_ns()
        failed = self._auditor.deliver(self._event("attempt", self._fields))
        if failed is not None:
            error = _sink_error(*failed, "the operation was not started")
            # Sinks that did take the attempt get its result too: this is a refusal, not a process that died.
            self._auditor.deliver(self._result(error))
            _audit_failure(self._name, self.correlation_id, error, self._sha256)
            raise error from failed[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        hook_error: BaseException | None = None
        try:
            super().__exit__(kind, error, tb)
        except BaseException as raised:  # noqa: BLE001  a hook vetoed; the trail must say so before it propagates
            hook_error = raised
        failed = self._auditor.deliver(self._result(error or hook_error))
        if hook_error is not None:
            raise hook_error
        if failed is None:
            return
        name, cause = failed
        if error is not None:
            error.add_note(f"the required audit sink {name!r} failed too, so this result is not on record there")
            return
        raise _sink_error(name, cause, "its result was withheld") from cause

    def _result(self, error: BaseException | None) -> Event:
        fields = self._fields
        if error is not None:
            outcome, code, reason = describe_error(error)
            fields = {"outcome": outcome, "reason_code": code, "reason": reason, **_refused(error), **fields}
            if fields["outcome"] == "ok":
                fields["outcome"] = outcome
        return self._event("result", fields)

    def _event(self, phase: Phase, fields: Mapping[str, object]) -> Event:
        event = make_event(self._op, phase, self.operation_id, self.correlation_id, self._parent, fields)
        if phase == "result":
            event["duration_us"] = (perf_counter_ns() - self._start) // 1000
        return self._auditor.complete(event)


def _refused(error: BaseException) -> dict[str, object]:
    """What the report of a refusal says for its event: the verdict, and the globals that were refused."""
    report = getattr(error, "report", None)
    if not isinstance(error, SafeloadError) or report is None:
        return {}
    named = set(report.globals)
    refused = [finding.evidence for finding in report.findings if finding.evidence in named]
    return {"verdict": report.verdict, "globals": list(dict.fromkeys(refused))}


def _sink_error(name: str, cause: Exception, consequence: str) -> AuditError:
    # The message of an OSError is the system's; any other may quote what the sink was given.
    detail = f"{type(cause).__name__}: {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else None
    if isinstance(cause, AuditError):
        detail = str(cause)
    message = f"the required audit sink {name!r} failed ({detail or type(cause).__name__}), so {consequence}; "
    return AuditError(message + "make the sink work again, or configure it as an optional one")


def _host_name() -> str:
    import platform

    return platform.node()


@dataclass(frozen=True, slots=True, eq=False)
class Auditor:
    """Where the events of a loader go.

    Attributes:
        sinks: sinks that may fail: a failure is counted in :attr:`dropped`.
        required: sinks that must not fail: a failure stops the operation. They are written first.
        host: whether events name the host.
    """

    sinks: Sequence[Sink] = ()
    required: Sequence[Sink] = ()
    host: bool = False
    _entries: tuple[tuple[str, Sink, bool], ...] = field(init=False, repr=False, default=())
    _dropped: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=forks.lock)
    _extra: dict[str, object] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        required = tuple(self.required)
        optional = tuple(sink for sink in self.sinks if not any(sink is other for other in required))
        entries: list[tuple[str, Sink, bool]] = []
        for sink in (*required, *optional):
            if not callable(getattr(sink, "emit", None)) or isinstance(sink, type):
                raise TypeError(f"a sink needs an emit(event) method, and {type(sink).__name__} has none")
            name = str(getattr(sink, "name", type(sink).__name__))
            taken = {entry[0] for entry in entries}
            unique = next(n for i in range(len(entries) + 1) if (n := f"{name}#{i + 1}" if i else name) not in taken)
            entries.append((unique, sink, len(entries) < len(required)))
        object.__setattr__(self, "sinks", optional)
        object.__setattr__(self, "required", required)
        object.__setattr__(self, "_entries", tuple(entries))
        self._dropped.update((name, 0) for name, _, _ in entries)
        if self.host:
            from safeload.audit.event import clean

            self._extra["host"] = clean(_host_name())

    def __reduce__(self) -> tuple[object, ...]:
        for name, sink, _ in self._entries:
            if not getattr(sink, "crosses", False):
                raise TypeError(
                    f"the audit sink {name!r} cannot cross into another process; use a trail (its path), or threads"
                )
        return Auditor, (self.sinks, self.required, self.host)

    def replay(self, event: Event) -> None:
        """Give an event of another process to the sinks that could not cross into it."""
        for name, sink, _ in self._entries:
            if not getattr(sink, "crosses", False):
                try:
                    sink.emit(event)
                except Exception:  # noqa: BLE001  the boundary to foreign code, as in deliver
                    with self._lock:
                        self._dropped[name] += 1

    @property
    def active(self) -> bool:
        """Whether anything but ``sys.audit`` hooks listens; what is costly to tell need not be gathered otherwise."""
        return bool(self._entries or taps)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that each sink failed to take, by sink name (``name#2`` for the second of a name)."""
        return MappingProxyType(self._dropped)

    def operation(self, op: Op, /, **fields: Unpack[Fields]) -> Operation:
        """A new top-level operation, to be used in a ``with`` statement.

        Entering writes the attempt with ``fields``; leaving writes the result with those and what
        :meth:`Operation.set` added, also when an exception passes through.

        Raises:
            KeyError: ``op`` is no operation of the event schema.
            TypeError: a field that events do not have.
            AuditError: on entering or leaving, when a required sink failed.
        """
        correlation_id = said().correlation_id or new_id()
        if self._entries or taps:
            return _RecordedOperation(self, op, correlation_id, "", fields)
        return Operation(AUDIT_NAMES[op], correlation_id, fields.get("sha256", "") if fields else "")

    def complete(self, event: Event) -> Event:
        """Add what is the same for every event of this auditor."""
        event.update(self._extra)
        if labels := said().labels:
            event["labels"] = dict(labels)
        event.update(trace_ids())
        if lost := sum(self._dropped.values()):
            event["dropped"] = lost
        return event

    def deliver(self, event: Event) -> tuple[str, Exception] | None:
        """Give ``event`` to every sink; the first required sink that failed and why, or ``None``.

        A sink that itself loads artifacts would audit its own auditing without end: while events are being
        delivered on a thread, further events of that thread are not.
        """
        if _emitting.active:
            return None
        failed: tuple[str, Exception] | None = None
        _emitting.active = True
        try:
            for name, sink, required in self._entries:
                try:
                    sink.emit(event)
                except Exception as error:  # noqa: BLE001  the boundary to foreign code: nothing but this decides
                    with self._lock:
                        self._dropped[name] += 1
                    if required and failed is None:
                        failed = (name, error)
            for tap in tuple(taps):
                tap.emit(event)
        finally:
            _emitting.active = False
        return failed

    def close(self) -> None:
        """Close the sinks that hold something open; they reopen by themselves when used again."""
        for _, sink, _ in self._entries:
            close = getattr(sink, "close", None)
            if close is not None:
                close()


SILENT: Final = Auditor()
