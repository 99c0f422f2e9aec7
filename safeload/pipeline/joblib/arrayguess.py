"""Where do the arrays of a joblib file lie, if the rest of it is like its beginning?

:mod:`safeload.pipeline.joblib.walk` asks the trace after every description of an array how many bytes follow; in a forest, eight hundred
times. Here the same places are read off the spelling of the descriptions, which joblib writes with references to what it has
written before. Rule: nothing of this is trusted. It only says what to ask the trace, all at once: every place has to be what the
traced description makes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from safeload.engine import opcodes
from safeload.engine.census import POP_NEXT_BUFFER
from safeload.pipeline.joblib.places import MOST_PADDING
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.limits import Limits
    from safeload.source.blob import Blob

__all__ = ["Guess", "Guessed", "dtype_of_tail", "guess_rest", "number"]

_FRAME, _STOP, _BUILD = 0x95, 0x2E, 0x62
_LONGEST_TAIL = 96
# The end of a description: its shape, references to "order", "C" or "F", "dtype", the dtype, "allow_mmap", whether it is allowed, and
# since joblib 1.2 "numpy_array_alignment_bytes" with the number.
_NUMBER = rb"K.|M..|J...[\x00-\x7f]"
_REFERENCE = rb"(?:h.|j....)"
_TAIL = re.compile(
    rb"(?s)(?:(\))|((?:"
    + _NUMBER
    + rb"){1,3})[\x85-\x87]\x94)"
    + _REFERENCE * 3
    + rb"(h.|j....)"
    + _REFERENCE
    + rb"[\x88\x89](?:"
    + _REFERENCE
    + rb"K(.))?ub\Z"
)
_NUMBERS = re.compile(rb"(?s)" + _NUMBER)


class Guessed(NamedTuple):
    """Where the bytes of an array should be, how many, and whether a byte before them says how far they are moved."""

    offset: int
    size: int
    padded: bool


class Guess(NamedTuple):
    """The rest of a stream: its canonical code, which takes these arrays, and where it ends."""

    code: bytes
    places: list[Guessed]
    end: int


def number(literal: bytes) -> int:
    """The integer that BININT, BININT1 or BININT2 spells."""
    return int.from_bytes(literal[1:], "little", signed=literal[:1] == b"J")


def dtype_of_tail(code: bytes) -> bytes | None:
    """How the description of an array that ends here spells its dtype, if that is a reference."""
    tail = _TAIL.search(code, max(0, len(code) - _LONGEST_TAIL))
    return None if tail is None else tail[3]


def guess_rest(blob: Blob, where: int, itemsizes: Mapping[bytes, int], limits: Limits) -> Guess | None:
    """What follows in ``blob`` from ``where`` on, a place between an array and a frame; ``None`` if it does not look as expected.

    ``itemsizes``: bytes of an item, by the reference to its dtype.
    """
    size = blob.size - where
    data = blob.view(where, size) if isinstance(blob, MemoryBlob) else memoryview(blob.read(where, size))
    pattern = opcodes.any_run(blob.size, limits.max_global_name)
    parts: list[bytes | memoryview] = []
    places: list[Guessed] = []
    pos = 0
    while pos + 9 < size and data[pos] == _FRAME:
        start = pos + 9
        end = start + int.from_bytes(data[pos + 1 : start], "little")
        if end > size:
            return None
        parts.append(data[start:end])
        last = pattern.match(data, start, end - 1).end()  # type: ignore[union-attr]
        opcode = data[end - 1] if last == end - 1 else -1
        if opcode == _STOP:
            return Guess(b"".join(parts), places, where + end)
        if opcode < 0 and pattern.match(data, last, end).end() != end:  # type: ignore[union-attr]
            return None
        pos = end
        tail = _TAIL.search(data, max(start, end - _LONGEST_TAIL), end) if opcode == _BUILD else None
        if tail is None:
            continue
        itemsize = itemsizes.get(tail[3])
        if itemsize is None or end >= size or (tail[4] is not None and data[end] > MOST_PADDING):
            return None
        for literal in () if tail[2] is None else _NUMBERS.findall(tail[2]):
            itemsize *= number(literal)
        padded = tail[4] is not None
        pos = end + (1 + data[end] if padded else 0)
        places.append(Guessed(where + pos, itemsize, padded))
        parts.append(POP_NEXT_BUFFER)
        pos += itemsize
    if pos >= size or data[pos] == _FRAME:
        return None
    # Less than four bytes are not framed. No BUILD among them: behind it there might be an array.
    end = opcodes.build_run(blob.size, limits.max_global_name).match(data, pos).end()  # type: ignore[union-attr]
    if end == size or data[end] != _STOP:
        return None
    return Guess(b"".join([*parts, data[pos : end + 1]]), places, where + end + 1)
