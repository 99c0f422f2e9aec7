"""Tar archives (ustar, pax, GNU), read strictly, and never extracted.

Names are text: nothing is written anywhere, a link is never followed, a device is nothing. Rules: every header's sum holds, its numbers
are plain octal or base 256, sizes belong only to files, and after the end there are zeros only. A sparse file, whose bytes are not
what the archive holds, is refused, as is every type that readers understand differently.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from safeload.errors import FormatError, LimitExceededError, TruncatedError
from safeload.formats.detect import tar_sum_holds

if TYPE_CHECKING:
    from safeload.limits import Limits
    from safeload.source.blob import Blob

__all__ = ["TarEntry", "read_tar"]

_BLOCK = 512
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,9}) ([^=\n]+)=")
_FILE = frozenset(b"0\x007")
_NOTHING = frozenset(b"123456")  # links, devices, directories, pipes: no bytes
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = _EXTENSIONS = b"LKxg"
_MAX_EXTENSION = 1 << 20
_NEGATIVE = 0xFF
# Mode, owner, group, time and device.
_NUMBERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
# What a pax record says about a file's bytes and name; one for all files would be read differently.
_TELLING = frozenset({b"path", b"size", b"linkpath"})


class TarEntry(NamedTuple):
    """A file in an archive: ``name`` as the archive spells it, and where its bytes are."""

    name: str
    data: int
    size: int


class _Pending(NamedTuple):
    """What extension headers say about the next file."""

    name: bytes | None = None
    size: int | None = None
    announced: bool = False  # that there is one


def read_tar(blob: Blob, limits: Limits, *, others: bool = True) -> list[TarEntry]:
    """The files in the archive, in order.

    Args:
        blob: all of it.
        limits: bounds.
        others: it may hold links and directories as well, which are left out. A program that takes a file by its name follows
            a link of that name.

    Raises:
        FormatError: it is damaged, or readers would see different files.
        LimitExceededError: it has too many entries.
    """
    entries: list[TarEntry] = []
    pending, offset = _Pending(), 0
    for _ in range(limits.max_members):
        if offset + _BLOCK > blob.size:
            raise TruncatedError("the tar archive ends before its end mark; it is incomplete, fetch it again")
        block = blob.read(offset, _BLOCK)
        if not any(block):
            _check_end(blob, offset, pending)
            return entries
        known = len(entries)
        extends = block[156] in _EXTENSIONS
        offset, pending = _entry(blob, block, offset + _BLOCK, pending, entries)
        if not others and not extends and len(entries) == known:
            _refuse("it holds something that is no file")
    raise LimitExceededError(
        f"the tar archive has more than max_members={limits.max_members:,} entries; raise Limits(max_members=...)",
        code="limit.members",
        stage="read",
    )


def _refuse(what: str) -> NoReturn:
    raise FormatError(f"the tar archive is not well-formed: {what}; write it again", code="format.tar")


def _check_end(blob: Blob, offset: int, pending: _Pending) -> None:
    if pending.announced:
        _refuse("the last header belongs to no file")
    if any(any(chunk) for chunk in blob.slice(offset, blob.size - offset).chunks()):
        _refuse("something follows its end")


def _entry(blob: Blob, block: bytes, data: int, pending: _Pending, entries: list[TarEntry]) -> tuple[int, _Pending]:
    """Take in the entry with the header ``block``; where the next one begins, and what is known of it."""
    size = _checked_size(block)
    kind = block[156]
    if kind in _EXTENSIONS:
        if size > _MAX_EXTENSION:
            _refuse("a name, or what else a header holds, is too long")
        end = _next(blob, data, size)
        if kind == _LONG_NAME and len(_text(blob.read(data, end - data))) > size:
            _refuse("a long name goes on behind its end")
        return end, _extended(blob.read(data, size), kind, pending)._replace(announced=True)
    if pending.size is not None:
        size = pending.size
    if kind in _NOTHING:
        if size:
            _refuse("an entry that has no bytes announces some")
        return data, _Pending()
    if kind not in _FILE:
        sparse = "a sparse file" if kind == ord("S") else "of a type that readers understand differently"
        _refuse(f"an entry is {sparse}")
    end = _next(blob, data, size)
    entries += _file(pending.name if pending.name is not None else _name(block), data, size)
    return end, _Pending()


def _checked_size(block: bytes) -> int:
    """The size in a header, all of whose numbers are ones: some readers stop at a header that has a wrong one."""
    if not tar_sum_holds(block):
        _refuse("the sum of a header is wrong")
    for start, end in _NUMBERS:
        if block[start] != _NEGATIVE:
            _number(block[start:end])
    return _number(block[124:136])


def _file(name: bytes, data: int, size: int) -> list[TarEntry]:
    if not name:
        _refuse("a file has no name")
    if not name.endswith(b"/"):
        return [TarEntry(name.decode("utf-8", "surrogateescape"), data, size)]
    if size:
        _refuse("a directory has bytes")
    return []


def _next(blob: Blob, data: int, size: int) -> int:
    end = data + -(-size // _BLOCK) * _BLOCK
    if end > blob.size:
        raise TruncatedError("a file in the tar archive ends before it is complete; fetch the archive again")
    return end


def _number(field: bytes) -> int:
    """Octal digits, or (GNU) base 256 with the top bit set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    match = _OCTAL.fullmatch(field)
    if match is None:
        _refuse("a number is none")
    return int(match[1] or b"0", 8)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _name(block: bytes) -> bytes:
    name, prefix = _text(block[:100]), _text(block[345:500])
    if prefix and block[257:263] != b"ustar\0":
        _refuse("a name has a second part, which only some readers take")
    return prefix + b"/" + name if prefix else name


def _extended(data: bytes, kind: int, pending: _Pending) -> _Pending:
    if kind == _LONG_LINK:
        return pending
    if kind == _LONG_NAME:
        if pending.name is not None:
            _refuse("a file has two names")
        return pending._replace(name=_text(data))
    for key, value in _records(data):
        if key.startswith(b"GNU.sparse."):
            _refuse("an entry is a sparse file")
        if key not in _TELLING:
            continue
        if kind == _PAX_GLOBAL:
            _refuse("it says the same of all its files")
        if key == b"path":
            if pending.name is not None or b"\0" in value:
                _refuse("a file has two names")
            pending = pending._replace(name=value)
        elif key == b"size":
            if pending.size is not None or re.fullmatch(rb"[0-9]{1,20}", value) is None:
                _refuse("a size is none")
            pending = pending._replace(size=int(value))
    return pending


def _records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records of a pax header, each a length, a key, ``=``, a value and a line end."""
    found, at = [], 0
    while at < len(data):
        match = _RECORD.match(data, at)
        if match is None:
            _refuse("a pax header is damaged")
        end = at + int(match[1])
        if end > len(data) or match.end() >= end or data[end - 1 : end] != b"\n":
            _refuse("a pax header is damaged")
        found.append((match[2], data[match.end() : end - 1]))
        at = end
    return found
