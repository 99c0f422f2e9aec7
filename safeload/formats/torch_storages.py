"""The storages of a PyTorch file: what persistent ids may say of them, and their bytes as tensors or as NumPy arrays.

Ids are checked in the trace, in the order in which the stream uses them, and the load answers in that order: an id is never
looked at again. Rule: a storage exists, is named by one class, and has as many bytes as the ids say; every view of it is inside.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LoadError
from safeload.facts.torch_types import DTYPES, storage_of
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.torch_arrays import SUBSTITUTES, storage_array
from safeload.program import Kind, StandinType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeload.facts.torch_types import StorageId
    from safeload.formats.base import Parts, PickleReader, SplitRequest
    from safeload.program import Program
    from safeload.source.blob import Blob

__all__ = ["Storages", "mapped", "needs_torch", "pickle_reader", "swaps", "torch_module", "untyped_storage", "wrong"]

_MAPPED_FROM = 1 << 16
# Bytes that are swapped together; of a complex number each half by itself.
_UNITS = {"complex128": 8, "complex64": 4, "complex32": 2, "chalf": 2, "cfloat": 4, "cdouble": 8}


def wrong(message: str, location: str = "") -> Finding:
    """What is wrong with a file of tensors."""
    return Finding("torch.storage", Severity.HIGH, message, location, verdict=Verdict.MALFORMED)


def torch_module() -> Any:
    """PyTorch.

    Raises:
        FormatError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise needs_torch() from error
    return torch


def pickle_reader(request: SplitRequest) -> PickleReader:
    """What looks at pickles for the format; whoever examines artifacts sets it."""
    if request.pickles is None:
        raise TypeError("SplitRequest.pickles is not set")
    return request.pickles


def needs_torch() -> FormatError:
    """The error for tensors where there is no PyTorch."""
    return FormatError(
        "the file holds tensors, and PyTorch is not installed; pip install 'safeload[torch]', or load NumPy arrays with "
        "arrays='numpy'",
        code="format.missing-extra",
    )


