"""How many probes does CPython need to put keys into a dict or set? Simulated, because inserting would take that long.

CPython's dict probes ``i = 5 * i + perturb + 1`` with ``perturb >>= 5`` (Objects/dictobject.c); a set looks at nine
neighbours first (Objects/setobject.c), which makes its chains shorter, so the dict's rule is the bound for both.
Numbers hash to themselves modulo 2**61 - 1, so an author of a file can choose every probe. The simulation places
all keys at once, round by round: each round every unplaced key tries its next slot and one key wins each free slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Probes", "probes"]

_SMALLEST_TABLE = 11  # log2: smaller tables cannot cost much
# Numbers that are spaced by powers of two need some ten probes each, until the higher bits of their hashes tell them apart.
_WORK_PER_KEY = 64
_FREE_WORK = 1 << 20
_MODULUS = (1 << 61) - 1  # sys.hash_info.modulus where integers have 64 bits


class Probes:
    """A dict of which only the hashes are known.

    Attributes:
        work: probes so far, those of every growth of the table included.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: of probes for one key."""
        self._limit = limit
        self._bits = _SMALLEST_TABLE
        self._hashes: list[Any] = []
        self._count = 0
        self._taken: Any = None
        self.work = 0

    def add(self, hashes: Any) -> bool:
        """Put further keys, of these hashes (an array of ``int64``), into the table; ``False`` if that costs too much."""
        import numpy as np

        self._hashes.append(hashes.view(np.uint64))
        while len(hashes):
            room = (1 << self._bits) * 2 // 3 - self._count
            if room > 0:
                if self._taken is None:
                    self._taken = np.zeros(1 << self._bits, dtype=bool)
                now, hashes = hashes[:room], hashes[room:]
                self._count += len(now)
                if not self._place(now.view(np.uint64)):
                    return False
            if len(hashes):
                self._bits += 1
                self._taken = np.zeros(1 << self._bits, dtype=bool)
                known = np.concatenate(self._hashes)[: self._count]
                self._hashes = [known, hashes.view(np.uint64)]
                if not self._place(known):
                    return False
        return True

    def _place(self, hashes: Any) -> bool:
        """Rounds until every key has a slot."""
        import numpy as np

        mask = np.uint64((1 << self._bits) - 1)
        taken = self._taken
        owner = np.empty(1 << self._bits, dtype=np.int32)
        slot, perturb, rounds = hashes & mask, hashes, 0
        while len(slot):
            rounds += 1
            self.work += len(slot)
            if rounds > self._limit or self.work > _WORK_PER_KEY * self._count + _FREE_WORK:
                return False
            free = np.flatnonzero(~taken[slot])
            index = slot[free]
            owner[index] = free
            wins = free[owner[index] == free]
            taken[slot[wins]] = True
            if len(wins) == len(slot):
                break
            keep = np.ones(len(slot), dtype=bool)
            keep[wins] = False
            perturb = perturb[keep] >> np.uint64(5)
            slot = (slot[keep] * np.uint64(5) + perturb + np.uint64(1)) & mask
        return True


def _hashes(keys: Iterable[Any], count: int) -> Any:
    """The hashes of keys. Integers of up to 61 bits are their own, but for -1; to ask each of half a million takes as long as all the rest."""
    import numpy as np

    if set(map(type, keys)) == {int}:
        try:
            found = np.fromiter(keys, np.int64, count)
        except OverflowError:
            pass
        else:
            if not count or (found.max() < _MODULUS and found.min() > -_MODULUS):
                found[found == -1] = -2
                return found
    return np.fromiter(map(hash, keys), np.int64, count)


def probes(keys: Iterable[Any], count: int, limit: int) -> int:
    """The probes for ``count`` keys, whose hashes are known to be cheap, in this order; -1 if that is too much.

    Keys that are equal are told apart only where that decides: a pickler writes each key once.
    """
    import numpy as np

    table = Probes(limit)
    if table.add(_hashes(keys, count)):
        return table.work
    distinct = {
        repr(key): hash(key) for key in keys
    }  # by text: strings hash randomly, so this cannot be made to collide
    table = Probes(limit)
    return table.work if table.add(np.fromiter(distinct.values(), np.int64, len(distinct))) else -1
