"""What a zip archive says about itself: the end record and the central directory, read strictly.

Readers find the end record in different ways, repair offsets or do not, count entries or do not, and believe one of two sets of
sizes. Rule: a directory is accepted only where all of them come to the same entries; what would need a repair is refused.

The format: PKWARE APPNOTE 6.3.10. The readers: CPython's ``zipfile``, miniz (in PyTorch), Info-ZIP, libarchive.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from safeload.errors import FormatError, LimitExceededError

if TYPE_CHECKING:
    from safeload.limits import Limits
    from safeload.source.blob import Blob

__all__ = [
    "Directory",
    "ZipEntry",
    "disagree",
    "extra_fields",
    "find_directory",
    "looked_for",
    "read_entries",
    "wide_sizes",
]

_END, _END64, _LOCATOR, _CENTRAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_END_RECORD = struct.Struct("<4s4H2LH")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_RECORD = struct.Struct("<4sLQL")
_CENTRAL_RECORD = struct.Struct("<4s6H3L5H2L")
_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64, _UNICODE_NAME = 0x0001, 0x7075

# Bits of the flags. 1 and 2 are how hard a deflater tried; nothing else may be set.
ENCRYPTED, DESCRIPTOR, UTF8 = 1, 1 << 3, 1 << 11
_KNOWN_FLAGS = DESCRIPTOR | UTF8 | 6


class ZipEntry(NamedTuple):
    """One file in an archive, as every reader sees it.

    Attributes:
        name: as the archive spells it; never used as a path.
        size, packed: bytes unpacked and in the archive. method: 0 stored, 8 deflated ...
        header, data: where its local header and its bytes begin. raw_name: the bytes of the name.
    """

    name: str
    size: int
    packed: int
    method: int
    crc: int
    flags: int
    header: int
    raw_name: bytes
    data: int = -1

    @property
    def is_directory(self) -> bool:
        """Whether it stands for a directory."""
        return self.name.endswith("/")


class Directory(NamedTuple):
    """Where the central directory is, how many entries it announces, and how many bytes precede the archive."""

    offset: int
    size: int
    announced: int
    prefix: int


def disagree(what: str) -> NoReturn:
    """Refuse an archive that readers would understand differently."""
    raise FormatError(
        f"the zip archive is not well-formed: {what}. Programs would read different things from it; write it again",
        code="format.zip",
    )


def find_directory(blob: Blob) -> Directory | None:
    """The directory that the end of ``blob`` points to; ``None`` if no zip archive ends there.

    Raises:
        FormatError: there is an end record, and readers would find different directories.
    """
    tail = blob.tail(_END_RECORD.size + _COMMENT)
    at = tail.rfind(_END)
    if at < 0 or not _ends(tail, at):
        return None
    if any(_ends(tail, other) for other in _occurrences(tail[:at])):
        disagree("it has two ends")
    _, disk, first, here, count, size, offset, _ = _END_RECORD.unpack_from(tail, at)
    end = blob.size - len(tail) + at
    here, count, size, offset, end = _widened(blob, end, (here, count, size, offset))
    if disk or first or here != count:
        disagree("it is one of several parts")
    prefix = end - size - offset
    if prefix < 0:
        disagree("its directory lies outside")
    return Directory(offset + prefix, size, count, prefix)


def looked_for(blob: Blob) -> list[tuple[int, int]]:
    """Where ``zipfile`` would find archives with entries, however little the rest of them fits together: each from byte to byte.

    It takes the last end record in the last 64 KiB, whatever follows it, and a zip64 record only where that is well-formed.
    """
    tail = blob.tail(_END_RECORD.size + _COMMENT)
    at = tail.rfind(_END)
    if at < 0 or at + _END_RECORD.size > len(tail):
        return []
    _, _, _, here, count, size, offset, _ = _END_RECORD.unpack_from(tail, at)
    end = blob.size - len(tail) + at
    found = [(count, size, offset, end)]
    with contextlib.suppress(FormatError):
        found.append(_widened(blob, end, (here, count, size, offset))[1:])
    return [
        (behind - size - offset, end + _END_RECORD.size)
        for count, size, offset, behind in found
        if count and behind - size >= 0 and blob.read(behind - size, min(4, size)) == _CENTRAL
    ]


def _occurrences(tail: bytes) -> list[int]:
    found, at = [], tail.find(_END)
    while at >= 0:
        found.append(at)
        at = tail.find(_END, at + 1)
    return found


def _ends(tail: bytes, at: int) -> bool:
    """Whether an end record at ``at``, with its comment, reaches exactly the end."""
    return at + _END_RECORD.size <= len(tail) and at + _END_RECORD.size + int.from_bytes(
        tail[at + 20 : at + 22], "little"
    ) == len(tail)


def _widened(blob: Blob, end: int, values: tuple[int, int, int, int]) -> tuple[int, int, int, int, int]:
    """Counts, size and offset with the zip64 record applied if there is one, and where the directory has to end."""
    full = (_FULL16, _FULL16, _FULL32, _FULL32)
    locator = end - _LOCATOR_RECORD.size
    if locator < 0 or blob.read(locator, 4) != _LOCATOR:
        if _FULL16 in values[:2] or _FULL32 in values[2:]:
            disagree("its zip64 record is missing")
        return *values, end
    record = locator - _END64_RECORD.size
    if record < 0:
        disagree("its zip64 record lies outside")
    _, disk, where, disks = _LOCATOR_RECORD.unpack(blob.read(locator, _LOCATOR_RECORD.size))
    magic, rest, _, _, this, first, *wide = _END64_RECORD.unpack(blob.read(record, _END64_RECORD.size))
    if magic != _END64 or rest != _END64_RECORD.size - 12 or disk or this or first or disks > 1:
        disagree("its zip64 record is not where it has to be")
    if where != record:
        disagree("its zip64 record is announced at another place")
    for narrow, wider, saturated in zip(values, wide, full, strict=True):
        if narrow not in (wider, saturated):
            disagree("its two end records differ")
    return wide[0], wide[1], wide[2], wide[3], record


def read_entries(blob: Blob, directory: Directory, limits: Limits) -> list[ZipEntry]:
    """The entries, with ``data`` still unknown.

    Raises:
        FormatError: readers would see different ones.
        LimitExceededError: there are too many.
    """
    if directory.announced > limits.max_members:
        raise LimitExceededError(
            f"the archive has {directory.announced:,} entries, over the limit max_members={limits.max_members:,}; raise "
            "Limits(max_members=...)",
            code="limit.members",
            stage="read",
        )
    if directory.size < directory.announced * _CENTRAL_RECORD.size:
        disagree("its directory is too small for its entries")
    if directory.size > directory.announced * (_CENTRAL_RECORD.size + 3 * _FULL16):
        disagree("its directory is too large for its entries")
    data = blob.read(directory.offset, directory.size)
    entries, at = [], 0
    for _ in range(directory.announced):
        entry, at = _entry(data, at)
        entries.append(entry)
    if at != len(data):
        disagree("its directory has more entries than it announces")
    return entries


def _entry(data: bytes, at: int) -> tuple[ZipEntry, int]:
    if len(data) - at < _CENTRAL_RECORD.size:
        disagree("its directory has fewer entries than it announces")
    fields = _CENTRAL_RECORD.unpack_from(data, at)
    magic, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, disk, _, _, header = (
        fields
    )
    end = at + _CENTRAL_RECORD.size + name_size + extra_size + comment_size
    if magic != _CENTRAL or end > len(data):
        disagree("its directory is damaged")
    start = at + _CENTRAL_RECORD.size
    raw = data[start : start + name_size]
    name = _name(raw, flags)
    extra = extra_fields(data[start + name_size : start + name_size + extra_size], raw)
    size, packed, header = wide_sizes(extra, (size, packed, header))
    if disk:
        disagree("it is one of several parts")
    if flags & ENCRYPTED:
        raise FormatError(
            "the zip archive, or its directory, says that entries are encrypted; safeload does not decrypt them. Unpack it "
            "with the program that made it",
            code="format.encrypted",
        )
    if flags & ~_KNOWN_FLAGS:
        disagree("an entry has flags that readers understand differently")
    if method == 0 and size != packed:
        disagree("an entry that is stored has two sizes")
    return ZipEntry(name, size, packed, method, crc, flags, header, raw), end


def _name(raw: bytes, flags: int) -> str:
    if not raw or b"\0" in raw:
        disagree("an entry's name is empty or has a zero byte")
    try:
        return raw.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        disagree("an entry's name is not in the encoding that it announces")


def extra_fields(extra: bytes, raw_name: bytes) -> bytes | None:
    """The zip64 field of a header's extra fields, ``None`` if there is none.

    Raises:
        FormatError: the fields are broken, or one gives the entry another name.
    """
    found, at = None, 0
    while len(extra) - at >= 4:
        kind, size = struct.unpack_from("<2H", extra, at)
        value = extra[at + 4 : at + 4 + size]
        if len(value) != size:
            disagree("an entry's extra fields are damaged")
        if kind == _ZIP64:
            if found is not None:
                disagree("an entry has two zip64 fields")
            found = value
        # Some readers take this name, some the other.
        if kind == _UNICODE_NAME and value[5:] != raw_name:
            disagree("an entry has two names")
        at += 4 + size
    return found


def wide_sizes(wide: bytes | None, values: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of a header with its zip64 field applied.

    Raises:
        FormatError: the field does not hold what the header leaves to it.
    """
    if wide is None:
        if _FULL32 in values:
            disagree("an entry's zip64 field is missing")
        return values
    missing = values.count(_FULL32)
    if len(wide) in (8 * missing, 8 * missing + 4) and not any(wide[8 * missing :]):
        found = iter(struct.unpack_from(f"<{missing}Q", wide))
        return tuple(next(found) if value == _FULL32 else value for value in values)
    # Some writers repeat what fits.
    if len(wide) in (16, 24, 28) and not any(wide[24:]):
        given = struct.unpack_from(f"<{min(len(wide) // 8, len(values))}Q", wide)
        merged = (*given, *values[len(given) :])
        if all(old in (new, _FULL32) for old, new in zip(values, merged, strict=True)):
            return merged
    disagree("an entry's zip64 field has the wrong size")
