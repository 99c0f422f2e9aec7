"""Argument rules for pyarrow: data types, buffers, and arrays that are made of them.

Where Arrow's C++ code aborts the process on a count that does not fit, the count is checked before. What lies in the buffers is
validated by Arrow itself at load (:mod:`safeload.engine.load.arrow`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.producers import ARROW_TYPES, is_made_by
from safeload.policy.rules.registry import argument_rule
from safeload.program import producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

# What an object takes at most that a call makes of an item.
_OBJECT = 64
# Number of buffers of an array by the name of its type; everything else that type_for_alias knows has two.
_THREE_BUFFERS = frozenset(
    {"string", "str", "utf8", "binary", "large_string", "large_str", "large_utf8", "large_binary"}
)
_NO_ALIAS = frozenset({"string_view", "binary_view"})
_NESTED = frozenset({"list_", "large_list", "struct", "dictionary", "field"})


@argument_rule("arrow-buffer")
def _arrow_buffer(use: Use, context: Context) -> str | None:
    """``py_buffer(bytes)``: bytes of the stream, never another object's memory. Those that could be changed are copied."""
    args = use.args
    if len(args) != 1 or not (type(args[0]) in (bytes, bytearray, memoryview) or producer(args[0]) in _BYTES):
        return "its argument is not bytes"
    size = len(args[0]) if type(args[0]) in (bytes, bytearray, memoryview) else _written(args[0], context)
    if context.copies_too_much(("buffer", id(args[0])), size):
        return "many buffers copy the same bytes"
    if use.target is not None:
        context.lengths[id(use.target)] = size
    return None


def _written(value: Any, context: Context) -> int:
    """The length of what a call of :data:`_BYTES` returns, at most."""
    made = context.content_of(value)
    return sum(len(item) for use in made for item in use.args if type(item) in (str, bytes, bytearray, memoryview))


_BYTES = frozenset({"builtins.bytearray", "builtins.bytes", "_codecs.encode"})


@argument_rule("arrow-type")
def _arrow_type(use: Use, context: Context) -> str | None:
    """A constructor of a data type: text, numbers and other data types."""
    function = use.name.rpartition(".")[2]
    for item in use.args:
        parts = item if type(item) in (list, tuple) else (item,)
        if len(parts) > 1 and context.expands_too_much(_OBJECT * len(parts)):
            return "many types copy the same fields"
        for part in parts:
            if type(part) not in (str, int, bool, type(None)) and not is_made_by(part, ARROW_TYPES, context):
                return "an argument is not text, a number or a data type"
    if use.target is not None:
        context.arrows[id(use.target)] = _buffer_count(function, use.args)
    return None


def _buffer_count(function: str, args: tuple[Any, ...]) -> int | None:
    """The number of buffers of an array of this type, or ``None`` for a nested one."""
    if function in _NESTED:
        return None
    if function == "type_for_alias":
        alias = args[0] if args and type(args[0]) is str else ""
        return None if alias in _NO_ALIAS else 1 if alias == "null" else 3 if alias in _THREE_BUFFERS else 2
    if function == "binary":
        return 2 if args and type(args[0]) is int and args[0] >= 0 else 3
    return 2


_BUFFERS = frozenset({"pyarrow.lib.py_buffer"})


@argument_rule("arrow-array")
def _arrow_array(use: Use, context: Context) -> str | None:
    """``_restore_array((type, length, nulls, offset, buffers, children, dictionary))`` of a type that is not nested.

    Arrow aborts the process if the number of buffers is not that of the type.
    """
    args = use.args
    if len(args) != 1 or type(args[0]) is not tuple or len(args[0]) != 7:
        return "its argument is not the parts of an array"
    dtype, length, nulls, offset, buffers, children, dictionary = args[0]
    count = context.arrows.get(id(dtype))
    if count is None or children != [] or dictionary is not None:
        return "the array's type is nested, which cannot be checked"
    if any(type(number) is not int or not -1 <= number < 1 << 48 for number in (length, nulls, offset)):
        return "the array's length, nulls or offset is malformed"
    if type(buffers) is not list or len(buffers) != count:
        return "the array does not have the buffers of its type"
    if not all(item is None or is_made_by(item, _BUFFERS, context) for item in buffers):
        return "a buffer of the array is not bytes"
    if length < 0 or offset < 0 or (length and None in buffers[1:]):
        return "the array has items but no data"
    # Eight items fit into a byte; an array of nulls has no bytes at all, and becomes one of objects sooner or later.
    bits = 8 * sum(context.lengths.get(id(item), 0) for item in buffers)
    if length > bits and context.expands_too_much(8 * (length - bits)):
        return "the array has more items than its buffers have bits"
    return None
