"""Keys of dicts and members of sets: what hashing and comparing all of them would cost.

CPython hashes a tuple by recursion, and compares keys whose hashes are equal one by one. The hash of a number, of text and of a tuple
of them is asked once that is known to be cheap; the hash of what a call makes is not known before it is made.

Rule: every key that the stream hashes is weighed here before anything hashes it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

from safeload.engine.cost.account import too_deep, too_much
from safeload.engine.cost.values import (
    FROZEN,
    HEAVY,
    LEAVES,
    LIGHT_OBJECT,
    MUTABLE,
    NUMBERS,
    OPAQUE,
    SMALL_DICT,
    TEXT,
    TEXT_OR_NONE,
    TUPLE,
    TUPLES,
    Weight,
    extra,
)
from safeload.errors import FormatError
from safeload.program import Frozen, Standin, producer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.engine.cost.account import Account

__all__ = ["KNOWN_HASHES", "PROBED_FROM", "Keys"]

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


class Weights(Protocol):
    """What :class:`~safeload.engine.cost.weigh.Scales` know of values."""

    long: bool

    @property
    def exact(self) -> bool:
        """Whether objects are weighed as they were noted."""
        ...

    def weight_of(self, root: Any) -> Weight:
        """What a value that is no leaf weighs."""
        ...

    def noted(self, values: Sequence[Any]) -> list[Weight]:
        """What those of some objects weigh of which a call was noted."""
        ...


class Keys:
    """Weighs the keys of one tracer's streams.

    Attributes:
        probes: whether a dict has so many keys of known classes, made by calls, that their collisions have to be
            looked for while it is loaded (:mod:`safeload.engine.load.probing`).
    """

    def __init__(self, scales: Weights, account: Account) -> None:
        self._scales = scales
        self.account = account
        self.probes = False
        self._frozen: dict[int, Any] = {}  # frozensets that hash like those of the stream

    def clear(self) -> None:
        """Forget what belongs to one stream."""
        self._frozen.clear()

    def _leaves(self, values: Sequence[Any]) -> int:
        return len(values) + (sum(map(extra, values)) if self._scales.long else 0)

    def weigh(self, keys: Sequence[Any], *, by_stream: bool) -> None:
        """``keys`` are hashed, and put into one dict or set: by an opcode (``by_stream``), or by a call."""
        kinds = set(map(type, keys))
        if self._scales.long and not kinds.isdisjoint(TEXT):
            self.account.spend(sum([len(key) >> 8 for key in keys if type(key) in TEXT]))
        others = kinds - TEXT_OR_NONE
        if not others:
            return
        if len(others) < len(kinds):
            keys = [key for key in keys if type(key) not in TEXT_OR_NONE]
        if others <= NUMBERS:
            self.account.spend(self._leaves(keys))
            self._collide(keys)
        elif others == TUPLE and self._are_flat(keys):
            if self._scales.long:
                self.account.spend(sum(map(extra, chain.from_iterable(keys))))
            self._compare(keys, list(map(len, keys)))
        else:
            self._made_keys(keys, by_stream=by_stream)

    def _are_flat(self, keys: Sequence[Any]) -> bool:
        """Whether tuples hold nothing that holds others; looking at them costs what hashing them does."""
        self.account.spend(len(keys) + sum(map(len, keys)))
        return LEAVES.issuperset(map(type, chain.from_iterable(keys)))

    def _made_keys(self, keys: Sequence[Any], *, by_stream: bool) -> None:
        """Keys that are tuples of tuples, frozensets or made by calls; numbers may be among them."""
        if all(issubclass(kind, Standin) for kind in set(map(type, keys))) and self._scales.exact:
            self._made_by_calls(keys, by_stream=by_stream)
            return
        known: list[Any] = []
        weights: list[int] = []
        opaque: list[Any] = []
        total, heavy, count = 0, 0, 0
        deepest = self.account.limits.max_tuple_depth
        for key in keys:
            weight, depth, _, flags = (1 + extra(key), 0, 0, 0) if type(key) in LEAVES else self._scales.weight_of(key)
            total += weight
            if flags & MUTABLE:
                raise FormatError.wrap(TypeError("unhashable type: a dict key or set member holds what has no hash"))
            if depth > deepest:
                too_deep(depth, deepest)
            if not flags & OPAQUE:
                if flags & FROZEN:
                    self.account.spend(total)  # before anything is made of it
                    total = 0
                    key = self._hashable(key)  # noqa: PLW2901
                known.append(key)
                weights.append(weight)
                continue
            opaque.append(key)
            if weight > HEAVY:
                heavy += weight
                count += 1
        self.account.spend(total)
        if len(opaque) > 1:
            self.account.spend((count - 1) * heavy // 2 if count else 0)
            self._unknown(opaque, by_stream=by_stream)
        self._compare(known, weights)

    def _made_by_calls(self, keys: Sequence[Any], *, by_stream: bool) -> None:
        """Keys that are all made by calls: the same, without a look at each."""
        noted = self._scales.noted(keys)
        light = len(keys) - len(noted)
        self.account.spend(LIGHT_OBJECT[0] * light + sum([found[0] for found in noted]))
        deepest = max([found[1] for found in noted], default=0)
        if deepest > self.account.limits.max_tuple_depth:
            too_deep(deepest, self.account.limits.max_tuple_depth)
        heavy = [found[0] for found in noted if found[0] > HEAVY]
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

        Each tuple and frozenset is made once, however many keys it is part of: copies of a part that is shared over and over take
        gigabytes, and a frozenset keeps its hash.
        """
        kind = type(key)
        if kind is not tuple and kind is not Frozen:
            return key
        made = self._frozen.get(id(key))
        if made is None:
            parts = [self._hashable(part) for part in key]
            made = self._frozen[id(key)] = tuple(parts) if kind is tuple else frozenset(parts)
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
            if type(part) in TUPLES:
                waiting += part
            elif isinstance(part, Standin) and part.safeload_producer not in KNOWN_HASHES:
                return False
        return True

    def _compare(self, keys: Sequence[Any], weights: list[int]) -> None:
        """Keys with equal hashes are compared, and a comparison visits all of both."""
        count = len(keys)
        if count > SMALL_DICT:
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
        if len(keys) <= SMALL_DICT and self._charge(len(keys)):
            return 0
        from safeload.facts.hash_probes import probes

        limits = self.account.limits
        cost = probes(keys, len(keys), limits.max_probes)
        if cost < 0:
            too_much(limits, "max_probes", "collisions for one key of a dict or set")
        self.account.spend(cost >> 2)
        return cost
