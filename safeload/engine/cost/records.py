"""A linear pattern for dicts that all have the same keys, learned from a stream.

The general patterns of :mod:`~safeload.engine.cost.proof` try dozens of alternatives at every value. Of records in a list, a
few show what the others are: the same keys (memo references, byte for byte) and values that are mostly of one kind. The
pattern made of them tries at each place what was most frequent there.

Rule: whatever was learned, from whatever bytes, a pattern matches nothing but a sequence of dicts whose keys are references
to the first 256 slots and whose values are literals, references, and flat lists and dicts of them. The general patterns
accept those in the same places (one of their alternatives is a dict of such keys and such values), so what is learned
decides about speed only. The alternatives at one place begin with different bytes (strings: have different lengths), so a record
that does not match is given up in linear time.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["learn_records"]

_SAMPLES = 64
_FEWEST = 8
_MOST_KEYS = 64
# Strings of other lengths than those that were seen are tried up to this one.
_SHORT = 32
_LONGEST = 127  # of the strings that the general patterns accept
_MEMO = rb"\x94?+"

_FIXED = {
    0x4E: (rb"[N\x88\x89]", 1),
    0x88: (rb"[N\x88\x89]", 1),
    0x89: (rb"[N\x88\x89]", 1),
    0x4B: (rb"K.", 2),
    0x4D: (rb"M..", 3),
    0x4A: (rb"J....", 5),
    0x47: (rb"G.{8}", 9),
    0x68: (rb"h.", 2),
    0x6A: (rb"j....", 5),
}
_INTEGERS = (rb"K.", rb"M..", rb"J....")
_SCALARS = tuple(dict.fromkeys(pattern for pattern, _ in _FIXED.values()))
_STRINGS = {0x8C: rb"\x8c", 0x43: rb"C"}
_BEGINS = re.compile(rb"(?s)u(?=\}\x94?\(h.)")


class _Values:
    """What was seen at one place, by frequency."""

    def __init__(self) -> None:
        self.kinds: Counter[bytes] = Counter()
        self.lengths: Counter[int] = Counter()

    def read(self, code: bytes, pos: int) -> int:
        """Count the literal at ``pos``; returns the position behind it, -1 if it is of no known kind."""
        opcode = code[pos]
        if opcode in _FIXED:
            pattern, width = _FIXED[opcode]
            self.kinds[pattern] += 1
            return pos + width
        if opcode not in _STRINGS or not 0 < code[pos + 1] <= _LONGEST:
            return -1
        self.kinds[_STRINGS[opcode]] += 1
        self.lengths[code[pos + 1]] += 1
        end = pos + 2 + code[pos + 1]
        return end + (code[end] == 0x94)

    def pattern(self) -> bytes:
        """One literal or memo reference: what was seen first, then all that is cheap to try."""
        parts = [
            kind + self._counted() + _MEMO if kind in _STRINGS.values() else kind
            for kind, _ in self.kinds.most_common()
        ]
        if self.kinds and not self.kinds.keys().isdisjoint(_INTEGERS):
            # Numbers that count go on to longer ones.
            parts += [kind for kind in _INTEGERS if kind not in self.kinds]
        return b"|".join(dict.fromkeys([*parts, *_SCALARS]))

    def _counted(self) -> bytes:
        lengths = [length for length, _ in self.lengths.most_common()]
        usual = lengths[0]
        others = [length for length in range(1, max(_SHORT, *lengths)) if length not in self.lengths]
        lengths += sorted(others, key=lambda length: abs(length - usual))
        return b"(?:" + b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in lengths) + b")"


class _Place(_Values):
    """The value of one key: a literal, or a flat list or dict."""

    def __init__(self) -> None:
        super().__init__()
        self.nested = _Values()
        self.brackets: Counter[int] = Counter()

    def read(self, code: bytes, pos: int) -> int:
        if code[pos] not in b"]}":
            return super().read(code, pos)
        bracket = code[pos]
        pos += 1 + (code[pos + 1] == 0x94)
        self.brackets[bracket] += 1
        if code[pos] != 0x28:
            return pos
        pos += 1
        while pos >= 0 and code[pos] not in b"eu":
            if bracket == 0x7D:
                if code[pos] != 0x68:
                    return -1
                pos += 2
            pos = self.nested.read(code, pos)
        return pos + 1 if pos >= 0 else -1

    def pattern(self) -> bytes:
        parts = [super().pattern()]
        inner = b"(?:" + self.nested.pattern() + b")"
        if 0x5D in self.brackets:
            parts.append(rb"\]" + _MEMO + rb"(?:\((?:" + inner + rb")++e|(?!\())")
        if 0x7D in self.brackets:
            parts.append(rb"\}" + _MEMO + rb"(?:\((?:h." + inner + rb")++u|(?!\())")
        if self.brackets.total() > self.kinds.total():
            parts.reverse()
        return b"(?:" + b"|".join(parts) + b")"


def learn_records(code: bytes, pos: int, end: int) -> re.Pattern[bytes] | None:
    """The pattern for runs of dicts such as the first ones that begin between ``pos`` and ``end``; ``None`` for none."""
    found = _BEGINS.search(code, pos, end)
    if found is None:
        return None
    pos = found.end()
    head = code[pos : code.index(b"(", pos) + 1]
    places: dict[bytes, _Place] = {}
    for count in range(_SAMPLES):
        try:
            pos = _read_record(code, pos, head, places, new=not count) if code.startswith(head, pos) else -1
        except IndexError:  # the stream ends
            pos = -1
        if not 0 <= pos <= end:
            if count < _FEWEST:
                return None
            break
    values = b"".join(re.escape(key) + place.pattern() for key, place in places.items())
    return re.compile(b"(?s)(?:" + re.escape(head) + values + b"u)*+")


def _read_record(code: bytes, pos: int, head: bytes, places: dict[bytes, _Place], *, new: bool) -> int:
    """Count the values of the record at ``pos``; returns the position behind it, -1 if it has other keys."""
    pos += len(head)
    expected = iter(tuple(places))
    while code[pos] != 0x75:  # SETITEMS
        key = code[pos : pos + 2]
        if key[:1] != b"h" or (len(places) == _MOST_KEYS if new else next(expected, b"") != key):
            return -1
        if new and key in places:
            return -1
        pos = places.setdefault(key, _Place()).read(code, pos + 2)
        if pos < 0:
            return -1
    return pos + 1 if next(expected, None) is None and places else -1
