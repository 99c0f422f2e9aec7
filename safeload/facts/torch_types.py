"""What PyTorch's files call storages and dtypes, and how many bytes an item of each has. Needs no PyTorch.

Shared vocabulary of the policy, which judges what a pickle makes of a storage, and of the formats, which know its bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from safeload.program import global_name

__all__ = ["DTYPES", "STORAGES", "StorageId", "storage_of"]

# Bytes per item. The quantised types below a byte are stored as whole bytes.
DTYPES = {
    "float64": 8, "double": 8, "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2,
    "int64": 8, "long": 8, "int32": 4, "int": 4, "int16": 2, "short": 2, "int8": 1, "uint8": 1, "bool": 1,
    "uint16": 2, "uint32": 4, "uint64": 8,
    "complex32": 4, "chalf": 4, "complex64": 8, "cfloat": 8, "complex128": 16, "cdouble": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
    "qint8": 1, "quint8": 1, "qint32": 4,
}  # fmt: skip

_CLASSES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}
# The dtype of each storage class by policy name. An untyped storage has bytes; the tensor says what they are.
STORAGES = {
    **{f"torch.{name}": dtype for name, dtype in _CLASSES.items()},
    **{f"torch.cuda.{name}": dtype for name, dtype in _CLASSES.items() if not name.startswith("Q")},
    "torch.storage.UntypedStorage": "uint8",
    "torch.storage._UntypedStorage": "uint8",
    "torch.UntypedStorage": "uint8",
}

_MOST = 1 << 62


class StorageId(NamedTuple):
    """A persistent id that stands for a storage.

    Attributes:
        dtype: of its items. key: of the storage whose bytes it has. numel: items of that storage.
        start, items: the part of it that the id stands for, in items. view: the key of that part; ``""`` for all of it.
    """

    dtype: str
    key: str
    numel: int
    start: int
    items: int
    view: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage."""
        return self.numel * DTYPES[self.dtype]


def storage_of(pid: Any) -> StorageId | None:
    """What ``("storage", class, key, location, numel[, view])``, an id in a traced pickle, says; ``None`` for any other id."""
    if type(pid) is not tuple or not 5 <= len(pid) <= 6 or pid[0] != "storage" or type(pid[0]) is not str:
        return None
    dtype = STORAGES.get(global_name(pid[1]) or "")
    key, location, numel = pid[2:5]
    if dtype is None or type(key) is not str or type(location) is not str or not _is_count(numel):
        return None
    view = pid[5] if len(pid) == 6 else None
    if view is None:
        return StorageId(dtype, key, numel, 0, numel)
    if type(view) is not tuple or len(view) != 3 or type(view[0]) is not str or not view[0]:
        return None
    if not _is_count(view[1]) or not _is_count(view[2]) or view[1] + view[2] > numel:
        return None
    return StorageId(dtype, key, numel, view[1], view[2], view[0])


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST
