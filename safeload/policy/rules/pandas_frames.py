"""Argument rules for pandas' frames and series, the block managers in them and the blocks in those.

pandas rebuilds them with ``__setstate__`` methods that set whatever attributes they are given, and with C code that writes to the places
that a block names. The rules accept the attributes that pandas writes, blocks made by pandas' own function, and axes that are indexes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.places import check_places
from safeload.policy.rules.producers import COLUMNS, INDEXES, is_column, is_made_by, is_plain_array
from safeload.policy.rules.registry import argument_rule, has_names
from safeload.program import SMALL, Pairs, StandinType

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

_FRAME_KEYS = frozenset({"_mgr", "_data", "_typ", "_metadata", "_attrs", "attrs", "_flags", "_name", "name"})
_MANAGERS = frozenset(
    f"{module}.{name}"
    for module in ("pandas.core.internals.managers", "pandas.core.internals", "pandas.core.internals.array_manager")
    for name in ("BlockManager", "SingleBlockManager")
)


@argument_rule("frame-state")
def _frame(use: Use, context: Context) -> str | None:
    """``NDFrame.__setstate__`` sets every attribute it finds: the manager, the name, flags and attrs, and no other."""
    state = use.args[0]
    if type(state) is not dict or not state.keys() <= _FRAME_KEYS:
        return "the state has attributes that a DataFrame or Series does not have"
    if not is_made_by(state.get("_mgr", state.get("_data")), _MANAGERS, context):
        return "the data is not a block manager"
    metadata = state.get("_metadata", [])
    if type(metadata) not in (list, set, tuple) or not set(metadata) <= {"name", "_name"}:
        return "the metadata names other attributes than the name"
    for key in ("attrs", "_attrs"):
        if type(state.get(key)) not in (dict, Pairs, type(None)):
            return "attrs is not a dict"
    flags = state.get("_flags", {})
    if type(flags) is not dict or not flags.keys() <= {"allows_duplicate_labels"}:
        return "the flags are unknown"
    return None


@argument_rule("block-manager")
def _manager(use: Use, context: Context) -> str | None:
    """``BlockManager(blocks, axes)``: no third argument, so that pandas checks that they fit."""
    args = use.args
    if len(args) != 2 or any(isinstance(item, StandinType) for item in args):
        return "its arguments are not blocks and axes"
    blocks = args[0] if type(args[0]) is tuple else (args[0],)
    if any(not is_made_by(block, _BLOCKS, context) for block in blocks):
        return "a block was not made by pandas' own function"
    if not _are_indexes(args[1], context):
        return _NO_INDEX
    if use.name.endswith(_SINGLE):
        return None
    makers = (next(iter(context.content_of(block)), None) for block in blocks)
    return check_places([made.args[1] for made in makers if made is not None], context)


_SINGLE = ".SingleBlockManager"
_NO_INDEX = "an axis of a frame is not an index"


def _are_indexes(axes: Any, context: Context) -> bool:
    parts = axes if type(axes) in (list, tuple) else (axes,)
    return len(parts) <= SMALL and all(is_made_by(part, INDEXES, context) for part in parts)


_BLOCKS = frozenset(
    {
        "pandas._libs.internals._unpickle_block",
        "pandas.core.internals.blocks.new_block",
        "pandas.core.internals.blocks.make_block",
    }
)


@argument_rule("manager-state")
def _manager_state(use: Use, context: Context) -> str | None:
    """``(axes, values, items, {"0.14.1": ...})``; the methods that __setstate__ calls are those of the C class."""
    state = use.args[0]
    if type(state) is tuple and len(state) == 4 and type(state[3]) is dict and state[3].keys() == {"0.14.1"}:
        inner = state[3]["0.14.1"]
        if has_names(inner) and type(inner.get("blocks")) is list and type(inner.get("axes")) is list:
            blocks = inner["blocks"]
            if not all(type(block) is dict and block.keys() == {"values", "mgr_locs"} for block in blocks):
                return "a block has no values or no places"
            if not all(is_column(block["values"], context) for block in blocks):
                return "the values of a block are not an array"
            if not _are_indexes(inner["axes"], context):
                return _NO_INDEX
            if use.name.endswith(_SINGLE):
                return None
            return check_places([block["mgr_locs"] for block in blocks], context)
    return "the state is not that of a block manager"


@argument_rule("block")
def _block(use: Use, context: Context) -> str | None:
    """``_unpickle_block(values, placement, ndim)``."""
    args = use.args
    if len(args) != 3 or type(args[2]) is not int or args[2] not in (1, 2):
        return "its arguments are not values, a placement and a number of dimensions"
    if not (is_plain_array(args[0], context) or is_made_by(args[0], COLUMNS, context)):
        return "the block's values are not an array"
    if not (is_made_by(args[1], _SLICES, context) or is_plain_array(args[1], context)):
        return "the block's placement is neither a slice nor an array"
    return None


_SLICES = frozenset({"builtins.slice"})
