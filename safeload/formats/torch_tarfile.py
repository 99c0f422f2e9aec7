"""The tar archives that PyTorch wrote until 0.1.10: their four files, and where the pickles in those are.

Read by this module and not by :mod:`tarfile`, because a checkpoint needs little of the format: regular files with a short name. Rule:
everything else is refused, above all what gives a file another name or size than its header does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from safeload.errors import FormatError, SafeloadError, TruncatedError

if TYPE_CHECKING:
    from safeload.formats.base import PickleReader
    from safeload.source.blob import Blob

__all__ = ["FILES", "Pickles", "is_torch_tar", "tar_files"]

FILES = frozenset({"sys_info", "pickle", "tensors", "storages"})
_BLOCK = 512
_MOST_FILES = 64
_LONGEST_HEADER = 4_096
# What a PAX header may say: it does not change what a reader sees of the file.
_HARMLESS = (b"mtime=", b"atime=", b"ctime=", b"uid=", b"gid=", b"uname=", b"gname=")


def is_torch_tar(blob: Blob) -> bool:
    """Whether the first files of a tar archive are PyTorch's; never raises."""
    if blob.size < _BLOCK or blob.read(257, 5) != b"ustar":
        return False
    try:
        names = tar_files(blob, strict=False).keys()
    except SafeloadError:
        return False
    return names >= {"pickle", "storages"} or names >= {"pickle", "tensors"}


def tar_files(blob: Blob, *, strict: bool = True) -> dict[str, Blob]:
    """The files of the archive. ``strict``: they are PyTorch's and nothing follows them.

    Raises:
        FormatError: it is not an archive as PyTorch wrote it.
    """
    files: dict[str, Blob] = {}
    at = 0
    while at + _BLOCK <= blob.size:
        header = blob.read(at, _BLOCK)
        if not any(header):
            break
        name, size, kind = _header(header)
        at += _BLOCK
        body = blob.slice(at, size)
        at += -(-size // _BLOCK) * _BLOCK
        if kind == b"x":
            _check_pax(body)
            continue
        if name in files or kind not in (b"0", b"\0") or len(files) == _MOST_FILES:
            raise _malformed()
        files[name] = body
    if strict:
        if files.keys() != FILES:
            raise _malformed()
        rest = blob.size - at
        if rest > 64 * _BLOCK or any(blob.read(at, max(rest, 0))):
            raise FormatError("something follows the end of the PyTorch tar archive", code="format.trailing")
    return files


def _malformed() -> FormatError:
    return FormatError("the tar archive is not one that PyTorch wrote; load it and save it again with torch.save")


def _header(header: bytes) -> tuple[str, int, bytes]:
    """Name, size and type of a file."""
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if _octal(header[148:156]) != total or header[345:500].strip(b"\0"):
        raise _malformed()
    name = header[:100].rstrip(b"\0")
    if not name.isascii() or b"\0" in name:
        raise _malformed()
    return name.decode(), _octal(header[124:136]), header[156:157]


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.translate(None, b"01234567"):
        raise _malformed()
    return int(digits, 8)


def _check_pax(body: Blob) -> None:
    if body.size > _LONGEST_HEADER:
        raise _malformed()
    for line in body.read(0, body.size).split(b"\n"):
        if line and not line.partition(b" ")[2].startswith(_HARMLESS):
            raise _malformed()


class Pickle(NamedTuple):
    """A pickle in a file, and what it holds (see :class:`safeload.formats.base.PickleReader`)."""

    location: str
    blob: Blob
    value: object


class Pickles:
    """Reads pickles, and the bytes between them, one behind the other."""

    def __init__(self, name: str, blob: Blob, reader: PickleReader) -> None:
        self.name = name
        self.blob = blob
        self.found: list[Pickle] = []
        self._reader = reader
        self._at = 0

    def next(self) -> object:
        """What the next pickle holds."""
        size = self._reader.size(self.blob, self._at)
        part = self.blob.slice(self._at, size)
        self._at += size
        found = Pickle(f"{self.name}, pickle {len(self.found)}", part, None)
        self.found.append(found)
        value = self._reader.value(part)
        self.found[-1] = found._replace(value=value)
        return value

    def count(self) -> int:
        """The next pickle, a number of things of which each takes several bytes."""
        value = self.next()
        if type(value) is not int or not 0 <= value <= self.blob.size // 8:
            raise TruncatedError("the PyTorch file announces more than it has")
        return value

    def integers(self, number: int) -> tuple[int, ...]:
        """``number`` signed integers of 8 bytes."""
        data = self.blob.read(self._at, 8 * number)
        self._at += 8 * number
        return tuple(int.from_bytes(data[start : start + 8], "little", signed=True) for start in range(0, len(data), 8))

    def take(self, size: int) -> Blob:
        """The next ``size`` bytes."""
        part = self.blob.slice(self._at, size)
        self._at += size
        return part

    def rest(self) -> Blob:
        """Everything that was not read yet."""
        return self.blob.slice(self._at, self.blob.size - self._at)
