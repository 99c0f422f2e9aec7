"""The restricted load of a stream with many keys whose hashes are known only when they are there.

An author of a file can choose ten thousand decimals, or aware dates, that all hash alike: a dict of them takes minutes. What
a stream says of such keys does not tell their hashes, so they are asked while it is loaded: the stream is respelled
(:mod:`safeload.engine.respell`), so that every dict and set is filled here, and before a batch of keys goes in, the
probes that they need are counted (:mod:`safeload.facts.hash_probes`).

Rule: used for classes whose ``__hash__`` and ``__eq__`` are known (:data:`safeload.engine.cost.keys.KNOWN_HASHES`); what one key
costs was weighed before, what all of them cost together is counted here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.engine import respell as tags
from safeload.engine.cost.account import too_much
from safeload.engine.cost.keys import PROBED_FROM
from safeload.engine.load.unpickler import RestrictedUnpickler
from safeload.engine.respell import respell
from safeload.facts.hash_probes import Probes

if TYPE_CHECKING:
    from safeload.engine.census import Census
    from safeload.limits import Limits

__all__ = ["ProbingUnpickler"]

_HASHED = (dict, set)
# Probes that each key may have: growths of the table repeat those of its keys, and honest hashes collide now and then.
_HONEST = 16


class ProbingUnpickler(RestrictedUnpickler):
    """A :class:`~safeload.engine.load.unpickler.RestrictedUnpickler` that can count the probes of the keys it is given."""

    _limits: Limits | None = None

    def code_of(self, census: Census, *, probes: bool, limits: Limits) -> bytes:
        """The code to feed for a judged stream, with the probes counted or not."""
        self._limits = limits if probes else None
        self._tables: dict[int, tuple[Any, int, Probes | None]] = {}
        self._spent = (
            0  # probes beyond those of honest keys, in all dicts of the stream: many that collide a little add up
        )
        return respell(census.code).code if probes else census.code

    def persistent_load(self, pid: Any) -> Any:
        """Do what a respelled opcode does; anything else is an id of the application's own."""
        if self._limits is None or type(pid) is str:
            return super().persistent_load(pid)
        payload, tag = pid
        if tag == tags.SET_ITEMS:
            return self._set_items(*payload)
        if tag == tags.EMPTY_DICT:
            return {}
        if tag == tags.SET_ITEM:
            target, key, value = payload
            return self._set_items(target, [key, value])
        if tag == tags.DICT:
            return self._set_items({}, payload)
        if tag == tags.EMPTY_SET:
            return set()
        if tag == tags.ADD_ITEMS:
            return self._add_items(*payload)
        if tag == tags.FROZENSET:
            self._count([], payload)
            return frozenset(payload)
        if tag == tags.NEW_WITH_KEYWORDS:
            cls, args, keywords = payload
            return cls.__new__(cls, *args, **keywords)
        if tag == tags.BYTES:
            return bytearray(payload)
        return super().persistent_load(payload)

    def _set_items(self, target: Any, items: list[Any]) -> Any:
        keys, values = items[::2], items[1::2]
        self._count(target, keys)
        if type(target) is dict:
            target.update(zip(keys, values, strict=True))
        else:
            for key, value in zip(keys, values, strict=True):
                target[key] = value
        return target

    def _add_items(self, target: Any, items: tuple[Any, ...]) -> Any:
        self._count(target, items)
        if isinstance(target, set):
            set.update(target, items)  # as the C unpickler does, whatever a subclass has for it
        else:
            for item in items:
                target.add(item)
        return target

    def _count(self, target: Any, keys: Any) -> None:
        """Count the probes for further keys of ``target``, before they go in.

        Raises:
            LimitExceededError: they collide too often.
        """
        import numpy as np

        assert self._limits is not None  # noqa: S101 - persistent_load has asked
        place = id(target)
        _, count, table = self._tables.get(place) or (target, _held(target), None)
        count += len(keys)
        if table is None and count >= PROBED_FROM:
            table = Probes(self._limits.max_probes)
            keys = [*(target if isinstance(target, _HASHED) else ()), *keys]
        if table is not None:
            before = table.work
            if not table.add(np.fromiter(map(hash, keys), np.int64, len(keys))):
                too_much(self._limits, "max_probes", "collisions for one key of a dict or set")
            self._spent += max(0, table.work - before - _HONEST * len(keys))
            if self._spent > self._limits.max_constructed_keys**2:
                too_much(self._limits, "max_constructed_keys", "keys made by calls that all collide, in one dict")
        self._tables[place] = target, count, table


def _held(target: Any) -> int:
    """How many keys an earlier stream has put in."""
    return len(target) if isinstance(target, _HASHED) else 0
