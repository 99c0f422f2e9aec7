"""One line of a trail: an event, its number and the digest of the line before it.

    ``{"seq":17,"prev":"<sha256 of line 16>", ...the event..., "mac":"<hex>"}``

Rule: there is exactly one spelling of a line (what :func:`encode` writes), and :func:`parse` accepts nothing else, so
that two readers cannot see two events in it. ``prev`` of a file's first line is the last digest of the file that was
rotated away, or zeros. ``torn`` is there when a crash left part of a line before this one: the digest of that part,
so that the debris is vouched for and nothing can be hidden in it. ``mac`` is a keyed digest of the line without it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.audit.event import Event

__all__ = ["GENESIS", "MAX_LINE", "START", "Head", "MacKey", "Record", "digest", "encode", "mac_holds", "parse"]

GENESIS: Final = "0" * 64
MAX_LINE: Final = 32 * 1024  # bytes; the longest event is below 20 KiB (event.MAX_RULES times event.MAX_TEXT)
_MAC_DOMAIN: Final = b"safeload audit line 1\n"  # a key used elsewhere too makes no macs that are valid here
_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_CHAIN_FIELDS: Final = ("seq", "prev", "torn", "mac")
_to_json: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode


class MacKey(Protocol):
    """A secret that authenticates lines; a safeload key has this method."""

    def mac(self, data: bytes, /) -> bytes:
        """The keyed digest of ``data``."""


class Head(NamedTuple):
    """The end of a trail: keep it elsewhere (another host, a ticket) and a later truncation can be proved.

    ``seq`` is the number of the last line (-1 for none), ``digest`` its hex SHA-256.
    """

    seq: int
    digest: str


START: Final = Head(-1, GENESIS)


class Record(NamedTuple):
    """One line, taken apart."""

    seq: int
    prev: str
    torn: str
    mac: str
    event: Event
    signed: bytes


def digest(line: bytes) -> str:
    """The digest of a line (without its newline), as the next line's ``prev`` has it."""
    return hashlib.sha256(line).hexdigest()


def encode(event: Mapping[str, object], head: Head, *, torn: str = "", key: MacKey | None = None) -> bytes:
    """The line that follows ``head``, without newline."""
    record: dict[str, object] = {"seq": head.seq + 1, "prev": head.digest}
    if torn:
        record["torn"] = torn
    record.update((name, value) for name, value in event.items() if name not in _CHAIN_FIELDS)
    if key is not None:
        record["mac"] = key.mac(_MAC_DOMAIN + _to_json(record).encode("ascii")).hex()
    return _to_json(record).encode("ascii")


def parse(line: bytes) -> Record | None:
    """The record in ``line`` (without newline), or ``None`` if it is not exactly what :func:`encode` writes."""
    if len(line) > MAX_LINE:
        return None
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or _to_json(value).encode("ascii") != line:
            return None
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, NaN, huge integers
        return None
    seq, prev, torn, mac = (value.get(name, "") for name in _CHAIN_FIELDS)
    if type(seq) is not int or seq < 0 or not (isinstance(prev, str) and _HEX64.fullmatch(prev)):
        return None
    if not isinstance(torn, str) or not isinstance(mac, str):
        return None
    signed = _to_json({name: item for name, item in value.items() if name != "mac"}).encode("ascii") if mac else b""
    event = {name: item for name, item in value.items() if name not in _CHAIN_FIELDS}
    return Record(seq, prev, torn, mac, event, signed)


def mac_holds(record: Record, key: MacKey) -> bool:
    """Whether the line was written by a holder of ``key``."""
    if not record.mac:
        return False
    return hmac.compare_digest(key.mac(_MAC_DOMAIN + record.signed).hex(), record.mac)
