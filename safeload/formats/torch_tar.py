"""PyTorch files of 0.1.10 and before: a tar archive of the object's pickle, of storages, and of tensors that are views of them.

``storages`` and ``tensors`` are pickles and numbers, one behind the other; the object's persistent ids are keys of tensors and
storages. Rules: every pickle among them is judged; storages and views are as large as what is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, SafeloadError
from safeload.facts.torch_types import DTYPES, STORAGES
from safeload.formats.base import Stream
from safeload.formats.torch_arrays import SUBSTITUTES, storage_array, tensor_array
from safeload.formats.torch_storages import pickle_reader, torch_module, untyped_storage, wrong
from safeload.formats.torch_tarfile import Pickles, tar_files
from safeload.program import Kind, StandinType, global_name
from safeload.source.blob import Blob, MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.findings import Finding
    from safeload.formats.base import Parts, Split, SplitRequest
    from safeload.program import Program

__all__ = ["split_tar"]

_MAX_DIMENSIONS = 64


def split_tar(blob: Blob, request: SplitRequest) -> Split:
    """The pickles of all four files."""
    files = tar_files(blob)
    if request.loading:  # what is loaded later is what is judged now
        files = {name: MemoryBlob(bytearray(part.view(0, part.size))) for name, part in files.items()}
    return _Split(files, request)


class _Storage(NamedTuple):
    dtype: str
    data: Blob


class _Tensor(NamedTuple):
    key: int  # of its storage
    items: int  # of that
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Split:
    container = "torch"
    members = ()

    def __init__(self, files: dict[str, Blob], request: SplitRequest) -> None:
        self._request = request
        self._things: dict[int, _Storage | _Tensor] = {}
        self._made: dict[int, Any] = {}
        self._ids: list[int | None] = []
        self.findings: tuple[Finding, ...] = ()
        reader = pickle_reader(request)
        storages, tensors = (Pickles(name, files[name], reader) for name in ("storages", "tensors"))
        try:
            self._read_storages(storages)
            self._read_tensors(tensors)
        except SafeloadError as error:  # what was found is judged all the same
            self.findings = (wrong(str(error)),)
        self.streams = (
            Stream("sys_info", files["sys_info"]),
            *(Stream(found.location, found.blob) for part in (storages, tensors) for found in part.found),
            Stream("pickle", files["pickle"], persistent=True, check=self._check, named=self._named),
            *(Stream(part.name, part.rest()) for part in (storages, tensors) if self.findings and part.rest().size),
        )

    def _read_storages(self, storages: Pickles) -> None:
        for _ in range(storages.count()):
            key, dtype = _storage(storages.next())
            (count,) = storages.integers(1)
            if count < 0:
                raise _malformed("a storage has less than no items")
            self._keep(key, _Storage(dtype, storages.take(count * DTYPES[dtype])))
        views = storages.next()
        if type(views) is not list:
            raise _malformed("the list of views is no list")
        for view in views:
            if type(view) is not tuple or len(view) != 4 or not all(type(part) is int for part in view):
                raise _malformed("a view of a storage is not (key, key, offset, items)")
            root = self._things.get(view[1])
            if not isinstance(root, _Storage):
                raise _malformed("a view is of a storage that there is not")
            item = DTYPES[root.dtype]
            self._keep(view[0], _Storage(root.dtype, root.data.slice(view[2] * item, view[3] * item)))
        if storages.rest().size:
            raise _malformed("something follows the storages")

    def _read_tensors(self, tensors: Pickles) -> None:
        for _ in range(tensors.count()):
            value = tensors.next()
            if type(value) is not tuple or len(value) != 3 or not all(type(part) is int for part in value[:2]):
                raise _malformed("a tensor is not (key, storage, type)")
            storage = self._things.get(value[1])
            dimensions = int.from_bytes(tensors.take(8).read(0, 4), "little", signed=True)
            if not isinstance(storage, _Storage) or not 0 <= dimensions <= _MAX_DIMENSIONS:
                raise _malformed("a tensor is of a storage that there is not")
            size, stride = tensors.integers(dimensions), tensors.integers(dimensions)
            (offset,) = tensors.integers(1)
            count = storage.data.size // DTYPES[storage.dtype]
            tensor = _Tensor(value[1], count, offset, size, stride)
            if not _is_inside(tensor):
                raise _malformed("a tensor reaches beyond its storage")
            self._keep(value[0], tensor)
        if tensors.rest().size:
            raise _malformed("something follows the tensors")

    def _keep(self, key: int, thing: _Storage | _Tensor) -> None:
        if key in self._things:
            raise _malformed("a key is used twice")
        self._things[key] = thing

    def _named(self, pid: Any) -> Any:
        """``(class, file, source)``: the first use of a class."""
        return pid[0] if type(pid) is tuple and len(pid) == 3 and isinstance(pid[0], StandinType) else None

    def _check(self, program: Program) -> Iterator[Finding]:
        for use in program.uses:
            if use.kind is not Kind.PERSISTENT:
                continue
            pid = use.args[0]
            key = int(pid) if type(pid) is str and pid.isascii() and pid.isdigit() and len(pid) < 20 else pid
            if self._named(pid) is None and (type(key) is not int or key not in self._things):
                yield wrong("a persistent id is no storage and no tensor of this file", "pickle")
                return
            self._ids.append(None if self._named(pid) is not None else key)

    def rebuild(self, parts: Parts) -> Any:
        """The object that was saved."""
        ids = iter(self._ids)
        arrays = self._request.part.arrays == "numpy"

        def persistent_load(pid: Any) -> Any:
            key = next(ids)
            if key is None:
                return pid[0]
            return self._thing(key)

        index = next(number for number, stream in enumerate(self.streams) if stream.persistent)
        return parts.stream(index, persistent_load=persistent_load, substitutes=SUBSTITUTES if arrays else None)

    def _array(self, key: int) -> Any:
        thing = self._things[key]
        if isinstance(thing, _Storage):
            return storage_array(thing.data.view(0, thing.data.size), thing.dtype)
        return tensor_array(self._thing(thing.key), thing.offset, thing.size, thing.stride)

    def _torch(self, key: int) -> Any:
        torch = torch_module()
        thing = self._things[key]
        if isinstance(thing, _Storage):
            untyped = untyped_storage(thing.data.view(0, thing.data.size), thing.dtype, torch)
            return torch.storage.TypedStorage(wrap_storage=untyped, dtype=getattr(torch, thing.dtype), _internal=True)
        storage = self._thing(thing.key)
        untyped = storage._untyped_storage  # noqa: SLF001 - as torch.load does
        return torch.empty(0, dtype=storage.dtype).set_(untyped, thing.offset, thing.size, thing.stride)

    def _thing(self, key: int) -> Any:
        if key not in self._made:
            self._made[key] = self._array(key) if self._request.part.arrays == "numpy" else self._torch(key)
        return self._made[key]


def _storage(value: Any) -> tuple[int, str]:
    """Key and dtype of ``(key, location, class)``."""
    if type(value) is not tuple or len(value) != 3 or type(value[0]) is not int or type(value[1]) is not str:
        raise _malformed("a storage is not (key, location, class)")
    dtype = STORAGES.get(global_name(value[2]) or "")
    if dtype is None:
        raise _malformed("the class of a storage is no storage class")
    return value[0], dtype


def _is_inside(tensor: _Tensor) -> bool:
    numbers = (tensor.offset, *tensor.size, *tensor.stride)
    if not all(0 <= number < 1 << 62 for number in numbers) or tensor.offset > tensor.items:
        return False
    reach = sum((size - 1) * stride for size, stride in zip(tensor.size, tensor.stride, strict=True))
    return not all(tensor.size) or tensor.offset + reach < tensor.items


def _malformed(message: str) -> FormatError:
    return FormatError(f"the PyTorch file is malformed: {message}")
