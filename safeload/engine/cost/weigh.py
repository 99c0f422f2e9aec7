"""Weighing what a trace built: how costly to hash, compare and copy, and how deeply nested.

CPython hashes a tuple by recursion in C, without a depth check and (before 3.14) without a cache, resolves collisions
one key at a time, and frees some types by recursion too. So a few kilobytes can crash (a key or a ``slice`` nested a million
deep), or stall for hours (values that share their parts hash in exponential time; colliding numbers make a dict
quadratic). The trace hashed nothing, so all of it lies there as plain tuples, lists and stand-ins, in its final form: at
least as heavy as at any moment before. Each container is looked at once.

An object that a call made may be a tuple, may hash what it was given, and may be freed by recursion; so it weighs what
its arguments, its state and its items weigh, and counts as a level of nesting.

Rule: no value is hashed before its depth and weight are known to be small, and every cost is charged, beyond an allowance for the bytes
of a stream to one budget for the artifact; what goes over it, nests too deep or collides too often raises :class:`~safeload.errors.LimitExceededError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.engine.cost.account import nests, too_deep, too_much
from safeload.engine.cost.keys import Keys
from safeload.engine.cost.values import (
    CONTAINERS,
    FLAGS,
    HASHING,
    HUGE,
    LEAVES,
    LIGHT,
    LIGHT_OBJECT,
    MUTABLE,
    OPAQUE,
    OPEN,
    OPEN_MUTABLE,
    SMALL_DICT,
    STEPS,
    TEXT,
    Weight,
    copied,
    extra,
    other,
)
from safeload.program import Keywords, Kind, Pairs, Standin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.engine.cost.account import Account
    from safeload.engine.respell import Respelled

__all__ = ["Scales"]


class Scales:
    """Weighs the streams of one tracer.

    Attributes:
        account: what is charged.
        made: dicts, sets and frozensets of the stream that is traced, and those of earlier ones that get more from it.
        keys: weighs the keys of dicts and sets.
        long: whether the stream holds texts or numbers that are not light whatever they are used for.
        light: calls that made a light object of a few short texts and numbers (:func:`is_light`). They need not be noted: such
            an object weighs less than is assumed of one of which nothing is known.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.made: list[Any] = []
        self.keys = Keys(self, account)
        self.long = False
        self._longest_integer = 0
        self._given: list[tuple[Kind, str, Any, Any]] = []
        self._past: list[tuple[Kind, str, Any, Any]] = []  # of earlier streams
        self.light = 0  # calls that were not noted
        self._weighed = False  # whether there was an earlier stream
        self._known: dict[int, Weight] = {}  # of containers
        self._objects: dict[int, Weight] = {}  # of what calls made
        # What it costs that lists were handed to calls, by the list and whether the call hashes its items.
        self._seen: dict[tuple[int, bool], tuple[int, int, int]] = {}
        self._dtypes: dict[int, tuple[Any, int]] = {}  # how many small numbers are made of each
        self._attached: set[int] = set()  # objects that are part of others
        self._edges: dict[int, list[Any]] | None = None  # what each object was given, once that has to be known

    def beside(self) -> Scales:
        """Scales for a stream inside of this one: one account, and each knows what objects of the other weigh."""
        other = Scales(self.account)
        other._objects = self._objects
        other.long = self.long
        return other

    def expect(self, respelled: Respelled, size: int) -> None:
        """Say what is traced next: an honest stream hands every byte to a call a few times at most."""
        self.account.budget += 4 * size
        self._longest_integer = max(self._longest_integer, respelled.longest_integer)
        self.long = self.long or respelled.long_text or bool(respelled.longest_integer)

    def given(self, kind: Kind, name: str, args: Any, target: Any) -> None:
        """Note what a call, a state or items hand to ``target``."""
        self._given.append((kind, name, (args[1],) if kind is Kind.ITEMS else args, target))

    def scalar(self, dtype: Any) -> None:
        """Note that a small number of this dtype is made: as light as its bytes, however many fields the dtype has."""
        known = self._dtypes.get(id(dtype))
        self._dtypes[id(dtype)] = dtype, 1 if known is None else known[1] + 1

    def weigh(self) -> None:
        """Weigh what was traced since the last time.

        Raises:
            LimitExceededError: loading it would nest too deep, take too long, or collide too often.
            FormatError: a key cannot be hashed.
        """
        try:
            self.account.spend(self.light)
            for kind, name, args, target in self._given:
                self._pass(kind, name, args, target)
            if self._edges is not None:
                self._sum_up()
            for dtype, count in self._dtypes.values():
                self.account.spend(count * (2 + (self.weight_of(dtype)[0] >> 3)))
            for container in self._again() if self._weighed else self.made:
                self.keys.weigh(container[::2] if type(container) is Pairs else container, by_stream=True)
            limit = self.account.limits.max_integer_digits
            if (self._given or self.light or self._dtypes) and self._longest_integer > limit * 5 // 12:
                # Arithmetic on such numbers is quadratic, and nobody knows what a callable computes with its arguments.
                too_much(self.account.limits, "max_integer_digits", "digits in an integer, next to calls")
            self.account.settle()
        finally:
            # Lists grow from stream to stream: of containers nothing is remembered. The objects are kept, so identities hold.
            self._known = {}
            self._seen.clear()
            self.keys.clear()
            self._past += self._given
            self._given.clear()
            self.made.clear()
            self._dtypes.clear()
            self.light = 0
            self._weighed = True

    def _again(self) -> list[Any]:
        """What a further stream made, or added to: each once, with what it held before, because its old keys and its new ones collide."""
        made = list({id(each): each for each in self.made}.values())
        self.account.spend(sum(map(len, made)))
        return made

    def _pass(self, how: Kind, name: str, args: Any, target: Any) -> None:  # noqa: C901 - once for each use
        """Whatever gets ``args`` may copy them, and may put what is in them into a dict or a set."""
        weight, depth, levels, large = 1 + len(args), 0, 0, False
        cost = len(args)
        for part in args:
            kind = type(part)
            if kind in LEAVES:
                if self.long:
                    weight += extra(part)
                    cost += copied(part)
                continue
            below = self.weight_of(part) if kind in CONTAINERS or self._edges is not None else self._of_object(part)
            weight += below[0]
            if below[1] > depth:  # noqa: PLR1730 - a call of max() costs as much as the rest of the loop
                depth = below[1]
            if below[2] > levels:  # noqa: PLR1730
                levels = below[2]
            if below[0] > LIGHT and kind in CONTAINERS:
                large = True
        limits = self.account.limits
        if depth > limits.max_tuple_depth:
            too_deep(depth, limits.max_tuple_depth)
        if levels >= limits.max_nesting:
            nests(levels + 1, limits.max_nesting)
        self.account.spend(cost + (weight >> 3))
        if large and how is not Kind.ITEMS:  # items are in what was made by the stream
            for part in args:
                if type(part) in CONTAINERS:
                    self._members(name, part)
        if target is not None:
            self._adds(id(target), weight, depth + 1, levels + 1)

    def _adds(self, place: int, weight: int, depth: int, levels: int) -> None:
        """An object weighs what it was given, too."""
        known = self._objects.get(place)
        if known is not None:
            weight, depth, levels = weight + known[0], max(depth, known[1]), max(levels, known[2])
        self._objects[place] = (weight if weight < HUGE else HUGE, depth, levels, OPAQUE)  # noqa: FURB136
        if place in self._attached and self._edges is None:
            self._edges = {}  # it is part of something that was weighed already

    def _sum_up(self) -> None:
        """Weigh the finished graph: an object got a state or items after it became part of another one."""
        edges: dict[int, list[Any]] = {}
        for _, _, args, target in (*self._past, *self._given):
            if target is not None:
                edges.setdefault(id(target), []).extend(args)
        self._edges, self._known, self._objects = edges, {}, {}
        limits = self.account.limits
        for _, _, args, target in self._given:
            weights = [self.weight_of(part) for part in args if type(part) not in LEAVES]
            self.account.spend(sum([found[0] for found in weights]) >> 3)
            depth = max([found[1] for found in weights], default=0)
            if depth > limits.max_tuple_depth:
                too_deep(depth, limits.max_tuple_depth)
            levels = 0 if target is None else self.weight_of(target)[2]
            if levels > limits.max_nesting:
                nests(levels, limits.max_nesting)

    def weight_of(self, root: Any) -> Weight:
        """Sum up a value that is no leaf, children first, without recursion."""
        known = self._known
        found = known.get(id(root))
        if found is not None:
            return found
        if type(root) not in CONTAINERS and self._edges is None:
            return self._of_object(root)
        path = [root]
        while path:
            value = path[-1]
            place = id(value)
            state = known.get(place)
            if state is not None and state is not OPEN and state is not OPEN_MUTABLE:
                path.pop()
                continue
            parts = self._parts(value)
            missing: list[Any] = []
            weight, depth, levels, flags = self._sum_known(parts, missing)
            if missing and state is None:
                known[place] = OPEN_MUTABLE if FLAGS.get(type(value)) == MUTABLE else OPEN
                path += missing
                continue
            kind = type(value)
            if kind in CONTAINERS:
                known[place] = (min(weight, HUGE), depth + STEPS[kind], levels, flags | FLAGS.get(kind, 0))
            else:
                known[place] = self._known_object(value, weight, depth, levels)
            path.pop()
        return known[id(root)]

    def _parts(self, value: Any) -> Any:
        if type(value) in CONTAINERS:
            return tuple(value.values()) if type(value) is Keywords else value
        return () if self._edges is None else self._edges.get(id(value), ())

    def _sum_known(self, parts: Any, missing: list[Any]) -> Weight:
        """The weight of some values, as far as it is known; those of which it is not are ``missing``."""
        known, objects = self._known, self._edges is None
        weight = len(parts) + 1
        if self.long:
            weight += sum([len(part) for part in parts if type(part) in TEXT]) >> 8
            if self._longest_integer:
                weight += sum([part.bit_length() for part in parts if type(part) is int]) >> 6
        depth = levels = flags = 0
        for part in [part for part in parts if type(part) not in LEAVES]:
            below = known.get(id(part))
            if below is None:
                if not objects or type(part) in CONTAINERS:
                    missing.append(part)
                    continue
                below = self._of_object(part)
            weight += below[0]
            if below[1] > depth:  # noqa: PLR1730
                depth = below[1]
            if below[2] > levels:  # noqa: PLR1730
                levels = below[2]
            flags |= below[3]
        return weight, depth, levels, flags

    def _known_object(self, value: Any, weight: int, depth: int, levels: int) -> Weight:
        """The weight of an object with all that it was given, or of a value of another type."""
        if isinstance(value, Standin) or (self._edges is not None and id(value) in self._edges):
            return min(weight, HUGE), depth + 1, levels + 1, OPAQUE
        return other(value)

    def _of_object(self, value: Any) -> Weight:
        """The weight of what is neither a leaf nor a container, as far as it is known."""
        found = self._objects.get(id(value))
        if found is None:
            if not isinstance(value, Standin):
                return other(value)
            found = LIGHT_OBJECT
        self._attached.add(id(value))
        return found

    def _members(self, name: str, given: Any) -> None:
        """A callable may hash the items of what it is given, and what is first in each.

        The same list may be handed to many calls: it is looked at once, and what the calls cost is charged each time.
        """
        items = given.values() if type(given) is Keywords else given
        hashes = name in HASHING
        account = self.account
        known = self._seen.get((id(given), hashes))
        if known is not None:
            account.charge(*known)
            return
        before = account.work, account.constructed, account.small
        if (not hashes and len(items) <= SMALL_DICT and self.weight_of(given)[0] <= LIGHT**2) or TEXT.issuperset(
            map(type, items)
        ):
            return
        again = 0
        if type(given) is Pairs:
            # Its keys are in a dict of the stream already, and their probes are counted there; a call that copies it may need as many.
            items, keys = given[1::2], given[::2]
            self.keys.weigh(keys, by_stream=True)
            if not LEAVES.issuperset(map(type, keys)) and any(self.flags(key) & OPAQUE for key in keys):
                again = len(keys) ** 2
        for values in (items, [item[0] for item in items if type(item) in (tuple, list) and item]):
            self.keys.weigh([key for key in values if not self.flags(key) & MUTABLE], by_stream=False)
        after = account.work, account.constructed + again, account.small
        self._seen[id(given), hashes] = (after[0] - before[0], after[1] - before[1], after[2] - before[2])

    @property
    def exact(self) -> bool:
        """Whether objects are weighed as they were noted, and not over the finished graph."""
        return self._edges is None

    def noted(self, values: Sequence[Any]) -> list[Weight]:
        """What those of some objects weigh of which a call was noted; the others are light."""
        objects = self._objects
        places = list(map(id, values))
        self._attached.update(places)
        return [objects[place] for place in places if place in objects]

    def flags(self, value: Any) -> int:
        """What is in a value, as far as hashing goes."""
        return 0 if type(value) in LEAVES else self.weight_of(value)[3]
