"""Exhaustion: streams that would crash, hang or fill the memory of the process that loads or scans them.

Each attack runs in a process of its own with bounded memory. It has to live, within a guard that only a hang meets, and
to refuse; or to load, where the bound that the attack approaches was respected.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from pickle_parts import PRIME, STOP, Raw, arguments, call, get, glob, number, proto, put, short

import safeload

Attack = Callable[[], bytes]

# ---------------------------------------------------------------- memo


MEMO = {
    "LONG_BINPUT": b"N" + struct.pack("<cI", b"r", 0x7FFFFFFF) + STOP,
    "LONG_BINPUT, all bits": b"N" + struct.pack("<cI", b"r", 0xFFFFFFFF) + STOP,
    "PUT": b"Np2147483648\n.",
    "PUT with zeros": b"Np" + b"0" * 30 + b"2147483648\n.",
    "PUT, 20 digits": b"Np99999999999999999999\n.",
    "PUT, negative": b"Np-1\n.",
    "PUT, huge": b"Np" + b"9" * 5000 + b"\n.",
    "PUT, underscores": b"Np1_000_000_000\n.",
    "PUT, plus": b"Np+2147483648\n.",
    "PUT, blanks": b"Np 2147483648 \n.",
    "PUT, other digits": "Np\N{ARABIC-INDIC DIGIT NINE}999999999\n.".encode(),
    "behind code": proto(2) + glob("collections", "OrderedDict") + b")R" + struct.pack("<cI", b"r", 1 << 31) + STOP,
    "in a frame": proto(4) + b"\x95" + struct.pack("<Q", 7) + b"N" + struct.pack("<cI", b"r", 1 << 31) + STOP,
}


@pytest.mark.parametrize("spelling", MEMO)
def test_memo_index(spelling: str, isolated: Any) -> None:
    """A memo index of 2**31 makes CPython allocate 16 GB: refused in every spelling."""
    assert isolated(MEMO[spelling], memory=1 << 28).kind == "refused"


# ---------------------------------------------------------------- deep and shared keys

DEEP = 80_000


def _deep(make: bytes, levels: int = DEEP) -> bytes:
    return b"N" + make * levels


def _two_by_memo(levels: int) -> bytes:
    """Tuples of one tuple, each fetched from the memo again."""
    return b"N\x85" + put(0) + b"0" + b"".join(get(0) + b"\x85" + put(0) + b"0" for _ in range(levels)) + get(0)


NOTHING = {
    "": b"",
    "push, pop": b"N0",
    "mark, pop mark": b"(1",
    "append nothing": b"(e",
    "build None": b"Nb",
    "dup": b"20",
}


def _shared(nothing: bytes, levels: int = 45, counted: bool = True) -> bytes:
    """``t = (t, t)`` again and again, with opcodes that do nothing between a tuple and its memo slot."""
    memo: Callable[[int], bytes] = (lambda _: b"\x94") if counted else (lambda index: b"q" + bytes([index]))
    parts = [b"N\x85" + nothing + memo(0) + b"0"]
    parts += [b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" + nothing + memo(i + 1) + b"0" for i in range(levels)]
    return b"".join(parts) + b"h" + bytes([levels])


def _key(value: bytes, lead: bytes = proto(4)) -> bytes:
    return lead + b"}" + value + b"Ns" + STOP


CODE = glob("collections", "OrderedDict") + b"0"

KEYS: dict[str, bytes] = {
    "TUPLE1, dict": _key(_deep(b"\x85")),
    "TUPLE1, dict, with code": _key(_deep(b"\x85"), proto(4) + CODE),
    "TUPLE, dict": _key(b"(" * 100_000 + b"N" + b"t" * 100_000),
    "TUPLE2 with DUP": _key(b"N\x85" + b"2\x86" * 60),
    "TUPLE2, left": _key(b"N" + b"N\x86" * DEEP),
    "TUPLE3": _key(b"N" + b"NN\x87" * 80_000),
    "through the memo": _key(_two_by_memo(80_000)),
    "SETITEMS": proto(4) + b"}(" + _deep(b"\x85") + b"Nu" + STOP,
    "DICT": proto(4) + b"(" + _deep(b"\x85") + b"Nd" + STOP,
    "ADDITEMS": proto(4) + b"\x8f(" + _deep(b"\x85") + b"\x90" + STOP,
    "FROZENSET": proto(4) + b"(" + _deep(b"\x85") + b"\x91" + STOP,
    "set in a call": proto(4) + call(glob("builtins", "set"), Raw(b"](" + _deep(b"\x85") + b"e")) + STOP,
    "frozenset in a call": proto(4) + call(glob("builtins", "frozenset"), Raw(b"](" + _deep(b"\x85") + b"e")) + STOP,
    "dict in a call": proto(4) + call(glob("builtins", "dict"), Raw(b"]" + _deep(b"\x85") + b"N\x86a")) + STOP,
    "OrderedDict of pairs": proto(4) + call(glob("collections", "OrderedDict"), Raw(b"]](" + _deep(b"\x85") + b"Nea")) + STOP,
    "Counter of a tuple": proto(4) + call(glob("collections", "Counter"), Raw(_deep(b"\x85") + b"\x85")) + STOP,
    "Counter of items": proto(4) + glob("collections", "Counter") + b")R" + _deep(b"\x85") + b"K\x01s" + STOP,
    "defaultdict items": proto(4) + glob("collections", "defaultdict") + b")R" + _deep(b"\x85") + b"K\x01s" + STOP,
    "key of a state": proto(4) + glob("collections", "OrderedDict") + b")R}" + _deep(b"\x85") + b"Nsb" + STOP,
    "OBJ": proto(2) + b"(" + glob("builtins", "set") + b"](" + _deep(b"\x85") + b"eo" + STOP,
    "INST": b"(](" + _deep(b"\x85") + b"eibuiltins\nset\n" + STOP,
    "tuples made by calls": proto(2) + glob("builtins", "tuple") + put(0) + b"0N" + put(1) + b"0"
    + (get(0) + b"]" + get(1) + b"a\x85R" + put(1) + b"0") * 50_000 + b"}" + get(1) + b"Ns" + STOP,
    "shared tuples made by calls": proto(2) + glob("builtins", "tuple") + put(0) + b"0N" + put(1) + b"0"
    + (get(0) + b"]" + get(1) + b"a" + get(1) + b"a\x85R" + put(1) + b"0") * 45 + b"}" + get(1) + b"Ns" + STOP,
    "named tuples": proto(2) + glob("urllib.parse", "ParseResult") + put(0) + b"0N" + put(1) + b"0"
    + (get(0) + b"(" + get(1) + b"NNNNNt\x81" + put(1) + b"0") * 50_000 + b"}" + get(1) + b"Ns" + STOP,
    "shared named tuples": proto(2) + glob("urllib.parse", "ParseResult") + put(0) + b"0N" + put(1) + b"0"
    + (get(0) + b"(" + get(1) * 6 + b"t\x81" + put(1) + b"0") * 30 + b"}" + get(1) + b"Ns" + STOP,
    "struct_time": proto(2) + glob("time", "struct_time") + put(0) + b"0N" + put(1) + b"0"
    + (get(0) + b"(" + get(1) * 9 + b"t\x85R" + put(1) + b"0") * 30 + b"}" + get(1) + b"Ns" + STOP,
    "UUID that hashes its state": proto(2) + _deep(b"\x85") + put(0) + b"0" + glob("uuid", "UUID") + b")\x81}"
    + short("int") + get(0) + b"sb" + put(1) + b"0}" + get(1) + b"Ns" + STOP,
    "UserString that hashes its data": proto(2) + _deep(b"\x85") + put(0) + b"0" + glob("collections", "UserString") + b")\x81}"
    + short("data") + get(0) + b"sb" + put(1) + b"0}" + get(1) + b"Ns" + STOP,
    "UUID, state before the deep part": proto(2) + b"]" + put(0) + b"0" + glob("builtins", "tuple") + b"0" + glob("uuid", "UUID")
    + b")\x81" + put(1) + b"}" + short("int") + _deep(b"\x85") + b"sb0}" + get(1) + b"Ns" + STOP,
} | {f"shared, {name or 'plainly'}": _key(_shared(nothing)) for name, nothing in NOTHING.items()} | {
    f"shared with code, {name or 'plainly'}": _key(_shared(nothing), proto(4) + CODE) for name, nothing in NOTHING.items()
} | {
    f"shared with BINPUT, {name or 'plainly'}": _key(_shared(nothing, counted=False), proto(2) + CODE)
    for name, nothing in NOTHING.items()
}  # fmt: skip


@pytest.mark.parametrize("route", KEYS)
def test_deep_and_shared_keys(route: str, isolated: Any) -> None:
    """Hashing recurses in C and knows no sharing: deep keys crash, shared ones never end. Refused on every route."""
    outcome = isolated(KEYS[route])
    assert outcome.kind == "refused", outcome


@pytest.mark.parametrize(
    "route", ["TUPLE1, dict", "shared, plainly", "shared with code, push, pop", "UUID that hashes its state"]
)
def test_deep_keys_are_scanned(route: str, isolated: Any) -> None:
    """The process that scans lives too, and the verdict is not clean."""
    outcome = isolated(KEYS[route], scan=True)
    assert outcome.kind == "scanned", outcome
    assert outcome.code != "clean"


def test_depth_that_is_allowed(isolated: Any) -> None:
    """Up to the limit nesting is fine, for keys and for anything else without a bound."""
    assert isolated(_key(b"N" + b"\x85" * 200)).kind == "loaded"
    assert isolated(proto(4) + b"N" + b"\x85" * 100_000 + STOP).kind == "loaded"
    assert isolated(proto(4) + b"]" * 100_000 + b"a" * 99_999 + STOP).kind == "loaded"


def test_deep_keys_in_large_dicts(isolated: Any) -> None:
    """The simulation of collisions rebuilds keys; that must not meet Python's recursion limit."""
    keys = b"".join(number(index) + b"\x85" * 499 + b"N" for index in range(1_100))
    assert isolated(proto(4) + b"}(" + keys + b"u" + STOP).kind in ("loaded", "refused")


