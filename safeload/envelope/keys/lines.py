"""Key lists as text: one key per line with its attributes, as key files and key commands give them.

``<key> [state=active|verify-only|revoked] [label=NAME] [grants=code] [policy=NAME,NAME] [not-before=ISO]
[not-after=ISO]``; ``#`` starts a comment, values may be quoted as in a shell. Rule: an error names the line number
and the attribute, never what the line holds.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from safeload.envelope.keys.entry import KeyEntry
from safeload.envelope.keys.model import Key
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["format_entry", "format_lines", "parse_lines", "parse_words"]

_ATTRIBUTES = ("state", "label", "grants", "policy", "not-before", "not-after")


def parse_words(text: str, *, source: str) -> list[KeyEntry]:
    """The keys in ``text``, separated by commas or white space and without attributes (an environment variable)."""
    entries = []
    for number, word in enumerate(re.split(r"[,\s]+", text.strip(", \t\r\n")), 1):
        try:
            entries.append(KeyEntry(Key.parse(word)))
        except ValueError as error:
            raise KeyProviderError(f"{source}, key {number}: {error}", code="keys.syntax") from None
    return entries


def parse_lines(text: str, *, source: str) -> list[KeyEntry]:
    """The entries in ``text``, one per line.

    Raises:
        KeyProviderError: a line is not a key with known attributes (code ``keys.syntax``), or there is no key at all
            (``keys.empty``).
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            if words:
                entries.append(_parse_entry(words))
        except ValueError as error:
            raise KeyProviderError(f"{source}, line {number}: {error}", code="keys.syntax") from None
    if not entries:
        raise KeyProviderError(f"{source} holds no key; make one with `safeload keygen`", code="keys.empty")
    return entries


def _parse_entry(words: list[str]) -> KeyEntry:
    key = Key.parse(words[0])
    found: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or name not in _ATTRIBUTES:
            raise ValueError(f"after the key come only {', '.join(f'{a}=…' for a in _ATTRIBUTES)}")
        if name in found:
            raise ValueError(f"{name}= is given twice")
        if not value:
            raise ValueError(f"{name}= has no value")
        found[name] = value
    arguments: dict[str, Any] = {}
    if "state" in found:
        arguments["state"] = found["state"]
    if "label" in found:
        arguments["label"] = found["label"]
    if "grants" in found:
        arguments["grants"] = frozenset(found["grants"].split(","))
    if "policy" in found:
        arguments["policy"] = tuple(name for name in found["policy"].split(",") if name)
    for attribute in ("not-before", "not-after"):
        if attribute in found:
            arguments[attribute.replace("-", "_")] = _moment(attribute, found[attribute])
    return KeyEntry(key, **arguments)


def _moment(attribute: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{attribute}= is an ISO date or time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_entry(entry: KeyEntry) -> str:
    """The line of ``entry``: the inverse of :func:`parse_lines`.

    Raises:
        ValueError: its policy is an object that has no name, so that a file cannot hold it.
    """
    words = [entry.key.export()]
    if entry.state != "active":
        words.append(f"state={entry.state}")
    if entry.label:
        if any(ord(char) < 32 or char in "\x7f\x85\u2028\u2029" for char in entry.label):
            raise ValueError("a label in a key file has no control characters")
        words.append(f"label={entry.label}")
    if entry.grants:
        words.append(f"grants={','.join(sorted(entry.grants))}")
    if entry.policy is not None:
        words.append(f"policy={','.join(_policy_names(entry.policy))}")
    for attribute, moment in (("not-before", entry.not_before), ("not-after", entry.not_after)):
        if moment is not None:
            words.append(f"{attribute}={moment.isoformat()}")
    return shlex.join(words)


def format_lines(entries: Iterable[KeyEntry]) -> str:
    """The text of a key file with ``entries``."""
    return "".join(f"{format_entry(entry)}\n" for entry in entries)


def _policy_names(policy: Any) -> list[str]:
    names = [policy] if isinstance(policy, str) else policy
    if not isinstance(names, list | tuple) or not all(
        isinstance(name, str) and name and "," not in name for name in names
    ):
        raise ValueError("a key file holds policy names only; keep Policy objects in the program's configuration")
    return list(names)
