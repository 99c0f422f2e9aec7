"""Where the census refuses a stream, do other unpicklers stop there as well?

The census takes less than CPython's unpicklers do: it has one spelling for numbers, one PROTO, frames that end where opcodes
do, and limits. ``pickle.load`` executes opcodes as they come, so a file that the census finds broken may go on for it. That matters
for a file that is something else as well. Rule: in doubt they go on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safeload.engine import opcodes
from safeload.errors import LimitExceededError, ProtocolError, TruncatedError

if TYPE_CHECKING:
    from safeload.errors import SafeloadError

__all__ = ["PUSHES", "others_go_on"]

# Opcodes that need nothing on the stack: any other one at the start stops every unpickler.
PUSHES = frozenset(b"\x80\x82\x83\x84\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96(]})NKMJILSTUVXFGBCcghj\x97")
_KNOWN = frozenset(
    opcodes.SIMPLE
    + opcodes.CODE
    + opcodes.EXTENSION
    + opcodes.SHAPE
    + bytes(opcodes.LITERAL_LENGTH)
    + b"ILFSVgpKMJGhqjr"
)
_PROTO, _FRAME = 0x80, 0x95
_NAMES = frozenset(b"ci")
# Protocol 4 looks up a path of attributes, as long as an author likes; nothing else with such a name can be imported.
_NAME = re.compile(rb"[\w.]+(?:\n(?:[\w.]+(?:\n.*)?)?)?", re.DOTALL)
# What C's strtol, strtod and PyLong_FromString take up to a zero byte: more than int() and float() do.
_NUMBER = re.compile(rb"\s*[-+]?[0-9][0-9A-Za-z_]*\s*")
_FLOAT = re.compile(rb"\s*[-+]?[0-9a-zA-Z.][0-9a-zA-Z.+-]*\s*")
_LINES = {ord("I"): _NUMBER, ord("L"): _NUMBER, ord("g"): _NUMBER, ord("p"): _NUMBER, ord("F"): _FLOAT}


def others_go_on(error: SafeloadError, rest: bytes, *, framed: bool) -> bool:
    """Whether another unpickler may execute what follows the place where the census raised ``error``.

    Args:
        error: what it raised.
        rest: the bytes from the opcode on at which it stopped, as far as they are at hand.
        framed: whether the place is inside a frame, which unpicklers read in different ways.
    """
    opcode = rest[0] if rest else -1
    if opcode not in _KNOWN or (opcode in _NAMES and not _NAME.fullmatch(rest, 1)):
        return False
    if isinstance(error, LimitExceededError) or opcode in (_FRAME, *opcodes.EXTENSION):
        return True
    if isinstance(error, TruncatedError | ProtocolError):
        return False
    if framed or opcode == _PROTO:
        return True
    pattern = _LINES.get(opcode)
    if pattern is None:
        return False
    argument = rest[1:].partition(b"\n")[0].partition(b"\0")[0]
    return pattern.fullmatch(argument) is not None
