"""The object as plain JSON values: exact dicts, lists, strings and numbers, copied by the base classes' own methods.

Rule: what JSON does not have is an error here and not later. A schema keyword skips values of kinds it does not know
(``minimum`` on a numpy integer, NaN in any comparison), so letting one through would be a check that silently passes.
Work is bounded by the size that the copy would have without sharing: a list of a list of a list, each
twice the next, is small in memory and endless to a validator.
"""

from __future__ import annotations

import math
from typing import Any, Final

from safeload.errors import LimitExceededError, SchemaError

__all__ = ["MAX_DEPTH", "MAX_INTEGER_BITS", "MAX_KEY", "MAX_VALUES", "Text", "plain", "pointer", "printable"]

MAX_DEPTH: Final = 100  # levels; the validator needs some six Python frames for each
MAX_VALUES: Final = 5_000_000
MAX_INTEGER_BITS: Final = 1023  # so that it is a finite float; also short enough to be written in decimal
MAX_KEY: Final = 8_192  # characters of a member's name: names are matched against patterns too
_SHORT: Final = 32


class Text(str):
    """A string with a short repr: validators put the repr of every value into messages, needed or not."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"a string of {len(self)} characters"


class Array(list[Any]):
    """A list with a short repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"an array of {len(self)} items"


class Object(dict[str, Any]):
    """A dict with a short repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"an object of {len(self)} members"


def printable(text: str, limit: int = 60) -> str:
    """``text`` as short printable ASCII, because it may come from the payload and go to a terminal."""
    escaped = text[: limit + 1].encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."


def pointer(path: tuple[str | int, ...] | list[str | int]) -> str:
    """The JSON pointer (RFC 6901) of ``path``, each name shortened; ``"(root)"`` for the whole object."""
    tokens = (printable(str(token).replace("~", "~0").replace("/", "~1")) for token in path)
    return "".join(f"/{token}" for token in tokens) or "(root)"


def plain(obj: object) -> Any:
    """A copy of ``obj`` made of JSON values.

    Raises:
        SchemaError: there is a value that JSON does not have, or an object that contains itself.
        LimitExceededError: it is too large, too deep, or has too long a number or name.

    What is no JSON value but usually becomes one (dates, arrays, bytes) is taken as that.
    """
    return _Copier().copy(obj, ())[0]


_SCALARS: Final = frozenset({bool, type(None)})


class _Copier:
    """Copies shared parts once, and counts them each time."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int, int]] = {}  # id -> copy, values in it, levels in it
        self._open: set[int] = set()
        self._simple: dict[int, tuple[Any, Any]] = {}

    def copy(self, value: Any, path: tuple[str | int, ...]) -> tuple[Any, int, int]:
        """The copy of ``value``, the number of values it stands for and its levels."""
        if type(value) in _SCALARS:
            return value, 1, 0
        if isinstance(value, str):
            text = str.__str__(value)
            return (text if len(text) <= _SHORT else Text(text)), 1, 0
        if isinstance(value, int):
            return _integer(int.__add__(value, 0), path), 1, 0
        if isinstance(value, float):
            return _float(float.__add__(value, 0.0), path), 1, 0
        if isinstance(value, dict | list | tuple):
            return self._container(value, path)
        return self._simpler(value, path)

    def _simpler(self, value: Any, path: tuple[str | int, ...]) -> tuple[Any, int, int]:
        """The copy of what stands for ``value``: see :mod:`safeload.validate.simpler`."""
        from safeload.validate.simpler import MAX_ITEMS, UNKNOWN, TooManyItemsError, simpler

        known = self._simple.get(id(value))
        if known is not None:
            return self.copy(known[1], path)
        try:
            found = simpler(value)
        except TooManyItemsError:
            message = (
                f"{pointer(path)}: an array of more than {MAX_ITEMS} items is too large to check; check a part of it"
            )
            raise LimitExceededError(message, code="schema.size", stage="validate") from None
        except (ValueError, TypeError, AttributeError, OverflowError):  # too long a number, an object made by hand
            found = UNKNOWN
        if found is UNKNOWN:
            raise _not_json(f"{printable(type(value).__qualname__)} is no JSON value", path)
        self._simple[id(value)] = value, found  # kept, because parts are known by their ids
        return self.copy(found, path)

    def _container(self, value: Any, path: tuple[str | int, ...]) -> tuple[Any, int, int]:
        key = id(value)
        if key in self._done:
            known = self._done[key]
            if len(path) + known[2] > MAX_DEPTH:
                raise _too_deep(path)
            return known
        if key in self._open:
            raise _not_json("the object contains itself", path)
        if len(path) >= MAX_DEPTH:
            raise _too_deep(path)
        self._open.add(key)
        count, levels = 1, 0
        result: Any
        if isinstance(value, dict):
            result = Object()
            for name, item in dict.items(value):
                name_ = _name(name, path)
                result[name_], values, below = self.copy(item, (*path, name_))
                count = self._counted(count + values, path)
                levels = max(levels, below)
        else:
            result = Array()
            items = list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)
            for index, item in enumerate(items):
                child, values, below = self.copy(item, (*path, index))
                result.append(child)
                count = self._counted(count + values, path)
                levels = max(levels, below)
        self._open.discard(key)
        self._done[key] = (result, count, levels + 1)
        return self._done[key]

    @staticmethod
    def _counted(count: int, path: tuple[str | int, ...]) -> int:
        if count > MAX_VALUES:
            message = f"{pointer(path)}: more than {MAX_VALUES} values are too many to check; check smaller parts"
            raise LimitExceededError(message, code="schema.size", stage="validate")
        return count


def _name(name: object, path: tuple[str | int, ...]) -> str:
    if not isinstance(name, str):
        raise _not_json(f"a member's name must be a string, not {printable(type(name).__qualname__)}", path)
    text = str.__str__(name)
    if len(text) > MAX_KEY:
        message = f"{pointer(path)}: a member's name of {len(text)} characters is too long to check"
        raise LimitExceededError(message, code="schema.size", stage="validate")
    return text


def _integer(value: int, path: tuple[str | int, ...]) -> int:
    if value.bit_length() > MAX_INTEGER_BITS:
        message = f"{pointer(path)}: an integer of {value.bit_length()} bits is too long to check; store it as a string"
        raise LimitExceededError(message, code="schema.number", stage="validate")
    return value


def _float(value: float, path: tuple[str | int, ...]) -> float:
    if not math.isfinite(value):
        raise _not_json("NaN and infinities are no JSON values", path)
    return value


def _not_json(what: str, path: tuple[str | int, ...]) -> SchemaError:
    message = f"{pointer(path)}: {what}; a schema checks null, booleans, numbers, strings, lists, dicts, and what "
    message += "usually becomes one of these (dates, arrays of numbers, bytes ...)"
    return SchemaError(message, code="schema.not-json")


def _too_deep(path: tuple[str | int, ...]) -> LimitExceededError:
    message = f"{pointer(path[:3])}...: nested deeper than {MAX_DEPTH} levels, so it is not checked; flatten the data"
    return LimitExceededError(message, code="schema.depth", stage="validate")
