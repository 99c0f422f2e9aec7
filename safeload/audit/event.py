"""The audit event: its names, its fields and how a value becomes safe to write.

Rule: an event says what was done to an artifact and never what is in it. A field exists only if it is in
:class:`Fields`; every value is bounded, is printable ASCII (so that a hostile name can neither forge a line
nor steer a terminal), and is converted by a rule of its own field: nothing here calls ``repr`` or ``str`` on an
object that a payload could have made. ``event.schema.json`` states the same for those who read events.
"""

from __future__ import annotations

import builtins
import os
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict

from safeload.errors import AuditError, KeyProviderError, LoadError, SafeloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from safeload.facts.suites import Suite
    from safeload.findings import Finding, Verdict

__all__ = [
    "AUDIT_NAMES",
    "MAX_RULES",
    "MAX_TEXT",
    "SCHEMA_VERSION",
    "Event",
    "Fields",
    "Op",
    "Outcome",
    "Phase",
    "Said",
    "clean",
    "describe_error",
    "make_event",
    "new_id",
    "said",
    "saying",
    "trace_ids",
]

Event = dict[str, object]
Op = Literal[
    "seal",
    "verify",
    "decrypt",
    "read",
    "analyse",
    "decide",
    "load",
    "migrate",
    "validate",
    "key",
    "policy",
    "scan",
    "dump",
    "guard",
]
Phase = Literal["attempt", "result"]
Outcome = Literal["ok", "refused", "error"]

SCHEMA_VERSION: Final = 1
MAX_TEXT: Final = 256  # characters of one text field, after escaping
MAX_NAMES: Final = 8  # globals: the first ones tell what an artifact is after
MAX_RULES: Final = 32  # distinct rule ids, unsafe flags: enough to see what happened, and a bounded line

AUDIT_NAMES: Final[dict[str, str]] = {op: f"safeload.{op}" for op in Op.__args__}  # type: ignore[attr-defined]


class Fields(TypedDict, total=False):
    """What an operation may say about itself; anything else is a ``TypeError``.

    ``None`` and empty values are left out. ``source`` is the path, URL or name of what is read or written, ``context`` what it was bound to. ``sha256``, ``size`` and ``container`` of an operation are taken over by
    its children. ``key_id`` is hex or raw bytes; ``program`` and ``policy_digest`` are hex SHA-256; of ``findings``
    only the distinct rule ids are written; ``globals`` are policy names, the first eight of them; ``action`` is a short word for key and policy operations
    (``"fetch"``, ``"configure"``), and the kind of payload for a migration; ``sandbox`` is the level of the sandbox that an artifact was loaded in; ``outcome`` overrides what the exception, or its absence, says.
    """

    source: str | None
    context: str | None
    sha256: str
    size: int | None
    payload_size: int | None
    container: str | None
    codec: str | None
    layout: str | None
    key_id: str | bytes | None
    suite: Suite | str | None
    policy_digest: str | None
    program: str | None
    verdict: Verdict | str | None
    findings: Collection[Finding | str] | None
    globals: Collection[str] | None
    streams: int | None
    operations: int | None
    action: str | None
    sandbox: str | None
    unsafe: Collection[str] | None
    reason_code: str | None
    reason: str | None
    outcome: Outcome


def clean(text: str, limit: int = MAX_TEXT) -> str:
    r"""``text`` as printable ASCII of at most ``limit`` characters; the rest becomes ``\n``, ``\u202e`` ..."""
    cut = str.__getitem__(text, slice(limit + 1))  # first, so that a huge string costs nothing
    if not (cut.isascii() and cut.isprintable() and "\\" not in cut):
        cut = cut.encode("unicode_escape").decode("ascii")
    return cut if len(cut) <= limit else cut[: limit - 3] + "..."


