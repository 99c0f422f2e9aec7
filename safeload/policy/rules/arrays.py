"""Argument rules for numpy arrays, scalars and random generators.

An array gets its state once, and before anything can hold a view of it: setting it again frees memory that another
object may still read. Its dtype is one that :mod:`safeload.policy.rules.dtypes` has judged, so that numpy's own check (as
many bytes as the shape needs) is a check of the truth. Sizes are never taken from an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.arguments import is_bytes_like
from safeload.policy.rules.dtypes import dtype_of, extent
from safeload.policy.rules.producers import ARRAYS, SCALARS, is_array, is_made_by
from safeload.policy.rules.registry import argument_rule, has_names
from safeload.program import Standin, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.policy.rules.dtypes import DType
    from safeload.program import Use

__all__ = ["count_of"]

_CORES = ("numpy", "numpy.core", "numpy._core")
_SUBTYPES = frozenset(
    {
        "numpy.ndarray",
        "numpy.memmap",
        "numpy.matrix",
        "numpy.recarray",
        "numpy.matlib.matrix",
        "numpy.matrixlib.defmatrix.matrix",
        "numpy.core.defmatrix.matrix",
        "numpy.core.memmap.memmap",
        "numpy._core.memmap.memmap",
        "numpy.core.records.recarray",
        "numpy._core.records.recarray",
        "numpy.rec.recarray",
        "numpy.core.defchararray.chararray",
        "numpy._core.defchararray.chararray",
        "numpy.char.chararray",
    }
)
_MASKED = frozenset(
    {
        "numpy.ma.MaskedArray",
        "numpy.ma.core.MaskedArray",
        "numpy.ma.mrecords.MaskedRecords",
        "numpy.ma.mrecords.mrecarray",
        "numpy.ma.core.mvoid",
    }
)


# Items of no bytes: nothing in the pickle stands for them, and numpy takes no memory for them.
_MOST_HOLLOW = 1 << 20
_HOLLOW = "the array has millions of items without bytes, beside something that could make an object of each"


def _is_hollow(size: int, count: int, context: Context) -> bool:
    return not size and count > _MOST_HOLLOW and not context.only_arrays()


def _is_empty_byte_array(shape: Any, code: Any) -> bool:
    """``(0,), b"b"``: what numpy writes for every array; the state brings the real shape and dtype."""
    if type(shape) is not tuple or len(shape) != 1 or type(shape[0]) is not int or shape[0] != 0:
        return False
    return code in (b"b", "b") if type(code) in (bytes, str) else producer(code) == "_codecs.encode"


def count_of(value: Any, context: Context) -> int | None:
    """The number of items of an array that has got its data, ``None`` for anything else."""
    count = context.counts.get(id(value)) if isinstance(value, Standin) else None
    return count if isinstance(count, int) else None


@argument_rule("ndarray-reconstruct")
def _reconstruct(use: Use, context: Context) -> str | None:
    """``_reconstruct(ndarray, (0,), b"b")``: an empty array of an array class."""
    args = use.args
    if len(args) != 3 or not _is_empty_byte_array(args[1], args[2]):
        return "only an empty array of bytes is made this way; another shape would be memory to allocate"
    name = global_name(args[0])
    if name not in _SUBTYPES and not context.may_be_made(name):
        return "its first argument is not an array class that the policy allows"
    if use.target is not None:
        context.arrays[id(use.target)] = context.index
        if name == "numpy.ndarray":
            context.plain.add(id(use.target))
    return None


@argument_rule("masked-reconstruct")
def _masked_reconstruct(use: Use, context: Context) -> str | None:
    """``_mareconstruct(MaskedArray, ndarray, (0,), b"b")``."""
    args = use.args
    if len(args) != 4 or not _is_empty_byte_array(args[2], args[3]):
        return "only an empty masked array is made this way"
    if global_name(args[0]) not in _MASKED or global_name(args[1]) not in _SUBTYPES:
        return "its classes are not a masked array and an array"
    if use.target is not None:
        context.arrays[id(use.target)] = context.index
    return None


# What may run between the making of an array and its state, unless its items are objects.
_PARTS = frozenset(
    {"numpy.dtype", "_codecs.encode", "builtins.bytes"}
    | {f"{core}._internal._convert_to_stringdtype_kwargs" for core in _CORES}
)


# The fill value of a masked array is an array or a number as well.
_MASKED_PARTS = _PARTS | ARRAYS | SCALARS


@argument_rule("ndarray-state")
def _array_state(use: Use, context: Context) -> str | None:
    """``(1, shape, dtype, fortran, data)``, ``data`` being bytes, or a list of as many items as the shape has."""
    state = use.args[0]
    if type(state) is not tuple or not 4 <= len(state) <= 5:
        return "the array's state is not (version, shape, dtype, order, data)"
    if len(state) == 5 and (type(state[0]) is not int or state[0] not in (0, 1)):
        return "the version of the array's state is unknown"
    return _check_state(use, context, *state[-4:])


@argument_rule("masked-state")
def _masked_state(use: Use, context: Context) -> str | None:
    """The same with the bytes of the mask and the fill value, of which numpy makes an array of one item."""
    state = use.args[0]
    if type(state) is not tuple or len(state) != 7 or not is_bytes_like(state[5]):
        return "the masked array's state is not (version, shape, dtype, order, data, mask, fill value)"
    if not _is_fill_value(state[6], context):
        return "the fill value of a masked array is not one number or text"
    kind, count = dtype_of(state[2], context), extent(state[1])
    if kind is not None and count is not None:
        item = 0 if count else kind.size  # an array that has items has paid for more than one of them
        if context.expands_too_much(item) or context.copies_too_much(("mask", id(state[5])), kind.leaves * count):
            return _AGAIN
    return _check_state(use, context, *state[1:5], parts=_MASKED_PARTS)


_AGAIN = "the same bytes are given to array after array"
_SHARED = "two arrays would lie on the same bytes, so that a change of one is a change of the other"
# Up to this size numpy copies the bytes of a state; on larger ones the array lies, and can be written to (methods.c, array_setstate).
_COPIED = 1_000


def _is_shared(data: Any, context: Context) -> bool:
    """Note that a writable array lies on ``data``, and say if another one does: what was checked of one could be changed by way of it."""
    if id(data) in context.taken:
        return True
    context.taken.add(id(data))
    return False


def _is_fill_value(value: Any, context: Context) -> bool:
    """A number, text, or an array of one: numpy would expand any other object to an array of the same dtype."""
    if type(value) in (int, float, complex, str, bytes, bool, type(None)):
        return True
    return is_made_by(value, SCALARS, context) or (is_array(value, context) and count_of(value, context) == 1)


def _check_state(
    use: Use,
    context: Context,
    shape: Any,
    dtype: Any,
    order: Any,
    data: Any,
    parts: frozenset[str] = _PARTS,
) -> str | None:
    """The common part: right after the array was made, what it has is what its dtype says."""
    made = context.arrays.pop(id(use.target), None)
    if made is None:
        return "the state of an array is set twice, or on something that is no array"
    kind, count = dtype_of(dtype, context), extent(shape)
    context.counts[id(use.target)] = count
    if type(shape) is tuple and kind is not None:
        context.forms[id(use.target)] = shape, kind.kind
    if kind is None or count is None or type(order) not in (bool, int):
        return "the array's dtype, shape or order is malformed"
    if kind.has_objects:
        if type(data) is not list or len(data) != count:
            return "an array of objects does not have as many items as its shape"
        context.objects[id(use.target)] = id(dtype), count
        return None
    reason = _check_numbers(kind, count, data, context)
    if reason is None:
        context.data[id(use.target)] = kind, data
        if not context.only(parts, made + 1, context.index):
            return "the state of an array is set long after the array was made"
    return reason


def _check_numbers(kind: DType, count: int, data: Any, context: Context) -> str | None:
    """The same for the bytes of an array of numbers."""
    if count * max(kind.size, 1) >= 1 << 62:
        return "the array's shape is impossible"
    if _is_hollow(kind.size, count, context):
        return _HOLLOW
    if not is_bytes_like(data):
        return "the array's data is not bytes"
    if context.copies_too_much(id(data), count * kind.size):  # numpy copies bytes in another order than the machine's
        return _AGAIN
    return _SHARED if count * kind.size > _COPIED and _is_shared(data, context) else None


_WRAPPER_KEYS = frozenset({"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"})


@argument_rule("array-wrapper")
def _array_wrapper(use: Use, context: Context) -> str | None:
    """A joblib description of an array whose bytes follow the stream."""
    state = use.args[0]
    if type(state) is not dict or not _WRAPPER_KEYS >= state.keys() >= {"subclass", "shape", "order", "dtype"}:
        return "the wrapper does not describe an array"
    if global_name(state["subclass"]) not in _SUBTYPES and not context.may_be_made(global_name(state["subclass"])):
        return "the wrapper's class is not an array class that the policy allows"
    kind, count = dtype_of(state["dtype"], context), extent(state["shape"])
    if kind is None or count is None or state["order"] not in ("C", "F"):
        return "the wrapper's dtype, shape or order is malformed"
    if _is_hollow(kind.size, count, context):
        return _HOLLOW
    alignment = state.get("numpy_array_alignment_bytes")
    return (
        None if alignment is None or (type(alignment) is int and 0 < alignment < 256) else "the alignment is malformed"
    )


# Bytes of a scalar that are no more than the object itself.
_SMALL = 64


@argument_rule("array-scalar")
def _scalar(use: Use, context: Context) -> str | None:
    """``scalar(dtype, bytes)``; numpy compares the number of bytes with the item size of the dtype."""
    args = use.args
    kind = dtype_of(args[0], context) if len(args) == 2 else None
    if kind is None:
        return "its arguments are not a dtype and a value (without a value it allocates the item size)"
    if not kind.has_objects:
        if kind.size > _SMALL and context.copies_too_much(("scalar", id(args[1])), kind.size):
            return _AGAIN
        return None if is_bytes_like(args[1]) else "the scalar's value is not bytes"
    if context.objects.get(id(args[1])) == (id(args[0]), 1):
        return None
    return "a scalar with objects has to be written as an array of one item and of the same dtype"


@argument_rule("array-frombuffer")
def _frombuffer(use: Use, context: Context) -> str | None:
    """``_frombuffer(buffer, dtype, shape, order[, axes])``: a view of bytes of the stream, never of another object."""
    args = use.args
    if not 4 <= len(args) <= 5 or type(args[0]) not in (bytes, bytearray, memoryview):
        return "its buffer is not part of the pickle"
    kind = dtype_of(args[1], context)
    if kind is None or kind.has_objects or extent(args[2]) is None or args[3] not in ("C", "F", "K", "A"):
        return "its dtype, shape or order is malformed"
    if len(args) == 5 and args[4] is not None and extent(args[4]) is None:
        return "its order of axes is malformed"
    if type(args[0]) is not bytes and len(args[0]) and _is_shared(args[0], context):
        return _SHARED
    if use.target is not None:
        context.counts[id(use.target)] = extent(args[2])
        if type(args[2]) is tuple:
            context.forms[id(use.target)] = args[2], kind.kind
        context.data[id(use.target)] = kind, args[0]
        context.plain.add(id(use.target))
    return None


@argument_rule("ufunc-reconstruct")
def _ufunc(use: Use, context: Context) -> str | None:
    """``_ufunc_reconstruct(module, name)`` of numpy 1 imports ``module``: only ufuncs that the policy names."""
    args = use.args
    if len(args) == 2 and type(args[0]) is str and type(args[1]) is str:
        rule = context.policy.rule(f"{args[0]}.{args[1]}")
        if args[1].isidentifier() and rule is not None and rule.reason and not rule.resolve:
            return None
    return "its arguments do not name a ufunc that the policy allows"


_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_GENERATOR_CLASSES = frozenset(
    f"numpy.random.{module}.{name}"
    for module, name in (
        ("_mt19937", "MT19937"),
        ("_pcg64", "PCG64"),
        ("_pcg64", "PCG64DXSM"),
        ("_philox", "Philox"),
        ("_sfc64", "SFC64"),
    )
)
_BIT_CTOR = "numpy.random._pickle.__bit_generator_ctor"


@argument_rule("bit-generator")
def _bit_generator(use: Use, context: Context) -> str | None:
    """``__bit_generator_ctor(name or class)`` calls what it is given: one of numpy's own bit generators."""
    args = use.args
    if context.too_many():
        return "there are too many of them"
    if not args:
        return None
    if len(args) == 1 and (_is_generator_name(args[0]) or global_name(args[0]) in _GENERATOR_CLASSES):
        return None
    return "its argument does not name one of numpy's bit generators"


