"""A cheap proof for streams with code: no tuple is used twice, so hashing costs no more than reading.

Models are made of thousands of small tuples (arguments, shapes, states), which
:mod:`~safeload.analysis.shapes` cannot prove harmless one by one. What makes tuples dangerous is sharing (exponential
cost) and nesting (recursion). A tuple can be used twice only through the memo or DUP. So it is enough to see, with a few
regular expressions over the opcodes, that

* no GET names a memo slot that holds a tuple, and there is no DUP;
* few tuples can contain another one: the others are made of numbers in place, or consumed at once by a call;
* there are not enough numbers and calls for colliding keys to matter.

Rule: these patterns may only accept; whatever they do not recognise takes the exact way
(:mod:`~safeload.analysis.hashing`).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from safeload.analysis import opcodes

if TYPE_CHECKING:
    from safeload.limits import Limits

__all__ = ["is_unshared"]

# Numbers in one stream: colliding at worst, 1.5 seconds.
_NUMBERS = 1 << 15
_TUPLE = rb"[\x85\x86\x87t]"
_STRINGS = rb"[\x8cCU\x8a]" + opcodes.COUNTED_1 + rb"|[XBT]" + opcodes.COUNTED_4
# Opcodes without argument but MEMOIZE, DUP and those that make tuples.
_SIMPLE = rb"N\x88\x89\])}\x8f(ldaesu\x90\x9101Rbo\x81\x92\x93Q\x97\x98."
_GLOBAL = rb"[ci][^\n]*\n[^\n]*\n"
_NUMBER = rb"K.|M..|J....|G.{8}"


class _Patterns(NamedTuple):
    slots: re.Pattern[bytes]  # one match per memo operation (protocol 4 and up) or per memoized tuple
    gets: re.Pattern[bytes]  # one match per GET
    steps: re.Pattern[bytes]  # everything but tuples that may contain tuples
    numbers: re.Pattern[bytes]  # one match per number


@functools.lru_cache(maxsize=2)
def _patterns(*, counted_memo: bool) -> _Patterns:
    """The patterns for MEMOIZE (``counted_memo``) or for BINPUT."""
    # Alternatives begin with a literal byte or a class: the engine rejects those without entering them.
    memo, get = (rb"\x94", rb"h.|j....") if counted_memo else (rb"q.|r....", rb"h.|j....")
    simple, put = (_SIMPLE + rb"\x94", ()) if counted_memo else (_SIMPLE, (memo,))
    fixed = (_STRINGS, _GLOBAL)
    optional = rb"(?:" + memo + rb")?+"
    unmemoized: tuple[bytes, ...]
    if counted_memo:
        unmemoized = (rb"[" + _SIMPLE + rb"]", get, _NUMBER, *fixed, _TUPLE + rb"(?!\x94)")
        slots = _run(*unmemoized) + _event(_TUPLE + rb"\x94|\x94")
    else:
        unmemoized = (rb"[" + _SIMPLE + rb"]", get, memo, _NUMBER, *fixed, _TUPLE + rb"(?![qr])")
        slots = _run(*unmemoized) + _event(_TUPLE + rb"(?:" + memo + rb")")
    gets = _run(rb"[" + simple + rb"\x85\x86\x87t]", *put, _NUMBER, *fixed) + _event(get)
    numbers = _run(rb"[" + simple + rb"\x85\x86\x87t]", get, *put, *fixed) + _event(_NUMBER)
    integer = rb"(?:K.|M..|J....)"
    tail = rb"(?:(?:\x85|" + integer + rb"(?:\x86|" + integer + rb"\x87))" + optional + rb")?+"
    flat = tuple(one + tail for one in (rb"K.", rb"M..", rb"J....", rb"G.{8}"))
    steps = _run(rb"[" + simple + rb"]", get, *put, *flat, _TUPLE + optional + rb"[Rb\x81\x92]", *fixed)
    return _Patterns(*(re.compile(rb"(?s)" + pattern) for pattern in (slots, gets, steps, numbers)))


def _event(pattern: bytes) -> bytes:
    """What ends a run: an event, the end, or all the rest, if something stands there that the run does not know.

    There is always a match: a search that fails would be tried again from every byte.
    """
    return rb"(" + pattern + rb"|\Z|.+)"


def _events(pattern: re.Pattern[bytes], skeleton: bytes, first: bytes) -> list[bytes] | None:
    """All events, or ``None`` if the run met something unknown; events begin with a byte of ``first``."""
    events = pattern.findall(skeleton, 2)
    while events and not events[-1]:
        events.pop()  # the end
    return None if events and events[-1][0] not in first else events


def _run(*alternatives: bytes) -> bytes:
    return rb"(?:" + b"|".join(alternatives) + rb")*+"


def is_unshared(code: bytes, protocol: int, long: tuple[tuple[int, int], ...], limits: Limits) -> bool:
    """Whether the canonical stream ``code`` is proven harmless to hash.

    Args:
        code: canonical stream, with or without code-carrying opcodes.
        protocol: its protocol; protocols 0 and 1 are never proven.
        long: its long literals (``Census.long``).
        limits: bounds on nesting and on keys made by calls.
    """
    if protocol < 2:
        return False
    skeleton = _without(code, long)
    if len(skeleton) > 2 * limits.max_constructed_keys:
        return False
    patterns = _patterns(counted_memo=protocol >= 4)
    if len(skeleton) > 2 * _NUMBERS:
        numbers = _events(patterns.numbers, skeleton, b"KMJG")
        if numbers is None or len(numbers) > _NUMBERS:
            return False
    gets = _events(patterns.gets, skeleton, b"hj")
    slots = _events(patterns.slots, skeleton, b"\x85\x86\x87t\x94" if protocol >= 4 else b"\x85\x86\x87t")
    if gets is None or slots is None:
        return False
    if protocol >= 4:
        tuples = {index for index, event in enumerate(slots) if len(event) > 1}
    else:
        tuples = {_index(event[1:]) for event in slots}
    if not tuples.isdisjoint({_index(get) for get in set(gets)}):
        return False
    return _few_nested(skeleton, patterns.steps, limits.max_tuple_depth)


def _few_nested(skeleton: bytes, steps: re.Pattern[bytes], most: int) -> bool:
    pos, nested = 2, 0
    while True:
        pos = steps.match(skeleton, pos).end()  # type: ignore[union-attr]
        if pos == len(skeleton):
            return True
        nested += 1
        if skeleton[pos] not in b"\x85\x86\x87t" or nested > most:
            return False
        pos += 1


def _without(code: bytes, long: tuple[tuple[int, int], ...]) -> bytes:
    """``code`` with empty literals in place of long ones."""
    if not long:
        return code
    parts = []
    pos = 0
    for start, end in long:
        parts.append(code[pos:start])
        pos = end
    parts.append(code[pos:])
    return b"C\x00".join(parts)


def _index(operation: bytes) -> int:
    """The memo index in a GET or PUT."""
    return int.from_bytes(operation[1:], "little")
