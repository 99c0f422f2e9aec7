"""pandas' block managers, with the places of their blocks checked.

A block says which columns it holds, and the C code of ``BlockManager`` writes to these places of an array as long as there are columns
(pandas, ``_rebuild_blknos_and_blklocs``), when a state is set or when a column is looked up for the first time. pandas itself
compares how many places there are, not where they lie. Rule: a place lies inside of the frame, or there is no frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pandas import Index
from pandas.core.internals.managers import BlockManager

__all__ = ["CHECKS", "CheckedBlockManager"]


class CheckedBlockManager(BlockManager):  # type: ignore[misc]
    """What a pickle makes and fills; it is pandas' own class from then on."""

    __slots__ = ()

    def __init__(self, blocks: Any, axes: Any) -> None:
        axes = list(axes)  # the stream may still change its own list
        columns = _length(axes)
        super().__init__(blocks, axes)
        for block in self.blocks:
            _check(block.mgr_locs.indexer, columns)
        self.__class__ = BlockManager

    def __setstate__(self, state: Any) -> None:
        known = state[3]["0.14.1"]
        columns = _length(known["axes"])
        for block in known["blocks"]:
            _check(block["mgr_locs"], columns)
        self.__class__ = BlockManager
        self.__setstate__(state)


def _length(axes: list[Any]) -> int:
    """How many columns there are; of anything else than an index pandas would make one, maybe of another length."""
    if not all(isinstance(axis, Index) for axis in axes):
        raise ValueError("an axis of a frame is not an index")
    return len(axes[0])


def _check(places: Any, columns: int) -> None:
    """Raise ``ValueError`` unless all of ``places``, a slice or an array, are columns."""
    lowest = highest = 0
    if isinstance(places, slice):
        step = 1 if places.step is None else places.step
        inside = range(places.start or 0, -1 if places.stop is None and step < 0 else places.stop, step)
        if inside:
            lowest, highest = sorted((inside[0], inside[-1]))
    elif type(places) is np.ndarray and places.dtype.kind in "iu":
        if places.size:
            lowest, highest = int(places.min()), int(places.max())
    else:
        raise ValueError("the places of a block are neither a slice nor an array of integers")
    if not 0 <= lowest <= highest < max(columns, 1):
        raise ValueError(f"a block lies at column {highest if lowest >= 0 else lowest} of a frame of {columns}")


def _check_manager(manager: Any) -> None:
    columns = _length(manager.axes)
    for block in manager.blocks:
        _check(block.mgr_locs.indexer, columns)


# Checked again after STOP (safeload.engine.load.checks).
CHECKS = {BlockManager: _check_manager}
