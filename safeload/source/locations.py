r"""Places that are no paths: URLs of object stores and servers, read and written through ``fsspec`` (an extra).

Rules: what a store gives is copied once into a private file before anything looks at it, so that what was judged is
what is loaded however often the store changes it; an object appears in the store whole or not at all; only a ``str``
with a scheme of two letters or more is a URL (``C:\data`` is a path), and chained URLs (``zip://a::s3://b``) are refused:
an archive is unpacked by safeload, under its limits, or not at all.
"""

from __future__ import annotations

import errno
import os
import re
from typing import IO, TYPE_CHECKING, Any, Final, Self

from safeload.errors import FormatError, LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RemoteFile", "fetch", "is_remote", "local_path", "refuse_url", "stamp"]

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_LOCAL: Final = frozenset({"file", "local"})
# Stores in which an object appears with its last byte. Everywhere else it is written beside the target and moved.
_WHOLE: Final = frozenset({
    "abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a", "tos",
})  # fmt: skip
_STEP: Final = 1 << 23
_SMALL: Final = 1 << 20


def is_remote(place: object) -> bool:
    """Whether ``place`` is the URL of something that is not a file of this machine."""
    found = _URL.match(place) if isinstance(place, str) else None
    return found is not None and found[1].lower() not in _LOCAL


def refuse_url(place: object) -> None:
    """Refuse the URL of anything, also of a file of this machine.

    A name that a client of the caller's program chose can be a URL: of an address that only this machine reaches, or of a file.

    Raises:
        FormatError: ``place`` is one.
    """
    name = os.fsdecode(place) if isinstance(place, bytes | os.PathLike) else place
    if isinstance(name, str) and _URL.match(name) is not None:
        raise FormatError(
            "this is a URL, and this loader takes paths only (urls=False); nothing was opened", code="format.url"
        )


def local_path(place: Any) -> Any:
    """``place``, with the URL of a local file (``file:///data/x``) as its path."""
    found = _URL.match(place) if isinstance(place, str) else None
    if found is None or found[1].lower() not in _LOCAL:
        return place
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    parts = urlsplit(place)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise ValueError("the URL of a local file is file:///absolute/path, with ? and # written as %3F and %23")
    return url2pathname(parts.path)


def fetch(url: str, limit: int) -> IO[bytes]:
    """What is at ``url``, in a private file without a name that stands at its start. The caller closes it.

    Args:
        url: where.
        limit: bytes; announced sizes are not believed.

    Raises:
        OSError: it cannot be read.
        LimitExceededError: there is more than ``limit``.
        ModuleNotFoundError: ``fsspec``, or the package for this kind of store, is not installed.
    """
    import tempfile

    copy = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
    try:
        _calling(url, "read", lambda system, path: _copy(system, path, copy, limit))
        copy.flush()
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


def _copy(system: Any, path: str, copy: IO[bytes], limit: int) -> None:
    left = limit
    with system.open(path, "rb", block_size=_STEP) as source:
        while chunk := source.read(min(_STEP, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise LimitExceededError(
                    f"the artifact is larger than max_artifact_bytes={limit:,}; raise Limits(max_artifact_bytes=...)",
                    code="limit.artifact-bytes",
                    stage="read",
                )
            copy.write(chunk)


def stamp(url: str) -> str:
    """What the store says by which a change of the object shows (size, time, entity tag), as a digest.

    Raises:
        OSError: there is no such object, or the store does not answer.
    """

    def ask(system: Any, path: str) -> str:
        system.invalidate_cache()
        return str(system.ukey(path))

    return str(_calling(url, "read", ask))


class RemoteFile:
    """A context manager like ``AtomicFile``: ``write`` as often as needed, then ``commit``, which uploads the whole.

    Leaving without commit leaves the store as it was.

    Raises:
        OSError: the store does not take it.
    """

    def __init__(self, url: str) -> None:
        import tempfile

        self._url = url
        descriptor, self._name = tempfile.mkstemp(prefix="safeload-")  # mode 0600
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        return self._file.write(data)

    def commit(self) -> None:
        """Put the object into the store."""
        self._file.close()
        _calling(self._url, "written", self._put)

    def _put(self, system: Any, path: str) -> None:
        protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
        if not _WHOLE.isdisjoint(protocols):
            self._send(system, path)
            return
        folder, slash, name = path.rpartition("/")
        beside = f"{folder}{slash}.{name[:100]}.{os.urandom(8).hex()}.tmp"
        try:
            self._send(system, beside)
            system.mv(beside, path)
        except BaseException:
            if system.exists(beside):
                system.rm_file(beside)
            raise

    def _send(self, system: Any, path: str) -> None:
        if os.path.getsize(self._name) <= _SMALL:  # noqa: PTH202 - a str
            with open(self._name, "rb") as file:  # noqa: PTH123 - a str
                system.pipe_file(path, file.read())
        else:
            system.put_file(self._name, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        os.unlink(self._name)  # noqa: PTH108 - a str


def _calling(url: str, what: str, action: Callable[[Any, str], Any]) -> Any:
    """What ``action`` returns for the file system of ``url``; the store's own kinds of errors become OSError."""
    if "::" in url:
        raise ValueError("chained URLs (a::b) are not opened; name the object itself")
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "URLs are opened with fsspec, which is not installed; run `pip install 'safeload[fsspec]'`", name=error.name
        ) from error
    scheme = url.partition("://")[0]
    if scheme.lower() not in {*fsspec.available_protocols()}:
        raise ValueError(f"there is no kind of store with the scheme {scheme}://; a path is written without ://")
    try:
        return action(*fsspec.core.url_to_fs(url))
    except (OSError, LimitExceededError, MemoryError):
        raise
    except ImportError as error:
        raise ModuleNotFoundError(f"no package for this kind of URL is installed: {error}", name=error.name) from error
    except Exception as error:
        # The texts of clients can quote signed URLs and headers: only the type is named, the rest is the cause.
        reason = f"the {scheme} object was not {what}: {type(error).__name__}"
        if isinstance(error, NotImplementedError):
            reason = f"this kind of store ({scheme}) cannot be {what}"
        raise OSError(errno.EIO, reason) from error
