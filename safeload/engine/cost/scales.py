"""Weighing what a stream builds: how costly to hash, compare and copy, how deeply nested.

Rule: every cost is charged before the unpickler could have it, against one budget; what goes over it, nests too deep or
collides too often raises :class:`~safeload.errors.LimitExceededError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from safeload.engine.cost.nodes import (
    ENCODE,
    ROUNDED,
    SCALARS,
    TWIN,
    Node,
    ShortcutError,
    children_first,
    latin_1,
    leaf_weight,
    scalar_value,
    value_of,
)
from safeload.errors import LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeload.limits import Limits

__all__ = ["BUFFER", "Scales"]

# Naive dates and times hash their bytes, with a random key.
DATES = frozenset({b"datetime.date", b"datetime.datetime", b"datetime.time"})
BUFFER = b"(buffer)"
# A dict below this size costs too little for its collisions to matter.
SMALL_DICT = 1_024
_HUGE = 1 << 62
# Below this weight n, n * n / 64 comparisons are fewer than n.
_LIGHT = 64
# What a look at one node in a list costs, with all that may become of it.
_LOOK = 16
# Keys that are heavier than this are costly to compare even in a small dict.
HEAVY = 32

# What a string adds to the weight of what holds it, and what it costs as an argument, by the bit length of its length.
_TEXT_WEIGHT = tuple(1 + (size >> 8) for size in ROUNDED)
_TEXT_COST = tuple(1 + (size >> 3) for size in ROUNDED)

# What puts the items of a list, or the first of each, into a dict or a set, whatever they are. Other callables may do so too, but
# the objects that they are given are rarely meant to be keys, and weigh much.
_HASHING = frozenset(
    f"{module}.{name}".encode()
    for module in ("builtins", "__builtin__", "collections", "copyreg", "copy_reg")
    for name in ("set", "frozenset", "dict", "OrderedDict", "Counter", "_reconstructor")
)
# So many heavy objects in a short list are charged as if all of them collided.
_FEW = 8
# More objects than these that a call made, in a list of which a set is made, count as keys whose hash is unknown.
_MANY_MADE = 64
# What a comparison of two objects costs that do it in Python, in units of a comparison of numbers, by its binary logarithm.
_IN_PYTHON = 5

# Nothing of these kinds is kept as a key: constants, and strings, whose hash is random.
_TEXT_KINDS = frozenset({bytes, type(None)})

# Abstract values: None for constants; bytes for strings (their hash is randomised); int and float for numbers; Node for
# everything that holds others.


class _Numbers(NamedTuple):
    """The numbers in a list that was handed to a call."""

    size: int  # of the list
    keys: tuple[Any, ...]
    weight: int


class Scales:
    """Makes the nodes of a walk and keeps account of them; one for all streams that share a memo."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.memo: dict[int, Any] = {}
        self.work = 0
        self.constructed = 0
        self.large: dict[int, Node] = {}
        self._numbers: dict[int, _Numbers] = {}  # by the identity of the list
        self.nodes: list[Node] = []
        self.empty = self.node([])  # the empty tuple, which nothing can be added to
        self.hashed: list[Node] = []
        self.passed: list[Node] = []  # arguments and states
        self.budget = limits.max_hash_work
        self.sizes: list[int] = []  # of the buffers of the stream
        self.taken = 0  # buffers so far
        self.matches = 0  # shortcuts that were taken
        self.skipped = 0  # memo slots that they filled with what is not known
        self.calls = False  # something is called or gets a state
        self.longest_integer = 0  # bytes
        self.late = False  # a node got parts after it became part of another
        self.changed = False  # or got values that hold no others

    def node(self, items: list[Any]) -> Node:
        """A new container of ``items``, a list that is the node's own from now on."""
        node = Node(items)
        self.nodes.append(node)
        if items:
            self._weigh(node, items)
        return node

    def container(self, items: list[Any]) -> Node:
        """A new list, dict or set: hashing ends there."""
        node = Node(items)
        node.step = node.depth = 0
        self.nodes.append(node)
        if items:
            self._weigh(node, items)
        return node

    def put(self, target: Any, items: Iterable[Any]) -> None:
        """``items`` become further parts of ``target``; BUILD may say so of the empty tuple, and adds nothing."""
        if type(target) is Node and target is not self.empty:
            target.items += items
            self._weigh(target, items)

    def _weigh(self, target: Node, items: Iterable[Any]) -> None:  # noqa: C901, PLR0912 - the hot loop
        weight, depth, levels, held, text_weight = 0, 0, 0, False, _TEXT_WEIGHT
        for item in items:
            kind = type(item)
            if kind is Node:
                held = item.attached = True
                weight += item.weight
                if item.depth > depth:  # noqa: PLR1730 - a call of max() costs as much as the rest of the loop
                    depth = item.depth
                if item.levels > levels:  # noqa: PLR1730
                    levels = item.levels
                if item.opaque:
                    target.opaque |= item.opaque
            elif kind is bytes:
                weight += text_weight[len(item).bit_length()]
            elif kind is int:
                weight += 1 + (item.bit_length() >> 6)
            else:
                weight += 1
        # Exponential sharing makes weights of thousands of digits; beyond every limit they need not be exact.
        weight += target.weight
        target.weight = weight if weight < _HUGE else _HUGE  # noqa: FURB136
        if held:
            depth += target.step
            if depth > target.depth:  # noqa: PLR1730
                target.depth = depth
            levels += target.made
            if levels > target.levels:
                target.levels = levels
                if levels > self.limits.max_nesting:
                    self._nests(levels)
            if target.attached:
                self.late = True
        elif target.attached:
            self.changed = True

    def maker(self) -> Node:
        """Something that a call made, or will make; nothing is known of its hash."""
        node = Node([])
        node.made, node.opaque = True, 1
        node.levels = 1
        self.nodes.append(node)
        return node

    def make_global(self, module: Any, name: Any) -> Node:
        """A class or function that is imported by name."""
        node = Node([])
        node.made = True  # with a hash that is known: its address
        self.nodes.append(node)
        if type(module) is bytes and type(name) is bytes:
            node.name = module + b"." + name
        return node

    def make(self, arguments: Any, callee: Any) -> Any:
        """The result of a call; the callable may hash what is in the lists it is given."""
        made = self.maker()
        if type(callee) is Node:
            made.name = callee.name
        if type(arguments) is Node and arguments.items:
            items = arguments.items
            # The tuple of arguments was weighed when it was made: the same parts, and one level more.
            made.items = items.copy()
            made.weight, made.depth = arguments.weight, arguments.depth
            made.levels = arguments.levels + 1
            if made.levels > self.limits.max_nesting:
                self._nests(made.levels)
            self.arguments(items, made)
            if made.name == ENCODE:
                return latin_1(items[0]) or made
            if made.name in SCALARS and len(items) == 2:
                if arguments.opaque & TWIN:
                    raise ShortcutError
                made.value = scalar_value(*items)
            elif made.name in DATES and len(items) == 1:
                made.value = items[0]
            made.opaque = int(type(made.value) not in (bytes, int, float))
        return made

    def arguments(self, items: Iterable[Any], made: Any) -> None:
        """Whatever gets ``items`` may copy them, and may put what is in them into a dict or a set."""
        self.calls = True
        deepest = self.limits.max_tuple_depth
        cost = 0
        for item in items:
            kind = type(item)
            if kind is Node:
                # What is shared inside counts every time: a callable may expand it, or print it in an error.
                if item.depth > deepest:
                    self._too_deep(item.depth)
                cost += len(item.items) + (item.weight + item.size >> 3)
                self.passed.append(item)
                if item.weight < _LIGHT:
                    cost += item.weight  # at least what _members would say
                elif item.items and not item.made:
                    cost += self._members(item, made)
            elif kind is bytes:
                cost += _TEXT_COST[len(item).bit_length()]
            else:
                cost += 1
        self.spend(cost)

    def _members(self, given: Node, made: Any) -> int:
        """Let ``made`` hash the items of ``given``, and what is first in each; returns what it costs where they are few."""
        items = given.items
        if len(items) > SMALL_DICT:
            kinds = set(map(type, items))
            if given.twin and not kinds <= _TEXT_KINDS:
                raise ShortcutError  # these are the items of its model
            if Node in kinds:
                self._put_nodes(made, items)
            elif not kinds <= _TEXT_KINDS:
                self._put_numbers(made, items)
            return 0
        choosable = [item for item in items if type(item) is not bytes and item is not None]
        count = len(choosable)
        cost = count * count >> 6
        nodes = [item for item in choosable if type(item) is Node]
        if nodes:
            firsts = [node.items[0] for node in nodes if node.items and not node.made]
            cost += self._put_few(made, [*nodes, *firsts], known=not given.twin)
        return cost

    def _put_few(self, made: Any, items: list[Any], *, known: bool) -> int:
        """Of a short list: what may be keys, and may collide; returns what comparing them costs if it is not put into ``made``.

        ``known``: they are not those of another list.
        """
        hashes = made.name in _HASHING
        heavy: list[Node] = []
        light = unknown = 0
        for item in items:
            made_by_call = type(item) is Node and item.opaque & 1
            if type(item) is not Node or not item.step or (made_by_call and not hashes):
                continue
            if item.weight <= HEAVY:
                light += item.weight
                unknown += made_by_call
            elif not any(type(part) is Node and not part.step for part in item.items):  # else it cannot be hashed
                heavy.append(item)
        cost = len(items) * light >> 6
        if unknown > _MANY_MADE:
            self.count_constructed(unknown)
        else:
            cost += unknown * unknown << _IN_PYTHON
        if len(heavy) > _FEW:  # it takes their hashes to tell
            if not known or any(type(item) is Node and item.opaque & TWIN for item in items):
                raise ShortcutError
            self.put_keys(made, heavy)
            return cost
        return cost + max(len(heavy) - 1, 0) * sum([item.weight for item in heavy]) // 2

    def _put_nodes(self, made: Any, items: list[Any]) -> None:
        self.spend(_LOOK * len(items))
        self.put_keys(made, items)
        if any(type(part) is Node and part.opaque & TWIN for part in items):
            raise ShortcutError
        firsts = [part.items[0] for part in items if type(part) is Node and part.items]
        if firsts:
            self.put_keys(made, firsts)

    def _put_numbers(self, made: Node, items: list[Any]) -> None:
        """One list may be handed to many calls: its numbers are looked at once, and shared."""
        known = self._numbers.get(id(items))
        if known is None or known.size != len(items):  # a list only grows
            keys = tuple([item for item in items if type(item) is not bytes and item is not None])
            known = self._numbers[id(items)] = _Numbers(len(items), keys, sum(map(leaf_weight, keys)))
        if made.twin:
            raise ShortcutError
        self.spend(known.weight)
        _add_keys(made, known.keys)
        if len(made.keys or ()) > SMALL_DICT:
            self.large[id(made)] = made

    def put_keys(self, target: Any, keys: Iterable[Any]) -> None:
        """``keys`` are hashed and put into ``target``."""
        if type(target) is not Node:
            return
        kept = [key for key in keys if type(key) is not bytes and key is not None]
        if not kept:
            return
        if target.twin:
            raise ShortcutError
        for key in kept:
            if type(key) is Node:
                self._hash(key)
            else:
                self.spend(leaf_weight(key))
        _add_keys(target, kept)
        count = len(target.keys or ())
        if count <= SMALL_DICT:  # numbers cost too little to be charged, but comparing tuples takes longer
            self.spend(count * sum([key.weight for key in kept if type(key) is Node and key.weight <= HEAVY]) >> 6)
        if count > SMALL_DICT or any(type(key) is Node and key.weight > HEAVY for key in kept):
            self.large[id(target)] = target

    def _hash(self, key: Node) -> None:
        if key.depth > self.limits.max_tuple_depth:
            self._too_deep(key.depth)
        self.spend(key.weight)
        self.hashed.append(key)
        if key.opaque:
            if key.opaque & TWIN:
                raise ShortcutError
            self.count_constructed(1)

    def count_constructed(self, count: int) -> None:
        """So many keys more whose hash is unknown.

        Raises:
            LimitExceededError: there are too many of them.
        """
        self.constructed += count
        if self.constructed > self.limits.max_constructed_keys:
            self.too_much("max_constructed_keys", "dict keys or set members that are made by calls")

    def sum_up(self) -> None:
        """Weights and depths again, over the finished graph; edges that close a cycle do not count."""
        for node in children_first(self.nodes):
            weight, depth, levels = 1, 0, 0
            for item in node.items:
                if type(item) is Node:
                    if item.weight < 0:  # not summed up yet: the edge closes a cycle
                        continue
                    weight += item.weight
                    depth = max(depth, item.depth)
                    levels = max(levels, item.levels)
                else:
                    weight += leaf_weight(item)
            node.weight, node.depth, node.levels = min(weight, _HUGE), depth + node.step, levels + node.made
            if node.levels > self.limits.max_nesting:
                self._nests(node.levels)
        self.work = 0
        for key in self.hashed:
            if key.depth > self.limits.max_tuple_depth:
                self._too_deep(key.depth)
            self.spend(key.weight)
        for item in self.passed:
            if item.depth > self.limits.max_tuple_depth:
                self._too_deep(item.depth)
            self.spend(item.weight // 8)

    def spend(self, weight: int) -> None:
        """Charge ``weight`` to the budget.

        Raises:
            LimitExceededError: it is used up.
        """
        self.work += weight
        if self.work > self.budget:
            self.too_much(
                "max_hash_work",
                "steps to hash its keys and copy its arguments (parts that are shared count every time)",
            )

    def check_collisions(self, keys: Sequence[Any]) -> None:
        """Check how often the keys of one dict or set collide, by their real hashes."""
        from safeload.facts.hash_probes import longest_probe

        self.spend(len(keys))
        # Keys are told apart by their text: strings hash randomly, so an author cannot make this step collide.
        light: dict[str, int] = {}
        hashes: list[int] = []
        groups: dict[int, list[int]] = {}  # weights of heavy keys by hash
        unknown: list[int] = []  # and of those whose hash is not known: they may all have the same one
        values: dict[int, Any] = {}
        try:
            for key in keys:
                value = value_of(key, values)
                if type(key) is Node and key.weight > HEAVY:
                    hashes.append(hash(value))
                    weights = unknown if key.opaque else groups.setdefault(hashes[-1], [])
                    weights.append(key.weight)
                else:  # told apart by their text: strings hash randomly, so an author cannot make this step collide
                    light[repr(value)] = hash(value)
        except RecursionError:
            self._too_deep(self.limits.max_tuple_depth)
        self.spend(len(unknown) * max(map(sum, groups.values()), default=0))
        # Keys with equal hashes are compared, and a comparison visits all of both.
        for weights in (unknown, *groups.values()):
            self.spend((len(weights) - 1) * sum(weights) // 2)
        hashes += light.values()
        if len(hashes) <= SMALL_DICT:
            return
        longest = longest_probe(hashes, self.limits.max_probes)
        if longest > self.limits.max_probes:
            self.too_much("max_probes", "collisions for one key of a dict or set")

    def _nests(self, levels: int) -> NoReturn:
        raise LimitExceededError(
            f"the pickle nests objects {levels:,} deep; freeing them again can crash the process. The limit is "
            f"max_nesting={self.limits.max_nesting:,}",
            code="limit.nesting",
        )

    def _too_deep(self, depth: int) -> NoReturn:
        raise LimitExceededError(
            f"a dict key or set member nests tuples {depth:,} deep; hashing it recurses in C and can crash the process. "
            f"The limit is max_tuple_depth={self.limits.max_tuple_depth}",
            code="limit.tuple-depth",
        )

    def too_much(self, name: str, what: str) -> NoReturn:
        """Refuse, because the limit ``name`` is exceeded."""
        limit = getattr(self.limits, name)
        raise LimitExceededError(
            f"the pickle needs more than {name}={limit:,} {what}; raise Limits({name}=...) if you trust its author",
            code="limit." + name.removeprefix("max_").replace("_", "-"),
        )


def _add_keys(target: Node, keys: Sequence[Any]) -> None:
    """A tuple of keys is shared by several nodes; a list belongs to one."""
    if target.keys is None:
        target.keys = keys
    elif type(target.keys) is list:
        target.keys += keys
    else:
        target.keys = [*target.keys, *keys]
