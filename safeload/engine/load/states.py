"""The states of a judged stream, compared once more with the classes that they are for, before the first opcode runs.

A scan imports nothing: what it knows of a class is what a pack says, and of the application's own classes it knows nothing. Here the
classes are there. A state may not put something that can be called where the class has a method, because whoever asks the instance for
that method (``__setstate__``, the unpickler, C code) would call it; nor set what the class computes itself, where attributes are set
one by one. Rule: each pair of a class and a set of keys is looked at once, and only by reading the dicts of its bases.
"""

from __future__ import annotations

import functools
from types import GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import PolicyError
from safeload.facts.protocols import PROTOCOLS, TOLD, is_special
from safeload.program import Kind, Standin, StandinType, global_name, producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.program import Use

    # Whether a state of the first may put, where its class has the second as a method, the third (policy names).
    Admits = Callable[[str, str, str], bool]

__all__ = ["check_states"]

_EXCEPTION_STATE = BaseException.__setstate__
_EXCEPTION_ARGS = BaseException.__dict__["args"]
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None)})
_DICTS = (dict, tuple)
_PERSISTENT = "persistent-id"  # an object of the application


class _Suspects(NamedTuple):
    """Keys whose value may not be callable, and those that may not be set at all."""

    called: tuple[str, ...]
    computed: tuple[str, ...]


def check_states(
    uses: Iterable[Use], find: Callable[[str], Any], may_be_called: Callable[[str], bool | None], admits: Admits
) -> None:
    """Compare the states of a program with the classes that its names turned out to be.

    Args:
        uses: the program.
        find: the global that a policy name means.
        may_be_called: whether results of a function can be called; ``None`` if nobody knows.
        admits: what the policy lets a state replace.

    Raises:
        PolicyError: a state replaces a method, or its names cannot be seen.
    """
    states = [use for use in uses if use[0] is Kind.STATE]
    if states:
        _Check(uses, find, may_be_called, admits).all(states)


