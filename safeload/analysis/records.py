"""Records that repeat: dicts with the same keys, recognised by a pattern made for them.

Most large plain data is a list of dicts with equal keys. The pattern of :mod:`~safeload.analysis.shapes` tries every kind of
value at every place; one that is made for the keys of these dicts is a straight line, and several times faster. It is learned
from the records themselves, and widened when one does not fit.

Rule: what a learned pattern accepts, the general one accepts too: a dict whose keys are memo references to the first 256 slots,
and whose values are constants, numbers, memo references, or short strings.
"""

from __future__ import annotations

import re

__all__ = ["Records"]

# Kinds of records, and changes of what is known of them, that are worth compiling for.
_MOST_KINDS = 4
_MOST_CHANGES = 24
_MOST_KEYS = 64
_LONGEST = 127  # of a string; shapes.py knows no longer ones either
# Where learned patterns get through less than this many bytes between two misfits, on average, they do not pay.
_WORTH = 256

_DICT, _MARK, _SETITEMS, _BINGET, _MEMOIZE = 0x7D, 0x28, 0x75, 0x68, 0x94
_SHORT_BINUNICODE = 0x8C
# Values and their lengths, without strings: BININT1, BININT2, BININT, BINFLOAT, the constants, BINGET, LONG_BINGET.
_VALUES = {0x4B: 2, 0x4D: 3, 0x4A: 5, 0x47: 9, 0x4E: 1, 0x88: 1, 0x89: 1, 0x68: 2, 0x6A: 5}
_SPELLED = (
    (b"K", rb"K."),
    (b"M", rb"M.."),
    (b"J", rb"J...."),
    (b"G", rb"G.{8}"),
    (b"N\x88\x89", rb"[N\x88\x89]"),
    (b"h", rb"h."),
    (b"j", rb"j...."),
)


class _Kind:
    """Records with the same keys: the first opcode seen of each value, and the lengths seen of its strings."""

    __slots__ = ("firsts", "keys", "lengths", "memo")

    def __init__(self, memo: bytes, keys: bytes, firsts: bytes) -> None:
        self.memo = memo
        self.keys = keys
        self.firsts = firsts
        self.lengths: list[set[int]] = [set() for _ in keys]

    def pattern(self) -> bytes:
        """The pattern of one record."""
        pairs = (
            b"h" + re.escape(bytes([key])) + _value(first, lengths)
            for key, first, lengths in zip(self.keys, self.firsts, self.lengths, strict=True)
        )
        return rb"\}" + self.memo + rb"\(" + b"".join(pairs) + b"u"


def _value(first: int, lengths: set[int]) -> bytes:
    """Any value, what was seen first first."""
    spelled = sorted(_SPELLED, key=lambda item: first not in item[0])
    choices = [pattern for _, pattern in spelled]
    if lengths:
        # All lengths between those seen: the next record will have one of them.
        among = sorted(range(min(lengths), max(lengths) + 1), key=lambda length: length not in lengths)
        texts = (re.escape(bytes([length])) + (b".{%d}" % length if length else b"") for length in among)
        text = rb"\x8c(?:" + b"|".join(texts) + rb")\x94"
        choices.insert(0 if first == _SHORT_BINUNICODE else len(choices), text)
    return b"(?:" + b"|".join(choices) + b")"


class Records:
    """Learns the records of one stream and skips them."""

    __slots__ = ("_changes", "_kinds", "_misfits", "_pattern", "_skipped")

    def __init__(self) -> None:
        self._kinds: dict[tuple[bytes, bytes], _Kind] = {}
        self._pattern: re.Pattern[bytes] | None = None
        self._changes = 0
        self._misfits = 0
        self._skipped = 0

    @property
    def known(self) -> bool:
        """Whether there is a pattern that pays."""
        return self._pattern is not None

    def skip(self, code: bytes, pos: int, end: int) -> int:
        """The position behind all records that begin at ``pos`` and are known; learns from the one that is not."""
        while self._changes < _MOST_CHANGES and pos < end:
            if self._pattern is not None:
                before, pos = pos, self._pattern.match(code, pos, end).end()  # type: ignore[union-attr]
                self._skipped += pos - before
            if pos >= end or code[pos] != _DICT or not self._learn(code, pos, end):
                break
        if self._pattern is None or self._changes < _MOST_CHANGES:
            return pos
        # Nothing more is learned; is what was learned worth its time?
        self._misfits += 1
        if self._skipped < _WORTH * self._misfits:
            self._pattern = None
            return pos
        before, pos = pos, self._pattern.match(code, pos, end).end()  # type: ignore[union-attr]
        self._skipped += pos - before
        return pos

    def _learn(self, code: bytes, pos: int, end: int) -> bool:
        """Learn the record at ``pos``; whether that changed anything."""
        found = _read(code, pos, min(end, len(code)))
        if found is None:
            return False
        memo, keys, firsts, lengths = found
        kind = self._kinds.get((memo, keys))
        if kind is None:
            if len(self._kinds) == _MOST_KINDS:
                return False
            kind = self._kinds[memo, keys] = _Kind(memo, keys, firsts)
        changed = self._pattern is None or kind.firsts is firsts
        for known, length in zip(kind.lengths, lengths, strict=True):
            if length is not None and not (known and min(known) <= length <= max(known)):
                known.add(length)
                changed = True
        if changed:
            self._changes += 1
            kinds = b"|".join(kind.pattern() for kind in self._kinds.values())
            self._pattern = re.compile(b"(?s)(?:" + kinds + b")*+")
        return changed


def _read(code: bytes, pos: int, end: int) -> tuple[bytes, bytes, bytes, list[int | None]] | None:
    """The record at ``pos``: its memo opcode, keys, first opcodes of its values, lengths of strings; ``None`` if it is no such record."""
    pos += 1
    memo = b""
    if pos < end and code[pos] == _MEMOIZE:
        memo, pos = rb"\x94", pos + 1
    if pos >= end or code[pos] != _MARK:
        return None
    pos += 1
    keys, firsts = bytearray(), bytearray()
    lengths: list[int | None] = []
    while pos + 3 < end and code[pos] == _BINGET and len(keys) < _MOST_KEYS:
        keys.append(code[pos + 1])
        first, pos = code[pos + 2], pos + 2
        firsts.append(first)
        size, length = _VALUES.get(first, 0), None
        if first == _SHORT_BINUNICODE:
            length = code[pos + 1]
            size = length + 3
            if length > _LONGEST or pos + size > end or code[pos + size - 1] != _MEMOIZE:
                return None
        if not size:
            return None
        lengths.append(length)
        pos += size
    if not keys or pos >= end or code[pos] != _SETITEMS:
        return None
    return memo, bytes(keys), bytes(firsts), lengths
