"""Abstract values of the key walk: what is known of an object without making it.

``None`` stands for constants, ``bytes`` for strings (their hash is randomised), ``int`` and ``float`` for numbers, and
:class:`Node` for everything that holds others. Rule: nothing here has a cost that depends on how often parts are shared.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ENCODE",
    "ROUNDED",
    "SCALARS",
    "TWIN",
    "Node",
    "ShortcutError",
    "children_first",
    "double",
    "latin_1",
    "leaf_weight",
    "scalar_value",
    "size_of",
    "twin_of",
    "value_of",
]

# Calls whose results hash as a number that is among their arguments. What other calls make has a hash that is not known
# here; so many keys of that kind can collide as max_constructed_keys allows.
SCALARS = frozenset({b"numpy.core.multiarray.scalar", b"numpy._core.multiarray.scalar"})
# How protocols 0 to 2 write bytes: as text, encoded by a call.
ENCODE = b"_codecs.encode"
# The length that a string or a buffer is charged for, by the bit length of its own: up to four times as much, so that
# what is about equally long costs the same (see repeats).
ROUNDED = tuple((1 << max(6, bits + 1 & ~1)) - 1 for bits in range(65))
# A bit of Node.opaque: the values in it, or in a part of it, are those of another node.
TWIN = 2


class ShortcutError(Exception):
    """The walk needs to know what a shortcut has left out."""


class Node:
    """A tuple, list, dict, set, or something that a call made.

    Attributes:
        items: what it holds.
        keys: the numbers and nodes that were given to it as keys; ``None`` for none.
        weight: values visited when it is hashed or compared, parts that are shared counted every time.
        depth: levels of what can be hashed: tuples, frozensets, what calls made (``step`` 1; lists, dicts and sets 0). ``levels``: levels of nodes that calls made.
        attached: whether it is part of another node.
        name: of a global, its name; of what a call made, the name of what was called.
        opaque: not 0 if its hash is unknown: a call made it, or a part of it (1), or it is a :data:`TWIN` or has one (2).
        frozen: whether it is a frozenset. ``twin``: whether it is a twin itself.
        size: bytes of an out-of-band buffer. ``value``: of what a call made, something that hashes alike, if that is known.
    """

    # Defaults of the class, not slots: most nodes differ from them in two or three attributes, and thousands are made.
    keys: Sequence[Any] | None = None
    weight = 1
    depth = 1
    step = 1
    levels = 0
    made = attached = frozen = twin = False
    opaque = 0
    name = b""
    size = 0
    value: Any = None

    def __init__(self, items: list[Any]) -> None:
        self.items = items


def twin_of(node: Node) -> Node:
    """A node that weighs the same as ``node``, for another object whose values are not known."""
    twin = Node(node.items)
    twin.__dict__.update(node.__dict__)
    twin.items = node.items.copy()
    if node.keys is not None:
        twin.keys = list(node.keys)
    twin.opaque |= TWIN
    twin.twin = True
    return twin


def double(code: bytes, pos: int) -> float:
    """The big-endian float at ``pos``, as BINFLOAT has it."""
    return float(struct.unpack_from(">d", code, pos)[0])


def value_of(key: Any, known: dict[int, Any]) -> Any:
    """The key as an object that hashes like the real one; its depth and weight are known to be small.

    ``known`` keeps the values of nodes by id: parts that are shared are built once.
    """
    if type(key) is not Node:
        return key
    value = known.get(id(key))
    if value is None:
        value = known[id(key)] = _made_value(key) if key.made else _composed(key, known)
    return value


def _made_value(key: Node) -> Any:
    return id(key) if key.value is None else key.value


def _composed(key: Node, known: dict[int, Any]) -> Any:
    values = []
    for item in key.items:
        values.append(value_of(item, known))  # noqa: PERF401 - a comprehension would double the depth of the recursion
    return frozenset(values) if key.frozen else tuple(values)


def scalar_value(dtype: Any, data: Any) -> Any:
    """What a numpy scalar hashes as: a number, or a string; ``None`` if that is not known here."""
    if type(dtype) is not Node or dtype.name != b"numpy.dtype" or type(data) is not bytes or not dtype.items:
        return None
    code = dtype.items[0]
    orders = {part for state in dtype.items[1:] if type(state) is Node for part in state.items if type(part) is bytes}
    if type(code) is not bytes or b">" in orders:
        return None
    if code[:1] in (b"S", b"U"):
        return data
    if code[:1] in (b"i", b"u", b"b", b"M", b"m") and len(data) <= 8:
        return int.from_bytes(data, "little", signed=code[:1] != b"u")
    if code == b"f8" and len(data) == 8:
        return double(data[::-1], 0)
    return None


def latin_1(text: Any) -> bytes | None:
    """The bytes that ``text``, a string as it stands in a stream, is in Latin-1; ``None`` if it is not all of that."""
    if type(text) is not bytes:
        return None
    try:
        return text.decode().encode("latin-1")
    except UnicodeError:
        return None


def size_of(buffer: Any) -> int:
    """Bytes of an out-of-band buffer; an ``int`` says it itself."""
    return buffer if type(buffer) is int else memoryview(buffer).nbytes


def leaf_weight(item: Any) -> int:
    """What it costs to hash, compare or copy a value that holds no others, in steps of some nanoseconds."""
    if type(item) is bytes:
        return 1 + len(item) // 256
    return 1 + item.bit_length() // 64 if type(item) is int else 1


def children_first(nodes: list[Node]) -> list[Node]:
    """All nodes, children before parents as far as there are no cycles; weights are set to -1 meanwhile."""
    for node in nodes:
        node.weight = -1
    order: list[Node] = []
    seen: set[int] = set()
    for root in nodes:
        if id(root) in seen:
            continue
        seen.add(id(root))
        path = [(root, iter(root.items))]
        while path:
            node, rest = path[-1]
            for item in rest:
                if type(item) is Node and id(item) not in seen:
                    seen.add(id(item))
                    path.append((item, iter(item.items)))
                    break
            else:
                order.append(node)
                path.pop()
    return order
