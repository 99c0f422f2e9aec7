"""PyTorch checkpoints since 1.6: a zip archive with a pickle, and the bytes of every storage as a stored entry.

``root/data.pkl`` refers to ``root/data/KEY`` by persistent ids. The root is what the first entry of the archive is in, as in
PyTorch's own reader; a second root would be another archive to somebody else. An archive with ``constants.pkl`` is TorchScript:
``torch.load`` hands it to a compiler, so it is judged and never loaded.

Rules: ``data.pkl`` is loaded from the bytes that were judged; of storages only sizes are believed, and only if they are there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.base import Member, Stream
from safeload.formats.programs import program_finding
from safeload.formats.torch_storages import Storages, mapped, swaps, wrong
from safeload.formats.zip_reader import ZipReader, zip_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeload.formats.base import Parts, Split, SplitRequest
    from safeload.formats.zip_reader import ZipEntry
    from safeload.source.blob import Blob

__all__ = ["is_torch_zip", "split_zip"]

_STORAGE = re.compile(r"data/[0-9]+")
_NEWEST = 10  # version of the archive that PyTorch 2.13 reads at most (caffe2/serialize/versions.h)
_SMALL = 64
# Entries that PyTorch writes beside the pickle and the storages, and reads as they are here or not at all.
_KNOWN = frozenset(
    {"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id", ".data/version"}
)


def is_torch_zip(blob: Blob) -> bool:
    """Whether it is an archive whose first directory has a ``data.pkl``; never raises."""
    names = zip_names(blob)
    root = _root(names) if names else None
    if names is None or root is None:
        return False
    wanted = {f"{root}/data.pkl", f"{root}/constants.pkl"}
    return any(name.lower() in wanted for name in names)


def split_zip(blob: Blob, request: SplitRequest) -> Split:
    """The pickle, and whatever else is in the archive as members."""
    reader = ZipReader(blob, request.limits, budget=request.budget, fold_case=True)
    archive = _Archive(reader)
    if archive.find("constants.pkl") is not None:
        return _Script(archive)
    return _Checkpoint(archive, request)


def _root(names: Sequence[str]) -> str | None:
    root, slash, _ = names[0].partition("/")
    return root.lower() if slash else None


class _Archive:
    """The entries by the names that PyTorch knows them by: without the root, in lower case."""

    def __init__(self, reader: ZipReader) -> None:
        self.reader = reader
        root = _root([entry.name for entry in reader.entries]) or ""
        self.entries: dict[str, ZipEntry] = {}
        self.strangers: list[ZipEntry] = []
        for entry in reader.files:
            name = entry.name.lower()
            if name.startswith(f"{root}/"):
                self.entries[name[len(root) + 1 :]] = entry
            else:
                self.strangers.append(entry)

    def find(self, name: str) -> ZipEntry | None:
        return self.entries.get(name.lower())

    def open(self, entry: ZipEntry) -> Blob:
        """The bytes of an entry. Without a CRC it is as PyTorch writes it where sums are switched off."""
        return self.reader.open(entry, verify=entry.crc != 0)

    def note(self, name: str) -> bytes | None:
        """A short entry."""
        entry = self.find(name)
        if entry is None:
            return None
        if entry.size > _SMALL:
            raise FormatError(f"the entry {name!r} of the PyTorch archive is too long; nothing writes that")
        return self.open(entry).read(0, entry.size)

    def pickle(self, entry: ZipEntry, *, loading: bool) -> Blob:
        """A pickle; to be loaded, in private memory."""
        from safeload.source.blob import MemoryBlob

        blob = self.open(entry)
        return MemoryBlob(blob.read(0, entry.size)) if loading else blob


class _Checkpoint:
    container = "torch"

    def __init__(self, archive: _Archive, request: SplitRequest) -> None:
        self._archive = archive
        self._request = request
        pickle = archive.find("data.pkl")
        if pickle is None:
            raise FormatError("the PyTorch archive has no data.pkl")
        order = archive.note("byteorder") or b"little"
        self.findings = tuple(self._found(order))
        self._storages = Storages(request, pickle.name, self._size, self._read, swaps=swaps(order))
        blob = archive.pickle(pickle, loading=request.loading)
        self.streams = (Stream(pickle.name, blob, persistent=True, check=self._storages.check),)

    def _found(self, order: bytes) -> Iterator[Finding]:
        if order not in (b"little", b"big"):
            yield wrong("the PyTorch archive names a byte order that there is not")
        version = (self._archive.note("version") or self._archive.note(".data/version") or b"3").strip()
        if not version.isdigit() or int(version) > _NEWEST:
            yield wrong("the PyTorch archive is of a version that this safeload does not know")
        if self._archive.strangers:
            message = (
                "the archive has entries outside its first directory, which PyTorch does not see and others do; write it again "
                "with torch.save"
            )
            yield Finding("torch.two-roots", Severity.HIGH, message, verdict=Verdict.MALFORMED)
        program = program_finding(self._archive.entries)  # torch.export.load reads it, whatever else it is
        if program is not None:
            yield program

    @property
    def members(self) -> tuple[Member, ...]:
        """What nobody would look at: entries that are neither known nor a storage that the pickle has named."""
        named = {f"data/{key.lower()}" for key in self._storages.known}
        rest = [
            (name, entry)
            for name, entry in self._archive.entries.items()
            if name != "data.pkl" and name not in _KNOWN and name not in named and entry.size
        ]
        strangers = [("", entry) for entry in self._archive.strangers]
        return tuple(
            Member(entry.name, self._archive.open(entry), needed=False, raw=_STORAGE.fullmatch(name) is not None)
            for name, entry in [*rest, *strangers]
        )

    def _size(self, key: str) -> int | None:
        entry = self._archive.find(f"data/{key}")
        return None if entry is None else entry.size

    def _read(self, key: str, size: int) -> memoryview:
        entry = self._archive.find(f"data/{key}")
        assert entry is not None  # noqa: S101 - Storages.check has asked for its size
        if entry.method:
            return self._archive.reader.open(entry).view(0, size)
        # No CRC of array bytes: PyTorch does not look at it either, and it would double the time of a load.
        blob = self._archive.reader.blob
        return mapped(blob, entry.data, size) if self._request.part.mmap else blob.view(entry.data, size)

    def rebuild(self, parts: Parts) -> Any:
        """The object that was saved."""
        return self._storages.rebuild(parts, 0)


class _Script:
    """A TorchScript archive: its pickles are judged, and it is not loaded."""

    container = "torchscript"

    def __init__(self, archive: _Archive) -> None:
        self._archive = archive

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every pickle in the archive."""
        return tuple(
            Stream(entry.name, self._archive.open(entry), persistent=True)
            for name, entry in self._archive.entries.items()
            if name.endswith(".pkl")
        )

    @property
    def members(self) -> tuple[Member, ...]:
        """Entries that PyTorch does not know; code, constants and parameters are its own."""
        own = ("code/", "constants/", "data/", "extra/", "ts_code/", "debug_pkl/")
        rest = [
            entry
            for name, entry in self._archive.entries.items()
            if not name.endswith(".pkl") and not name.startswith(own) and name not in _KNOWN
        ]
        return tuple(
            Member(entry.name, self._archive.open(entry), needed=False) for entry in [*rest, *self._archive.strangers]
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        message = (
            "a TorchScript archive: a program, which torch.jit.load compiles and runs. safeload does not load it. Ask its author for a "
            "state dict (torch.save(model.state_dict(), ...)), or load it with torch.jit.load if you trust them like your own code"
        )
        return (Finding("torch.torchscript", Severity.MEDIUM, message),)

    def rebuild(self, parts: object) -> NoReturn:  # noqa: ARG002
        raise FormatError(self.findings[0].message, code="torch.torchscript")
