"""How large an object is where nothing can be shared.

A list of a list of a list, each twice the next, is small in memory and in a pickle; a format that writes trees writes it
exponentially often. Rule: whoever walks an object as a tree asks here before it takes too long.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

__all__ = ["expanded"]

_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset, deque})
_MOST: Final = 1 << 62


def expanded(root: Any) -> int:
    """The number of values in ``root`` if each part counts as often as it stands there, in time linear in the distinct ones.

    Only built-in containers are looked into; one that contains itself counts once.
    """
    sizes: dict[int, int] = {}
    waiting: list[tuple[Any, bool]] = [(root, False)]
    while waiting:
        value, seen = waiting.pop()
        if seen:
            sizes[id(value)] = min(_MOST, 1 + sum(sizes.get(id(part), 1) for part in _parts(value)))
        elif type(value) in _CONTAINERS and id(value) not in sizes:
            sizes[id(value)] = 0
            waiting.append((value, True))
            waiting += [(part, False) for part in _parts(value) if type(part) in _CONTAINERS]
    return sizes.get(id(root), 1)


def _parts(value: Any) -> Any:
    return value.values() if type(value) is dict else value
