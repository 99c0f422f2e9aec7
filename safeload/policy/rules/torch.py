"""Argument rules for PyTorch: a tensor is a view of a storage, and PyTorch believes what it is told about the view.

``Tensor.set_`` grows a storage that is too small, ``sparse_coo_tensor`` does not look at its indices, and a quantised tensor is
allocated before it is given its bytes. Rule: offset, sizes and strides lie inside the storage that the persistent id names; nothing
is allocated by an argument; hooks, which PyTorch would call, are empty.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.facts.torch_types import DTYPES, storage_of
from safeload.policy.rules.arrays import count_of
from safeload.policy.rules.producers import is_plain_array
from safeload.policy.rules.registry import argument_rule
from safeload.policy.states import check_answers
from safeload.program import Standin, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["Tensor"]

_MAX_DIMENSIONS = 64
_MOST = 1 << 62
_DICTS = frozenset({"collections.OrderedDict"})


class Tensor(NamedTuple):
    """What is known of a tensor: ``whole`` is whether it has no more items than its storage. A ``torch.Size`` has no dtype.

    ``source`` tells whose bytes it has: the key of its storage.
    """

    dtype: str
    shape: tuple[int, ...]
    whole: bool = True
    source: str = ""


def _numbers(value: Any, context: Context) -> tuple[int, ...] | None:
    """A tuple or list of counts, or a ``torch.Size``; ``None`` if it is none."""
    if isinstance(value, Standin):
        known = context.tensors.get(id(value))
        return known.shape if known is not None and not known.dtype else None
    if type(value) not in (tuple, list) or len(value) > _MAX_DIMENSIONS:
        return None
    if not all(type(item) is int and 0 <= item < _MOST for item in value):
        return None
    return tuple(value)


def _dtype(value: Any) -> str | None:
    name = global_name(value)
    dtype = name.removeprefix("torch.") if name is not None and name.startswith("torch.") else None
    return dtype if dtype in DTYPES else None


def _known(value: Any, context: Context) -> Tensor | None:
    """A tensor that the rules have judged."""
    known = context.tensors.get(id(value)) if isinstance(value, Standin) else None
    return known if known is not None and known.dtype else None


def _no_hooks(value: Any, context: Context) -> bool:
    """Whether it is an empty dict of hooks, and stays one."""
    if value is None or (type(value) is dict and not value):
        return True
    if not isinstance(value, Standin) or producer(value) not in _DICTS:
        return False
    return all(use.name in _DICTS and not use.args for use in context.content_of(value))


def _outside(start: Any, sizes: tuple[int, ...], strides: tuple[int, ...], count: int) -> str | None:
    """Why a view does not lie inside ``count`` items; ``None`` if it does."""
    if type(start) is not int or not 0 <= start <= count:
        return "the offset lies outside the storage"
    if len(sizes) != len(strides):
        return "there are not as many strides as sizes"
    if math.prod(size for size in sizes if size) >= _MOST:
        return "the sizes are impossible"
    if all(sizes):
        last = start + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if last >= count:
            return "the tensor reaches beyond its storage"
    return None


class _View(NamedTuple):
    dtype: str
    sizes: tuple[int, ...]
    items: int
    source: str


def _view(args: tuple[Any, ...], context: Context, dtype: str | None = None) -> _View | str:
    """``storage, offset, sizes, strides``, or why they are refused; ``dtype`` if the tensor does not have the storage's."""
    storage = storage_of(context.id_of(args[0]))
    if storage is None:
        return "its storage is not one of the file's"
    sizes, strides = _numbers(args[2], context), _numbers(args[3], context)
    if sizes is None or strides is None:
        return "the sizes and strides are not tuples of counts"
    own = storage.dtype
    count = storage.items
    if dtype is not None:
        count = count * DTYPES[own] // DTYPES[dtype]
    return _outside(args[1], sizes, strides, count) or _View(dtype or own, sizes, count, storage.key)


def _keep(use: Use, context: Context, tensor: Tensor) -> None:
    if use.target is not None:
        context.tensors[id(use.target)] = tensor


