"""How long would the probe chains of a dict or set get? Simulated, because inserting would take that long.

CPython's dict probes ``i = 5 * i + perturb + 1`` with ``perturb >>= 5`` (Objects/dictobject.c); a set looks at nine
neighbours first (Objects/setobject.c), which makes its chains shorter, so the dict's rule is the bound for both.
Numbers hash to themselves modulo 2**61 - 1, so an author of a file can choose every probe. The simulation places
all keys at once, round by round: each round every unplaced key tries its next slot and one key wins each free slot.
"""

from __future__ import annotations

from typing import Any

__all__ = ["longest_probe"]

_SMALLEST_TABLE = 11  # log2: smaller tables cannot cost much


def longest_probe(hashes: list[int], stop_at: int) -> int:
    """The longest probe chain at any size the table has while ``hashes`` are inserted in this order.

    Args:
        hashes: one hash per distinct key, in insertion order.
        stop_at: give up counting beyond this many probes.

    Returns:
        The number of probes, at most ``stop_at + 1``.
    """
    import numpy as np

    table = np.array(hashes, dtype=np.int64).view(np.uint64)
    worst = 0
    bits = _SMALLEST_TABLE
    while True:
        capacity = (1 << bits) * 2 // 3
        worst = max(worst, _rounds(table[:capacity], bits, stop_at))
        if worst > stop_at or capacity >= len(table):
            break
        bits += 1
    return worst


def _rounds(hashes: Any, bits: int, stop_at: int) -> int:
    """Rounds until every key has a slot in a table of ``2 ** bits`` slots."""
    import numpy as np

    mask = np.uint64((1 << bits) - 1)
    taken = np.zeros(1 << bits, dtype=bool)
    slot = hashes & mask
    perturb = hashes
    rounds = 0
    while len(slot):
        rounds += 1
        if rounds > stop_at:
            break
        _, first = np.unique(slot, return_index=True)
        wins = first[~taken[slot[first]]]
        taken[slot[wins]] = True
        keep = np.ones(len(slot), dtype=bool)
        keep[wins] = False
        perturb = perturb[keep] >> np.uint64(5)
        slot = (slot[keep] * np.uint64(5) + perturb + np.uint64(1)) & mask
    return rounds
