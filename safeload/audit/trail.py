"""Reading a trail: is it whole, what does it say, which operations never ended.

What the chain proves: of the lines that are there, none but the last was edited, removed, inserted or moved since it
was written. With a ``key`` the last one is protected too.

What it cannot prove, and what does:

- *The end was cut off, or the last line of an unkeyed trail was edited.* A shorter trail is a valid trail. Anchor
  :func:`trail_head` elsewhere from time to time (another host, a ticket, a signed commit) and pass it as ``anchor``:
  a trail that does not contain the anchored line is reported.
- *The whole file was rewritten.* Who may write the file can recompute every digest, as root of the log host always
  can. With a ``key`` that the host's other users do not have, only a holder of the key can; a process that writes
  keyed lines holds it, so a compromised writer can still forge what it writes from then on, and rewrite what it wrote
  before, unless an anchor says otherwise.
- *The file was replaced by an older copy, or removed.* Only an anchor shows it.
- *Events that were never written.* The attempt is written before an operation starts, so an operation that killed its
  process shows up as unfinished; an operation that nobody audited does not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, NamedTuple

from safeload.audit.chain import MAX_LINE, START, Head, MacKey, Record, digest, mac_holds, parse
from safeload.audit.trail_file import opened

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from safeload.audit.event import Event

__all__ = ["Break", "TrailReport", "read_trail", "trail_head", "verify_trail"]

_MAX_LISTED: Final = 1000  # torn lines and unfinished operations that a report lists
_MAX_OPEN: Final = 100_000  # operations followed at the same time

BreakKind = Literal["edited", "missing", "reordered", "truncated", "forged"]


class Break(NamedTuple):
    """The first place where a trail is not what its writers wrote.

    ``line`` counts from 1; ``kind`` is ``edited`` (this line or the one before it), ``missing`` (lines before it),
    ``reordered`` (moved or doubled), ``forged`` (no valid mac) or ``truncated`` (the anchored end is gone).
    """

    line: int
    kind: BreakKind
    message: str


@dataclass(frozen=True, slots=True)
class TrailReport:
    """What :func:`verify_trail` found.

    Attributes:
        events: whole lines.
        head: the end of the trail; anchor it elsewhere.
        starts_after: digest of the rotated file that this one follows, or zeros.
        keyed: lines that carry a mac. ``checked``: whether a key was given and every mac held.
        torn: numbers of lines that a crash cut short (vouched for by the line after them).
        torn_end: whether the last line is cut short; the next writer will close it off.
        broken: the first break, or ``None``.
        unfinished: attempts without a result, oldest first: running now, or the process died in them.
    """

    events: int
    head: Head
    starts_after: str
    keyed: int
    checked: bool
    torn: tuple[int, ...]
    torn_end: bool
    broken: Break | None
    unfinished: tuple[Event, ...]

    @property
    def ok(self) -> bool:
        """Whether the chain holds. A torn line is a crash, not a break."""
        return self.broken is None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {
            "ok": self.ok,
            "events": self.events,
            "head": self.head._asdict(),
            "starts_after": self.starts_after,
            "keyed": self.keyed,
            "checked": self.checked,
            "torn": list(self.torn),
            "torn_end": self.torn_end,
            "broken": self.broken._asdict() if self.broken else None,
            "unfinished": [dict(event) for event in self.unfinished],
        }


class _Line(NamedTuple):
    number: int
    raw: bytes  # without its newline; cut at MAX_LINE + 1 bytes, which no record has
    whole: bool  # ended by a newline


def verify_trail(
    path: str | os.PathLike[str],
    key: MacKey | None = None,
    *,
    anchor: Head | tuple[int, str] | None = None,
    previous: str | None = None,
) -> TrailReport:
    """Check the chain of the trail at ``path`` (the module says what this proves and what not).

    Args:
        path: the trail. It may be written to meanwhile; what is there at the beginning is checked.
        key: the writers' key; then every line must have its valid mac.
        anchor: an earlier head, kept elsewhere: the trail must still contain it.
        previous: head digest of the file that was rotated away before this one: the first line must follow it.

    Raises:
        AuditError: the file cannot be read or is no file.
    """
    checker = _Checker(key, None if anchor is None else Head(*anchor), previous)
    with opened(path) as (file, size):
        for line in _lines(file, size):
            checker.take(line)
    return checker.report()


def read_trail(path: str | os.PathLike[str]) -> Iterator[Event]:
    """The events of a trail, oldest first, without checking the chain; lines that are no event are skipped.

    Raises:
        AuditError: the file cannot be read or is no file.
    """
    with opened(path) as (file, size):
        for line in _lines(file, size):
            if line.whole and (record := parse(line.raw)):
                yield record.event


def trail_head(path: str | os.PathLike[str]) -> Head:
    """The end of the trail at ``path``, to be anchored elsewhere.

    Raises:
        AuditError: the file cannot be read or is no file.
    """
    head = START
    with opened(path) as (file, size):
        for line in _lines(file, size):
            if line.whole and (record := parse(line.raw)):
                head = Head(record.seq, digest(line.raw))
    return head


def _lines(file: BinaryIO, size: int) -> Iterator[_Line]:
    number = 0
    while size > 0:
        number += 1
        raw = file.readline(min(size, MAX_LINE + 1))
        if not raw:  # truncated while we read
            return
        size -= len(raw)
        whole = raw.endswith(b"\n")
        kept = raw[:-1] if whole else raw
        while not whole and size > 0:  # longer than any record: its rest is read past, in bounded pieces
            raw = file.readline(min(size, MAX_LINE + 1))
            if not raw:
                break
            size -= len(raw)
            whole = raw.endswith(b"\n")
        yield _Line(number, kept, whole)


def _may_begin(raw: bytes) -> bool:
    """Whether a crash can have left this of a line: its beginning, or zeros."""
    return raw.startswith(b"{") or not raw.strip(b"\0")


class _Checker:
    """Follows the chain line by line in bounded memory."""

    def __init__(self, key: MacKey | None, anchor: Head | None, previous: str | None) -> None:
        self._key = key
        self._anchor = anchor
        self._previous = previous
        self._anchored = anchor is None or anchor == START
        self._head = START
        self._starts_after = START.digest
        self._events = self._keyed = self._last = 0
        self._broken: Break | None = None
        self._expected = -1  # after a break: the number that was expected there, to tell moved lines from missing ones
        self._debris: list[int] = []  # numbers of lines that are no record, until the next record vouches for them
        self._debris_hash: Any = None
        self._torn: list[int] = []
        self._torn_end = False
        self._open: dict[str, Event] = {}

    def take(self, line: _Line) -> None:
        """Check the next line."""
        self._last = line.number
        record = parse(line.raw) if line.whole else None
        if record is None:
            if line.whole:
                self._keep_debris(line)
            elif self._events == 0 and not _may_begin(line.raw):
                self._break(
                    line.number, "edited", "this is no audit trail: there is no event in it, and no beginning of one"
                )
            else:
                self._torn_end = True  # the writer of the next line vouches for it
            return
        self._check(line, record)
        if self._broken is not None and record.seq == self._expected and self._broken.kind == "missing":
            found = f"lines were moved: number {record.seq} stands at line {line.number}"
            self._broken = Break(self._broken.line, "reordered", found)
        self._head = Head(record.seq, digest(line.raw))
        self._anchored = self._anchored or self._head == self._anchor
        self._events += 1
        self._keyed += bool(record.mac)
        self._follow(record.event)

    def _keep_debris(self, line: _Line) -> None:
        if self._debris_hash is None:
            self._debris_hash = hashlib.sha256(line.raw)
        else:
            self._debris_hash.update(b"\n" + line.raw)
        if len(self._debris) < _MAX_LISTED:
            self._debris.append(line.number)

    def _check(self, line: _Line, record: Record) -> None:
        debris, vouched = self._debris, record.torn
        found = self._debris_hash.hexdigest() if self._debris_hash is not None else ""
        self._debris, self._debris_hash = [], None
        if self._events == 0:
            self._starts_after = record.prev
        if self._broken is not None:
            return
        if found != vouched:
            at = debris[0] if debris else line.number
            self._break(at, "edited", f"line {at} is no event, and no writer vouches for it")
            return
        self._torn += debris[: _MAX_LISTED - len(self._torn)]
        if self._key is not None and not mac_holds(record, self._key):
            self._break(line.number, "forged", "the mac is missing or not valid under this key")
        elif record.seq != self._head.seq + 1:
            self._out_of_order(line, record)
        elif self._events == 0:
            if self._previous is not None and record.prev != self._previous:
                self._break(line.number, "missing", "the trail does not follow the given previous file")
        elif record.prev != self._head.digest:
            self._break(line.number, "edited", "this line does not follow the line before it: one of them was changed")

    def _out_of_order(self, line: _Line, record: Record) -> None:
        self._expected = self._head.seq + 1
        if record.seq < self._expected:
            self._break(line.number, "reordered", f"number {record.seq} again or late; {self._expected} was expected")
        else:
            gone = record.seq - self._expected
            self._break(line.number, "missing", f"{gone} line(s) before it, from number {self._expected} on, are gone")

    def _break(self, line: int, kind: BreakKind, message: str) -> None:
        self._broken = Break(line, kind, message)

    def _follow(self, event: Event) -> None:
        operation = event.get("operation_id")
        if not isinstance(operation, str):
            return
        if event.get("phase") == "result":
            self._open.pop(operation, None)
        elif len(self._open) < _MAX_OPEN:
            self._open[operation] = event

    def report(self) -> TrailReport:
        """The report, after the last line."""
        if self._debris and self._broken is None:
            self._break(self._debris[0], "edited", f"line {self._debris[0]} is no event, and no writer vouches for it")
        if not self._anchored and self._broken is None:
            self._break(
                self._last + 1, "truncated", "the anchored end is not in the trail: lines were cut off or rewritten"
            )
        return TrailReport(
            events=self._events,
            head=self._head,
            starts_after=self._starts_after,
            keyed=self._keyed,
            checked=self._key is not None and self._broken is None,
            torn=tuple(self._torn),
            torn_end=self._torn_end,
            broken=self._broken,
            unfinished=tuple(self._open.values())[:_MAX_LISTED],
        )
