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
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "ARRAY_WRAPPERS",
    "OPERATION",
    "Frozen",
    "Keywords",
    "Kind",
    "Members",
    "Pairs",
    "Program",
    "Standin",
    "StandinType",
    "Use",
    "as_dict",
    "global_name",
    "is_nested_name",
    "nested_name",
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
    ``dict`` wrapped in :class:`Keywords`), a 1-tuple with the state for STATE, for ITEMS how they are added (``"setitem"``,
    ``"append"``, ``"add"``) and which (a ``dict`` or :class:`Pairs`, a list), otherwise ``()``. They are a
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


class Pairs(list[Any]):
    """A dict of a traced stream: key, value, key, value ... as they came. Nothing was hashed, merged or lost.

    It looks like a list to the unpickler, which adds to lists without being asked: so the ways to do that are shut.
    """

    __slots__ = ()

    def append(self, _item: Any) -> NoReturn:
        """Refuse: no pickler appends to a dict."""
        raise TypeError("items are appended to a dict or a set")

    extend = append

    def take(self, items: Iterable[Any]) -> None:
        """Hold further items."""
        list.extend(self, items)


class Members(Pairs):
    """A set of a traced stream: its members as they came."""

    __slots__ = ()


class Frozen(tuple[Any, ...]):
    """A frozenset of a traced stream: its members as they came."""

    __slots__ = ()


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


def is_nested_name(name: object) -> bool:
    """Whether a name is one that a class in a class, or a method, is looked up by: a public identifier."""
    return type(name) is str and name.isidentifier() and not name.startswith("_")


def nested_name(owner: str, attribute: str) -> str:
    """The policy name of an attribute of the global ``owner``: ``module:Outer.name``."""
    if ":" in owner:
        return f"{owner}.{attribute}"
    module, _, outer = owner.rpartition(".")
    return f"{module}:{outer}.{attribute}"


def producer(value: object) -> str | None:
    """The policy name of the class or callable that made the stand-in ``value``, or ``None`` for data."""
    return value.safeload_producer if isinstance(value, Standin) else None


def snapshot(args: tuple[Any, ...], note: Callable[[int], None] | None = None) -> tuple[Any, ...]:
    """``args`` with the lists and dicts in it, and in tuples in it, copied.

    That is as deep as the argument rules look: ``(state,)``, ``(({...}, {...}),)``, ``((3, "|", None, (), {...}),)``. In a
    dict, small lists and dicts are copied too (``{"levels": [...]}``); a rule that looks into one has to refuse it
    when it is larger than :data:`SMALL`. Bytes cannot change: a bytearray is shown to a stream read-only.

    A dict of the stream becomes a ``dict`` if its keys are all exactly ``str`` and each is there once; otherwise it stays
    :class:`Pairs`, which no rule takes for a dict. A key that only equals the one that a rule looks for would be judged as
    another one and used as that one. ``note`` is told how many bytes the copies inside of dicts take.
    """
    for item in args:
        if type(item) in _CHANGING:
            return tuple([_copied(item, note) for item in args])
    return args


SMALL = 64
LARGE = 4_096  # keys of a dict in a dict, as the layers of a model
_CHANGING = frozenset({tuple, list, Pairs, Members, Keywords})
# Bytes that a copy of a small list or dict takes, at most: in all, and for each key.
_HEADER, _PER_KEY = 64, 192
_STR = frozenset({str})
_DEEP = 4  # levels of lists and dicts in a dict, as the blocks of a frame have them


def as_dict(pairs: Pairs) -> dict[str, Any] | Pairs:
    """The dict that ``pairs`` stands for if its keys are exactly ``str``, once each; otherwise a copy of ``pairs``."""
    keys = pairs[::2]
    if _STR.issuperset(map(type, keys)):
        made = dict(zip(keys, pairs[1::2], strict=True))
        if len(made) == len(keys):
            return made
    return Pairs(pairs)


def _copied(item: Any, note: Callable[[int], None] | None) -> Any:
    kind = type(item)
    if kind is tuple:
        if _CHANGING.isdisjoint(map(type, item)):
            return item
        return tuple([_copied_part(part, note) for part in item])
    return _copied_part(item, note)


def _copied_part(item: Any, note: Callable[[int], None] | None) -> Any:
    kind = type(item)
    if kind is list:
        return item.copy()
    if kind is Members:
        return Members(item)
    if kind is not Pairs and kind is not Keywords:
        return item
    made: dict[str, Any] | Pairs = Keywords(item) if kind is Keywords else as_dict(item)
    if not isinstance(made, Pairs):
        for key, value in made.items():
            if type(value) is list or type(value) is Pairs:
                made[key] = _inner(value, note, _DEEP)
    return made


def _inner(value: Any, note: Callable[[int], None] | None, depth: int) -> Any:
    """A small list or dict inside of a dict, copied with those that are in it; anything else as it is."""
    kind = type(value)
    if not ((kind is list and len(value) <= SMALL) or (kind is Pairs and len(value) <= 2 * LARGE)) or not depth:
        return value
    if note is not None:
        note(_HEADER + (8 if kind is list else _PER_KEY) * len(value))
    if kind is list:
        return [_inner(part, note, depth - 1) if type(part) is list or type(part) is Pairs else part for part in value]
    made = as_dict(value)
    if not isinstance(made, Pairs):
        for key, part in made.items():
            if type(part) is list or type(part) is Pairs:
                made[key] = _inner(part, note, depth - 1)
    return made


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
