"""Every pickle opcode, classed once: what the census may skip, what it must look at, what it refuses.

The table comes from ``pickletools.opcodes``; a test fails when CPython adds an opcode that no class below names.
``SKIP`` opcodes have arguments whose length one regular expression can check. Everything else stops the
census: opcodes that end or shape the stream, long or unusual arguments, and what is refused.
"""

from __future__ import annotations

import functools
import re

__all__ = [
    "CODE",
    "EXTENSION",
    "LITERAL_LENGTH",
    "MAX_INLINE",
    "NOTHING",
    "SHAPE",
    "SIMPLE",
    "any_run",
    "build_run",
    "counted",
    "data_run",
]

# One byte, no argument, no code: pushes, containers, stack and MEMOIZE.
SIMPLE = b"N\x88\x89])}\x8f(ldt\x85\x86\x87aesu\x90\x91012\x94"
# Opcodes that import, call, set state or ask the application for an object.
CODE = b"ciRbo\x81\x92\x93QP"
# EXT1, EXT2, EXT4: a filled copyreg._extension_cache answers them without find_class.
EXTENSION = b"\x82\x83\x84"
# PROTO, FRAME, STOP, NEXT_BUFFER, READONLY_BUFFER: they shape the stream and are handled one by one.
SHAPE = b"\x80\x95.\x97\x98"
# Counted literals: opcode -> width of the little-endian length.
LITERAL_LENGTH = {
    0x8C: 1,  # SHORT_BINUNICODE
    0x43: 1,  # SHORT_BINBYTES
    0x55: 1,  # SHORT_BINSTRING
    0x8A: 1,  # LONG1
    0x58: 4,  # BINUNICODE
    0x42: 4,  # BINBYTES
    0x54: 4,  # BINSTRING (signed: a negative length is malformed)
    0x8B: 4,  # LONG4 (signed)
    0x8D: 8,  # BINUNICODE8
    0x8E: 8,  # BINBYTES8
    0x96: 8,  # BYTEARRAY8
}
# Longest literal the regular expressions take along; a longer one is checked by Python code.
MAX_INLINE = 255

# Text opcodes. Only spellings that CPython's C code and pickletools read alike: no octal (``I010``), no
# underscores, no blanks, which strtol, int() and PyLong_FromString treat differently.
# The last alternative of what a possessive repetition repeats. Before Python 3.11.5 one that fails after it has matched a part leaves
# the engine behind that part (gh-106052), in the middle of a literal; an alternative that always fails takes it back to the start.
NOTHING = rb"|(?!)"
INT = rb"I(?:-?(?:0|[1-9][0-9]{0,18})|0[01])\n"
LONG = rb"L-?(?:0|[1-9][0-9]{0,99})L?\n"
FLOAT = rb"F[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][-+]?[0-9]{1,4})?|inf|nan)\n"
STRING = rb"S(?:'[^\n]*'|\"[^\n]*\")\n"
UNICODE = rb"V[^\n]*\n"
GET = rb"g[0-9]{1,18}\n"
NAME = rb"[^\n]{1,%d}\n"


def counted(width: int, longest: int = MAX_INLINE) -> bytes:
    """Pattern for a length of ``width`` bytes, at most ``longest``, and as many bytes behind it."""
    zeros = rb"\x00" * (width - 1)
    lengths = (re.escape(bytes([n])) + zeros + (b".{%d}" % n if n else b"") for n in range(longest + 1))
    return b"(?:" + b"|".join(lengths) + b")"


COUNTED_1 = counted(1)
COUNTED_4 = counted(4)


def _run(memo_bits: int, code: bytes) -> re.Pattern[bytes]:
    """A possessive run of skippable opcodes.

    ``memo_bits`` bounds the index of LONG_BINPUT (``r``) below ``2 ** memo_bits``: CPython allocates the memo up to the index.
    """
    high = [rb"\x00"] * 4
    whole, rest = divmod(memo_bits, 8)
    for i in range(whole):
        high[i] = rb"."
    if rest:
        high[whole] = rb"[\x00-\x%02x]" % ((1 << rest) - 1)
    put = b"r" + b"".join(high)
    text_put = rb"p[0-9]{1,%d}\n" % max(1, len(str(1 << memo_bits)) - 1)
    return re.compile(
        rb"(?s)(?:J....|M..|K.|["  # the alternatives are tried in order
        + re.escape(SIMPLE)
        + rb"]|[hq].|[\x8cCU\x8a]"
        + COUNTED_1
        + rb"|[XBT]"
        + COUNTED_4
        + rb"|G.{8}|j....|"
        + b"|".join((put, text_put, INT, LONG, FLOAT, STRING, UNICODE, GET))
        + code
        + NOTHING
        + rb")*+"
    )


def _memo_bits(size: int) -> int:
    """Bits of the largest memo index in ``size`` bytes; one pattern serves all streams up to 64 KiB, and then two sizes each."""
    return min(32, max(16, size.bit_length() + 1 & ~1))


@functools.lru_cache(maxsize=32)
def _data_run(memo_bits: int) -> re.Pattern[bytes]:
    return _run(memo_bits, b"")


@functools.lru_cache(maxsize=32)
def _any_run(memo_bits: int, name_length: int, build: bytes) -> re.Pattern[bytes]:
    name = NAME % name_length
    return _run(memo_bits, rb"|[R" + build + rb"o\x81\x92\x93Q]|P[^\n]*\n|[ci]" + name + name)


def data_run(size: int) -> re.Pattern[bytes]:
    """The pattern for a stream of ``size`` bytes that stops at every opcode of ``CODE``."""
    return _data_run(16 if size < 1 << 16 else _memo_bits(size))


def any_run(size: int, name_length: int) -> re.Pattern[bytes]:
    """The same, with the opcodes of ``CODE`` skipped; names have at most ``name_length`` bytes."""
    return _any_run(_memo_bits(size), name_length, b"b")


def build_run(size: int, name_length: int) -> re.Pattern[bytes]:
    """:func:`any_run` that stops at BUILD."""
    return _any_run(_memo_bits(size), name_length, b"")
