"""Costs that nobody pays for: streams in which every part is small, and the whole would take hours or gigabytes.

Each runs in a process of its own with bounded memory, and has to be refused, or to load, long before the guard, which only a hang
meets.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from pickle_parts import PRIME, STOP, call, get, glob, number, proto, short

Attack = Callable[[], bytes]
PUT = b"\x94"


def _first(index: int) -> bytes:
    return b"h" + bytes([index])


def _tuple(parts: Iterable[bytes]) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _long(items: int) -> bytes:
    return _tuple([b"N"] * items) + PUT


def _alike(index: int, bits: int = 13) -> bytes:
    """One of ``2 ** bits`` tuples that are not equal and have the same hash, because -1 and -2 have."""
    return _tuple(number(-1 - (index >> bit & 1)) for bit in range(bits))


def _two_of(index: int, first: int = 1) -> bytes:
    """One of two long tuples in the memo, which are equal and not identical."""
    return _first(first + index % 2)


def _pairs(count: int) -> list[bytes]:
    return [_two_of(index) + _alike(index) + b"\x86" for index in range(count)]


KEYS: dict[str, Attack] = {
    # Named tuples: made by a call, hashed and compared by what is in them.
    "heavy keys made by calls": lambda: proto(4) + glob("urllib.parse", "ParseResult") + PUT + _long(5_000) * 2 + b"\x8f("
    + b"".join(_first(0) + _tuple([_two_of(i), _alike(i), b"NNNN"]) + b"\x81" for i in range(4_000)) + b"\x90" + STOP,
    "heavy members of small sets": lambda: proto(4) + glob("builtins", "set") + PUT + _long(40_000) * 2 + b"]" + PUT + b"("
    + b"".join(_pairs(1_000)) + b"e0(" + (_first(0) + _first(3) + b"\x85R") * 20 + b"l" + STOP,
    "light members of small sets": lambda: proto(4) + glob("builtins", "set") + PUT + b"]" + PUT + b"("
    + b"".join(_alike(i, 20) for i in range(1_000)) + b"e0(" + (_first(0) + _first(1) + b"\x85R") * 5_000 + b"l" + STOP,
    "fractions in small sets": lambda: proto(4) + glob("builtins", "set") + PUT + glob("fractions", "Fraction") + PUT + b"]("
    + b"".join(_first(1) + number(i * PRIME) + b"K\x01\x86R" for i in range(1_000)) + b"e"
    + PUT + b"0(" + (_first(0) + _first(2) + b"\x85R") * 3_000 + b"l" + STOP,
    "light keys of many small sets": lambda: proto(4) + b"](" + b"".join(_alike(i, 20) + PUT for i in range(1_000)) + b"e0("
    + (b"\x8f(" + b"".join(get(i) for i in range(1_000)) + b"\x90") * 800 + b"l" + STOP,
    "one long tuple, many references": lambda: proto(4) + b"]" + PUT + b"(" + _long(200_000) + b"e\x8f" + PUT + b"("
    + _first(1) * 200_000 + b"\x90a" + STOP,
    "long tuples that are alike": lambda: proto(4) + b"]" + PUT + b"("
    + b"".join(_tuple([b"N" * 560, b"".join(number(-1 - (i >> bit & 1)) for bit in range(13))]) + PUT for i in range(8_000))
    + b"e\x8f" + PUT + b"(" + b"".join(get(i + 1) for i in range(8_000)) + b"\x90a" + STOP,
    "short tuples that are alike, many references": lambda: proto(4) + b"]" + PUT + b"("
    + b"".join(_tuple([b"N" * 30, b"".join(number(-1 - (i >> bit & 1)) for bit in range(8))]) + PUT for i in range(250))
    + b"e\x8f" + PUT + b"(" + b"".join(_first(i + 1) for i in range(250)) * 10_000 + b"\x90a" + STOP,
}  # fmt: skip


@pytest.mark.parametrize("case", KEYS)
def test_keys_that_are_costly_to_compare(case: str, isolated: Any) -> None:
    """Hashes can be chosen, so keys are charged for comparing all of those that may collide, however few they are."""
    outcome = isolated(KEYS[case](), guard=25)
    assert outcome.kind == "refused"
    assert outcome.code in ("limit.hash-work", "limit.constructed-keys", "limit.probes")


_MADE = glob("builtins", "set") + PUT + b"("
_CALL = _first(0) + b")R"


def _nested_templates() -> bytes:
    """Segments that begin alike for long, in more segments that begin so: each is compared and does not match."""
    opened = b"(K\x01" + _CALL
    models = b"".join(opened * (300 - i) + b"l" * (300 - i) + _CALL for i in range(8))
    return proto(4) + _MADE + _CALL + models + opened * 500_000 + STOP


def _nested_models() -> bytes:
    """Segments around segments: at the end of each is one that is long, and is no template."""
    levels = 150_000
    return (
        proto(4)
        + _MADE
        + _CALL * 4
        + b"("
        + (_CALL + b"(") * levels
        + b"N"
        + (b"l" + _CALL * 4) * levels
        + b"l0"
        + _CALL
        + STOP
    )


WORK: dict[str, Attack] = {
    "templates that begin alike": _nested_templates,
    "models in models": _nested_models,
    "long ranges": lambda: proto(4) + glob("builtins", "range") + PUT + b"(" + (_first(0) + number(1 << 40) + b"\x85R") * 300_000 + b"l" + STOP,
    "dtypes that wait for their state": lambda: proto(4) + glob("numpy", "dtype") + PUT + short("f8") + PUT + short("<") + PUT + b"("
    + _tuple([b"K\x03", _first(2), b"NNN", number(-1), number(-1), b"K\x00"]) + PUT
    + (_first(0) + _first(1) + b"\x89\x88\x87R" + PUT) * 40_000 + b"".join(get(i + 4) + _first(3) + b"b" for i in range(40_000)) + b"l" + STOP,
    "empty tuples": lambda: proto(4) + call(glob("builtins", "set")) + b"(" + b")" * 4_000_000 + b"l" + STOP,
}  # fmt: skip


@pytest.mark.parametrize("case", WORK)
def test_the_analysis_is_linear(case: str, isolated: Any) -> None:
    """No shortcut and no rule may look at the same part of a stream again for every other part."""
    assert isolated(WORK[case](), guard=25, memory=1 << 30).kind in ("loaded", "refused")


@pytest.mark.parametrize("wrapped", [False, True], ids=["dict", "pair"])
def test_copies_of_states_take_bounded_memory(wrapped: bool, isolated: Any) -> None:
    """What is kept of arguments is charged for the memory it takes, and a dict takes more than a list."""
    keys = b"".join(b"J" + struct.pack("<i", key) + b"N" for key in range(100_000))
    state = b"}(" + keys + b"u" + (b"N\x86" if wrapped else b"") + PUT
    made = _first(0) + b")\x81" + _first(1) + b"b"
    data = proto(4) + glob("collections", "UserDict") + PUT + state + b"(" + made * 600 + b"l" + STOP
    assert isolated(data, memory=1 << 30).code == "limit.hash-work"


def _arrays(order: str, count: int, length: int = 500_000) -> bytes:
    """Arrays, of four megabytes each, that share their bytes; those of the other byte order swap a copy of them."""
    dtype = (
        glob("numpy", "dtype")
        + short("f8")
        + b"\x89\x88\x87R"
        + _tuple([b"K\x03", short(order), b"NNN", number(-1), number(-1), b"K\x00"])
    )
    return (
        proto(4) + glob("numpy.core.multiarray", "_reconstruct") + PUT + glob("numpy", "ndarray") + PUT + dtype + b"b" + PUT
        + b"B" + struct.pack("<I", 8 * length) + b"x" * 8 * length + PUT + number(length) + b"\x85" + PUT
        + _tuple([_first(1), b"K\x00\x85", b"C\x01b"]) + PUT
        + _tuple([b"K\x01", _first(4), _first(2), b"\x89", _first(3)]) + PUT
        + b"(" + (_first(0) + _first(5) + b"R" + _first(6) + b"b") * count + b"l" + STOP
    )  # fmt: skip


MANY: dict[str, Attack] = {
    "random generators": lambda: proto(4) + glob("random", "Random") + PUT + b"(" + (_first(0) + b")R") * 500_000 + b"l" + STOP,
    "bit generators": lambda: proto(4) + glob("numpy.random._pickle", "__bit_generator_ctor") + PUT + short("MT19937") + b"\x85" + PUT
    + b"(" + (_first(0) + _first(1) + b"R") * 500_000 + b"l" + STOP,
    "time zones that are read again": lambda: proto(4) + short("zoneinfo") + short("ZoneInfo._unpickle") + b"\x93" + PUT
    + short("Europe/Berlin") + b"\x89\x86" + PUT + b"(" + (_first(0) + _first(1) + b"R") * 100_000 + b"l" + STOP,
    "arrays of the same bytes": lambda: _arrays(">", 1_000),
}  # fmt: skip


@pytest.mark.parametrize("case", MANY)
def test_objects_that_are_larger_than_what_is_said_of_them(case: str, isolated: Any) -> None:
    """A few bytes of a stream make an object of kilobytes, or a copy of megabytes: a bounded number of times."""
    outcome = isolated(MANY[case](), guard=25, memory=1 << 30)
    assert (outcome.kind, outcome.code) == ("refused", "policy.argument")


def test_as_many_as_a_pickle_may_have(isolated: Any) -> None:
    """The bounds are far from what pickles hold: thousands of generators, and small arrays of the same bytes, of which each has a copy."""
    generators = proto(4) + glob("random", "Random") + PUT + b"(" + (_first(0) + b")R") * 5_000 + b"l" + STOP
    assert isolated(generators).kind == "loaded"
    assert isolated(_arrays("<", 1_000, 100)).kind == "loaded"
    assert isolated(_arrays("<", 2)).code == "policy.argument"  # what is written to one would be written to the other
