"""The only place that opens HDF5 files: h5py over a blob, with nothing else within its reach.

Rules: libhdf5 gets a file object and never a name, so external links, external storage and virtual datasets have nothing to
open even where a check would miss them; while it reads an artifact it has no directory to load filter plugins from; and
it reads nothing before the superblock was looked at.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, SafeloadError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.source.blob import Blob

__all__ = ["MAGIC", "Library", "end_of_file", "find_signature"]

MAGIC = b"\x89HDF\r\n\x1a\n"
_FIRST_USER_BLOCK = 512
_UNDEFINED = b"\xff"
# What h5py makes of libhdf5's errors, and raises itself for what it does not understand.
_LIBRARY_RAISES = (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError)


def find_signature(blob: Blob) -> int | None:
    """Where the file begins as libhdf5 sees it: at 0, 512, 1024, 2048 ...; ``None`` if nowhere."""
    offset = 0
    while offset + len(MAGIC) <= blob.size:
        if blob.read(offset, len(MAGIC)) == MAGIC:
            return offset
        offset = offset * 2 or _FIRST_USER_BLOCK
    return None


def end_of_file(blob: Blob) -> int:
    """How long the file says that it is; libhdf5 reads nothing behind that.

    Raises:
        FormatError: there is no file.
    """
    return _superblock(blob).end


class Library:
    """h5py, and one file that is open in it.

    Args:
        blob: the artifact.

    Attributes:
        start: where the file begins in the blob; addresses count from there. root: that of the root group.
        offset_size, length_size: of numbers in it.

    Raises:
        FormatError: h5py is not installed (``format.missing-extra``), or libhdf5 does not open the file.
    """

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.start, self.root, self.offset_size, self.length_size, _ = _superblock(blob)
        self.h5py = _h5py()
        with self.quiet():
            self.file: Any = self.h5py.File(blob.file(), "r")

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """For whatever is asked of libhdf5: no plugins, and its errors (that quote the file) as ours.

        h5py's own lock is held, so that no other thread misses its plugins meanwhile.
        """
        plugins = self.h5py.h5pl
        with self.h5py._objects.phil:  # noqa: SLF001 - the lock that h5py documents for this use
            paths = [plugins.get(index) for index in range(plugins.size())]
            for _ in paths:
                plugins.remove(0)
            try:
                yield
            except SafeloadError:
                raise
            except MemoryError as error:
                raise FormatError("the HDF5 file asks for more memory than there is", code="limit.memory") from error
            except _LIBRARY_RAISES as error:
                raise _refused(error) from error
            finally:
                for path in paths:
                    plugins.append(path)

    def close(self) -> None:
        """Let go of the file; what was opened from it is closed too."""
        with self.quiet():
            self.file.close()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise FormatError(
            "this is an HDF5 file; looking into it needs h5py: pip install 'safeload[hdf5]'",
            code="format.missing-extra",
        ) from error
    return h5py


def _refused(error: Exception) -> FormatError:
    if isinstance(error, OSError) and "truncated file" in str(error):
        return TruncatedError("the HDF5 file is shorter than it says; fetch it again")
    if isinstance(error, RecursionError):
        return FormatError("the HDF5 file nests too deeply to be read", code="limit.recursion")
    return FormatError(f"the HDF5 file is broken: the HDF5 library does not read it ({type(error).__name__})")


class _Superblock(NamedTuple):
    start: int
    root: int
    offset_size: int
    length_size: int
    end: int


def _superblock(blob: Blob) -> _Superblock:
    """Where the file and its root are, and the sizes of addresses and lengths; refuses what no usual writer makes."""
    start = find_signature(blob)
    if start is None:
        raise FormatError("this is no HDF5 file")
    head = blob.read(start, min(112, blob.size - start))
    version = head[8] if len(head) > 8 else 255
    if version > 3:
        raise FormatError(
            "the HDF5 file has a superblock of an unknown version; upgrade safeload", code="format.unsupported"
        )
    at, sizes = (12, head[9:11]) if version > 1 else (24 + 4 * version, head[13:15])
    if len(head) < 48 or not set(sizes) <= {4, 8}:
        raise FormatError("the superblock of the HDF5 file is not one that the HDF5 library writes")
    width = sizes[0]
    address = [head[at + place * width : at + (place + 1) * width] for place in range(6)]
    # In the old ones the driver's address and a name stand before that of the root.
    if version < 2 and address[3].strip(_UNDEFINED):
        raise FormatError(
            "the HDF5 file is one part of several (a family or multi file), which safeload does not read",
            code="format.unsupported",
        )
    root = int.from_bytes(address[3 if version > 1 else 5], "little")
    return _Superblock(start, root, width, sizes[1], int.from_bytes(address[2], "little"))