def _is_generator_name(value: Any) -> bool:
    return type(value) is str and value in _GENERATORS


@argument_rule("random-generator")
def _random_generator(use: Use, context: Context) -> str | None:
    """``__generator_ctor(name or bit generator[, constructor])`` calls the constructor: only numpy's own."""
    args = use.args
    if context.too_many():
        return "there are too many of them"
    if len(args) > 2 or (len(args) == 2 and global_name(args[1]) != _BIT_CTOR):
        return "its constructor is not numpy's own"
    if not args or _is_generator_name(args[0]) or producer(args[0]) == _BIT_CTOR:
        return None
    return "its argument is not one of numpy's bit generators"


@argument_rule("random-state")
def _random_state(use: Use, context: Context) -> str | None:
    """The state of a generator. Positions index buffers in C without a check: 624 words, or 4 of Philox."""
    state = use.args[0]
    if type(state) is tuple:
        if len(state) == 2 and (state[0] is None or type(state[0]) is dict) and _is_seed(state[1], context):
            state = state[0]
        elif 3 <= len(state) <= 5 and type(state[0]) is str and state[0] == "MT19937":
            if not all(_is_word(item, context) for item in state):
                return _NO_WORDS
            return None if _is_position(state[2], 624) else "the generator's position is out of bounds"
        else:
            return "the generator's state is malformed"
    if state is None:
        return None
    if not has_names(state) or not _is_generator_name(state.get("bit_generator")):
        return "the generator's state is malformed"
    inner = state.get("state")
    if type(inner) is dict and not has_names(inner):
        return "the generator's state is malformed"
    if not all(_is_word(item, context) for item in (*state.values(), *(inner.values() if type(inner) is dict else ()))):
        return _NO_WORDS
    if state["bit_generator"] == "MT19937" and (type(inner) is not dict or not _is_position(inner.get("pos"), 624)):
        return "the generator's position is out of bounds"
    if state["bit_generator"] == "Philox" and not _is_position(state.get("buffer_pos"), 4):
        return "the generator's position is out of bounds"
    return None


_NO_WORDS = "the generator's state is not made of numbers"
_MOST_WORDS = 1_024
_SEEDS = frozenset(
    f"numpy.random.{module}.__pyx_unpickle_SeedSequence" for module in ("bit_generator", "_bit_generator")
)


def _is_seed(value: Any, context: Context) -> bool:
    return value is None or is_made_by(value, _SEEDS, context)


def _is_word(value: Any, context: Context) -> bool:
    """A number, text, or a small array of numbers; numpy makes an array of what it is given."""
    if type(value) in (list, tuple):
        return len(value) <= _MOST_WORDS and all(type(item) is int for item in value)
    if type(value) in (int, float, bool, str, dict):
        return True
    if is_made_by(value, SCALARS, context):
        return True
    return is_array(value, context) and (count_of(value, context) or 0) <= _MOST_WORDS


def _is_position(value: Any, limit: int) -> bool:
    return type(value) is int and 0 <= value <= limit
