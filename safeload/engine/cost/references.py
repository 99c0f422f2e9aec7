"""What could it cost that short memo references are keys, if tuples are among what they refer to?

In a stream that :mod:`~safeload.engine.cost.proof` recognises, a reference to one of the first 256 memo slots may stand where a key
stands, any number of times. Strings keep their hash; a tuple is hashed each time, and compared with every other tuple of that
hash. So a few kilobytes could take hours: one long tuple, and thousands of references to it.

Rule: the estimate is never too low. Every pair of bytes that could be a reference counts as one that is a key, and all tuples as
colliding.
"""

from __future__ import annotations

import functools
import re

from safeload.engine import opcodes

__all__ = ["cheap_references"]

_SLOTS = 256
# Visits of items, a few nanoseconds each; for a long stream so many more as would take as long as loading it.
_VISITS = 500_000_000
_VISITS_PER_BYTE = 20
# What hashing an item costs, in visits, and how many tuples may be keys by long references (shapes bounds them).
_HASHED = 4 + 256

_LONG = {0x58: 4, 0x42: 4, 0x54: 4, 0x8D: 8, 0x8E: 8}
_MARK, _TUPLE, _MEMOIZE, _STOP = 0x28, 0x74, 0x94, 0x2E


@functools.cache
def _run() -> re.Pattern[bytes]:
    """Everything that a recognised stream has but what :func:`_tuples` looks at; compiling takes milliseconds."""
    simple = rb"[N\x88\x89\])}\x8fldaesu\x90\x97\x98]|[Kh].|M..|[Jj]....|G.{8}"
    return re.compile(rb"(?s)(?:" + simple + rb"|[\x8cC\x8a]" + opcodes.COUNTED_1 + opcodes.NOTHING + rb")*+")


def cheap_references(code: bytes, pos: int) -> bool:
    """Whether the references of a stream that was recognised from ``pos`` on cost little, whatever they are used for."""
    lengths = _tuples(code, pos)
    if not lengths:
        return True
    import numpy as np

    content = np.frombuffer(code, np.uint8)
    behind = content[1:][content[:-1] == 0x68]  # what could be the argument of a BINGET
    counts = np.bincount(behind, minlength=_SLOTS).tolist()
    visits: int = sum([counts[slot] * length for slot, length in lengths.items()]) * (_HASHED + len(lengths))
    return visits <= max(_VISITS, _VISITS_PER_BYTE * len(code))


def _tuples(code: bytes, pos: int) -> dict[int, int]:
    """The tuples among the first slots, each with a bound on its length: so many bytes as are between mark and end."""
    lengths: dict[int, int] = {}
    slot = mark = 0
    run = _run()
    while slot < _SLOTS:
        pos = run.match(code, pos).end()  # type: ignore[union-attr]
        opcode = code[pos]
        if opcode == _STOP:
            break
        pos += 1
        if opcode == _MARK:
            mark = pos
        elif opcode == _MEMOIZE:
            slot += 1
        elif opcode in _LONG:
            behind = pos + _LONG[opcode]
            pos = behind + int.from_bytes(code[pos:behind], "little")
        elif code[pos] == _MEMOIZE:  # TUPLE, TUPLE1, TUPLE2, TUPLE3
            lengths[slot] = pos - mark if opcode == _TUPLE else opcode - 0x84
    return lengths