def _metadata(value: Any, dtype: str) -> bool:
    """``conj`` and ``neg`` bits, which only complex and floating numbers have."""
    if value is None:
        return True
    if type(value) is not dict or not all(type(flag) is bool for flag in value.values()):
        return False
    allowed = {"conj", "neg"} if dtype.startswith("complex") else {"neg"} if dtype.startswith("float") else set()
    return value.keys() <= allowed


# Where a function has its requires_grad, hooks, metadata and dtype, behind storage, offset, sizes and strides.
_FORMS = {
    "_rebuild_tensor": (4, 4, None),
    "_rebuild_tensor_v2": (6, 7, None),
    "_rebuild_tensor_v3": (7, 8, 6),
}


@argument_rule("torch-tensor")
def _tensor(use: Use, context: Context) -> str | None:
    """``_rebuild_tensor[_v2|_v3](storage, offset, sizes, strides[, requires_grad, hooks[, dtype][, metadata]])``."""
    return _tensor_of(use.name.rpartition(".")[2], use.args, use, context)


def _tensor_of(function: str, args: tuple[Any, ...], use: Use, context: Context) -> str | None:
    least, most, dtype_at = _FORMS[function]
    if not least <= len(args) <= most:
        return "it does not have the arguments of a tensor"
    dtype = _dtype(args[dtype_at]) if dtype_at is not None else None
    if dtype_at is not None and dtype is None:
        return "its dtype is unknown"
    view = _view(args, context, dtype)
    if isinstance(view, str):
        return view
    if least > 4 and (type(args[4]) is not bool or not _no_hooks(args[5], context)):
        return "it has hooks, which would be called"
    whole = math.prod(view.sizes) <= view.items
    if len(args) == most and most > 4 and not (_metadata(args[-1], view.dtype) and (whole or not args[-1])):
        return "its metadata is unknown, or of a tensor that is larger than its storage"
    if (
        len(args) == most
        and most > 4
        and args[-1]
        and _copies(context, ("metadata", view.source), view.dtype, view.sizes)
    ):
        return _AGAIN  # as NumPy arrays they are copies
    _keep(use, context, Tensor(view.dtype, view.sizes, whole, view.source))
    return None


_AGAIN = "the same bytes are copied for tensor after tensor"


def _copies(context: Context, source: Any, dtype: str, sizes: tuple[int, ...]) -> bool:
    return context.copies_too_much(source, math.prod(sizes) * DTYPES[dtype])


@argument_rule("torch-parameter")
def _parameter(use: Use, context: Context) -> str | None:
    """``_rebuild_parameter(data, requires_grad, hooks[, state])``."""
    args = use.args
    known = _known(args[0], context) if args else None
    if known is None or len(args) != (4 if use.name.endswith("_state") else 3):
        return "it is not made of a tensor"
    if type(args[1]) is not bool or not _no_hooks(args[2], context):
        return "it has hooks, which would be called"
    _keep(use, context, known)
    return _attributes(args[3]) if len(args) == 4 else None


_PUBLIC = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
# Private attributes that libraries put on parameters.
_MARKS = frozenset({"_is_hf_initialized", "_no_weight_decay", "_no_reinit", "_optim"})
_SCALARS = frozenset({bool, int, float, str, type(None)})


def _attributes(state: Any) -> str | None:
    """Attributes that are set on a tensor one by one: a property of it would run, so only numbers and text."""
    if type(state) is tuple and len(state) == 2 and not state[1]:
        state = state[0]
    if state is None:
        return None
    if type(state) is not dict:
        return "its attributes are not a dict"
    for name, value in state.items():
        if type(name) is not str or not (_PUBLIC.fullmatch(name) or name in _MARKS) or type(value) not in _SCALARS:
            return "an attribute of the tensor is not a number or text with an ordinary name"
    return None


@argument_rule("torch-from-type")
def _from_type(use: Use, context: Context) -> str | None:
    """``_rebuild_from_type_v2(function, class, args, state)``: a tensor with attributes; it calls ``function(*args)``."""
    args = use.args
    if len(args) != 4 or global_name(args[1]) not in ("torch.Tensor", "torch._tensor.Tensor"):
        return "it makes something that is no plain tensor"
    module, _, function = (global_name(args[0]) or "").rpartition(".")
    if module != "torch._utils" or function not in _FORMS or type(args[2]) is not tuple:
        return "the function that it would call does not make a tensor"
    return _tensor_of(function, args[2], use, context) or _attributes(args[3])