# ---------------------------------------------------------------- freeing


def _nest(start: bytes, step: bytes, levels: int) -> bytes:
    """``step`` finds the callable in slot 0 and the last object in slot 1."""
    return proto(2) + start + put(0) + b"0N" + put(1) + b"0" + (step + put(1) + b"0") * levels + get(1) + STOP


OLD, MADE = get(1), get(0)
FREED: dict[str, bytes] = {
    "slice": _nest(glob("builtins", "slice"), MADE + OLD + b"\x85R", 80_000),
    "deque": _nest(glob("collections", "deque"), MADE + b"]" + OLD + b"a\x85R", 80_000),
    "deque, appended": _nest(glob("collections", "deque"), MADE + b")R" + OLD + b"a", 80_000),
    "defaultdict": _nest(glob("collections", "defaultdict"), MADE + b")RN" + OLD + b"s", 80_000),
    "OrderedDict": _nest(glob("collections", "OrderedDict"), MADE + b")RN" + OLD + b"s", 80_000),
    "Counter": _nest(glob("collections", "Counter"), MADE + b")RN" + OLD + b"s", 80_000),
    "SimpleNamespace": _nest(glob("types", "SimpleNamespace"), MADE + b")R}" + short("x") + OLD + b"sb", 80_000),
    "StopIteration": _nest(glob("builtins", "StopIteration"), MADE + b")R}" + short("value") + OLD + b"sb", 80_000),
    "OSError": _nest(glob("builtins", "OSError"), MADE + b")R}" + short("filename") + OLD + b"sb", 80_000),
    "exception arguments": _nest(glob("builtins", "ValueError"), MADE + OLD + b"\x85R", 80_000),
    "UserList": _nest(glob("collections", "UserList"), MADE + b")\x81}" + short("data") + OLD + b"sb", 80_000),
    "object array": proto(2) + glob("numpy.core.multiarray", "_reconstruct") + put(0) + glob("numpy", "ndarray") + put(2)
    + call(glob("numpy", "dtype"), "O8", False, True)
    + b"(K\x03" + short("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb" + put(3)
    + b"U\x01b" + put(4) + b"K\x00\x85" + put(5) + b"K\x01\x85" + put(6) + b"N" + put(1) + b"0"
    + (MADE + b"(" + get(2) + get(5) + get(4) + b"tR(K\x01" + get(6) + get(3) + b"\x89]" + OLD + b"atb" + put(1) + b"0") * 20_000
    + OLD + STOP,
    "subarray dtype": proto(2) + glob("numpy", "dtype") + put(0) + call(glob("numpy", "dtype"), "f8", False, True) + put(1)
    + short("V8") + put(2) + short("|") + put(3) + b")" + put(4)
    + (MADE + b"(" + get(2) + b"\x89\x88tR(K\x03" + get(3) + b"(" + OLD + get(4) + b"tNNK\x08K\x01K\x00tb" + put(1)) * 20_000
    + OLD + STOP,
    "from the outside in": proto(2) + glob("collections", "deque") + put(0) + b"0" + MADE + b")R" + put(1) + put(2) + b"0"
    + (OLD + MADE + b")R" + put(3) + b"a0" + get(3) + put(1) + b"0") * 60_000 + get(2) + STOP,
}  # fmt: skip


@pytest.mark.parametrize("kind", FREED)
def test_nested_objects_are_freed(kind: str, isolated: Any) -> None:
    """Some C types are freed by recursion (slice, deque, ndarray ...): a chain of 100,000 must not crash its reader."""
    assert isolated(FREED[kind]).kind in ("loaded", "refused")


# ---------------------------------------------------------------- colliding keys


def _colliding(count: int, key: Callable[[int], bytes], *, code: bool = False, opcode: bytes = b"u") -> bytes:
    lead = proto(4) + (CODE if code else b"") + (b"\x8f(" if opcode == b"\x90" else b"}(")
    value = b"" if opcode == b"\x90" else b"N"
    return lead + b"".join(key(index) + value for index in range(1, count)) + opcode + STOP


def _frozensets(count: int) -> bytes:
    """Frozensets of two integers whose hashes cancel out (Objects/setobject.c, _shuffle_bits)."""
    mask, inverse = (1 << 64) - 1, pow(3644798167, -1, 1 << 64)
    chooser, parts = random.Random(1), []
    while len(parts) < count:
        one = chooser.getrandbits(60)
        shuffled = ((one ^ 89869747 ^ (one << 16)) * 3644798167) & mask
        wanted = (((shuffled ^ 0x123456789ABCDEF) * inverse) & mask) ^ 89869747
        other = wanted
        for _ in range(4):
            other = wanted ^ ((other << 16) & mask)
        other -= (1 << 64) if other >> 63 else 0
        if abs(other) < PRIME and other != -1:
            parts.append(b"(" + number(one) + number(other) + b"\x91N")
    return proto(4) + b"}(" + b"".join(parts) + b"u" + STOP


def _one_by_one(count: int) -> bytes:
    return proto(4) + b"}" + b"".join(number(index * PRIME) + b"Ns" for index in range(1, count)) + STOP


def _many_dicts(count: int) -> bytes:
    """Each dict stays below the size from which on collisions are simulated."""
    keys = b"".join(number(index * PRIME) + b"N" for index in range(1, 1_000))
    return proto(4) + b"(" + (b"}(" + keys + b"u") * count + b"l" + STOP


def _heavy_keys(count: int, levels: int) -> bytes:
    """Equal hashes, equal but for the last item, and exponentially shared: every comparison visits all of it."""
    keys = b"".join(
        b"M\x10\x27\x85" + b"2\x86" * levels + number(index * PRIME) + b"\x86N" for index in range(1, count)
    )
    return proto(4) + b"}(" + keys + b"u" + STOP


def _made(module: str, name: str, argument: Callable[[int], bytes], wrap: bytes = b"") -> Callable[[int], bytes]:
    return lambda index: glob(module, name) + argument(index) + b"\x85R" + wrap


def _uuid(index: int) -> bytes:
    return glob("uuid", "UUID") + b")\x81}" + short("int") + number(index * PRIME) + b"sb"


COLLIDING: dict[str, Attack] = {
    "LONG1 in a dict": lambda: _colliding(12_000, lambda i: number(i * PRIME)),
    "LONG1 in a set": lambda: _colliding(12_000, lambda i: number(i * PRIME), opcode=b"\x90"),
    "LONG1 with code": lambda: _colliding(12_000, lambda i: number(i * PRIME), code=True),
    "SETITEM one by one": lambda: _one_by_one(12_000),
    "frozenset": lambda: proto(4) + b"(" + b"".join(number(i * PRIME) for i in range(1, 12_000)) + b"\x91" + STOP,
    "text integers": lambda: b"(" + b"".join(b"L%dL\nN" % (i * PRIME) for i in range(1, 12_000)) + b"d.",
    "tuples": lambda: _colliding(12_000, lambda i: number(i * PRIME) + b"\x85"),
    "flat tuples with MARK": lambda: _colliding(12_000, lambda i: b"(" + number(i * PRIME) + b"t"),
    "flat tuples in a set": lambda: _colliding(12_000, lambda i: b"(" + number(i * PRIME) + b"t", opcode=b"\x90"),
    "nested tuples": lambda: _colliding(12_000, lambda i: b"N" + number(i * PRIME) + b"\x85\x86"),
    "frozensets as keys": lambda: _frozensets(20_000),
    "heavy tuples in a small dict": lambda: _heavy_keys(1_000, 12),
    "heavy tuples in a larger dict": lambda: _heavy_keys(1_100, 12),
    "heavy tuples in few keys": lambda: _heavy_keys(60, 17),
    "Decimal": lambda: _colliding(12_000, _made("decimal", "Decimal", lambda i: short(str(i * PRIME)))),
    "Decimal in tuples": lambda: _colliding(12_000, _made("decimal", "Decimal", lambda i: short(str(i * PRIME)), b"\x85")),
    "Fraction": lambda: _colliding(15_000, _made("fractions", "Fraction", lambda i: number(i * PRIME))),
    "complex scalars of numpy": lambda: proto(4) + call(glob("numpy", "dtype"), "c16", False, True) + put(0) + b"0"
    + glob("numpy.core.multiarray", "scalar") + put(1) + b"0}(" + b"".join(
        OLD + MADE + b"C\x10" + struct.pack("<dd", 10.0**15 - 1000003.0 * i, i) + b"\x86RN" for i in range(1, 12_000)) + b"u" + STOP,
    "big-endian scalars of numpy": lambda: proto(4) + call(glob("numpy", "dtype"), "c16", False, True) + b"(K\x03" + short(">") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + put(0) + b"0"
    + glob("numpy.core.multiarray", "scalar") + put(1) + b"0}(" + b"".join(
        OLD + MADE + b"C\x10" + struct.pack(">dd", 10.0**15 - 1000003.0 * i, i) + b"\x86RN" for i in range(1, 12_000)) + b"u" + STOP,
    "tuples in one memo slot": lambda: proto(2) + b"}" + b"".join(
        b"(U\x01a" + number(i * PRIME) + b"\x85q\x00uh\x00Ns" for i in range(1, 12_000)) + STOP,
    "tuples in one text slot": lambda: b"(d" + b"".join(
        b"(S'a'\n(L%dL\ntp0\nug0\nNs" % (i * PRIME) for i in range(1, 12_000)) + STOP,
    "UUID": lambda: _colliding(15_000, _uuid),
    "IPv6Address": lambda: _colliding(15_000, _made("ipaddress", "IPv6Network", lambda i: number(i * PRIME))),
    "dict(pairs)": lambda: proto(4) + call(glob("builtins", "dict"), Raw(
        b"](" + b"".join(number(i * PRIME) + b"N\x86" for i in range(1, 12_000)) + b"e")) + STOP,
    "set(list)": lambda: proto(4) + call(glob("builtins", "set"), Raw(
        b"](" + b"".join(number(i * PRIME) for i in range(1, 12_000)) + b"e")) + STOP,
    "set(tuple)": lambda: proto(4) + call(glob("builtins", "set"), Raw(
        b"(" + b"".join(number(i * PRIME) for i in range(1, 12_000)) + b"t")) + STOP,
    "Counter(list)": lambda: proto(4) + call(glob("collections", "Counter"), Raw(
        b"](" + b"".join(number(i * PRIME) for i in range(1, 12_000)) + b"e")) + STOP,
    "OrderedDict items": lambda: proto(4) + glob("collections", "OrderedDict") + b")R(" + b"".join(
        number(i * PRIME) + b"N" for i in range(1, 12_000)) + b"u" + STOP,
    "defaultdict items": lambda: proto(4) + glob("collections", "defaultdict") + b")R(" + b"".join(
        number(i * PRIME) + b"N" for i in range(1, 12_000)) + b"u" + STOP,
    "Counter items, one by one": lambda: proto(4) + glob("collections", "Counter") + b")R" + b"".join(
        number(i * PRIME) + b"Ns" for i in range(1, 12_000)) + STOP,
    "OrderedDict of list pairs": lambda: proto(2) + call(glob("collections", "OrderedDict"), Raw(
        b"](" + b"".join(b"](" + number(i * PRIME) + b"Ne" for i in range(1, 40_000)) + b"e")) + STOP,
}  # fmt: skip


OPEN: dict[str, str] = {}


def _marked(cases: dict[str, Any]) -> list[Any]:
    """The cases, those of open holes marked."""
    return [
        pytest.param(case, marks=pytest.mark.xfail(strict=True, reason=OPEN[case])) if case in OPEN else case
        for case in cases
    ]


@pytest.mark.parametrize("keys", _marked(COLLIDING))
def test_colliding_keys(keys: str, isolated: Any) -> None:
    """Numbers hash to themselves modulo 2**61 - 1: an author chooses collisions, and insertion gets quadratic."""
    outcome = isolated(COLLIDING[keys](), guard=10)
    assert outcome.kind == "refused", outcome


# Numbers that look chosen but spread: whether they are accepted depends on the longest chain that they make.
SPREAD: dict[str, Attack] = {
    "floats": lambda: _colliding(12_000, lambda i: b"G" + struct.pack(">d", float(i) * 2.0**61)),
    "floats of chosen bits": lambda: _colliding(12_000, lambda i: b"G" + struct.pack(">d", float(i << 40))),
    "integers that differ in high bits": lambda: _colliding(12_000, lambda i: number(i << 44)),
    "complex": lambda: _colliding(12_000, _made("builtins", "complex", lambda i: b"G" + struct.pack(">d", i * 2.0**61))),
}  # fmt: skip


@pytest.mark.parametrize("keys", SPREAD)
def test_regular_keys(keys: str, isolated: Any) -> None:
    """Floats and shifted integers hardly collide by value, but their low bits do; the probes stay bounded."""
    assert isolated(SPREAD[keys](), guard=20).kind in ("loaded", "refused")


def test_many_small_dicts_of_colliding_keys(isolated: Any) -> None:
    """A thousand collisions in one dict are cheap; so are a hundred such dicts."""
    assert isolated(_many_dicts(100)).kind in ("loaded", "refused")


# ---------------------------------------------------------------- numbers, lengths, counts

BIG = (1 << 16_000_000) - 1
LENGTHS: dict[str, bytes] = {
    "BINUNICODE8 beyond the end": proto(4) + b"\x8d" + struct.pack("<Q", 1 << 40) + b"x" + STOP,
    "BINBYTES8 beyond the end": proto(4) + b"\x8e" + struct.pack("<Q", 1 << 62) + b"x" + STOP,
    "BINBYTES8, all bits": proto(4) + b"\x8e" + b"\xff" * 8 + b"x" + STOP,
    "BYTEARRAY8 beyond the end": proto(5) + b"\x96" + struct.pack("<Q", 1 << 40) + b"x" + STOP,
    "BYTEARRAY8 behind code": proto(5) + CODE + b"\x96" + struct.pack("<Q", 1 << 40) + b"x" + STOP,
    "BINUNICODE beyond the end": proto(2) + b"X\xff\xff\xff\xff" + STOP,
    "BINBYTES beyond the end": proto(3) + b"B\xff\xff\xff\xff" + STOP,
    "BINSTRING, negative": b"T\xff\xff\xff\xff" + STOP,
    "LONG4 beyond the end": proto(2) + b"\x8b\xff\xff\xff\x7f" + STOP,
    "LONG4, negative": proto(2) + b"\x8b\xff\xff\xff\xff" + STOP,
    "FRAME beyond the end": proto(4) + b"\x95" + struct.pack("<Q", 1 << 40) + b"N" + STOP,
    "FRAME, all bits": proto(4) + b"\x95" + b"\xff" * 8 + b"N" + STOP,
    "LONG as text": b"L" + b"9" * 2_000_000 + b"L\n.",
    "INT as text": b"I" + b"9" * 2_000_000 + b"\n.",
    "FLOAT as text": b"F" + b"9" * 2_000_000 + b"\n.",
    "text without an end": b"S'" + b"a" * 2_000_000,
    "GLOBAL without an end": b"c" + b"a" * 2_000_000,
    "long name": proto(2) + glob("m" * 100_000, "n" * 100_000) + STOP,
    "long STACK_GLOBAL": proto(4) + short("m" * 100_000) + short("n" * 100_000) + b"\x93" + STOP,
    "range of huge numbers": proto(4) + call(glob("builtins", "range"), 0, Raw(number(BIG)), Raw(number(BIG >> 8_000_000))) + STOP,
    "Fraction of huge numbers": proto(4) + call(glob("fractions", "Fraction"), Raw(number(BIG)), Raw(number(BIG // 3))) + STOP,
    "Fraction with an exponent": proto(4) + call(glob("fractions", "Fraction"), "1e1000000000") + STOP,
    "Decimal of a huge number": proto(4) + call(glob("decimal", "Decimal"), Raw(number(BIG))) + STOP,
    "bytearray of a size": proto(4) + call(glob("builtins", "bytearray"), 1 << 40) + STOP,
    "bytes of a size": proto(4) + call(glob("builtins", "bytes"), 1 << 40) + STOP,
    "ndarray of a shape": proto(4) + call(glob("numpy.core.multiarray", "_reconstruct"), Raw(glob("numpy", "ndarray")), (1 << 40,), b"b") + STOP,
    "dtype of a size": proto(4) + call(glob("numpy.core.multiarray", "scalar"), Raw(call(glob("numpy", "dtype"), "V2000000000"))) + STOP,
    "IGNORECASE over wide ranges": proto(4) + glob("re", "_compile") + put(0) + b"0" + b"".join(
        MADE + short(chr(65 + i) + "[\0-\uffff]" * 1_900) + b"K\x22\x86R0" for i in range(20)) + b"N" + STOP,
    "many nested repeats": proto(4) + call(glob("re", "_compile"), "(" * 250 + "a" + "{1,9})" * 250, 0) + STOP,
    "list in an error message": proto(4) + b"]" + put(1) + b"0" + (b"]" + OLD + b"a" + OLD + b"a" + put(1) + b"0") * 40
    + glob("uuid", "UUID") + b")\x81}" + short("int") + b"K\x01s" + short("is_safe") + OLD + b"sb" + STOP,
    "list as text of a StringDType": proto(4) + b"]" + put(1) + b"0" + (b"]" + OLD + b"a" + OLD + b"a" + put(1) + b"0") * 40
    + call(glob("numpy._core.multiarray", "_reconstruct"), Raw(glob("numpy", "ndarray")), (0,), Raw(b"C\x01b"))
    + arguments(1, (1,), Raw(call(glob("numpy._core._internal", "_convert_to_stringdtype_kwargs"), True)), False, Raw(b"]" + OLD + b"a"))
    + b"b" + STOP,
    "fill value of a masked array": proto(4) + b"]" + put(1) + b"0" + (b"]" + OLD + b"a" + OLD + b"a" + put(1) + b"0") * 40
    + call(glob("numpy.ma.core", "_mareconstruct"), Raw(glob("numpy.ma.core", "MaskedArray")), Raw(glob("numpy", "ndarray")), (0,), Raw(b"C\x01b"))
    + arguments(1, (1,), Raw(call(glob("numpy", "dtype"), "f8")), False, Raw(b"C\x08" + bytes(8)), Raw(b"C\x01\0"), Raw(OLD)) + b"b" + STOP,
}  # fmt: skip


@pytest.mark.parametrize("case", LENGTHS)
def test_lengths_and_numbers(case: str, isolated: Any) -> None:
    """Announced lengths far beyond the data, and arguments whose size is not that of the stream."""
    outcome = isolated(LENGTHS[case], memory=1 << 29, guard=20)
    assert outcome.kind == "refused", outcome


COUNTS: dict[str, Attack] = {
    "marks": lambda: b"(" * 1_000_000 + b"N" + STOP,
    "marks, popped": lambda: b"(" * 300_000 + b"1" * 300_000 + b"N" + STOP,
    "frames": lambda: proto(4) + (b"\x95" + struct.pack("<Q", 2) + b"N0") * 50_000 + b"N" + STOP,
    "empty frames": lambda: proto(4) + (b"\x95" + bytes(8)) * 50_000 + b"N" + STOP,
    "empty lists": lambda: proto(4) + b"(" + b"]" * 300_000 + b"l" + STOP,
    "empty dicts": lambda: proto(4) + b"(" + b"}" * 300_000 + b"l" + STOP,
    "DUP": lambda: proto(4) + b"(N" + b"2" * 400_000 + b"l" + STOP,
    "globals": lambda: proto(4) + b"".join(glob(f"m{i}", "n") + b"0" for i in range(20_000)) + b"N" + STOP,
    "the same global": lambda: proto(4) + (glob("collections", "OrderedDict") + b"0") * 100_000 + b"N" + STOP,
    "calls": lambda: proto(4) + glob("collections", "OrderedDict") + put(0) + b"0" + (MADE + b")R0") * 60_000 + b"N" + STOP,
    "memo of one slot": lambda: proto(4) + b"N" + put(0) * 300_000 + STOP,
    "long literals": lambda: proto(4) + (b"X" + struct.pack("<I", 300) + b"a" * 300 + b"0") * 50_000 + b"N" + STOP,
    "cut literals": lambda: proto(4) + (b"B" + struct.pack("<I", 1 << 15) + b"a" * (1 << 15) + b"0") * 300 + b"N" + STOP,
    "unusual numbers": lambda: b"(" + b"L" + b"1" * 150 + b"L\n" + (b"L" + b"1" * 150 + b"L\n") * 10_000 + b"l.",
    "one list in many calls": lambda: proto(2) + b"](" + b"N" * 100_000 + b"e" + put(1) + glob("builtins", "len") + put(0)
    + (MADE + OLD + b"\x85R0") * 20_000 + b"N" + STOP,
    "one tuple in many calls": lambda: proto(2) + b"(" + b"N" * 100_000 + b"t" + put(1) + glob("builtins", "list") + put(0)
    + b"](" + (MADE + OLD + b"\x85R") * 20_000 + b"e" + STOP,
    "one list of tuples in many calls": lambda: proto(2) + b"](" + b")" * 100_000 + b"e" + put(1) + glob("builtins", "len") + put(0)
    + (MADE + OLD + b"\x85R0") * 20_000 + b"N" + STOP,
    "one list of pairs in many calls": lambda: proto(2) + b"](" + b"K\x01N\x86" * 50_000 + b"e" + put(1) + glob("builtins", "dict") + put(0)
    + b"](" + (MADE + OLD + b"\x85R") * 20_000 + b"e" + STOP,
    "one list of numbers in many calls": lambda: proto(2) + b"](" + b"".join(number(i) for i in range(50_000)) + b"e" + put(1)
    + glob("builtins", "set") + put(0) + b"](" + (MADE + OLD + b"\x85R") * 20_000 + b"e" + STOP,
    "one list of numbers in many states": lambda: proto(2) + b"](" + b"".join(number(i) for i in range(1_100)) + b"e" + put(1)
    + glob("collections", "OrderedDict") + put(0) + b")R" + (OLD + b"b") * 40_000 + STOP,
    "one dict in many states": lambda: proto(4) + b"}N\x85" + b"2\x86" * 22 + b"Ns" + put(1) + b"0" + glob("collections", "OrderedDict")
    + put(0) + b"0" + (MADE + b")R" + OLD + b"b0") * 20_000 + b"N" + STOP,
    "one dict in many calls": lambda: proto(4) + b"}N\x85" + b"2\x86" * 22 + b"Ns" + put(1) + b"0" + glob("collections", "OrderedDict")
    + put(0) + b"0" + (MADE + OLD + b"\x85R0") * 20_000 + b"N" + STOP,
    "one string in many calls": lambda: proto(4) + b"B" + struct.pack("<I", 5_000_000) + b"x" * 5_000_000 + put(1) + b"0"
    + glob("builtins", "bytearray") + put(0) + b"0](" + (MADE + OLD + b"\x85R") * 5_000 + b"e" + STOP,
    "one text in many calls": lambda: proto(2) + b"X" + struct.pack("<I", 5_000_000) + b"x" * 5_000_000 + put(1) + b"0"
    + glob("_codecs", "encode") + put(0) + b"0" + short("latin1") + put(2) + b"0](" + (MADE + OLD + get(2) + b"\x86R") * 5_000 + b"e" + STOP,
    "one set in many calls": lambda: proto(4) + b"\x8f(" + b"".join(short(str(i)) for i in range(30_000)) + b"\x90" + put(1) + b"0"
    + glob("builtins", "set") + put(0) + b"0](" + (MADE + OLD + b"\x85R") * 2_000 + b"e" + STOP,
    "one buffer in many arrays": lambda: proto(4) + b"B" + struct.pack("<I", 4_000_000) + b"x" * 4_000_000 + put(7) + b"0"
    + glob("numpy.core.multiarray", "_reconstruct") + put(0) + glob("numpy", "ndarray") + put(2)
    + call(glob("numpy", "dtype"), "u1", False, True) + put(3) + b"C\x01b" + put(4) + b"K\x00\x85" + put(5) + number(4_000_000) + b"\x85" + put(6)
    + b"](" + (MADE + b"(" + get(2) + get(5) + get(4) + b"tR(K\x01" + get(6) + get(3) + b"\x89" + get(7) + b"tb") * 2_000 + b"e" + STOP,
    "states of many keys": lambda: proto(4) + glob("collections", "OrderedDict") + put(0) + b"0" + b"".join(
        MADE + b")R}" + short(f"k{i}") + b"Nsb0" for i in range(15_000)) + b"N" + STOP,
    "members of a flag": lambda: proto(4) + glob("re", "RegexFlag") + put(0) + b"0" + b"".join(
        MADE + number(1 << 20 | i << 10) + b"\x85R0" for i in range(30_000)) + b"N" + STOP,
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTS)
@pytest.mark.parametrize("scan", [False, True], ids=["load", "scan"])
def test_many_of_something(case: str, scan: bool, isolated: Any) -> None:
    """No part of the analysis or of the load may take more than a constant time and memory per byte."""
    assert isolated(COUNTS[case](), scan=scan, guard=25, memory=3 << 29).kind in ("loaded", "refused", "scanned")


def test_many_streams(isolated: Any) -> None:
    """A file of many pickles is scanned in linear time, and what lies behind a limit on their number is not clean."""
    assert isolated(b"N." * 120_000, scan=True, guard=25).kind == "scanned"
    evil = b"N." * 100_001 + b"cos\nsystem\n(S'true'\ntR."
    outcome = isolated(evil, scan=True, guard=25)
    assert outcome.kind == "scanned"
    assert outcome.code != "clean"


@pytest.mark.parametrize("count", [1_500])
def test_one_frozenset_in_many_keys(count: int, isolated: Any) -> None:
    """CPython hashes a frozenset once and keeps the hash; the simulation may not build it again for every key."""
    shared = b"(" + b"".join(number(index * PRIME) for index in range(1, 1_000)) + b"\x91" + put(0) + b"0"
    keys = b"".join(get(0) + number(index) + b"\x86N" for index in range(count))
    assert isolated(proto(4) + shared + b"}(" + keys + b"u" + STOP, guard=15).kind in ("loaded", "refused")


def test_one_literal_in_many_arrays(isolated: Any) -> None:
    """Bytes of another byte order are copied for each array: an array may have its own, and not those of others again and again."""
    import pickle

    import numpy as np

    size = 1 << 20
    literal = b"B" + struct.pack("<I", size) + bytes(size) + put(100) + b"0"
    dtype = pickle.dumps(np.dtype(">f8"), 2)[2:-1] + put(101) + b"0"
    made = glob("numpy._core.multiarray", "_reconstruct") + glob("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    array = made + b"(K\x01" + number(size // 8) + b"\x85" + get(101) + b"\x89" + get(100) + b"tb"
    outcome = isolated(proto(3) + literal + dtype + b"(" + array * 20_000 + b"l" + STOP, memory=1 << 30)
    assert (outcome.kind, outcome.code) == ("refused", "policy.argument")
    two = isolated(proto(3) + literal + dtype + b"(" + array * 2 + b"l" + STOP)
    assert (two.kind, two.code) == (
        "refused",
        "policy.argument",
    )  # numpy would let them be written to, each through the other
    assert isolated(proto(3) + literal + dtype + array + STOP).kind == "loaded"


def test_limits_are_configurable(isolated: Any) -> None:
    """What a limit refuses loads under a higher one; the error names the field."""
    data = _key(b"N" + b"\x85" * 200)
    assert isolated(data).kind == "loaded"
    with pytest.raises(safeload.LimitExceededError, match="max_tuple_depth"):
        safeload.loads(data, limits=safeload.Limits(max_tuple_depth=100))
