"""The tar archives that PyTorch wrote until 0.1.10: their four files, and where the pickles in those are.

Rule: the archive holds these four files and nothing else, neither a link nor a second file of a name: ``torch.load`` takes its files by
name, and would take that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from safeload.errors import FormatError, SafeloadError, TruncatedError
from safeload.formats.tar_reader import read_tar
from safeload.limits import Limits

if TYPE_CHECKING:
    from safeload.formats.base import PickleReader
    from safeload.source.blob import Blob

__all__ = ["FILES", "Pickles", "is_torch_tar", "tar_files"]

FILES = frozenset({"sys_info", "pickle", "tensors", "storages"})
_BLOCK = 512
_FEW = Limits(max_members=64)


def is_torch_tar(blob: Blob) -> bool:
    """Whether the files of a tar archive are PyTorch's; never raises."""
    if blob.size < _BLOCK or blob.read(257, 5) != b"ustar":
        return False
    try:
        names = {entry.name for entry in read_tar(blob, _FEW)}
    except SafeloadError:
        return False
    return names >= {"pickle", "storages"} or names >= {"pickle", "tensors"}


def tar_files(blob: Blob) -> dict[str, Blob]:
    """The four files of the archive.

    Raises:
        FormatError: it is not an archive as PyTorch wrote it: damaged, or with anything else in it.
    """
    entries = read_tar(blob, _FEW, others=False)
    if sorted(entry.name for entry in entries) != sorted(FILES):
        raise FormatError("the tar archive is not one that PyTorch wrote; load it and save it again with torch.save")
    return {entry.name: blob.slice(entry.data, entry.size) for entry in entries}


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
