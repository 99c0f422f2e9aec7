"""Pickle streams written from traces: the uses of an honest stream, with something else in the place of an argument."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from safeload.engine.trace import Tracer
from safeload.limits import DEFAULT_LIMITS
from safeload.program import Keywords, Kind, Standin, StandinType, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DEEPEST = 40
_MOST_CHILDREN = 8


class Raw:
    """Opcodes that leave something on the stack."""

    def __init__(self, code: bytes) -> None:
        self.code = code


class CannotWriteError(Exception):
    """The trace does not say how something was made."""


def traced(data: bytes) -> list[Use]:
    """The uses of one pickle."""
    from safeload.engine.census import take_census
    from safeload.source.sources import BytesSource

    census = take_census(BytesSource(data), DEFAULT_LIMITS)
    tracer = Tracer(DEFAULT_LIMITS)
    tracer.trace(census.code, census.protocol, census.buffers)
    return tracer.uses


class Writer:
    """Writes what a trace made."""

    def __init__(self, uses: Iterable[Use]) -> None:
        self._made: dict[int, Use] = {}
        self._states: dict[int, Use] = {}
        for use in uses:
            if use.target is None:
                continue
            if use.kind in (Kind.CALL, Kind.CONSTRUCT):
                self._made.setdefault(id(use.target), use)
            elif use.kind is Kind.STATE:
                self._states[id(use.target)] = use

    def use(self, use: Use, args: tuple[Any, ...]) -> bytes:
        """The object of a use, with these arguments, or this state, in place of its own."""
        if use.kind is Kind.STATE:
            return self._made_as(self._made[id(use.target)]) + self.value(args[0]) + b"b"
        code = self._made_as(use, args)
        state = self._states.get(id(use.target))
        return code if state is None else code + self.value(state.args[0]) + b"b"

    def _made_as(self, use: Use, args: tuple[Any, ...] | None = None, depth: int = 0) -> bytes:
        args = use.args if args is None else args
        head = named(use.name)
        if args and type(args[-1]) is Keywords:
            return head + self.value(args[:-1], depth) + self.value(dict(args[-1]), depth) + b"\x92"
        return head + self.value(args, depth) + (b"R" if use.kind is Kind.CALL else b"\x81")

    def value(self, value: Any, depth: int = 0) -> bytes:
        """The opcodes for a traced value."""
        if depth > _DEEPEST:
            raise CannotWriteError
        kind, deeper = type(value), depth + 1
        if kind is Raw:
            return bytes(value.code)
        if isinstance(value, StandinType):
            return named(value.safeload_name)
        if isinstance(value, Standin):
            made = self._made.get(id(value))
            if made is None:
                raise CannotWriteError
            state = self._states.get(id(value))
            code = self._made_as(made, None, deeper)
            return code if state is None else code + self.value(state.args[0], deeper) + b"b"
        if kind is tuple or kind is list:
            items = b"".join(self.value(item, deeper) for item in value)
            return b"(" + items + b"t" if kind is tuple else b"](" + items + b"e"
        if kind is dict:
            pairs = (self.value(key, deeper) + self.value(item, deeper) for key, item in value.items())
            return b"}(" + b"".join(pairs) + b"u"
        if kind in (set, frozenset):
            items = b"(" + b"".join(self.value(item, deeper) for item in value)
            return b"\x8f" + items + b"\x90" if kind is set else items + b"\x91"
        if kind in (bytearray, memoryview):
            return b"\x96" + len(value).to_bytes(8, "little") + bytes(value)
        if kind in (type(None), bool, int, float, str, bytes):
            return pickle.dumps(value, 3)[2:-1]
        raise CannotWriteError


def named(name: str) -> bytes:
    """A global by its policy name."""
    module, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    return pickle.dumps(module, 3)[2:-1] + pickle.dumps(path, 3)[2:-1] + b"\x93"


def call(name: str, *args: Any) -> Raw:
    """A call by REDUCE, of values that are plain or :class:`Raw`."""
    return Raw(named(name) + Writer(()).value(args) + b"R")


def new(name: str, state: Any = None) -> Raw:
    """An object by NEWOBJ, with its state."""
    code = named(name) + b")\x81"
    return Raw(code if state is None else code + Writer(()).value(state) + b"b")


def replaced(value: Any, other: Any, depth: int = 3) -> Iterator[Any]:
    """``value`` with ``other`` at one place in it, for every place."""
    if type(value) in (tuple, list) and depth:
        for place, item in list(enumerate(value))[:_MOST_CHILDREN]:
            for part in (other, *(replaced(item, other, depth - 1) if type(item) in (tuple, list, dict) else ())):
                yield type(value)([*value[:place], part, *value[place + 1 :]])
    elif type(value) is dict and depth:
        for key, item in list(value.items())[:_MOST_CHILDREN]:
            for part in (other, *(replaced(item, other, depth - 1) if type(item) in (tuple, list, dict) else ())):
                yield {**value, key: part}
