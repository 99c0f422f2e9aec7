"""Named, reviewed checks of traced arguments, for callables that are harmless only with some arguments.

An argument rule is a function of one use and its context that returns ``None`` or the reason to refuse. Rules that
are about numpy's memory are in :mod:`safeload.policy.rules.dtypes` and :mod:`safeload.policy.rules.arrays`. In the arguments a
global or a call result is an inert stand-in; everything else is the real value. Rule: a check accepts what it knows
and refuses the rest, and it costs no more than the call that it guards.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safeload.policy.rules.containers import copies_text
from safeload.policy.rules.registry import argument_rule
from safeload.program import (
    Frozen,
    Keywords,
    Members,
    Pairs,
    Standin,
    StandinType,
    global_name,
    is_nested_name,
    nested_name,
    producer,
)

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["is_bytes_like"]

# Types of which a copy costs what was already paid for in the stream, and whose iteration runs no code.
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), bytearray})
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, Pairs, Members, Frozen})


@argument_rule("none")
def _no_arguments(use: Use, _context: Context) -> str | None:
    """No arguments; ``_reconstructor(cls, object, None)``, the form of protocols 0 and 1, has none either."""
    args = use.args
    if not args or (len(args) == 2 and args[1] is None and global_name(args[0]) == "builtins.object"):
        return None
    return "it takes no arguments in a pickle"


@argument_rule("few")
def _few(use: Use, context: Context) -> str | None:
    """No arguments, and not too many of them: each takes kilobytes, and four bytes of a stream."""
    return "there are too many of them" if context.too_many() else _no_arguments(use, context)


@argument_rule("tuple")
def _tuple(use: Use, _context: Context) -> str | None:
    """A named tuple: its items, or ``_reconstructor(cls, tuple, (...))``. The items are stored."""
    args = use.args
    if len(args) == 2 and type(args[1]) is tuple and global_name(args[0]) == "builtins.tuple":
        return None
    return "an item is a global" if any(isinstance(item, StandinType) for item in args) else None


@argument_rule("dict-state")
def _dict_state(use: Use, _context: Context) -> str | None:
    """What ``object.__reduce_ex__`` gives for a class without slots: attributes by name."""
    state = use.args[0] if use.args else None
    if type(state) is dict or state is None:
        return None
    return "the state is not a dict of attributes"


@argument_rule("exception-state")
def _exception_state(use: Use, context: Context) -> str | None:
    """The same for an exception, whose ``args`` are not an attribute: setting them makes a tuple of anything, a range for one."""
    state = use.args[0] if use.args else None
    if type(state) is dict and "args" in state:  # as AttributeError's has from Python 3.12 on
        args = state["args"]
        if type(args) is not tuple or any(type(item) not in _PLAIN for item in args):
            return "the state sets the arguments of an exception to more than numbers and text"
    return _dict_state(use, context)


@argument_rule("slots-state")
def _slots_state(use: Use, _context: Context) -> str | None:
    """The same for a class with slots: ``(attributes or None, slots)``."""
    state = use.args[0] if use.args else None
    if type(state) is dict or state is None:
        return None
    if type(state) is tuple and len(state) == 2 and all(part is None or type(part) is dict for part in state):
        return None
    return "the state is neither a dict of attributes nor a pair of dicts"


@argument_rule("tuple-state")
def _tuple_state(use: Use, _context: Context) -> str | None:
    """The state of a Cython class: its fields. No global among them."""
    state = use.args[0] if use.args else None
    if type(state) is tuple and not any(isinstance(item, StandinType) for item in state):
        return None
    return "the state is not a tuple of data"


@argument_rule("plain")
def _plain(use: Use, context: Context) -> str | None:
    """Numbers, strings, bytes, None."""
    if not all(type(item) in _PLAIN for item in use.args):
        return "an argument is not a number, a string or bytes"
    return "the same text is given to call after call" if copies_text(use.args, context) else None


@argument_rule("iterable")
def _one_iterable(use: Use, _context: Context) -> str | None:
    """Nothing, or one built-in container (``set([...])``): iterating anything else could run its methods."""
    args = use.args
    if not args or (len(args) == 1 and type(args[0]) in _CONTAINERS):
        return None
    return "its argument is not a list, tuple, dict or set"


@argument_rule("buffer")
def _buffer(use: Use, _context: Context) -> str | None:
    """``bytes`` and ``bytearray``: never an integer, which is a size to allocate."""
    args = use.args
    if not args:
        return None
    if len(args) == 1 and (type(args[0]) in (bytes, bytearray, memoryview) or _is_encoded(args[0])):
        return None
    if len(args) == 1 and type(args[0]) is list and all(type(item) is int for item in args[0]):
        return None
    if len(args) == 2 and type(args[0]) is str and args[1] in _LATIN:  # what Python < 3.3 wrote for a bytearray
        return None
    return "its argument is not bytes (an integer would be a size to allocate)"


_LATIN = frozenset({"latin1", "latin-1"})


# Text that is no longer than the object that is made of it.
_SHORT = 64


@argument_rule("encode-latin1")
def _encode(use: Use, context: Context) -> str | None:
    """``_codecs.encode(text, "latin1")``, how protocols 0-2 write bytes; other codecs are looked up and imported."""
    args = use.args
    if len(args) == 2 and type(args[0]) is str and type(args[1]) is str and args[1] in _LATIN:
        if len(args[0]) > _SHORT and context.copies_too_much(("encoded", id(args[0])), len(args[0])):
            return "the same text is given to call after call"
        return None
    return 'only _codecs.encode(text, "latin1") is bytes written by an old protocol'


def _is_encoded(value: object) -> bool:
    """Bytes as protocols 0-2 write them; ``builtins.bytes`` is only ever allowed for the empty ones."""
    return producer(value) in ("_codecs.encode", "builtins.bytes")


def is_bytes_like(value: object) -> bool:
    """Whether a traced value is bytes, or text that an old protocol wrote for bytes."""
    return type(value) in (bytes, bytearray, memoryview, str) or _is_encoded(value)


# Factories of a defaultdict: called without arguments, later, by whoever asks for a missing key.
_FACTORIES = frozenset(
    f"builtins.{name}"
    for name in ("bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple")
) | frozenset(f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque"))


@argument_rule("factory")
def _factory(use: Use, context: Context) -> str | None:
    """``defaultdict(factory)``: ``None``, a harmless builtin, or something that the policy lets be called or made."""
    args = use.args
    if not args or (len(args) == 1 and args[0] is None):
        return None
    if len(args) == 1 and isinstance(args[0], Standin) and producer(args[0]) == "functools.partial":
        return None  # judged by the rule of partials
    name = global_name(args[0]) if len(args) == 1 else None
    if name is None:
        return "the default factory is not a global"
    rule = context.policy.rule(name)
    if name in _FACTORIES or (rule is not None and rule.call is True):
        return None
    return f"the default factory {name} may be referenced but not called; if it is harmless, allow it with call = true"


@argument_rule("pairs")
def _pairs(use: Use, _context: Context) -> str | None:
    """``OrderedDict()``, ``OrderedDict([[k, v], ...])`` (Python 2), ``Counter({...})``."""
    args = use.args
    if not args or (len(args) == 1 and type(args[0]) in (list, dict, Pairs, tuple)):
        return None
    return "its argument is not a dict or a list of pairs"


@argument_rule("deque")
def _deque(use: Use, _context: Context) -> str | None:
    args = use.args
    if (
        len(args) <= 2
        and (not args or type(args[0]) in _CONTAINERS)
        and (len(args) < 2 or type(args[1]) in (int, type(None)))
    ):
        return None
    return "its arguments are not a container and a length"


# A base class whose ``__new__`` and ``__init__`` only copy the state they are given.
_BASES = {
    "builtins.object": (type(None),),
    "builtins.int": (int,),
    "builtins.float": (float, int),
    "builtins.complex": (complex,),
    "builtins.str": (str,),
    "builtins.bytes": (bytes,),
    "builtins.tuple": (tuple,),
    "builtins.list": (list,),
    "builtins.dict": (dict, Pairs),
    "builtins.set": (set, Members, list),
    "builtins.frozenset": (frozenset, Frozen, list, set, Members),
}


@argument_rule("reconstructor")
def _reconstructor(use: Use, _context: Context) -> str | None:
    """``copyreg._reconstructor(cls, base, state)``: ``base.__new__(cls, state)`` and ``base.__init__(obj, state)``.

    The construction of ``cls`` is judged as a use of its own. ``base`` is called with ``state``, so only built-in
    types and values of that very type are accepted.
    """
    args = use.args
    if len(args) != 3:
        return "it takes a class, its base and a state"
    base, cls = global_name(args[1]), global_name(args[0])
    allowed = _BASES.get(base or "")
    if cls is None or allowed is None:
        return "the class or its base is not a global that copyreg would write"
    state = args[2]
    if type(state) in allowed or (base == "builtins.bytes" and _is_encoded(state)):
        return None
    if base in ("builtins.set", "builtins.frozenset") and isinstance(state, Standin) and producer(state) == base:
        return None
    return f"the state is not a {base}"


@argument_rule("newobj")
def _newobj(use: Use, _context: Context) -> str | None:
    """``copyreg.__newobj__(cls, *args)``: the construction of ``cls`` is judged as a use of its own."""
    return None if use.args and global_name(use.args[0]) else "the class is not a global"


_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}", re.ASCII)


@argument_rule("zone-key")
def _zone_key(use: Use, context: Context) -> str | None:
    """The key of a time zone, which becomes part of a file name: no dots, no absolute path.

    Unless it may come from the cache (the second argument), the file is read again for every object.
    """
    args = use.args
    if len(args) > 1 and not args[1] and context.too_many():
        return "there are too many of them"
    if (
        args
        and type(args[0]) is str
        and _ZONE.fullmatch(args[0])
        and all(type(item) in (bool, int) for item in args[1:])
    ):
        return None
    return "the time zone's key is not a plain name such as Europe/Berlin"


@argument_rule("unicode-error")
def _unicode_error(use: Use, context: Context) -> str | None:
    """``UnicodeDecodeError(encoding, object, start, end, reason)``; the one for translation has no encoding."""
    args = use.args[1:] if use.name.endswith(("DecodeError", "EncodeError")) else use.args
    size = _length(args[0], context) if args else None
    if len(args) == 4 and size is not None and type(args[1]) is int and type(args[2]) is int:
        inside = 0 <= args[1] <= args[2] <= size
        if inside and all(type(text) is str for text in (use.args[0], args[3])):
            return None
    return "its positions do not lie inside its object"


def _length(value: object, context: Context) -> int | None:
    """How long text or bytes are; bytes of protocols 0-2 are one for each character that is encoded."""
    if type(value) is str or type(value) is bytes:
        return len(value)
    if not isinstance(value, Standin) or producer(value) != "_codecs.encode":
        return 0 if producer(value) == "builtins.bytes" else None
    texts = [use.args[0] for use in context.content_of(value) if use.args]
    return len(texts[0]) if len(texts) == 1 and type(texts[0]) is str else None


@argument_rule("integers")
def _integers(use: Use, _context: Context) -> str | None:
    """Integers only."""
    return None if all(type(item) is int for item in use.args) else "an argument is not an integer"


@argument_rule("range")
def _range(use: Use, context: Context) -> str | None:
    """``range``: small by itself, but beside arrays it may become one; then it is not much longer than the data."""
    args = use.args
    if not 1 <= len(args) <= 3 or any(type(item) is not int for item in args) or (len(args) == 3 and args[2] == 0):
        return "its arguments are not one to three integers"
    start, stop = (0, args[0]) if len(args) == 1 else args[:2]
    if abs(stop - start) <= 10_000_000 or not context.has_arrays():
        return None
    if abs(stop - start) >= 1 << 62 or len(range(start, stop, *args[2:])) > context.most_items():
        return "the range is much longer than the data"
    return None


@argument_rule("slice")
def _slice(use: Use, _context: Context) -> str | None:
    """``slice(start, stop, step)``: holds what it is given."""
    return None if 1 <= len(use.args) <= 3 else "it takes one to three arguments"


@argument_rule("pinned-getattr")
def _getattr(use: Use, context: Context) -> str | None:
    """``getattr(cls, name)`` for listed pairs and for what the policy names as ``module:cls.name``, and the bound ``_entropy`` of scipy's discrete distributions."""
    args = use.args
    if len(args) == 2 and type(args[1]) is str:
        owner = global_name(args[0])
        if (owner, args[1]) in _ATTRIBUTES:
            return None
        if owner is not None and is_nested_name(args[1]):
            nested = nested_name(owner, args[1])  # the trace has a reference to it, which is judged by itself
            return None if context.policy.rule(nested) else f"{nested} is not allowed"
        maker = producer(args[0]) or ""
        if args[1] == "_entropy" and maker.startswith(_DISCRETE) and context.policy.rule(maker):
            context.bound_methods = True
            return None
    return "only listed attributes of listed classes may be looked up"


