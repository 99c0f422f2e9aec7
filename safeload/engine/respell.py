r"""Respells the opcodes of a canonical stream that would hash, so that a trace of it hashes nothing.

CPython's unpickler builds dicts and sets while it runs, and so hashes and compares whatever a stream uses as a key: a key
nested a million deep crashes it, colliding numbers stall it. A stream is traced to find out what it would do, so the
trace itself must not do that. Every opcode that makes or fills a dict or a set becomes "push a payload, push a tag, ask for
the persistent id"; the tracer answers with inert lists of keys and values as they came, none merged, none lost.

======================  ====================  =============================================================
opcode                  respelled             what ``persistent_load`` gets
======================  ====================  =============================================================
EMPTY_DICT ``}``        ``N K1 \x86 Q``       ``(None, 1)``
DICT ``d``              ``l K2 \x86 Q``       ``([k, v, ...], 2)``
SETITEM ``s``           ``\x87 K3 \x86 Q``    ``((object, key, value), 3)``
SETITEMS ``u``          ``l \x86 K4 \x86 Q``  ``((object, [k, v, ...]), 4)``
EMPTY_SET               ``N K5 \x86 Q``       ``(None, 5)``
ADDITEMS                ``t \x86 K6 \x86 Q``  ``((object, (items...)), 6)``
FROZENSET               ``t K7 \x86 Q``       ``((items...), 7)``
NEWOBJ_EX               ``\x87 K8 \x86 Q``    ``((class, args, kwargs), 8)``
BINPERSID ``Q``         ``K9 \x86 Q``         ``(pid, 9)``: the application's own persistent id
BYTEARRAY8              BINBYTES8 and tag 10  ``(bytes, 10)``: nothing that APPENDS could change
======================  ====================  =============================================================

None of them touches the memo, so memo numbers stay as they are. A PERSID names its id by text, which is no tuple; every
BINPERSID of the stream is respelled, so no id of a stream is ever taken for a tag. Rule: the input comes from a census, which has
seen where every opcode ends; what is not understood here is refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from safeload.engine import opcodes
from safeload.errors import FormatError

__all__ = [
    "ADD_ITEMS",
    "BYTES",
    "DICT",
    "EMPTY_DICT",
    "EMPTY_SET",
    "FROZENSET",
    "NEW_WITH_KEYWORDS",
    "PERSISTENT",
    "SET_ITEM",
    "SET_ITEMS",
    "Respelled",
    "respell",
]

EMPTY_DICT, DICT, SET_ITEM, SET_ITEMS, EMPTY_SET, ADD_ITEMS, FROZENSET, NEW_WITH_KEYWORDS, PERSISTENT, BYTES = range(
    1, 11
)


def _tagged(payload: bytes, tag: int) -> bytes:
    """The opcodes that make the payload, and a pair of it and the tag, and ask for that persistent id."""
    return payload + b"K" + bytes([tag]) + b"\x86Q"


_SPELLINGS = {
    0x7D: _tagged(b"N", EMPTY_DICT),
    0x64: _tagged(b"l", DICT),
    0x73: _tagged(b"\x87", SET_ITEM),
    0x75: _tagged(b"l\x86", SET_ITEMS),
    0x8F: _tagged(b"N", EMPTY_SET),
    0x90: _tagged(b"t\x86", ADD_ITEMS),
    0x91: _tagged(b"t", FROZENSET),
    0x92: _tagged(b"\x87", NEW_WITH_KEYWORDS),
    0x51: _tagged(b"", PERSISTENT),
}
_BYTES = _tagged(b"", BYTES)
_BYTEARRAY8, _LONG4, _STOP, _BUILD = 0x96, 0x8B, 0x2E, 0x62
_TEXT = b"SV"

# Longer literals are passed over by Python code: each length is an alternative, and has to be compiled by every process.
_SHORT = 63
# What stays as it is. The census has checked arguments; here only their lengths matter. The most frequent opcodes of
# numbers stand first, because the regular expression engine tries the alternatives in order.
_RUN = re.compile(
    rb"(?s)(?:J....|M..|K.|["
    + re.escape(bytes(code for code in opcodes.SIMPLE if code not in _SPELLINGS) + b"Ro\x81\x93\x97\x98")
    + rb"]|[hq].|[\x8cCU\x8a]"
    + opcodes.counted(1, _SHORT)
    + rb"|[XBT]"
    + opcodes.counted(4, _SHORT)
    + rb"|G.{8}|[jr]....|[pgILFP][^\n]*\n|[SV][^\n]{0,255}\n|[ci][^\n]*\n[^\n]*\n|\x80."
    + opcodes.NOTHING
    + rb")*+"
)


class Respelled(NamedTuple):
    """A stream, or a piece of one, whose opcodes hash nothing.

    Attributes:
        code: the opcodes.
        long_text: whether it holds a text or bytes of more than 255 bytes.
        longest_integer: bytes of its longest LONG4, 0 for none.
        builds: whether its last opcode is BUILD.
    """

    code: bytes
    long_text: bool
    longest_integer: int
    builds: bool


def respell(code: bytes | bytearray) -> Respelled:
    """The canonical stream ``code``, or a piece of one that ends where an opcode does, for the tracer.

    Raises:
        FormatError: an opcode that no census lets pass.
    """
    parts: list[bytes | bytearray] = []
    add, match, spellings = parts.append, _RUN.match, _SPELLINGS
    start = pos = longest = built = 0
    long_text = False
    size = len(code)
    while True:
        pos = match(code, pos).end()  # type: ignore[union-attr]
        if pos >= size:
            break
        opcode = code[pos]
        spelling = spellings.get(opcode)
        if spelling is not None:
            add(code[start:pos])
            add(spelling)
            pos += 1
            start = pos
        elif opcode == _BUILD:
            pos += 1
            built = pos
        elif opcode == _STOP:
            break
        elif opcode in _TEXT:
            long_text = True
            pos = code.find(b"\n", pos) + 1 or size
        else:
            width = opcodes.LITERAL_LENGTH.get(opcode)
            if width is None:
                raise FormatError(f"not a well-formed pickle: byte 0x{opcode:02x} is no pickle opcode")
            header = pos + 1 + width
            length = int.from_bytes(code[pos + 1 : header], "little")
            if opcode == _BYTEARRAY8:
                add(code[start:pos])
                add(b"\x8e" + code[pos + 1 : header + length] + _BYTES)
                start = header + length
            elif opcode == _LONG4:
                longest = max(longest, length)
            long_text = long_text or length > opcodes.MAX_INLINE
            pos = header + length
    add(code[start:])
    return Respelled(b"".join(parts), long_text, longest, builds=0 < built == size)