class _Check:
    """One program's states."""

    def __init__(
        self,
        uses: Iterable[Use],
        find: Callable[[str], Any],
        may_be_called: Callable[[str], bool | None],
        admits: Admits,
    ) -> None:
        self._uses = uses
        self._find = functools.cache(find)
        self._may_be_called = may_be_called
        self._admits = admits
        self._known: dict[Any, _Suspects] = {}
        self._makers: dict[int, list[Use]] | None = None

    def all(self, states: Iterable[Use]) -> None:
        for use in states:
            state = use.args[0] if use.args else None
            if type(state) is dict:
                self._attributes(use, state, one_by_one=False)
            elif type(state) is tuple and len(state) == 2:
                self._part(use, state[0], one_by_one=False)
                self._part(use, state[1], one_by_one=True)
            elif isinstance(state, Standin):
                self._object(use, state)

    def _part(self, use: Use, part: Any, *, one_by_one: bool) -> None:
        if type(part) is dict:
            self._attributes(use, part, one_by_one=one_by_one)
        elif isinstance(part, Standin):
            self._object(use, part)

    def _attributes(self, use: Use, state: dict[Any, Any], *, one_by_one: bool) -> None:
        inner = state.get("__dict__")
        if type(inner) is dict:  # a class that sets its own state makes attributes of them
            self._attributes(use, inner, one_by_one=one_by_one)
        keys = tuple(state)
        owner = use.name if isinstance(self._find(use.name), type) else id(use.target)
        known = self._known.get((owner, keys, one_by_one))
        if known is None:
            known = self._known[owner, keys, one_by_one] = self._suspects(use, keys, one_by_one=one_by_one)
        if "args" in state and any(_looked_up(cls, "args") is _EXCEPTION_ARGS for cls in self._classes(use)):
            args = state["args"]  # setting them makes a tuple of anything, a range for one
            if type(args) is not tuple or not _PLAIN.issuperset(map(type, args)):
                _refuse(use.name, "args", "sets the arguments of an exception to more than plain data")
        if known.computed:
            _refuse(use.name, known.computed[0], "sets what the class computes itself")
        for name in known.called:
            value = state[name]
            if self._can_be_called(value) and not self._admits(
                use.name, name, global_name(value) or producer(value) or ""
            ):
                _refuse(use.name, name, "replaces a method by something that can be called")

    def _classes(self, use: Use) -> list[type]:
        """The class of what gets a state; for what a function made, the classes that the function was given."""
        found = self._find(use.name)
        if isinstance(found, type):
            return [found]
        names = [name for maker in self._made_by(use) for name in map(global_name, maker.args) if name is not None]
        return [each for each in map(self._find, names) if isinstance(each, type)]

    def _made_by(self, use: Use) -> list[Use]:
        if self._makers is None:
            self._makers = {}
            for each in self._uses:
                if each.kind is Kind.CALL and each.target is not None:
                    self._makers.setdefault(id(each.target), []).append(each)
        return self._makers.get(id(use.target), [])

    def _suspects(self, use: Use, keys: tuple[Any, ...], *, one_by_one: bool) -> _Suspects:
        called: dict[str, None] = dict.fromkeys(key for key in keys if key in PROTOCOLS)
        computed: dict[str, None] = {}
        for cls in self._classes(use):
            setter = _looked_up(cls, "__setstate__")
            each = one_by_one or setter is _EXCEPTION_STATE
            for key in keys:
                value = _looked_up(cls, key)
                if _is_method(value):
                    called[key] = None
                elif each and _is_computed(value) and value is not _EXCEPTION_ARGS:
                    computed[key] = None
        return _Suspects(tuple(called), tuple(computed))

    def _can_be_called(self, value: Any) -> bool:
        """Whether the object that a value of the trace stands for can be called."""
        name = global_name(value)
        if name is not None:
            return callable(self._find(name))
        if not isinstance(value, Standin):
            return isinstance(value, (StandinType, type))
        name = producer(value) or ""
        found = self._find(name) if name != _PERSISTENT else None
        if isinstance(found, type):
            return _looked_up(found, "__call__") is not None
        return self._may_be_called(name) is not False

    def _object(self, use: Use, state: Standin) -> None:
        """An object as the state: the unpickler takes it for a dict or a pair if it is an instance of a subclass."""
        name = producer(state) or ""
        found = self._find(name) if name != _PERSISTENT else None
        if isinstance(found, type) and not issubclass(found, _DICTS):
            return
        if not isinstance(found, type) and self._may_be_called(name) is not None:
            return  # a function of a pack
        items = [each for each in self._uses if each.target is state and each.kind is not Kind.STATE and each.args]
        for each in items:
            pairs: Any = each.args[1] if each.kind is Kind.ITEMS and each.args[0] == "setitem" else None
            if type(pairs) is not dict or any(is_special(key) or key in TOLD for key in pairs):
                _refuse(use.name, "", "is an instance of a subclass of dict or tuple, and its keys cannot be seen")
            self._attributes(use, pairs, one_by_one=False)


def _looked_up(cls: type, name: Any) -> Any:
    """What a class or one of its bases has under a name, without asking a descriptor; ``None`` if there is nothing."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _is_method(value: Any) -> bool:
    """Whether what a class has is meant to be called: a function, a class, or a descriptor that is no cached value.

    An instance's own value is found before any of these; before a property it is not. ``functools.cached_property`` is made for values
    of the instance.
    """
    if value is None or isinstance(value, (property, functools.cached_property, MemberDescriptorType)):
        return False
    kind = type(value)
    if callable(value) or isinstance(value, (staticmethod, classmethod)):
        return True
    # Other caches (``lazy_property``, ``cache_readonly``) are told by what they are called: what they hand out lies in the instance.
    name = kind.__name__.lower()
    return hasattr(kind, "__get__") and not hasattr(kind, "__set__") and "cache" not in name and "property" not in name


def _is_computed(value: Any) -> bool:
    """Whether setting an attribute runs code or changes fields in C: a property, a getset, another data descriptor. Not a slot."""
    if isinstance(value, MemberDescriptorType):
        return False
    return isinstance(value, GetSetDescriptorType) or hasattr(type(value), "__set__")


def _refuse(name: str, key: str, what: str) -> None:
    attribute = f" ({key!r})" if key else ""
    raise PolicyError(f"the state of {name} {what}{attribute}", code="policy.shadow", stage="load")
