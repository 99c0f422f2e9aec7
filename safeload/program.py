"""The code part of a pickle: which globals it imports and what it does with them.

Shared vocabulary between the analysis (which finds the uses), the policy (which judges them) and the
pipeline. It holds no logic of either. In a traced argument a global or a call result is a *stand-in*, an
inert object of the classes below; everything else is plain data.
"""

from __future__ import annotations

import enum
import hashlib
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "ARRAY_WRAPPERS",
    "OPERATION",
    "Kind",
    "Program",
    "Standin",
    "StandinType",
    "Use",
    "global_name",
    "producer",
    "snapshot",
]


# What joblib, and the copy of it that scikit-learn had until 0.22, call the description of an array whose bytes follow it in
# the file. A stream that names one is read by safeload.pipeline.joblib.walk and by nothing else.
ARRAY_WRAPPERS = frozenset(
    {"joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper"}
)


class Kind(enum.StrEnum):
    """What a stream does with a global."""

    REFERENCE = "reference"  # the global is imported
    CALL = "call"  # callable(*args): REDUCE, OBJ and INST with arguments
    CONSTRUCT = "construct"  # cls.__new__(cls, *args): NEWOBJ, NEWOBJ_EX, OBJ and INST without arguments
    STATE = "state"  # BUILD on an object that the global made
    ITEMS = "items"  # APPEND(S), SETITEM(S), ADDITEMS on an object that the global made
    CLASS_STATE = "class-state"  # BUILD or items on the global itself: patches it for the whole process
    COMPUTED = "computed"  # a call of something that a call returned
    PERSISTENT = "persistent"  # a persistent id; the name is empty

    __hash__ = str.__hash__  # an enum's own is Python code; a program hashes its operations thousands of times


class Use(NamedTuple):
    """One operation of a trace.

    ``name`` is the global's policy name (``module.attr``, or ``module:outer.inner`` for a dotted qualname). ``args``
    is the tuple of arguments for CALL and CONSTRUCT (keyword arguments of NEWOBJ_EX as a last
    ``dict`` wrapped in :class:`Keywords`), a 1-tuple with the state for STATE, otherwise ``()``. They are a
    :func:`snapshot`, taken when the use was recorded: a stream can change a list or a dict after it was
    passed, and a judge that looked later would see other arguments than the callable does.

    ``target`` is the stand-in that a CALL, CONSTRUCT or PERSISTENT made or that a STATE or ITEMS changes, so that a rule can judge
    a state by what the object was made with (a numpy dtype's state is memory-unsafe for any other type string).
    """

    kind: Kind
    name: str
    args: tuple[Any, ...] = ()
    target: Any = None


class Keywords(dict[str, Any]):
    """Keyword arguments of a NEWOBJ_EX, told apart from a dict that is a positional argument."""


class StandinType(type):
    """Metaclass of the inert classes that stand for globals while a stream is traced."""

    safeload_name: str


class Standin:
    """Base of the inert objects that stand for the result of a call or a construction."""

    __slots__ = ()
    safeload_producer: str


def global_name(value: object) -> str | None:
    """The policy name of the global that ``value`` stands for, or ``None`` if it is not one."""
    return value.safeload_name if isinstance(value, StandinType) else None


def producer(value: object) -> str | None:
    """The policy name of the class or callable that made the stand-in ``value``, or ``None`` for data."""
    return value.safeload_producer if isinstance(value, Standin) else None


def snapshot(args: tuple[Any, ...], note: Callable[[int], None] | None = None) -> tuple[Any, ...]:
    """``args`` with the lists and dicts in it, and in tuples in it, copied.

    That is as deep as the argument rules look: ``(state,)``, ``(({...}, {...}),)``, ``((3, "|", None, (), {...}),)``. In a
    dict, small lists and dicts are copied too (``{"levels": [...]}``); a rule that looks into one has to refuse it
    when it is larger than :data:`SMALL`. So are bytearrays, which a stream can change like lists; ``note`` is told how many bytes such
    copies inside of a dict take.
    """
    for item in args:
        kind = type(item)
        if kind is tuple or kind is list or kind is dict or kind is Keywords:
            return tuple([_copied(item, note) for item in args])
    return args


SMALL = 64
# Bytes that a copy of a small list or dict takes, at most: in all, and for each key.
_HEADER, _PER_KEY = 64, 192


def _copied(item: Any, note: Callable[[int], None] | None) -> Any:
    kind = type(item)
    if kind is tuple:
        return tuple([_copied(part, note) if type(part) is list or type(part) is dict else part for part in item])
    if kind is list:
        return item.copy()
    if kind is dict or kind is Keywords:
        copy = kind(item)
        for key, value in item.items():
            if (type(value) is list or type(value) is dict) and len(value) <= SMALL:
                copy[key] = value.copy()
                if note is not None:
                    note(_HEADER + (8 if type(value) is list else _PER_KEY) * len(value))
            elif type(value) is bytearray:
                copy[key] = value[:]
                if note is not None:
                    note(2 * len(value))
        return copy
    return item


# The kind and the name of a use.
OPERATION = operator.itemgetter(0, 1)


@dataclass(frozen=True, slots=True)
class Program:
    """A trace reduced to what matters for a decision.

    Attributes:
        uses: every use, in the order of the stream.
        operations: the distinct ``(kind, name)`` pairs, in order of first use.
    """

    uses: tuple[Use, ...] = ()
    operations: tuple[tuple[Kind, str], ...] = ()

    @classmethod
    def of(cls, uses: Iterable[Use]) -> Program:
        """The program of a trace."""
        kept = tuple(uses)
        return cls(kept, tuple(dict.fromkeys(map(OPERATION, kept))))

    @property
    def globals(self) -> tuple[str, ...]:
        """The imported globals, in order of first import."""
        return tuple(name for kind, name in self.operations if kind is Kind.REFERENCE)

    def lines(self) -> Iterator[str]:
        """The canonical form: ``"<kind> <name>"``, sorted; equal programs have equal lines."""
        return iter(sorted(f"{kind.value} {name}" for kind, name in self.operations))

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical form."""
        return hashlib.sha256("\n".join(self.lines()).encode("utf-8", "surrogatepass")).hexdigest()
