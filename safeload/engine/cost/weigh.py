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

from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NoReturn

from safeload.errors import FormatError, LimitExceededError
from safeload.program import Frozen, Keywords, Kind, Members, Pairs, Standin, producer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.engine.respell import Respelled
    from safeload.limits import Limits, Spending

__all__ = ["KNOWN_HASHES", "PROBED_FROM", "Account", "Scales", "is_light"]

_TEXT: Final = frozenset({str, bytes})
_NUMBERS: Final = frozenset({int, float, bool})
# Hash at once, and hold nothing.
_LEAVES: Final = _TEXT | _NUMBERS | {type(None)}
_BYTES: Final = frozenset({bytes, bytearray, memoryview})
_SIZED: Final = _TEXT | _BYTES
_TEXT_OR_NONE: Final = _TEXT | {type(None)}
_TUPLE: Final = frozenset({tuple})
_TUPLES: Final = frozenset({tuple, Frozen})
# The levels that a container adds to a key.
_STEPS: Final[dict[type, int]] = {tuple: 1, Frozen: 1, list: 0, Pairs: 0, Members: 0, Keywords: 0}
_CONTAINERS: Final[frozenset[type]] = frozenset(_STEPS)
# Below this many keys, collisions of numbers cost too little to be looked for one dict at a time.
_SMALL_DICT: Final = 1_024
# Keys that are heavier than this are costly to compare even in a small dict.
_HEAVY: Final = 32
_HUGE: Final = 1 << 62
# A list of this weight costs too little to look at what a call might do with it: 64 * 64 / 2 comparisons.
_LIGHT: Final = 64

