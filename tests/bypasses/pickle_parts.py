"""A small assembler for pickle streams: what a hostile author would write by hand, one function per opcode or idiom."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

STOP = b"."
# CPython hashes integers modulo this prime, so multiples of it collide.
PRIME = (1 << 61) - 1


def proto(version: int) -> bytes:
    return b"\x80" + bytes([version]) if version >= 2 else b""


def glob(module: str, name: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def stack_global(module: str, name: str) -> bytes:
    """STACK_GLOBAL on two short strings."""
    return short(module) + short(name) + b"\x93"


def memo_global(module: str, name: str) -> bytes:
    """STACK_GLOBAL whose names come from the memo, in the order that confuses naive scanners."""
    return short(name) + b"q\xf00" + short(module) + b"q\xf10" + b"h\xf1h\xf0\x93"


def dup_global(module: str, name: str) -> bytes:
    """GLOBAL behind a popped decoy, duplicated, with the copy popped again."""
    return glob("collections", "OrderedDict") + b"0" + glob(module, name) + b"20"


def short(text: str) -> bytes:
    """SHORT_BINUNICODE or BINUNICODE."""
    raw = text.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """LONG1 or LONG4."""
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw if len(raw) < 256 else b"\x8b" + struct.pack("<i", len(raw)) + raw


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def literal(value: Any) -> bytes:
    """The opcodes of a plain value."""
    if isinstance(value, Raw):
        return bytes(value)
    return pickle.dumps(value, 2)[2:-1]


class Raw(bytes):
    """Opcodes that stand for themselves as an argument."""


def arguments(*args: Any) -> bytes:
    """A tuple."""
    return b"(" + b"".join(map(literal, args)) + b"t"


def call(function: bytes, *args: Any) -> bytes:
    """REDUCE."""
    return function + arguments(*args) + b"R"


def inst(module: str, name: str, *args: Any) -> bytes:
    """INST."""
    return b"(" + b"".join(map(literal, args)) + b"i" + module.encode() + b"\n" + name.encode() + b"\n"


def obj(function: bytes, *args: Any) -> bytes:
    """OBJ."""
    return b"(" + function + b"".join(map(literal, args)) + b"o"


def frame(body: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(body)) + body


# The ways in which a stream can call ``module.name(*args)``: each yields a whole stream.
Spelling = Callable[..., bytes]

SPELLINGS: dict[str, Spelling] = {
    "protocol 0": lambda m, n, *a: call(glob(m, n), *a) + STOP,
    "protocol 1, INST": lambda m, n, *a: inst(m, n, *a) + STOP,
    "protocol 1, OBJ": lambda m, n, *a: obj(glob(m, n), *a) + STOP,
    "protocol 2": lambda m, n, *a: proto(2) + call(glob(m, n), *a) + STOP,
    "protocol 3": lambda m, n, *a: proto(3) + call(glob(m, n), *a) + STOP,
    "STACK_GLOBAL": lambda m, n, *a: proto(4) + call(stack_global(m, n), *a) + STOP,
    "STACK_GLOBAL from memo": lambda m, n, *a: proto(4) + call(memo_global(m, n), *a) + STOP,
    "in a frame": lambda m, n, *a: proto(5) + frame(call(stack_global(m, n), *a) + STOP),
    "DUP": lambda m, n, *a: proto(2) + call(dup_global(m, n), *a) + STOP,
    "NEWOBJ": lambda m, n, *a: proto(2) + glob(m, n) + arguments(*a) + b"\x81" + STOP,
    "NEWOBJ_EX": lambda m, n, *a: proto(4) + stack_global(m, n) + arguments(*a) + b"}\x92" + STOP,
    "popped": lambda m, n, *a: proto(2) + call(glob(m, n), *a) + b"0N" + STOP,
    "popped with its mark": lambda m, n, *a: proto(2) + b"(" + call(glob(m, n), *a) + b"1N" + STOP,
    "OBJ, popped": lambda m, n, *a: proto(2) + obj(glob(m, n), *a) + b"0N" + STOP,
    "as a key": lambda m, n, *a: proto(2) + b"}" + call(glob(m, n), *a) + b"Ns" + STOP,
    "as a state": lambda m, n, *a: proto(2) + glob("collections", "OrderedDict") + b")R" + call(glob(m, n), *a) + b"b" + STOP,
    "in a list behind data": lambda m, n, *a: proto(2) + b"](" + literal({"a": 1}) + call(glob(m, n), *a) + b"e" + STOP,
    "twice from memo": lambda m, n, *a: proto(2) + glob(m, n) + b"q\x070h\x07" + arguments(*a) + b"R0h\x07" + arguments(*a) + b"R" + STOP,
    "through __newobj__": lambda m, n, *a: proto(2) + call(glob("copyreg", "__newobj__"), Raw(glob(m, n)), *a) + STOP,
    "through _reconstructor": lambda m, n, *a: call(glob("copy_reg", "_reconstructor"), Raw(glob(m, n)), Raw(glob("__builtin__", "object")), None) + STOP,
    "through partial": lambda m, n, *a: proto(2) + call(glob("functools", "partial"), Raw(glob(m, n)), *a) + b")R" + STOP,
    "through map": lambda m, n, *a: proto(4) + call(glob("builtins", "list"), Raw(call(glob("builtins", "map"), Raw(glob(m, n)), *([x] for x in a)))) + STOP,
    "as a default factory": lambda m, n, *a: proto(2) + call(glob("collections", "defaultdict"), Raw(glob(m, n))) + STOP,
    "broken behind": lambda m, n, *a: proto(2) + call(glob(m, n), *a) + b"\xff\xff",
    "cut off behind": lambda m, n, *a: proto(2) + call(glob(m, n), *a),
    "underflow behind": lambda m, n, *a: proto(2) + call(glob(m, n), *a) + b"0000" + STOP,
    "second pickle": lambda m, n, *a: proto(2) + b"N" + STOP + proto(2) + call(glob(m, n), *a) + STOP,
    "duplicate PROTO": lambda m, n, *a: proto(2) + proto(4) + call(glob(m, n), *a) + STOP,
    "PROTO in the middle": lambda m, n, *a: b"N0" + proto(2) + call(glob(m, n), *a) + STOP,
    "frame too short": lambda m, n, *a: proto(4) + frame(b"N0") + call(glob(m, n), *a) + STOP,
    "frame cuts an opcode": lambda m, n, *a: proto(4) + b"\x95" + struct.pack("<Q", 3) + call(stack_global(m, n), *a) + STOP,
    "frame too long": lambda m, n, *a: proto(4) + b"\x95" + struct.pack("<Q", 1 << 20) + call(stack_global(m, n), *a) + STOP,
    "old string argument": lambda m, n, *a: glob(m, n) + b"(" + b"".join(_old(x) for x in a) + b"tR" + STOP,
}  # fmt: skip


def _old(value: Any) -> bytes:
    """Python 2 spellings of strings."""
    return b"S" + repr(value).encode() + b"\n" if isinstance(value, str) and value.isascii() else literal(value)
