"""An assembler for seccomp filters: classic BPF programs that decide about each system call.

A filter is a list of rules, tried in order; the first that matches decides, the last line decides for the rest. Rule:
every rule ends in a return, so no jump is longer than its own rule and none can be computed wrongly by what stands
around it. The program checks the architecture first: on another one the same numbers mean other calls.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeload.sandbox.kernel.machine import Machine

__all__ = ["ALLOW", "KILL", "NOTIFY", "Filter", "Instruction", "compiled", "fails"]

# SECCOMP_RET_* of linux/seccomp.h.
ALLOW = 0x7FFF0000
KILL = 0x80000000
NOTIFY = 0x7FC00000

_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000  # system calls of the x32 ABI, which share the architecture of x86_64


def fails(code: int) -> int:
    """The action that refuses a call with this ``errno``."""
    return 0x00050000 | code


class Instruction(NamedTuple):
    """One ``sock_filter``: operation, jump if true, jump if false, operand."""

    code: int
    jump_true: int
    jump_false: int
    operand: int


def _return(action: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, action)


class Filter:
    """The rules of one filter for one machine, in the order in which they are tried.

    A name that the machine has no call for adds no rule. A name that has a rule already keeps the first one.
    """

    def __init__(self, machine: Machine, otherwise: int) -> None:
        self.machine = machine
        self.otherwise = otherwise
        self.named: set[str] = set()
        self._rules: list[Instruction] = []

    def act(self, action: int, names: Iterable[str]) -> None:
        """Decide about whole calls, whatever their arguments are."""
        for name in names:
            self._add(name, [_return(action)])

    def only(self, name: str, argument: int, values: Sequence[int], refused: int, *, mask: int | None = None) -> None:
        """Allow the call only if an argument, in its lower 32 bits, is one of ``values``."""
        body = [Instruction(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)]
        if mask is not None:
            body.append(Instruction(_AND, 0, 0, mask))
        for place, value in enumerate(values):
            last = place == len(values) - 1
            body.append(Instruction(_EQUAL, len(values) - 1 - place, 1 if last else 0, value))
        self._add(name, [*body, _return(ALLOW), _return(refused)])

    def without(self, name: str, argument: int, bits: int, refused: int) -> None:
        """Allow the call only if an argument has none of ``bits``."""
        body = [Instruction(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), Instruction(_HAS_BITS, 0, 1, bits)]
        self._add(name, [*body, _return(refused), _return(ALLOW)])

    def program(self) -> list[Instruction]:
        """The instructions, from the check of the architecture to the last return."""
        head = [
            Instruction(_LOAD, 0, 0, _ARCH_AT),
            Instruction(_EQUAL, 1, 0, self.machine.audit_arch),
            _return(KILL),
            Instruction(_LOAD, 0, 0, _NUMBER_AT),
        ]
        if self.machine.name == "x86_64":
            head += [Instruction(_AT_LEAST, 0, 1, _X32), _return(KILL)]
        return [*head, *self._rules, _return(self.otherwise)]

    def _add(self, name: str, body: list[Instruction]) -> None:
        number = self.machine.calls.get(name)
        if number is None or name in self.named:
            return
        self.named.add(name)
        self._rules += [Instruction(_EQUAL, 0, len(body), number), *body]


class _SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint),
    )  # fmt: skip


class _SockProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_SockFilter)))


def compiled(program: Sequence[Instruction]) -> ctypes.Structure:
    """The program as the kernel takes it; it keeps its instructions alive."""
    array = (_SockFilter * len(program))(*(_SockFilter(*instruction) for instruction in program))
    return _SockProgram(len(program), array)