# What puts the items of a list, or the first of each, into a dict or a set, whatever they are.
_HASHING: Final = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "collections", "copyreg")
    for name in ("set", "frozenset", "dict", "OrderedDict", "Counter", "_reconstructor")
)
# From so many keys of one dict on, their collisions are looked for while the dict is loaded.
PROBED_FROM: Final = 512
# Calls that return objects whose ``__hash__`` and ``__eq__`` are known, run no code of the artifact's choice, and take a time that
# is proportional to what the object was made of (CPython's Lib/{datetime,decimal,fractions,uuid,ipaddress,pathlib}.py and their C
# versions, numpy's scalars, pandas/_libs/tslibs).
KNOWN_HASHES: Final = frozenset(
    {
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(f"pathlib.{name}" for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")),
        *(f"pathlib._local.{name}" for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")),
        *(f"ipaddress.{name}" for name in ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network")),
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "pandas._libs.tslibs.timestamps._unpickle_timestamp",
        "pandas._libs.tslibs.timedeltas._timedelta_unpickle",
        "pandas._libs.tslibs.period._unpickle_period",
    }
)

# Of these, what was made of texts and numbers alone, without a time zone, hashes its bytes with a key that no author knows.
_RANDOM_HASHES: Final = frozenset({"datetime.date", "datetime.datetime", "datetime.time"})

# What the parts of a value are: an object made by a call, whose hash is not known; a frozenset; something unhashable.
_OPAQUE, _FROZEN, _MUTABLE = 1, 2, 4
_FLAGS: Final[dict[type, int]] = {
    Frozen: _FROZEN,
    list: _MUTABLE,
    Pairs: _MUTABLE,
    Members: _MUTABLE,
    Keywords: _MUTABLE,
}


# What is known of a value: its weight (values visited when it is hashed or compared, parts that are shared counted every
# time), its depth (levels of what can be hashed: tuples, frozensets, what calls made; lists, dicts and sets add none), its levels of
# objects that calls made, and its flags. A plain tuple, because thousands are made in a load.
_Weight = tuple[int, int, int, int]
_OPEN: Final = (0, 0, 0, 0)  # of a value that is being summed up: an edge to it closes a cycle, and does not count
# What stands for the weight of an object whose call was not noted: see Scales.given.
_LIGHT_OBJECT: Final = (8, 1, 1, _OPAQUE)
_LIGHT_ARGUMENTS: Final = 4


def is_light(args: Any) -> bool:
    """Whether a call is given a few texts and numbers, and nothing else."""
    return len(args) <= _LIGHT_ARGUMENTS and _LEAVES.issuperset(map(type, args))


class Account:
    """What the streams of one tracer may cost, and what they have cost so far.

    Attributes:
        budget: steps of some nanoseconds: what the limits allow, and more for every byte that was read.
    """

    def __init__(self, limits: Limits, spending: Spending | None = None) -> None:
        self.limits = limits
        self.spending = spending
        self.charged = 0  # to the artifact
        self.budget = limits.max_hash_work
        self.work = 0
        self.constructed = 0  # squares: keys of one dict collide with each other only
        self.small = 0  # squares of the numbers of keys in small dicts

    def spend(self, weight: int) -> None:
        """Charge ``weight`` steps.

        Raises:
            LimitExceededError: the budget is used up.
        """
        self.work += weight
        if self.work > self.budget:
            too_much(
                self.limits,
                "max_hash_work",
                "steps to hash its keys and copy its arguments (parts that are shared count every time)",
            )

    def charge(self, work: int, constructed: int, small: int) -> None:
        """Charge what was charged before, for the same once more.

        Raises:
            LimitExceededError: it is too much now.
        """
        self.small += small
        self.constructed += constructed
        self.count_constructed(0)
        self.spend(work)

    def settle(self) -> None:
        """Charge what goes beyond the allowance for the bytes of this stream to the artifact: all its streams have one budget."""
        beyond = max(0, self.work - (self.budget - self.limits.max_hash_work))
        if self.spending is not None and beyond > self.charged:
            self.spending.hash(beyond - self.charged)
            self.charged = beyond

    def count_constructed(self, count: int) -> None:
        """So many keys of one dict have a hash that is not known; in the worst case each is compared with each.

        Raises:
            LimitExceededError: there are too many of them.
        """
        self.constructed += count * count
        if self.constructed > self.limits.max_constructed_keys**2:
            too_much(
                self.limits, "max_constructed_keys", "dict keys or set members that are made by calls, in one dict"
            )


class Scales:
    """Weighs the streams of one tracer.

    Attributes:
        account: what is charged.
        made: dicts, sets and frozensets of the stream that is traced.
        probes: whether a dict of the stream has so many keys of known classes, made by calls, that their collisions have to be
            looked for while it is loaded (:mod:`safeload.engine.load.probing`).
        long: whether the stream holds texts or numbers that are not light whatever they are used for.
        light: calls that made a light object of a few short texts and numbers (:func:`is_light`). They need not be noted: such
            an object weighs less than is assumed of one of which nothing is known.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.made: list[Any] = []
        self.probes = False
        self.long = False
        self._longest_integer = 0
        self._given: list[tuple[Kind, str, Any, Any]] = []
        self._past: list[tuple[Kind, str, Any, Any]] = []  # of earlier streams
        self.light = 0  # calls that were not noted
        self._known: dict[int, _Weight] = {}  # of containers
        self._objects: dict[int, _Weight] = {}  # of what calls made
        # What it costs that lists were handed to calls, by the list and whether the call hashes its items.
        self._seen: dict[tuple[int, bool], tuple[int, int, int]] = {}
        self._frozen: dict[int, Any] = {}  # frozensets that hash like those of the stream
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
            for container in self.made:
                self._keys(container[::2] if type(container) is Pairs else container, by_stream=True)
            limit = self.account.limits.max_integer_digits
            if (self._given or self.light) and self._longest_integer > limit * 5 // 12:
                # Arithmetic on such numbers is quadratic, and nobody knows what a callable computes with its arguments.
                too_much(self.account.limits, "max_integer_digits", "digits in an integer, next to calls")
            self.account.settle()
        finally:
            # Lists grow from stream to stream: of containers nothing is remembered. The objects are kept, so identities hold.
            self._known = {}
            self._seen.clear()
            self._frozen.clear()
            self._past += self._given
            self._given.clear()
            self.made.clear()
            self.light = 0

    def _pass(self, how: Kind, name: str, args: Any, target: Any) -> None:  # noqa: C901 - once for each use
        """Whatever gets ``args`` may copy them, and may put what is in them into a dict or a set."""
        weight, depth, levels, large = 1 + len(args), 0, 0, False
        cost = len(args)
        for part in args:
            kind = type(part)
            if kind in _LEAVES:
                if self.long:
                    weight += _extra(part)
                    cost += _copied(part)
                continue
            below = self._weight_of(part) if kind in _CONTAINERS or self._edges is not None else self._of_object(part)
            weight += below[0]
            if below[1] > depth:  # noqa: PLR1730 - a call of max() costs as much as the rest of the loop
                depth = below[1]
            if below[2] > levels:  # noqa: PLR1730
                levels = below[2]
            if below[0] > _LIGHT and kind in _CONTAINERS:
                large = True
        limits = self.account.limits
        if depth > limits.max_tuple_depth:
            _too_deep(depth, limits.max_tuple_depth)
        if levels >= limits.max_nesting:
            _nests(levels + 1, limits.max_nesting)
        self.account.spend(cost + (weight >> 3))
        if large and how is not Kind.ITEMS:  # items are in what was made by the stream
            for part in args:
                if type(part) in _CONTAINERS:
                    self._members(name, part)
        if target is not None:
            self._adds(id(target), weight, depth + 1, levels + 1)

    def _adds(self, place: int, weight: int, depth: int, levels: int) -> None:
        """An object weighs what it was given, too."""
        known = self._objects.get(place)
        if known is not None:
            weight, depth, levels = weight + known[0], max(depth, known[1]), max(levels, known[2])
        self._objects[place] = (weight if weight < _HUGE else _HUGE, depth, levels, _OPAQUE)  # noqa: FURB136
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
            weights = [self._weight_of(part) for part in args if type(part) not in _LEAVES]
            self.account.spend(sum([found[0] for found in weights]) >> 3)
            depth = max([found[1] for found in weights], default=0)
            if depth > limits.max_tuple_depth:
                _too_deep(depth, limits.max_tuple_depth)
            levels = 0 if target is None else self._weight_of(target)[2]
            if levels > limits.max_nesting:
                _nests(levels, limits.max_nesting)

    def _weight_of(self, root: Any) -> _Weight:
        """Sum up a value that is no leaf, children first, without recursion."""
        known = self._known
        found = known.get(id(root))
        if found is not None:
            return found
        if type(root) not in _CONTAINERS and self._edges is None:
            return self._of_object(root)
        path = [root]
        while path:
            value = path[-1]
            place = id(value)
            state = known.get(place)
            if state is not None and state is not _OPEN:
                path.pop()
                continue
            parts = self._parts(value)
            missing: list[Any] = []
            weight, depth, levels, flags = self._sum_known(parts, missing)
            if missing and state is None:
                known[place] = _OPEN
                path += missing
                continue
            kind = type(value)
            if kind in _CONTAINERS:
                known[place] = (min(weight, _HUGE), depth + _STEPS[kind], levels, flags | _FLAGS.get(kind, 0))
            else:
                known[place] = self._known_object(value, weight, depth, levels)
            path.pop()
        return known[id(root)]

    def _parts(self, value: Any) -> Any:
        if type(value) in _CONTAINERS:
            return tuple(value.values()) if type(value) is Keywords else value
        return () if self._edges is None else self._edges.get(id(value), ())

    def _sum_known(self, parts: Any, missing: list[Any]) -> _Weight:
        """The weight of some values, as far as it is known; those of which it is not are ``missing``."""
        known, objects = self._known, self._edges is None
        weight = len(parts) + 1
        if self.long:
            weight += sum([len(part) for part in parts if type(part) in _TEXT]) >> 8
            if self._longest_integer:
                weight += sum([part.bit_length() for part in parts if type(part) is int]) >> 6
        depth = levels = flags = 0
        for part in [part for part in parts if type(part) not in _LEAVES]:
            below = known.get(id(part))
            if below is None:
                if not objects or type(part) in _CONTAINERS:
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

    def _known_object(self, value: Any, weight: int, depth: int, levels: int) -> _Weight:
        """The weight of an object with all that it was given, or of a value of another type."""
        if isinstance(value, Standin) or (self._edges is not None and id(value) in self._edges):
            return min(weight, _HUGE), depth + 1, levels + 1, _OPAQUE
        return _other(value)

    def _of_object(self, value: Any) -> _Weight:
        """The weight of what is neither a leaf nor a container, as far as it is known."""
        found = self._objects.get(id(value))
        if found is None:
            if not isinstance(value, Standin):
                return _other(value)
            found = _LIGHT_OBJECT
        self._attached.add(id(value))
        return found

    def _members(self, name: str, given: Any) -> None:
        """A callable may hash the items of what it is given, and what is first in each.

        The same list may be handed to many calls: it is looked at once, and what the calls cost is charged each time.
        """
        items = given.values() if type(given) is Keywords else given
        hashes = name in _HASHING
        account = self.account
        known = self._seen.get((id(given), hashes))
        if known is not None:
            account.charge(*known)
            return
        before = account.work, account.constructed, account.small
        if (not hashes and len(items) <= _SMALL_DICT and self._weight_of(given)[0] <= _LIGHT**2) or _TEXT.issuperset(
            map(type, items)
        ):
            return
        for keys in (items, [item[0] for item in items if type(item) in (tuple, list) and item]):
            self._keys([key for key in keys if not self._flags(key) & _MUTABLE], by_stream=False)
        after = account.work, account.constructed, account.small
        self._seen[id(given), hashes] = (after[0] - before[0], after[1] - before[1], after[2] - before[2])

    def _leaves(self, values: Sequence[Any]) -> int:
        return len(values) + (sum(map(_extra, values)) if self.long else 0)

    def _flags(self, value: Any) -> int:
        return 0 if type(value) in _LEAVES else self._weight_of(value)[3]

    # Keys.

    def _keys(self, keys: Sequence[Any], *, by_stream: bool) -> None:
        """``keys`` are hashed, and put into one dict or set: by an opcode (``by_stream``), or by a call."""
        kinds = set(map(type, keys))
        if self.long and not kinds.isdisjoint(_TEXT):
            self.account.spend(sum([len(key) >> 8 for key in keys if type(key) in _TEXT]))
        others = kinds - _TEXT_OR_NONE
        if not others:
            return
        if len(others) < len(kinds):
            keys = [key for key in keys if type(key) not in _TEXT_OR_NONE]
        if others <= _NUMBERS:
            self.account.spend(self._leaves(keys))
            self._collide(keys)
        elif others == _TUPLE and self._are_flat(keys):
            if self.long:
                self.account.spend(sum(map(_extra, chain.from_iterable(keys))))
            self._compare(keys, list(map(len, keys)))
        else:
            self._made_keys(keys, by_stream=by_stream)

    def _are_flat(self, keys: Sequence[Any]) -> bool:
        """Whether tuples hold nothing that holds others; looking at them costs what hashing them does."""
        self.account.spend(len(keys) + sum(map(len, keys)))
        return _LEAVES.issuperset(map(type, chain.from_iterable(keys)))

    def _made_keys(self, keys: Sequence[Any], *, by_stream: bool) -> None:
        """Keys that are tuples of tuples, frozensets or made by calls; numbers may be among them."""
        if all(issubclass(kind, Standin) for kind in set(map(type, keys))) and self._edges is None:
            self._made_by_calls(keys, by_stream=by_stream)
            return
        known: list[Any] = []
        weights: list[int] = []
        opaque: list[Any] = []
        total, heavy, count = 0, 0, 0
        deepest = self.account.limits.max_tuple_depth
        for key in keys:
            weight, depth, _, flags = (1 + _extra(key), 0, 0, 0) if type(key) in _LEAVES else self._weight_of(key)
            total += weight
            if flags & _MUTABLE:
                raise FormatError.wrap(TypeError("unhashable type: a dict key or set member holds what has no hash"))
            if depth > deepest:
                _too_deep(depth, deepest)
            if not flags & _OPAQUE:
                known.append(self._hashable(key) if flags & _FROZEN else key)
                weights.append(weight)
                continue
            opaque.append(key)
            if weight > _HEAVY:
                heavy += weight
                count += 1
        self.account.spend(total)
        if len(opaque) > 1:
            self.account.spend((count - 1) * heavy // 2 if count else 0)
            self._unknown(opaque, by_stream=by_stream)
        self._compare(known, weights)

    def _made_by_calls(self, keys: Sequence[Any], *, by_stream: bool) -> None:
        """Keys that are all made by calls: the same, without a look at each."""
        objects = self._objects
        places = list(map(id, keys))
        self._attached.update(places)
        noted = [objects[place] for place in places if place in objects]
        light = len(keys) - len(noted)
        self.account.spend(_LIGHT_OBJECT[0] * light + sum([found[0] for found in noted]))
        deepest = max([found[1] for found in noted], default=0)
        if deepest > self.account.limits.max_tuple_depth:
            _too_deep(deepest, self.account.limits.max_tuple_depth)
        heavy = [found[0] for found in noted if found[0] > _HEAVY]
        self.account.spend((len(heavy) - 1) * sum(heavy) // 2 if heavy else 0)
        makers = {producer(key) for key in {type(key): key for key in keys}.values()}
        if len(keys) < 2 or (not noted and makers <= _RANDOM_HASHES):
            return
        if by_stream and len(keys) >= PROBED_FROM and makers <= KNOWN_HASHES:
            self.probes = True
        else:
            self.account.count_constructed(len(keys))

    def _hashable(self, key: Any) -> Any:
        """``key`` as an object that hashes like the real one; its depth and weight are known to be small.

        A frozenset keeps its hash, so each of them is made once, however many keys it is part of.
        """
        if type(key) is tuple:
            return tuple([self._hashable(part) for part in key])
        if type(key) is not Frozen:
            return key
        made = self._frozen.get(id(key))
        if made is None:
            made = self._frozen[id(key)] = frozenset([self._hashable(part) for part in key])
        return made

    def _unknown(self, keys: list[Any], *, by_stream: bool) -> None:
        """Keys whose hashes are known only when they are there."""
        if by_stream and len(keys) >= PROBED_FROM and all(map(self._is_known_class, keys)):
            self.probes = True
        else:
            self.account.count_constructed(len(keys))

    def _is_known_class(self, key: Any) -> bool:
        """Whether it is, or is a tuple of, objects whose ``__hash__`` and ``__eq__`` are known to be cheap."""
        waiting = [key]
        while waiting:
            part = waiting.pop()
            if type(part) in _TUPLES:
                waiting += part
            elif isinstance(part, Standin) and part.safeload_producer not in KNOWN_HASHES:
                return False
        return True

    def _compare(self, keys: Sequence[Any], weights: list[int]) -> None:
        """Keys with equal hashes are compared, and a comparison visits all of both."""
        count = len(keys)
        if count > _SMALL_DICT:
            # Every probe beyond the first may compare: that bounds it, and is far from the budget for what people write.
            extra = max(0, self._collide(keys) - 4 * count)
            if extra * max(weights) + self.account.work <= self.account.budget:
                self.account.spend(extra * max(weights) >> 2)
                return
        elif count > 1:
            self._charge(count)
        hashes = list(map(hash, keys))
        if len(set(hashes)) < len(hashes):
            groups: dict[int, list[int]] = {}
            for number, weight in zip(hashes, weights, strict=True):
                groups.setdefault(number, []).append(weight)
            self.account.spend(sum((len(group) - 1) * sum(group) // 2 for group in groups.values()))

    def _charge(self, count: int) -> bool:
        """Whether the account has so many keys in a small dict, of which nobody knows the hashes.

        In the worst case that takes n * n / 2 probes of a few nanoseconds: for many such dicts, that adds up.
        """
        self.account.small += count * count >> 7
        return self.account.small + self.account.work <= self.account.budget

    def _collide(self, keys: Sequence[Any]) -> int:
        """Look for collisions among the keys of one dict, if they could cost anything; returns the probes that were counted."""
        if len(keys) <= _SMALL_DICT and self._charge(len(keys)):
            return 0
        from safeload.facts.hash_probes import probes

        limits = self.account.limits
        cost = probes(keys, len(keys), limits.max_probes)
        if cost < 0:
            too_much(limits, "max_probes", "collisions for one key of a dict or set")
        self.account.spend(cost >> 2)
        return cost


def _other(value: Any) -> _Weight:
    """The weight of a value that holds no others: a global, whose hash is its address, or bytes."""
    if isinstance(value, type):
        return 1, 0, 0, 0
    return 1 + _extra(value), 0, 0, _MUTABLE


def _copied(value: Any) -> int:
    """What it costs to copy a long text or long bytes."""
    return _length(value) >> 3 if type(value) in _SIZED else 0


def _extra(value: Any) -> int:
    """What a long text, long bytes or a long number cost beyond others of their kind."""
    kind = type(value)
    if kind in _SIZED:
        return _length(value) >> 8
    return value.bit_length() >> 6 if kind is int else 0


def _length(value: Any) -> int:
    return value.nbytes if type(value) is memoryview else len(value)


def _nests(levels: int, limit: int) -> NoReturn:
    raise LimitExceededError(
        f"the pickle nests objects {levels:,} deep; freeing them again can crash the process. The limit is "
        f"max_nesting={limit:,}",
        code="limit.nesting",
    )


def _too_deep(depth: int, limit: int) -> NoReturn:
    raise LimitExceededError(
        f"a dict key or set member nests tuples {depth:,} deep; hashing it recurses in C and can crash the process. "
        f"The limit is max_tuple_depth={limit}",
        code="limit.tuple-depth",
    )


def too_much(limits: Limits, name: str, what: str) -> NoReturn:
    """Refuse, because the limit ``name`` is exceeded."""
    limit = getattr(limits, name)
    raise LimitExceededError(
        f"the pickle needs more than {name}={limit:,} {what}; raise Limits({name}=...) if you trust its author",
        code="limit." + name.removeprefix("max_").replace("_", "-"),
    )