@argument_rule("pinned-call")
def _pinned_call(use: Use, context: Context) -> str | None:
    """A call of what ``pinned-getattr`` returned: ``ZoneInfo._unpickle(key, from_cache)``, and nothing else."""
    if context.bound_methods:
        return "a method that was looked up on an instance may not be called"
    return _zone_key(use, context)


# vecentropy, a vectorize of the bound method, is part of the state of scipy's discrete distributions.
_DISCRETE = ("scipy.stats._discrete_distns.", "scipy.stats._distn_infrastructure.rv_")


_ATTRIBUTES = frozenset({("zoneinfo.ZoneInfo", "_unpickle")})


@argument_rule("type-of-singleton")
def _type_of(use: Use, _context: Context) -> str | None:
    """``type(None)``: never three arguments, which make a class."""
    args = use.args
    if len(args) == 1 and (args[0] is None or global_name(args[0]) in ("builtins.Ellipsis", "builtins.NotImplemented")):
        return None
    return "only the types of None, Ellipsis and NotImplemented are written this way"


@argument_rule("python-random")
def _python_random(use: Use, _context: Context) -> str | None:
    """``(version, 625 integers, gauss)``."""
    state = use.args[0]
    if type(state) is not tuple or len(state) != 3 or type(state[1]) is not tuple or len(state[1]) != 625:
        return "the generator's state is malformed"
    words = (state[0], *state[1])
    if type(state[2]) in (float, type(None)) and all(type(word) is int for word in words):
        return None
    return "the generator's state is malformed"


