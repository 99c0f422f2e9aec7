"""pandas' block managers, with the places and the shapes of their blocks checked.

A block says which columns it holds, and the C code of ``BlockManager`` writes to these places of an array as long as there are columns
(pandas, ``_rebuild_blknos_and_blklocs``), when a state is set or when a column is looked up for the first time. pandas itself
compares how many places there are, not where they lie. Rule: a place lies inside of the frame and a block is as long as its axes say,
or there is no frame; places are copied, so that nobody else holds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pandas import Index
from pandas.api.extensions import ExtensionArray
from pandas.core.internals.managers import BlockManager, SingleBlockManager

__all__ = ["CHECKS", "CheckedBlockManager"]


class CheckedBlockManager(BlockManager):  # type: ignore[misc]
    """What a pickle makes and fills; it is pandas' own class from then on."""

    __slots__ = ()

    def __init__(self, blocks: Any, axes: Any) -> None:
        axes = list(axes)  # the stream may still change its own list
        columns = _length(axes)
        super().__init__(blocks, axes)
        for block in self.blocks:
            places = block.mgr_locs.indexer
            _check(places, columns)
            if type(places) is np.ndarray:
                block.mgr_locs = type(block.mgr_locs)(places.copy())
        self.__class__ = BlockManager

    def __setstate__(self, state: Any) -> None:
        known = state[3]["0.14.1"]
        axes = list(known["axes"])
        columns = _length(axes)
        blocks = []
        for block in known["blocks"]:
            places = block["mgr_locs"]
            _check(places, columns)
            blocks.append(
                {"values": block["values"], "mgr_locs": places.copy() if type(places) is np.ndarray else places}
            )
        self.__class__ = BlockManager
        self.__setstate__((axes, [], [], {"0.14.1": {"axes": axes, "blocks": blocks}}))


def _length(axes: list[Any]) -> int:
    """How many columns there are; of anything else than an index pandas would make one, maybe of another length."""
    if not axes or not all(issubclass(type(axis), Index) for axis in axes):
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
    axes = list(manager.axes)
    columns = _length(axes)
    if len(axes) != 2:
        raise ValueError("a frame does not have two axes")
    for block in manager.blocks:
        places = block.mgr_locs
        _check(places.indexer, columns)
        _check_values(block.values, (len(places), len(axes[1])))


def _check_single(manager: Any) -> None:
    axes = list(manager.axes)
    if len(axes) != 1 or len(manager.blocks) != 1:
        raise ValueError("a series does not have one axis and one block")
    _check_values(manager.blocks[0].values, (_length(axes),))


def _check_values(values: Any, expected: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless a block's values have the shape that its places and the axes say; most classes of pandas have one dimension."""
    if type(values) is not np.ndarray and not issubclass(type(values), ExtensionArray):
        raise ValueError("the values of a block are not an array")
    shape = values.shape
    if shape != expected and not (shape == expected[-1:] and expected[0] == 1 and type(values) is not np.ndarray):
        raise ValueError(f"a block of the shape {shape} lies where one of {expected} should be")


# Checked again after STOP (safeload.engine.load.checks).
CHECKS = {BlockManager: _check_manager, SingleBlockManager: _check_single}