_PER_TENSOR = frozenset({"torch.per_tensor_affine"})
_PER_CHANNEL = frozenset({"torch.per_channel_affine", "torch.per_channel_affine_float_qparams"})


@argument_rule("torch-qtensor")
def _qtensor(use: Use, context: Context) -> str | None:
    """``_rebuild_qtensor(storage, offset, sizes, strides, quantizer, requires_grad, hooks)``; it allocates the sizes first."""
    args = use.args
    if len(args) != 7 or type(args[4]) is not tuple or type(args[5]) is not bool or not _no_hooks(args[6], context):
        return "it does not have the arguments of a quantised tensor"
    view = _view(args, context)
    if isinstance(view, str):
        return view
    if not view.dtype.startswith("q") or math.prod(view.sizes) > view.items:
        return "it is not a quantised tensor of its storage's size"
    scheme, params = global_name(args[4][0]) if args[4] else None, args[4][1:]
    if scheme in _PER_TENSOR and len(params) == 2 and type(params[0]) in (int, float) and type(params[1]) is int:
        _keep(use, context, Tensor(view.dtype, view.sizes, source=view.source))
        return None
    if scheme not in _PER_CHANNEL or len(params) != 3 or type(params[2]) is not int:
        return "its quantizer is unknown"
    if not 0 <= params[2] < len(view.sizes):
        return "the axis of its quantizer does not exist"
    expected = (view.sizes[params[2]],)
    for part in params[:2]:
        known = _known(part, context)
        if known is None or known.shape != expected:
            return "its quantizer does not have a value for each channel"
    _keep(use, context, Tensor(view.dtype, view.sizes, source=view.source))
    return None


@argument_rule("torch-sparse")
def _sparse(use: Use, context: Context) -> str | None:
    """``_rebuild_sparse_tensor(layout, (indices..., values, size[, coalesced]))``; the load checks the indices themselves."""
    args = use.args
    if len(args) != 2 or producer(args[0]) != "torch.serialization._get_layout" or type(args[1]) is not tuple:
        return "it does not have the arguments of a sparse tensor"
    data = args[1]
    if len(data) == 4 and type(data[3]) is bool:
        data = data[:3]
    if not 3 <= len(data) <= 4 or not all(_known(part, context) for part in data[:-1]):
        return "it is not made of tensors"
    shape, values = _numbers(data[-1], context), _known(data[-2], context)
    if shape is None or values is None:
        return "its size is not a tuple of counts"
    parts = [part for part in (_known(item, context) for item in data[:-1]) if part]
    if not all(part.whole for part in parts):
        return "a part of it is larger than its storage"
    # The load gives it indices that no other tensor shares.
    if any(_copies(context, ("indices", part.source), part.dtype, part.shape) for part in parts[:-1]):
        return _AGAIN
    _keep(use, context, Tensor(values.dtype, shape, whole=False))
    return None


@argument_rule("torch-meta")
def _meta(use: Use, context: Context) -> str | None:
    """``_rebuild_meta_tensor_no_storage(dtype, sizes, strides, requires_grad)``: a tensor without data."""
    args = use.args
    if len(args) != 4 or _dtype(args[0]) is None or type(args[3]) is not bool:
        return "it does not have the arguments of a tensor without data"
    sizes, strides = _numbers(args[1], context), _numbers(args[2], context)
    if sizes is None or strides is None or len(sizes) != len(strides) or math.prod(filter(None, sizes)) >= _MOST:
        return "the sizes and strides are not tuples of counts"
    _keep(use, context, Tensor(str(_dtype(args[0])), sizes, whole=False))
    return None


