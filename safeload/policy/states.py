"""May a state be set? What holds for every object, whatever the rule of its class says.

A state becomes attributes, and an attribute is found before the method of the same name: whoever asks the object for that method, the
unpickler, ``__setstate__``, C code of NumPy or ``datetime``, calls what the state put there. And a key that only *equals* a string
(``numpy.str_``, ``UserString``, an enum) is not the string that a rule looks for, and is that attribute after the load. So the names
of attributes have to be exactly ``str``, none of them is special, and under a name that somebody calls lies nothing that could be
called. Rule: a state whose keys cannot all be seen is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.facts.protocols import PROTOCOLS, TOLD, is_special, is_taken
from safeload.policy.members import flags_of, members_of
from safeload.program import Kind, Standin, StandinType, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["Suspects", "check_answers", "check_state", "gives_callables"]

# Special names that neither the interpreter nor the unpickler calls, and what may lie there.
_HARMLESS: dict[str, frozenset[type]] = {
    "__notes__": frozenset({list, tuple, type(None)}),  # of exceptions: traceback prints each
    "__doc__": frozenset({str, type(None)}),
    "__module__": frozenset({str, type(None)}),
    "__name__": frozenset({str, type(None)}),
    "__qualname__": frozenset({str, type(None)}),
    "__networkx_cache__": frozenset({dict, type(None)}),
}
# The generic alias that typing writes into an instance of a generic class; nothing asks the instance for it.
_ALIAS = "__orig_class__"
# What a class with a __setstate__ of its own hands over whole; its keys are attributes as well.
_DICT = "__dict__"

# What makes something that can be called and is no class; of classes the packs' members tell. A persistent id stands for an object of
# the application.
_GIVE_CALLABLES = frozenset({"builtins.getattr", "persistent-id"})
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None)})
_DATA = _PLAIN | {bytearray, memoryview, list, tuple, set, frozenset}
_NOT_TEXT = "the name of an attribute is not text, or is there twice, and could be equal to one that is looked for"
# Dicts and tuples, and what makes them.
_PAIRS = frozenset({"builtins.dict", "builtins.tuple", "torch.Size"})


class Suspects(NamedTuple):
    """Of the keys of one state, those whose value matters: what others call, and what others only get."""

    called: tuple[str, ...] = ()
    handed: tuple[str, ...] = ()
    special: tuple[str, ...] = ()


def check_state(use: Use, context: Context) -> str | None:
    """Why a state may not be set whoever it belongs to, or ``None``.

    An object gets its state once; pickle never writes it twice. A second ``__setstate__`` is a way to change what
    others have already taken over, and in C code a way to write beyond a buffer that the first one has sized
    (``sklearn.tree._tree.Tree`` copies the second array into the first one's memory).

    The unpickler writes a dict into the instance's own, and the second dict of a pair attribute by attribute. It takes instances
    of subclasses of dict and tuple for the same; their content is not in the trace, so they are refused unless all of it shows.
    """
    if use.target is not None:
        if id(use.target) in context.states:
            return "the state of one object is set twice"
        context.states.add(id(use.target))
    state = use.args[0] if use.args else None
    for part in _attributes(state):
        if type(part) is dict:
            reason = _check_dict(use, part, context)
        elif isinstance(part, Standin):
            reason = _check_object(part, context)
        else:  # a dict of the trace that is none, because of its keys
            reason = _NOT_TEXT
        if reason is not None:
            return reason
    return None


def _attributes(state: Any) -> tuple[Any, ...]:
    """What the unpickler may make attributes of: a dict, or both parts of a pair of dicts. ``None`` and plain data are left out."""
    if type(state) is tuple and len(state) == 2:
        if all(part is None or _may_have_names(part) for part in state):
            return tuple(part for part in state if part is not None)
        return ()
    return (state,) if _may_have_names(state) or isinstance(state, Standin) else ()


def _may_have_names(part: Any) -> bool:
    if isinstance(part, Standin):
        return _is_pairs(part)
    return type(part) is dict or (type(part) not in _DATA and not isinstance(part, type))


def _check_object(state: Standin, context: Context) -> str | None:
    """An object as the state, or as one part of a pair: it is no dict and no tuple, or it shows that it has no names in it.

    What a function of the application returned, or an instance of one of its classes, is looked at by the load.
    """
    if not _is_pairs(state):
        return None
    for use in context.content_of(state):
        if use.kind is Kind.ITEMS:
            return "the state was filled like a dict, and its keys cannot be seen; it has to be a plain dict"
        if any(type(item) not in _PLAIN for item in use.args):
            return "the state is made like a dict or a tuple, and its keys cannot be seen; it has to be a plain dict"
    if context.gets_state(state):
        return "the state has a state of its own, and its keys cannot be seen; it has to be a plain dict"
    return None


def _is_pairs(state: Standin) -> bool:
    """Whether an object is a dict or a tuple, or like one; of the application's own classes the load asks."""
    name = producer(state) or ""
    return name in _PAIRS or "d" in (flags_of(name) or "")


def _check_dict(use: Use, state: dict[Any, Any], context: Context) -> str | None:
    owners, keys = _owners(use, context), tuple(state)
    own = _is_own(use.name, context)
    known = context.key_sets.get((owners, keys))
    if known is None:
        known = context.key_sets[owners, keys] = _suspects(owners, keys, own=own)
    if isinstance(known, str):
        return known
    for name in known.called:
        value = state[name]
        if _may_be_called(value) and not _is_admitted(use, name, value, context):
            return f"the state replaces the method {name!r} by something that can be called"
    for name in known.handed:
        if isinstance(state[name], StandinType):
            return f"the state puts a global where the class has the property {name!r}"
    for name in known.special:
        reason = _check_special(use, name, state[name], context, own=own)
        if reason is not None:
            return reason
    return None


def _check_special(use: Use, name: str, value: Any, context: Context, *, own: bool) -> str | None:
    """Why a state may not put ``value`` under a special name, or ``None``."""
    if name == _DICT and own:
        return _check_dict(use, value, context) if type(value) is dict else _NOT_TEXT
    if name == _ALIAS and isinstance(value, Standin):
        return None
    admitted = type(value) in _HARMLESS[name] if name in _HARMLESS else name != _ALIAS and not _may_be_called(value)
    return None if admitted else f"the state sets the special attribute {name!r}"


def _is_own(name: str, context: Context) -> bool:
    """Whether a class is one that the application has allowed itself, and no pack knows: it may have special names of its own.

    pydantic's models have ``__pydantic_fields_set__`` and hand their ``__dict__`` over, yacs' nodes have ``__immutable__``.
    """
    return context.policy.is_own(name)


def _owners(use: Use, context: Context) -> tuple[str, ...]:
    """The class that gets a state, by its name; of what a function made, also the classes that the function was given."""
    flags = flags_of(use.name)
    if use.target is None or (flags is not None and "f" not in flags):
        return (use.name,)
    given = [name for maker in context.content_of(use.target) for name in map(global_name, maker.args) if name]
    return (use.name, *given)


def _suspects(owners: tuple[str, ...], keys: tuple[Any, ...], *, own: bool) -> Suspects | str:
    """Which keys of a state matter, or why it is refused whatever their values are."""
    if any(type(key) is not str for key in keys):
        return _NOT_TEXT
    for key in keys:
        told = key in TOLD and not (
            key == "_typ" and owners[0].startswith("pandas.")
        )  # frames of old versions write it
        admitted = own and (key == _DICT or not is_taken(key))
        if told or (is_special(key) and key not in _HARMLESS and key != _ALIAS and not admitted):
            return f"the state sets the special attribute {key[:40]!r}"
    methods, properties = _members(owners)
    return Suspects(
        tuple(key for key in keys if key in PROTOCOLS or key in methods),
        tuple(key for key in keys if key in properties),
        tuple(key for key in keys if is_special(key)),
    )


def _members(owners: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    methods: frozenset[str] = frozenset()
    properties: frozenset[str] = frozenset()
    for name in owners:
        found = members_of(name)
        methods |= found.methods
        properties |= found.properties
    return methods, properties


def _is_admitted(use: Use, attribute: str, value: Any, context: Context) -> bool:
    """Whether the rule of the class says that a state may put this there."""
    rule = context.policy.rule(use.name)
    return rule is not None and rule.may_shadow(attribute, global_name(value) or producer(value) or "")


def _may_be_called(value: Any) -> bool:
    """Whether a value of a trace may turn out to be something that can be called.

    Of instances of the application's own classes only the load knows.
    """
    if not isinstance(value, Standin):
        return isinstance(value, type)
    return gives_callables(producer(value) or "") is True


def gives_callables(name: str) -> bool | None:
    """Whether what ``name`` makes can be called; ``None`` if no pack knows."""
    if name in _GIVE_CALLABLES or name.endswith("._ufunc_reconstruct"):
        return True
    flags = flags_of(name)
    return None if flags is None else "c" in flags or "u" in flags


def check_answers(items: Any, *, modules: bool = False) -> str | None:
    """Why an object may not answer the names of its attributes from ``items``, or ``None``.

    NumPy, ``copy`` and others find there what they ask every object for (:mod:`safeload.engine.load.answers`).

    Args:
        items: the dict, as traced.
        modules: its values are layers, which may be called and are called by nobody who asks for a protocol.
    """
    if type(items) is not dict or any(type(key) is not str for key in items):
        return _NOT_TEXT
    for key, value in items.items():
        if is_special(key) or key in TOLD:
            return f"an item has the special name {key[:40]!r}"
        if isinstance(value, type) if modules else (key in PROTOCOLS and _may_be_called(value)):
            return f"an item {key[:40]!r} can be called"
    return None
