"""What is known of a value without hashing it: kinds of values, and what they weigh.

Rule: nothing here has a cost that depends on how often parts are shared.
"""

from __future__ import annotations

from typing import Any, Final

from safeload.program import Frozen, Keywords, Members, Pairs, Standin

__all__ = [
    "CONTAINERS",
    "FLAGS",
    "FROZEN",
    "HASHING",
    "HEAVY",
    "HUGE",
    "LEAVES",
    "LIGHT",
    "LIGHT_OBJECT",
    "MUTABLE",
    "NUMBERS",
    "OPAQUE",
    "OPEN",
    "OPEN_MUTABLE",
    "SCALARS",
    "SIZED",
    "SMALL_DICT",
    "STEPS",
    "TEXT",
    "TEXT_OR_NONE",
    "TUPLE",
    "TUPLES",
    "Weight",
    "copied",
    "extra",
    "is_light",
    "is_scalar",
    "other",
]

TEXT: Final = frozenset({str, bytes})
NUMBERS: Final = frozenset({int, float, bool})
# Hash at once, and hold nothing.
LEAVES: Final = TEXT | NUMBERS | {type(None)}
_BYTES: Final = frozenset({bytes, bytearray, memoryview})
SIZED: Final = TEXT | _BYTES
TEXT_OR_NONE: Final = TEXT | {type(None)}
TUPLE: Final = frozenset({tuple})
TUPLES: Final = frozenset({tuple, Frozen})
# The levels that a container adds to a key.
STEPS: Final[dict[type, int]] = {tuple: 1, Frozen: 1, list: 0, Pairs: 0, Members: 0, Keywords: 0}
CONTAINERS: Final[frozenset[type]] = frozenset(STEPS)
# Below this many keys, collisions of numbers cost too little to be looked for one dict at a time.
SMALL_DICT: Final = 1_024
# Keys that are heavier than this are costly to compare even in a small dict.
HEAVY: Final = 32
HUGE: Final = 1 << 62
# A list of this weight costs too little to look at what a call might do with it: 64 * 64 / 2 comparisons.
LIGHT: Final = 64

# What puts the items of a list, or the first of each, into a dict or a set, whatever they are.
HASHING: Final = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "collections", "copyreg")
    for name in ("set", "frozenset", "dict", "OrderedDict", "Counter", "_reconstructor")
)
# What the parts of a value are: an object made by a call, whose hash is not known; a frozenset; something unhashable.
OPAQUE, FROZEN, MUTABLE = 1, 2, 4
FLAGS: Final[dict[type, int]] = {
    Frozen: FROZEN,
    list: MUTABLE,
    Pairs: MUTABLE,
    Members: MUTABLE,
    Keywords: MUTABLE,
}

# What is known of a value: its weight (values visited when it is hashed or compared, parts that are shared counted every
# time), its depth (levels of what can be hashed: tuples, frozensets, what calls made; lists, dicts and sets add none), its levels of
# objects that calls made, and its flags. A plain tuple, because thousands are made in a load.
Weight = tuple[int, int, int, int]
# Of a value that is being summed up: an edge to it closes a cycle, and does not count. A tuple comes back to itself only through what
# has no hash or what a call made, so what holds it is no key whose hash is known.
OPEN: Final = (0, 0, 0, OPAQUE)
OPEN_MUTABLE: Final = (0, 0, 0, MUTABLE)
# What stands for the weight of an object whose call was not noted: see Scales.given.
LIGHT_OBJECT: Final = (8, 1, 1, OPAQUE)
_LIGHT_ARGUMENTS: Final = 4


def is_light(args: Any) -> bool:
    """Whether a call is given a few texts and numbers, and nothing else."""
    return len(args) <= _LIGHT_ARGUMENTS and LEAVES.issuperset(map(type, args))


def other(value: Any) -> Weight:
    """The weight of a value that holds no others: a global, whose hash is its address, or bytes."""
    if isinstance(value, type):
        return 1, 0, 0, 0
    return 1 + extra(value), 0, 0, MUTABLE


def copied(value: Any) -> int:
    """What it costs to copy a long text or long bytes."""
    return _length(value) >> 3 if type(value) in SIZED else 0


def extra(value: Any) -> int:
    """What a long text, long bytes or a long number cost beyond others of their kind."""
    kind = type(value)
    if kind in SIZED:
        return _length(value) >> 8
    return value.bit_length() >> 6 if kind is int else 0


def _length(value: Any) -> int:
    return value.nbytes if type(value) is memoryview else len(value)


# Calls that return a scalar of NumPy. It holds a number; of its dtype it holds a reference.
SCALARS: Final = frozenset({"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"})
_MOST_BYTES: Final = 32


def is_scalar(args: Any) -> bool:
    """Whether these are a dtype and the bytes of a small number."""
    return len(args) == 2 and type(args[1]) is bytes and len(args[1]) <= _MOST_BYTES and isinstance(args[0], Standin)