class Storages:
    """The storages of one stream of a file.

    Args:
        request: how the file is read.
        location: of the stream, for findings.
        size: the bytes of a storage by its key; ``None`` if there is no such storage.
        read: exactly that many bytes of a storage.
        swaps: the bytes of numbers are in the order of another machine.
        views: ids may name a part of a storage, and classes (files before 1.6).
    """

    def __init__(
        self,
        request: SplitRequest,
        location: str,
        size: Callable[[str], int | None],
        read: Callable[[str, int], memoryview],
        *,
        swaps: bool = False,
        views: bool = False,
    ) -> None:
        self.request = request
        self.location = location
        self.known: dict[str, StorageId] = {}
        self._size = size
        self._read = read
        self._swaps = swaps
        self._views = views
        self._ids: list[StorageId | None] = []
        self._made: dict[tuple[str, str], Any] = {}
        self._uses_torch = False

    def named(self, pid: Any) -> Any:
        """The class in ``("module", class, file, source)``, which files before 1.6 have for the first use of a class."""
        if self._views and type(pid) is tuple and len(pid) == 4 and pid[0] == "module":
            return pid[1] if isinstance(pid[1], StandinType) else None
        return None

    def check(self, program: Program) -> Iterator[Finding]:
        """What is wrong with the persistent ids of the stream."""
        self._uses_torch = any(name.startswith("torch.") for name in program.globals)
        for use in program.uses:
            if use.kind is Kind.PERSISTENT:
                reason = self._check_id(use.args[0])
                if reason is not None:
                    yield wrong(f"a persistent id is no storage of this file: {reason}", self.location)
                    return
        if self.request.part.arrays == "numpy" and self.request.loading:
            yield from self._without_torch(program)

    def _check_id(self, pid: Any) -> str | None:
        if self.named(pid) is not None:
            self._ids.append(None)
            return None
        storage = storage_of(pid)
        if storage is None or (not self._views and len(pid) != 5):
            return 'it is not ("storage", storage class, key, location, number of items)'
        earlier = self.known.setdefault(storage.key, storage)
        if (earlier.dtype, earlier.numel) != (storage.dtype, storage.numel):
            return "the same storage is named with another class or number of items"
        size = self._size(storage.key)
        if size is None:
            return "the file has no such storage"
        if storage.nbytes > size:
            return f"it has {size:,} bytes, and {storage.numel:,} items of {storage.dtype} were announced"
        self._ids.append(storage)
        return None

    def _without_torch(self, program: Program) -> Iterator[Finding]:
        for name in program.globals:
            if name.startswith("torch.") and name not in SUBSTITUTES:
                message = f"{name} has no counterpart in NumPy; load the file with PyTorch, without arrays='numpy'"
                yield Finding("torch.no-array", Severity.LOW, message, self.location, name)

    def rebuild(self, parts: Parts, index: int) -> Any:
        """The object of the stream, with its tensors."""
        if self.request.part.arrays == "numpy":
            return parts.stream(index, persistent_load=self._answers(self._array), substitutes=SUBSTITUTES)
        if self._ids or self._uses_torch:
            torch_module()
        return parts.stream(index, persistent_load=self._answers(self._tensor))

    def _answers(self, make: Callable[[StorageId], Any]) -> Callable[[Any], Any]:
        ids = iter(self._ids)

        def persistent_load(pid: Any) -> Any:
            storage = next(ids, self)
            if storage is None:
                return pid[1]
            if storage is self:
                raise LoadError("the pickle has more persistent ids than were judged")
            return make(storage)  # type: ignore[arg-type]

        return persistent_load

    def _array(self, storage: StorageId) -> Any:
        made = self._made.get((storage.key, storage.view))
        if made is None:
            if not storage.view:
                made = storage_array(self._bytes(storage), storage.dtype)
            else:
                whole = self._array(self.known[storage.key]._replace(view="", start=0, items=storage.numel))
                made = whole[storage.start : storage.start + storage.items]
            self._made[storage.key, storage.view] = made
        return made

    def _tensor(self, storage: StorageId) -> Any:
        """A ``TypedStorage``, as ``torch.load`` gives to the functions that make tensors."""
        made = self._made.get((storage.key, storage.view))
        if made is None:
            torch = torch_module()
            if not storage.view:
                untyped = untyped_storage(self._bytes(storage), storage.dtype, torch)
            else:
                item = DTYPES[storage.dtype]
                whole = self._tensor(self.known[storage.key]._replace(view="", start=0, items=storage.numel))
                untyped = whole._untyped_storage[storage.start * item : (storage.start + storage.items) * item]  # noqa: SLF001
            dtype = getattr(torch, storage.dtype)
            made = torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)
            self._made[storage.key, storage.view] = made
        return made

    def _bytes(self, storage: StorageId) -> memoryview:
        """The bytes of a whole storage, in memory that nobody else writes to."""
        memory = self._read(storage.key, storage.nbytes)
        if memory.readonly:
            memory = memoryview(bytearray(memory))
        unit = _UNITS.get(storage.dtype, DTYPES[storage.dtype])
        if self._swaps and unit > 1:
            import numpy as np

            np.frombuffer(memory, f"u{unit}").byteswap(inplace=True)
        return memory


def mapped(blob: Blob, offset: int, size: int) -> memoryview:
    """Bytes of a file in a private mapping, which is read when it is used; a process may have some 65,000 of them."""
    return blob.mapped(offset, size) if size >= _MAPPED_FROM else blob.view(offset, size)


def untyped_storage(memory: memoryview, dtype: str, torch: Any) -> Any:
    """``memory``, which is writable, as a storage of PyTorch for items of ``dtype``; it keeps the memory."""
    if not memory.nbytes:
        return torch.UntypedStorage(0)
    flat = torch.frombuffer(memory, dtype=torch.uint8)
    if flat.data_ptr() % _UNITS.get(dtype, DTYPES[dtype]):  # C++ code takes its items to be aligned
        flat = flat.clone()
    return flat.untyped_storage()


def swaps(order: bytes) -> bool:
    """Whether numbers in the order that a file names, ``b"little"`` or ``b"big"``, have to be swapped here."""
    return order == (b"big" if sys.byteorder == "little" else b"little")