@argument_rule("torch-device-tensor")
def _device_tensor(use: Use, context: Context) -> str | None:
    """``_rebuild_device_tensor_from_numpy|cpu_tensor(data, dtype, device, requires_grad)``: copies the data."""
    args = use.args
    if len(args) != 4 or _dtype(args[1]) is None or type(args[2]) is not str or type(args[3]) is not bool:
        return "it does not have the arguments of a tensor"
    if _DEVICE.fullmatch(args[2]) is None:
        return "its device is unknown"
    known = _known(args[0], context)
    if known is None:
        count = count_of(args[0], context) if is_plain_array(args[0], context) else None
        known = None if count is None else Tensor("array", (count,))
    if known is None or not known.whole:
        return "its data is neither an array nor a tensor of its storage's size"
    dtype, source = str(_dtype(args[1])), known.source or f"made {id(args[0])}"
    if _copies(context, ("device", source), dtype, known.shape):
        return _AGAIN
    _keep(use, context, Tensor(dtype, known.shape, source=source))
    return None


_DEVICE = re.compile(r"[a-z]{1,20}(?::\d{1,4})?", re.ASCII)


@argument_rule("torch-device")
def _device(use: Use, _context: Context) -> str | None:
    """``device("cuda:0")`` or ``device("cuda", 0)``: a name."""
    args = use.args
    if not 1 <= len(args) <= 2 or type(args[0]) is not str or not _DEVICE.fullmatch(args[0]):
        return "its argument is not the name of a device"
    return None if len(args) == 1 or type(args[1]) is int else "its index is not a number"


@argument_rule("torch-size")
def _size(use: Use, context: Context) -> str | None:
    """``Size((2, 3))``: a tuple of numbers."""
    sizes = _numbers(use.args[0], context) if len(use.args) == 1 else None
    if sizes is None:
        return "its argument is not a tuple of counts"
    _keep(use, context, Tensor("", sizes))
    return None


_LAYOUTS = frozenset(
    f"torch.{name}"
    for name in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn")
)


@argument_rule("torch-layout")
def _layout(use: Use, _context: Context) -> str | None:
    """``_get_layout("torch.sparse_coo")``: one of PyTorch's layouts by its name."""
    args = use.args
    return None if len(args) == 1 and type(args[0]) is str and args[0] in _LAYOUTS else "it is no layout of a tensor"


# Module.__getattr__ looks into these for every name that a module does not have.
_CHILDREN = ("_parameters", "_buffers", "_modules")


@argument_rule("torch-module-state")
def _module(use: Use, context: Context) -> str | None:
    """``Module.__setstate__`` updates the instance's dict and adds what old versions did not have.

    ``Module.__call__`` calls hooks, and ``_compiled_call_impl`` in its own place.
    """
    state = use.args[0]
    if type(state) is not dict or not all(type(key) is str for key in state):
        return "the state is not a dict of attributes"
    for name in _CHILDREN:
        children = state.get(name)
        if children is not None and type(children) is not dict and producer(children) not in _DICTS:
            return f"its {name} are not a dict"
        reason = check_answers(children, modules=True) if type(children) is dict else None
        if reason is not None:
            return reason
    for name, value in state.items():
        if name.endswith("_hooks") and not _no_hooks(value, context):
            return "it has hooks, which would be called"
    return None if state.get("_compiled_call_impl") is None else "it replaces how a module is called"


_MOST_LAYERS = 10_000


@argument_rule("torch-rnn-state")
def _rnn(use: Use, context: Context) -> str | None:
    """``RNNBase.__setstate__`` makes the names of the weights of ``num_layers`` layers, and weak references to the weights."""
    reason = _module(use, context)
    if reason is not None:
        return reason
    state = use.args[0]
    if type(state.get("num_layers")) is not int or not 0 <= state["num_layers"] <= _MOST_LAYERS:
        return "its number of layers is unknown"
    lists = ("all_weights", "_all_weights", "_flat_weights", "_flat_weights_names")
    if not all(type(state[name]) is list for name in lists if name in state):
        return "its weights are not lists"
    flags = ("bias", "bidirectional", "proj_size")
    if not all(type(state[name]) in (bool, int) for name in flags if name in state):
        return "it has options that are no numbers"
    if context.expands_too_much(_PER_LAYER * state["num_layers"]):
        return "the networks have many thousands of layers"
    return None


# The names of the weights of a layer, in both directions.
_PER_LAYER = 2_000
