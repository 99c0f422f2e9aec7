"""Every opcode is handled on purpose: this table fails when CPython adds one, or when a class changes."""

from __future__ import annotations

import pickle
import pickletools

import pytest

from safeload.engine import opcodes
from safeload.engine.census import take_census
from safeload.errors import FormatError, SafeloadError
from safeload.limits import DEFAULT_LIMITS
from safeload.source.sources import BytesSource

# What the census does with each opcode of pickletools.opcodes.
SIMPLE, CODE, EXTENSION, SHAPE, COUNTED, FIXED, TEXT = (
    "simple",
    "code",
    "extension",
    "shape",
    "counted",
    "fixed",
    "text",
)
CLASSES = {
    "INT": TEXT, "BININT": FIXED, "BININT1": FIXED, "BININT2": FIXED, "LONG": TEXT, "LONG1": COUNTED, "LONG4": COUNTED,
    "STRING": TEXT, "BINSTRING": COUNTED, "SHORT_BINSTRING": COUNTED, "BINBYTES": COUNTED, "SHORT_BINBYTES": COUNTED,
    "BINBYTES8": COUNTED, "BYTEARRAY8": COUNTED, "NEXT_BUFFER": SHAPE, "READONLY_BUFFER": SHAPE, "NONE": SIMPLE,
    "NEWTRUE": SIMPLE, "NEWFALSE": SIMPLE, "UNICODE": TEXT, "SHORT_BINUNICODE": COUNTED, "BINUNICODE": COUNTED,
    "BINUNICODE8": COUNTED, "FLOAT": TEXT, "BINFLOAT": FIXED, "EMPTY_LIST": SIMPLE, "APPEND": SIMPLE, "APPENDS": SIMPLE,
    "LIST": SIMPLE, "EMPTY_TUPLE": SIMPLE, "TUPLE": SIMPLE, "TUPLE1": SIMPLE, "TUPLE2": SIMPLE, "TUPLE3": SIMPLE,
    "EMPTY_DICT": SIMPLE, "DICT": SIMPLE, "SETITEM": SIMPLE, "SETITEMS": SIMPLE, "EMPTY_SET": SIMPLE, "ADDITEMS": SIMPLE,
    "FROZENSET": SIMPLE, "POP": SIMPLE, "DUP": SIMPLE, "MARK": SIMPLE, "POP_MARK": SIMPLE, "GET": TEXT, "BINGET": FIXED,
    "LONG_BINGET": FIXED, "PUT": TEXT, "BINPUT": FIXED, "LONG_BINPUT": FIXED, "MEMOIZE": SIMPLE, "EXT1": EXTENSION,
    "EXT2": EXTENSION, "EXT4": EXTENSION, "GLOBAL": CODE, "STACK_GLOBAL": CODE, "REDUCE": CODE, "BUILD": CODE, "INST": CODE,
    "OBJ": CODE, "NEWOBJ": CODE, "NEWOBJ_EX": CODE, "PROTO": SHAPE, "STOP": SHAPE, "FRAME": SHAPE, "PERSID": CODE,
    "BINPERSID": CODE,
}  # fmt: skip
ARGUMENTS = {
    "INT": b"1\n",
    "LONG": b"1L\n",
    "STRING": b"'a'\n",
    "UNICODE": b"a\n",
    "FLOAT": b"1.5\n",
    "GET": b"0\n",
    "PUT": b"0\n",
}


def by_name(name: str) -> int:
    return next(ord(opcode.code) for opcode in pickletools.opcodes if opcode.name == name)


def test_every_opcode_has_a_class() -> None:
    """CPython has no opcode that was not thought about."""
    assert {opcode.name for opcode in pickletools.opcodes} == set(CLASSES)
    assert pickle.HIGHEST_PROTOCOL == 5


@pytest.mark.parametrize("name", CLASSES)
def test_class(name: str) -> None:
    """The tables of the census say the same as the list above."""
    code = by_name(name)
    assert (code in opcodes.SIMPLE) == (CLASSES[name] == SIMPLE)
    assert (code in opcodes.CODE) == (CLASSES[name] == CODE)
    assert (code in opcodes.EXTENSION) == (CLASSES[name] == EXTENSION)
    assert (code in opcodes.SHAPE) == (CLASSES[name] == SHAPE)
    assert (code in opcodes.LITERAL_LENGTH) == (CLASSES[name] == COUNTED)


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if kind == COUNTED])
def test_width_of_lengths(name: str) -> None:
    """The width of a length is the one in CPython's documentation of the opcode."""
    opcode = next(opcode for opcode in pickletools.opcodes if opcode.name == name)
    width = {"1": 1, "4": 4, "8": 8}[opcode.arg.name[-1]]
    assert opcodes.LITERAL_LENGTH[ord(opcode.code)] == width


@pytest.mark.parametrize("opcode", pickletools.opcodes, ids=lambda opcode: opcode.name)
def test_opcode_in_the_census(opcode: pickletools.OpcodeInfo) -> None:
    """Each opcode is skipped with its argument, seen as code, or refused; the rest of the stream is found behind it."""
    code = opcode.code.encode("latin-1")
    kind = CLASSES[opcode.name]
    if kind == COUNTED:
        argument = (2).to_bytes(opcodes.LITERAL_LENGTH[code[0]], "little") + b"ab"
    elif kind == FIXED or (opcode.arg is not None and opcode.arg.n > 0):
        argument = bytes(opcode.arg.n)
    elif opcode.name in ARGUMENTS:
        argument = ARGUMENTS[opcode.name]
    elif opcode.arg is not None:
        argument = b"a\nb\n" if opcode.name in ("GLOBAL", "INST") else b"a\n"
    else:
        argument = b""
    if opcode.name == "STOP":
        return
    data = b"N" + code + argument + b"N."
    if kind == EXTENSION or opcode.name in ("PROTO", "NEXT_BUFFER"):
        with pytest.raises(FormatError):
            take_census(BytesSource(data), DEFAULT_LIMITS)
        return
    census = take_census(BytesSource(data), DEFAULT_LIMITS)
    assert census.size == len(data)
    assert census.has_code == (kind == CODE)
    assert census.code == (data if opcode.name != "FRAME" else b"NN.")
    for size in range(len(data)):
        with pytest.raises(SafeloadError):
            take_census(BytesSource(data[:size]), DEFAULT_LIMITS)


@pytest.mark.parametrize("code", sorted(set(range(256)) - {ord(opcode.code) for opcode in pickletools.opcodes}))
def test_no_opcode(code: int) -> None:
    """Bytes that are no opcode are refused, in data and behind code."""
    for lead in (b"N", b"ca\nb\n"):
        with pytest.raises(FormatError, match="no pickle opcode"):
            take_census(BytesSource(lead + bytes([code]) + b"."), DEFAULT_LIMITS)


def test_a_repetition_ends_where_an_opcode_does() -> None:
    """What follows an opcode that no pattern takes is not read as other opcodes; before Python 3.11.5 the engine may stop inside one."""
    from safeload.engine.respell import respell

    for opcode, width in ((b"B", 4), (b"X", 4), (b"T", 4)):
        for length in (0x1F40, 0x140, 300):
            code = b"N" + opcode + length.to_bytes(width, "little") + b"}" * length + b"."
            assert opcodes.data_run(len(code)).match(code).end() == 1
            assert opcodes.any_run(len(code), 100).match(code).end() == 1
            assert respell(code).code == code
