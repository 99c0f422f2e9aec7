"""What the tests of the sandbox share: whether this machine has one, artifacts that run code, a machine for BPF programs."""

from __future__ import annotations

import contextlib
import functools
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from safeload.findings import Report, Verdict
from safeload.limits import Limits
from safeload.sandbox.artifact import Artifact, sealed_memory
from safeload.sandbox.libraries import Modules

FAST = Limits(max_sandbox_seconds=20, max_sandbox_memory=1 << 29, max_sandbox_result=1 << 26)


@functools.cache
def level() -> str:
    """The level of the sandbox on this machine."""
    if sys.platform != "linux":
        return "insufficient"
    from safeload.sandbox import attest

    return attest().level


def needs_level(wanted: str = "seccomp-only") -> pytest.MarkDecorator:
    """Skip where the machine cannot give this level."""
    order = ("insufficient", "seccomp-only", "full")
    missing = sys.platform != "linux" or order.index(level()) < order.index(wanted)
    return pytest.mark.skipif(missing, reason=f"the kernel gives no sandbox of level {wanted!r}")


class Runs:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def running(code: str) -> bytes:
    """A pickle whose load executes ``code`` and is what it names ``result``."""
    call = f"(lambda space: (exec({code!r}, space), space.get('result'))[1])({{}})"
    return pickle.dumps(Runs(eval, call))


def unjudged(data: bytes, modules: tuple[str, ...] = ()) -> Artifact:
    """An artifact as the jail gets it, without the judgement that would have refused it."""
    descriptor, places = sealed_memory([data])
    return Artifact(descriptor, places, "pickle", Modules(("numpy", *modules), ()), Report(Verdict.UNKNOWN), {})


def jailed(data: bytes, limits: Limits = FAST, require: str = "seccomp-only", **options: Any) -> Any:
    """Load a hostile pickle in the jail, past the judgement; its data."""
    from safeload.sandbox.deadline import Deadline
    from safeload.sandbox.loading import load_artifact

    artifact = unjudged(data, options.pop("modules", ()))
    with contextlib.closing(artifact):
        return load_artifact(
            artifact, require, limits, frozenset(), Deadline(limits.max_sandbox_seconds), describe=False, **options
        )


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Machine:
    """Executes a seccomp program as the kernel does, for any architecture."""

    def __init__(self, program: Any) -> None:
        self.program = [tuple(instruction) for instruction in program]

    def decide(self, arch: int, number: int, *arguments: int) -> int:
        """The action for one system call."""
        padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
        data = struct.pack("<iIQ6Q", number, arch, 0, *(value % (1 << 64) for value in padded))
        accumulator, place = 0, 0
        while True:
            code, true, false, operand = self.program[place]
            place += 1
            if code == 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            elif code == 0x54:
                accumulator &= operand
            elif code == 0x06:
                return operand
            else:
                holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[
                    code
                ]
                place += true if holds else false