def _text(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    # Never the value itself: whatever this is, it did not come from a field's documented type.
    return "invalid"


_HEX = re.compile(r"[0-9a-f]{2,128}")


def _hex(value: object) -> object:
    if isinstance(value, bytes):
        return value[:64].hex()
    return value if isinstance(value, str) and _HEX.fullmatch(value) else "invalid"


_INT_BOUND = 1 << 63


def _size(value: object) -> object:
    if type(value) is int:
        return max(0, min(value, _INT_BOUND))
    return "invalid"


def _suite(value: object) -> object:
    return _text(getattr(value, "label", value))


def _rules(value: object) -> object:
    return _words(value, "rule_id")


def _names(value: object) -> object:
    return _words(value, most=MAX_NAMES)


def _words(value: Any, attribute: str = "", most: int = MAX_RULES) -> object:
    if type(value) not in (list, tuple, set, frozenset):  # a subclass could iterate by its own code
        return ["invalid"]
    words: dict[object, None] = {}
    for item in value:
        word = _text(getattr(item, attribute, item) if attribute else item)
        if word:
            words[word] = None
        if len(words) == most:
            break
    return list(words)


# Field -> (name in the event, conversion), in the order of the event.
_RULES: Final[dict[str, tuple[str, Callable[[object], object]]]] = {
    "source": ("source", _text),
    "context": ("context", _text),
    "sha256": ("sha256", _hex),
    "size": ("size", _size),
    "payload_size": ("payload_size", _size),
    "container": ("container", _text),
    "codec": ("codec", _text),
    "layout": ("layout", _text),
    "key_id": ("key_id", _hex),
    "suite": ("suite", _suite),
    "policy_digest": ("policy_digest", _hex),
    "program": ("program", _hex),
    "verdict": ("verdict", _text),
    "findings": ("rules", _rules),
    "globals": ("globals", _names),
    "streams": ("streams", _size),
    "operations": ("operations", _size),
    "action": ("action", _text),
    "sandbox": ("sandbox", _text),
    "unsafe": ("unsafe", _words),
    "reason_code": ("reason_code", _text),
    "reason": ("reason", _text),
}
FIELD_NAMES: Final = frozenset(_RULES) | {"outcome"}


class _Ids:
    """Process-wide unique ids: a random prefix and a counter, because a random id per operation costs 1 µs."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):  # a forked child must not repeat its parent's ids
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.prefix = os.urandom(8).hex() + "-"
        self.next = count(1).__next__


_ids = _Ids()


def new_id() -> str:
    """An id that no other operation of any process has: ``"9f86d081884c7d65-17"``."""
    return _ids.prefix + str(_ids.next())


class Said(NamedTuple):
    """What the program says of the request that it is at work for (:func:`safeload.audit.audit_context`)."""

    correlation_id: str = ""
    labels: Mapping[str, str] = MappingProxyType({})


saying: ContextVar[Said] = ContextVar("safeload.audit.context", default=Said())  # noqa: B039 - it cannot be changed
said = saying.get


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


def describe_error(error: BaseException) -> tuple[Outcome, str, str]:
    """Outcome, reason code and private reason of an operation that ended with ``error``.

    ``refused`` is safeload saying no to an artifact; ``error`` is everything that is nobody's decision. Of a foreign
    exception only a built-in class is named: the message and the class of another may be the payload's.
    """
    if isinstance(error, SafeloadError):
        reason = getattr(error, "reason", None)
        failed = isinstance(error, AuditError | KeyProviderError | LoadError)
        return "error" if failed else "refused", error.code, reason if isinstance(reason, str) else ""
    kind = type(error)
    known = getattr(builtins, kind.__name__, None) is kind
    return "error", f"exception.{kind.__name__}" if known else "exception.other", ""


def make_event(
    op: str, phase: Phase, operation_id: str, correlation_id: str, parent: str, fields: Mapping[str, object]
) -> Event:
    """One event, ready for every sink. ``fields`` has the names of :class:`Fields`."""
    event: Event = {
        "schema_version": SCHEMA_VERSION,
        "time": datetime.now(UTC).isoformat(timespec="microseconds")[:26] + "Z",
        "event": AUDIT_NAMES[op],
        "phase": phase,
    }
    if phase == "result":
        event["outcome"] = fields.get("outcome", "ok")
    event["event_id"] = f"{operation_id}.{phase}"
    event["operation_id"] = operation_id
    event["correlation_id"] = correlation_id
    if parent:
        event["parent"] = parent
    event["pid"] = os.getpid()
    for field, (name, convert) in _RULES.items():
        value = fields.get(field)
        if value is None or value == "":
            continue
        converted = convert(value)
        if converted != []:
            event[name] = converted
    return event
