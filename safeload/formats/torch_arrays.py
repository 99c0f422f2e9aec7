"""Tensors of PyTorch files as NumPy arrays, without PyTorch: what stands for its globals while such a stream is loaded.

A dtype that NumPy does not have is kept as unsigned integers of the same width, with its name in the dtype's metadata:
``array.dtype.metadata == {"torch": "bfloat16"}``. Views of one storage share its memory, as tensors do.

Rule: a view lies inside its storage; NumPy checks it once more.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safeload.errors import LoadError
from safeload.facts.torch_types import DTYPES, STORAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SUBSTITUTES", "numpy_dtype", "storage_array", "tensor_array"]

_CODES = {
    "float64": "f8", "double": "f8", "float32": "f4", "float": "f4", "float16": "f2", "half": "f2",
    "int64": "i8", "long": "i8", "int32": "i4", "int": "i4", "int16": "i2", "short": "i2", "int8": "i1", "uint8": "u1",
    "bool": "?", "uint16": "u2", "uint32": "u4", "uint64": "u8",
    "complex64": "c8", "cfloat": "c8", "complex128": "c16", "cdouble": "c16",
}  # fmt: skip


def numpy_dtype(name: str) -> Any:
    """The NumPy dtype of a PyTorch dtype; see the module's docstring."""
    import numpy as np

    code = _CODES.get(name)
    if code is not None:
        return np.dtype(code)
    return np.dtype(f"u{DTYPES[name]}", metadata={"torch": name})


def storage_array(memory: memoryview, dtype: str) -> Any:
    """A storage as an array of one dimension."""
    import numpy as np

    return np.frombuffer(memory, numpy_dtype(dtype)) if memory.nbytes else np.empty(0, numpy_dtype(dtype))


class _DType:
    """Stands for ``torch.<name>`` as a value."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __eq__(self, other: object) -> bool:
        return type(other) is _DType and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def _view(storage: Any, offset: int, size: Any, stride: Any, dtype: Any) -> Any:
    import numpy as np

    if not all(size):
        return np.empty(tuple(size), dtype)
    strides = tuple(step * dtype.itemsize for step in stride)
    try:
        return np.ndarray(tuple(size), dtype, storage, offset * dtype.itemsize, strides)
    except (TypeError, ValueError) as error:
        raise LoadError.wrap(error) from error


def tensor_array(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Any:
    """``_rebuild_tensor`` and ``_rebuild_tensor_v2``."""
    array = _view(storage, offset, size, stride, storage.dtype)
    metadata = (rest[2] if len(rest) > 2 else None) or {}
    if metadata.get("conj"):
        array = array.conj()
    return -array if metadata.get("neg") else array


def _tensor_v3(
    storage: Any, offset: int, size: Any, stride: Any, grad: bool, hooks: Any, dtype: Any, *rest: Any
) -> Any:
    import numpy as np

    return tensor_array(storage.view(np.uint8).view(numpy_dtype(dtype.name)), offset, size, stride, grad, hooks, *rest)


def _parameter(data: Any, *_rest: Any) -> Any:
    return data


def _from_type(function: Any, _class: Any, args: Any, _state: Any) -> Any:
    return function(*args)


def _from_data(data: Any, dtype: Any, *_rest: Any) -> Any:
    return data.astype(numpy_dtype(dtype.name), copy=False)


def _size(sizes: Any = ()) -> tuple[int, ...]:
    return tuple(sizes)


def _device(name: str, index: int | None = None) -> str:
    return name if index is None else f"{name}:{index}"


def _layout(name: str) -> str:
    return name


def _substitutes() -> Mapping[str, Any]:
    functions = {
        "_rebuild_tensor": tensor_array,
        "_rebuild_tensor_v2": tensor_array,
        "_rebuild_tensor_v3": _tensor_v3,
        "_rebuild_parameter": _parameter,
        "_rebuild_parameter_with_state": _parameter,
        "_rebuild_device_tensor_from_numpy": _from_data,
        "_rebuild_xla_tensor": _from_data,
    }
    return MappingProxyType(
        {
            **{f"torch.{name}": _DType(name) for name in DTYPES},
            **{name: _DType(dtype) for name, dtype in STORAGES.items()},
            **{f"torch._utils.{name}": function for name, function in functions.items()},
            "torch._tensor._rebuild_from_type_v2": _from_type,
            "torch.Tensor": _DType("Tensor"),
            "torch.Size": _size,
            "torch.device": _device,
            "torch.serialization._get_layout": _layout,
        }
    )


SUBSTITUTES = _substitutes()
