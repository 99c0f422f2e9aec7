"""PyTorch files before 1.6: five pickles, and behind them the bytes of the storages.

A magic number, a protocol version, facts about the machine, the object, and the keys of the storages in the order of their bytes.
Each storage is its number of items (8 bytes) and the items. ``torch.save(..., _use_new_zipfile_serialization=False)`` still
writes it, and pickled storages are such files.

Rules: nothing is left over between the pickles, the storages and the end; every storage that the object names is there once, with
the number of items that it names.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, SafeloadError, TruncatedError
from safeload.facts.torch_types import DTYPES
from safeload.formats.base import Stream
from safeload.formats.torch_storages import Storages, mapped, pickle_reader, wrong
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.findings import Finding
    from safeload.formats.base import Parts, SplitRequest
    from safeload.program import Program
    from safeload.source.blob import Blob

__all__ = ["LegacySplit"]

_PROTOCOL = 1001
_NAMES = ("magic number", "protocol version", "system information", "object", "storage keys")
_OBJECT = 3
_COUNT = 8


class LegacySplit:
    """The five pickles; see :class:`safeload.formats.base.Split`."""

    container = "torch"
    members = ()

    def __init__(self, blob: Blob, request: SplitRequest) -> None:
        reader = pickle_reader(request)
        self._blob = blob
        self.findings: tuple[Finding, ...] = ()
        pickles, complete = _pickles(blob, request)
        self._start = sum(pickle.size for pickle in pickles)
        self._keys: dict[str, None] = {}
        self._places: dict[str, int] = {}
        self._storages = Storages(request, _NAMES[_OBJECT], self._announced, self._read, views=True)
        self.streams = tuple(
            Stream(name, pickle)
            if number != _OBJECT
            else Stream(name, pickle, persistent=True, check=self._check, named=self._storages.named)
            for number, (name, pickle) in enumerate(zip(_NAMES, pickles, strict=False))
        )
        try:
            if not complete:
                raise TruncatedError("the PyTorch file ends, or is broken, before its storages begin")
            if reader.value(pickles[1]) != _PROTOCOL:
                raise FormatError("the PyTorch file is of a protocol that safeload does not know")
            self._keys = _checked_keys(reader.value(pickles[-1]))
        except SafeloadError as error:  # the pickles are judged all the same: a loader runs them before it notices
            self.findings = (wrong(str(error)),)

    def _announced(self, key: str) -> int | None:
        """All that follows the pickles, until :meth:`_locate` knows better."""
        return self._blob.size - self._start if key in self._keys else None

    def _check(self, program: Program) -> Iterator[Finding]:
        wrongs = list(self._storages.check(program))
        yield from wrongs
        if not wrongs:
            reason = self._locate()
            if reason is not None:
                yield wrong(reason, "storages")

    def _locate(self) -> str | None:
        """Find the bytes of every storage; why they are not there, if so."""
        known = self._storages.known
        if self._keys.keys() != known.keys():
            return "the storages that follow are not those that the object names"
        at = self._start
        for key in self._keys:
            storage = known[key]
            if at + _COUNT > self._blob.size:
                return "the file ends before its storages"
            count = int.from_bytes(self._blob.read(at, _COUNT), "little")
            if count != storage.numel:
                return f"a storage has {count:,} items, and {storage.numel:,} were announced"
            self._places[key] = at + _COUNT
            at += _COUNT + count * DTYPES[storage.dtype]
        if at != self._blob.size:
            return "the file ends before its storages, or something follows them"
        return None

    def _read(self, key: str, size: int) -> memoryview:
        if self._storages.request.part.mmap:
            return mapped(self._blob, self._places[key], size)
        return self._blob.view(self._places[key], size)

    def rebuild(self, parts: Parts) -> Any:
        """The object that was saved."""
        return self._storages.rebuild(parts, _OBJECT)


def _pickles(blob: Blob, request: SplitRequest) -> tuple[list[Blob], bool]:
    """The pickles, and whether all are there; one that is broken goes to the end of the file."""
    reader, ends, complete = pickle_reader(request), [0], True
    while len(ends) <= len(_NAMES) and complete:
        try:
            ends.append(ends[-1] + reader.size(blob, ends[-1]))
        except SafeloadError:
            ends.append(blob.size)
            complete = False
    # What is loaded later is what is judged now.
    head = MemoryBlob(blob.read(0, ends[-1])) if request.loading and complete else blob.slice(0, ends[-1])
    return [head.slice(start, end - start) for start, end in itertools.pairwise(ends) if end > start], complete


def _checked_keys(keys: Any) -> dict[str, None]:
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        raise FormatError("the PyTorch file's list of storages is malformed")
    return dict.fromkeys(keys)