_TYPE_CODES = frozenset("bBuwhHiIlLqQfd")


@argument_rule("array-array")
def _array_array(use: Use, _context: Context) -> str | None:
    """``array._array_reconstructor(array.array, typecode, format, bytes)``: converts bytes of a machine format."""
    args = use.args
    if (
        len(args) == 4
        and global_name(args[0]) == "array.array"
        and type(args[1]) is str
        and args[1] in _TYPE_CODES
        and type(args[2]) is int
        and 0 <= args[2] <= 21
        and (type(args[3]) is bytes or _is_encoded(args[3]))
    ):
        return None
    return "its arguments are not array.array, a type code, a machine format and bytes"


@argument_rule("array-list")
def _array_list(use: Use, _context: Context) -> str | None:
    """``array.array(typecode, list)``, as protocols 0-2 write it."""
    args = use.args
    if not 1 <= len(args) <= 2 or type(args[0]) is not str or args[0] not in _TYPE_CODES:
        return "its arguments are not a type code and a list"
    if len(args) == 1 or type(args[1]) in (list, str, bytes) or _is_encoded(args[1]):
        return None
    return "its arguments are not a type code and a list"


@argument_rule("namespace", keywords=True)
def _namespace(use: Use, _context: Context) -> str | None:
    """``SimpleNamespace(**kw)`` by way of NEWOBJ_EX, or without arguments."""
    if all(isinstance(item, Keywords) for item in use.args) and len(use.args) <= 1:
        return None
    return "it takes no positional arguments"


@argument_rule("pyx-unpickle")
def _pyx_unpickle(use: Use, _context: Context) -> str | None:
    """Cython's ``__pyx_unpickle_X(X, checksum, state)``: makes an ``X`` and copies ``state`` into its fields.

    The class has to be the very ``X``. A state that is longer than the fields updates the instance's ``__dict__``.
    """
    args = use.args
    module, _, function = use.name.rpartition(".")
    expected = f"{module}.{function.removeprefix('__pyx_unpickle_')}"
    if len(args) != 3 or global_name(args[0]) != expected or type(args[1]) is not int:
        return f"its arguments are not {expected}, a checksum and a state"
    return None if args[2] is None or type(args[2]) is tuple else "the state is not a tuple"
