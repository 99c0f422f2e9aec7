"""Zip archives, read so that no other reader sees anything else in them.

Rules: local headers, central directory and data descriptors agree; entries lie one behind the other from the first byte to the
directory, without gaps and without overlaps; names are unique. Bytes are given out after their CRC was checked, unless the
caller says that it only looks (CVE-2025-1944, CVE-2025-1945, CVE-2025-10156 were scanners that saw other entries than the loader).

Nothing is ever written to disk, and a name is never a path.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import weakref
import zlib
from typing import TYPE_CHECKING

from safeload.errors import FormatError, SafeloadError, TruncatedError
from safeload.formats.detect import is_tar, is_zip, looks_like_pickle_head
from safeload.formats.tar_reader import read_tar
from safeload.formats.zip_directory import (
    DESCRIPTOR,
    Directory,
    ZipEntry,
    disagree,
    extra_fields,
    find_directory,
    looked_for,
    read_entries,
    wide_sizes,
)
from safeload.formats.zip_methods import METHODS, unpacked, unpacked_pieces
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.source.blob import Blob, MemoryBlob
from safeload.source.spill import Spill
from safeload.source.unpacking import Budget, LazyBlob, check_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ZipEntry", "ZipReader", "has_zip_behind", "zip_names"]

_LOCAL = b"PK\x03\x04"
_EMPTY = b"PK\x05\x06"
_LOCAL_RECORD = struct.Struct("<4s5H3L2H")
# Sizes of a data descriptor, by whether it is signed and how wide its sizes are.
_DESCRIPTORS = {12: "<3L", 16: "<4x3L", 20: "<L2Q", 24: "<4xL2Q"}
_DESCRIPTOR = b"PK\x07\x08"


def zip_names(blob: Blob) -> tuple[str, ...] | None:
    """The names in the archive, for :meth:`Format.recognise`; ``None`` if it is no zip archive that could be loaded.

    Only the central directory is read, and once for each blob. Never raises.
    """
    if not is_zip(blob):
        return None
    try:
        return tuple(entry.name for entry in _directory(blob, DEFAULT_LIMITS))
    except (SafeloadError, OSError, MemoryError):
        return None


def has_zip_behind(blob: Blob) -> bool:
    """Whether a zip archive ends where ``blob`` ends, with something else in front: some programs would read the archive.

    Python's ``zipfile`` takes the last end record in the file's last 64 KiB, whatever follows it. A pickle whose data end like an archive
    is a pickle: no reader looks for one there.
    """
    head = blob.head(4)
    if head in (_LOCAL, _EMPTY) or looks_like_pickle_head(head):
        return False
    with contextlib.suppress(SafeloadError, OSError):
        found = find_directory(blob)
        if found is not None and not found.announced:
            return True
    with contextlib.suppress(SafeloadError, OSError):
        return any(not _is_member(blob, start, end) for start, end in looked_for(blob))
    return False


def _is_member(blob: Blob, start: int, end: int) -> bool:
    """Whether these bytes lie in one file of a tar archive, which is examined for itself."""
    return is_tar(blob) and any(
        entry.data <= start and end <= entry.data + entry.size for entry in read_tar(blob, DEFAULT_LIMITS)
    )


_known: weakref.WeakKeyDictionary[Blob, tuple[Directory, list[ZipEntry]]] = weakref.WeakKeyDictionary()


def _directory(blob: Blob, limits: Limits) -> list[ZipEntry]:
    known = _known.get(blob)
    if known is None or known[0].announced > limits.max_members:
        found = find_directory(blob)
        if found is None:
            raise TruncatedError(
                "the zip archive has no end: it is incomplete, or more bytes follow it; fetch it again"
            )
        if found.prefix:
            disagree("something precedes it, or bytes are missing at its start")
        known = _known[blob] = found, read_entries(blob, found, limits)
    return known[1]


class ZipReader:
    """An archive whose structure was checked.

    Args:
        blob: all of it.
        limits: bounds. budget: what is left of ``max_unpacked_bytes`` (``SplitRequest.budget``).
        fold_case: names that differ in case only are the same to the program that loads it (PyTorch).

    Raises:
        FormatError: it is broken, encrypted, or readers would see different entries.
        LimitExceededError: it has too many entries.
    """

    def __init__(
        self,
        blob: Blob,
        limits: Limits = DEFAULT_LIMITS,
        *,
        budget: Budget | None = None,
        fold_case: bool = False,
    ) -> None:
        self.blob = blob
        self.limits = limits
        self.budget = budget or Budget(limits)
        self._admitted: set[int] = set()
        entries = _directory(blob, limits)
        end = _known[blob][0].offset
        self.entries: tuple[ZipEntry, ...] = _checked(blob, entries, end)
        _unique(self.entries, fold_case=fold_case)
        self.by_name: Mapping[str, ZipEntry] = {entry.name: entry for entry in self.entries}

    @property
    def files(self) -> tuple[ZipEntry, ...]:
        """The entries that are no directories."""
        return tuple(entry for entry in self.entries if not entry.is_directory)

    def open(self, entry: ZipEntry, *, verify: bool = True) -> Blob:
        """The bytes of an entry: a part of the archive if it is stored, otherwise unpacked when they are first looked at.

        Args:
            entry: one of :attr:`entries`.
            verify: check the CRC: of a stored entry now, which reads all of it, of a compressed one when it is unpacked. Without it
                the bytes are for a scan, or for :meth:`view` later.

        Raises:
            FormatError: wrong CRC, or a method that is not read.
            LimitExceededError: it unpacks to too much.
        """
        packed = self.blob.slice(entry.data, entry.packed)
        if entry.method:
            self._admit(entry)
            return LazyBlob(entry.size, lambda: _unpack(entry, packed, self.budget.memory, verify=verify), self.budget)
        if verify:
            self.verify(entry)
        return packed

    def verify(self, entry: ZipEntry, known: Blob | None = None) -> None:
        """Check size and CRC of an entry a piece at a time, whatever its size; ``known``: its bytes if they were read already.

        Raises:
            FormatError: as :meth:`open`. A :class:`LimitExceededError`: too.
        """
        if entry.method and entry.method not in METHODS:
            self._admit(entry)
        if known is not None and type(known) is not LazyBlob:
            pieces: Iterable[bytes | memoryview] = known.chunks()
        elif entry.method:
            self._admit(entry)
            pieces = unpacked_pieces(self.blob.slice(entry.data, entry.packed), entry)
        else:
            pieces = self.blob.slice(entry.data, entry.packed).chunks()
        crc = 0
        for chunk in pieces:
            crc = zlib.crc32(chunk, crc)
        _check_crc(crc, entry)

    def view(self, entry: ZipEntry) -> memoryview:
        """The bytes of an entry in memory (see :meth:`Blob.view`), CRC checked: what was checked is what is used."""
        if entry.method:
            return self.open(entry).view(0, entry.size)
        memory = self.blob.view(entry.data, entry.packed)
        _check_crc(zlib.crc32(memory), entry)
        return memory

    def read(self, entry: ZipEntry) -> bytes:
        """The bytes of an entry, CRC checked: for pickles and metadata, which are kept as they were judged."""
        if entry.method:
            return self.open(entry).read(0, entry.size)
        data = self.blob.read(entry.data, entry.packed)
        _check_crc(zlib.crc32(data), entry)
        return data

    def private(self, entry: ZipEntry) -> Blob:
        """:meth:`read` as a blob."""
        blob = MemoryBlob(self.read(entry))
        blob.budget = self.budget if entry.method else self.blob.budget
        return blob

    def _admit(self, entry: ZipEntry) -> None:
        """Whether a compressed entry may be unpacked; counted once."""
        if entry.header in self._admitted:
            return
        if entry.method not in METHODS:
            raise FormatError(
                f"an entry of the zip archive is compressed by method {entry.method}, which safeload does not unpack; write it "
                "again with another method",
                code="format.unsupported",
            )
        check_ratio(entry.size, entry.packed, self.limits)
        self.budget.spend(entry.size)
        self._admitted.add(entry.header)


def _unpack(entry: ZipEntry, packed: Blob, memory: int | None, *, verify: bool) -> Blob:
    crc = 0
    if memory is None or entry.size <= memory:
        data = unpacked(packed, entry)
        crc = zlib.crc32(data) if verify else entry.crc
        blob: Blob = MemoryBlob(data)
    else:
        spill = Spill(memory)
        for piece in unpacked_pieces(packed, entry):
            crc = zlib.crc32(piece, crc)
            spill.write(piece)
        blob = spill.blob()
    if verify:
        _check_crc(crc, entry)
    return blob


def _check_crc(crc: int, entry: ZipEntry) -> None:
    if crc != entry.crc:
        raise FormatError(
            "the CRC of an entry of the zip archive is wrong: it was damaged or changed; fetch it again",
            code="format.crc",
        )


def _unique(entries: tuple[ZipEntry, ...], *, fold_case: bool) -> None:
    seen = set()
    for entry in entries:
        name = entry.name.replace("\\", "/")  # as zipfile does on Windows
        name = name.lower() if fold_case else name
        if name in seen:
            disagree("two entries have the same name")
        seen.add(name)


def _checked(blob: Blob, entries: list[ZipEntry], end: int) -> tuple[ZipEntry, ...]:
    """The entries with the place of their data, if they fill the archive from its start to ``end`` in some order."""
    order = sorted(range(len(entries)), key=lambda number: entries[number].header)
    starts = [entries[number].header for number in order]
    if (starts or [end])[0] != 0:
        disagree("bytes that belong to no entry precede the first one")
    located: dict[int, ZipEntry] = {}
    for number, (start, limit) in zip(order, itertools.pairwise([*starts, end]), strict=True):
        located[number] = _local(blob, entries[number], start, limit)
    return tuple(located[number] for number in range(len(entries)))


def _local(blob: Blob, entry: ZipEntry, start: int, limit: int) -> ZipEntry:
    """``entry`` with its data located, if its local header says the same as the directory, and nothing is left up to ``limit``."""
    if start + _LOCAL_RECORD.size > limit:
        disagree("two entries overlap")
    head = blob.read(start, min(limit - start, _LOCAL_RECORD.size + len(entry.raw_name) + 64))
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL_RECORD.unpack_from(head)
    data = start + _LOCAL_RECORD.size + name_size + extra_size
    if magic != _LOCAL or data + entry.packed > limit:
        disagree("an entry is damaged, or overlaps the next one")
    if data - start > len(head):
        head = blob.read(start, data - start)
    name_end = _LOCAL_RECORD.size + name_size
    if head[_LOCAL_RECORD.size : name_end] != entry.raw_name:
        disagree("an entry has one name in its header and another one in the directory")
    if flags != entry.flags or method != entry.method:
        disagree("an entry's header and the directory say different things")
    extra = extra_fields(head[name_end : data - start], entry.raw_name)
    size, packed = wide_sizes(extra, (size, packed))
    _check_local_sizes(entry, (crc, packed, size))
    _check_descriptor(blob, entry, data + entry.packed, limit)
    return entry._replace(data=data)


def _check_local_sizes(entry: ZipEntry, found: tuple[int, int, int]) -> None:
    """With a data descriptor the header need not know yet; what it says has to be true all the same."""
    expected = (entry.crc, entry.packed, entry.size)
    unknown = entry.flags & DESCRIPTOR
    if any(local != known and not (unknown and not local) for local, known in zip(found, expected, strict=True)):
        disagree("an entry's header and the directory announce different sizes or sums")


def _check_descriptor(blob: Blob, entry: ZipEntry, at: int, limit: int) -> None:
    left = limit - at
    if not entry.flags & DESCRIPTOR:
        if left:
            disagree("bytes that belong to no entry follow one")
        return
    form = _DESCRIPTORS.get(left)
    if form is None:
        disagree("an entry's data descriptor is missing, or more follows it")
    record = blob.read(at, left)
    if (left in (16, 24)) and record[:4] != _DESCRIPTOR:
        disagree("an entry's data descriptor is damaged")
    if struct.unpack(form, record) != (entry.crc, entry.packed, entry.size):
        disagree("an entry's data descriptor and the directory announce different sizes or sums")
