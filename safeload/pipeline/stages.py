"""The stages of an artifact's way in their order, and what a load, a scan and the drop-in ``Unpickler`` share of the first four.

:data:`STAGES` is the list. Whoever takes an artifact through it numbers each step of its code with the stage's number, so the
code can be checked against the list. Out of order the same steps are holes: a payload that is parsed before its envelope is
authentic, a stream that is loaded before all of it was judged.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError
from safeload.formats.detect import HEAD, is_pickle_head, known_container
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline.request import require_signed

if TYPE_CHECKING:
    from safeload.audit import Operation
    from safeload.formats.base import Format
    from safeload.pipeline.request import ReadRequest
    from safeload.source.blob import Blob

__all__ = [
    "ENVELOPE",
    "STAGES",
    "Stage",
    "is_envelope",
    "open_artifact",
    "recognised",
    "record_digest",
    "refuse_container",
]


class Stage(NamedTuple):
    """One stage: the operations that it leaves in a trail, and what goes wrong if it comes too late."""

    number: int
    name: str
    operations: tuple[str, ...]
    reason: str


# First byte of the envelope's magic: no pickle opcode and no UTF-8.
ENVELOPE = b"\xf5"

STAGES = (
    Stage(1, "read", (), "bytes are taken once, into private memory: a file that is opened again may be another one"),
    Stage(2, "open", ("verify", "decrypt", "key"), "a payload that is parsed before it is authentic is the attacker's"),
    Stage(3, "signer", (), "the signer's policy and manifest decide, so nothing may be judged before they are known"),
    Stage(4, "detect", (), "what programs would read differently is refused before a reader is chosen for it"),
    Stage(5, "judge", ("analyse", "decide"), "all of it, members too: what is loaded first cannot be taken back"),
    Stage(6, "rebuild", ("load",), "from the bytes that were judged, with the names that were judged, and no others"),
    Stage(
        7, "migrate", ("migrate",), "an old payload is upgraded before its schema is asked for, which is the new one's"
    ),
    Stage(8, "validate", ("validate",), "the object is the caller's only when it is what the caller said it must be"),
)


def open_artifact(path: str | os.PathLike[str], limit: int = DEFAULT_LIMITS.max_artifact_bytes) -> Any:
    """Open a file, or what a URL names, for reading (stage 1); what cannot be an artifact is refused with its own message.

    Args:
        path: a path, or a URL as a ``str``. What a URL names is copied into a private file first.
        limit: bytes to take from a URL.

    Raises:
        OSError: as ``open`` does (missing, no permission, a directory).
        FormatError: a device, a socket.
    """
    import stat

    if isinstance(path, str) and "://" in path:
        from safeload.source.locations import fetch, is_remote, local_path

        if is_remote(path):
            return fetch(path, limit)
        path = local_path(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "this is a directory; name a file in it", os.fspath(path))
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise FormatError("this is neither a regular file nor a pipe; nothing was read", code="format.not-a-file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def record_digest(blob: Blob, operation: Operation) -> str:
    """Name in the trail the very bytes that are read (stage 1); the SHA-256 in hex."""
    digest = hashlib.sha256()
    for chunk in blob.chunks():
        digest.update(chunk)
    found = digest.hexdigest()
    if operation.recording:
        operation.set(sha256=found, size=blob.size)
    return found


def is_envelope(head: bytes | bytearray, request: ReadRequest) -> bool:
    """Whether an artifact is to be opened as an envelope (stage 2); decided by its first byte alone.

    Raises:
        MissingKeyError, VersionError: it is none, and the request asks for one.
    """
    if head[:1] == ENVELOPE:
        return True
    require_signed(request)
    return False


def recognised(blob: Blob) -> Format | None:
    """The container that an artifact is in (stage 4); ``None`` for one that begins as a pickle, or as nothing that is known."""
    if is_pickle_head(blob.head(HEAD)):
        return None
    from safeload.formats.containers import detect

    return detect(blob)


def refuse_container(head: bytes, error: Exception) -> None:
    """If ``head`` begins another format, say so instead of calling it a broken pickle."""
    container = known_container(head)
    if container == "git-lfs-pointer":
        raise FormatError(
            "this is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'", code="format.lfs-pointer"
        ) from error
    if container is not None:
        raise FormatError(
            f"this is a {container} file, not a pickle; load it with safeload.load(path) or safeload.loads(data)",
            code="format.unsupported",
        ) from error
    from safeload.formats.damage import diagnose  # only for what was refused

    diagnosis = diagnose(head)
    if diagnosis is not None:
        raise FormatError(
            diagnosis.message, code="format.damaged" if diagnosis.damaged else "format.unsupported"
        ) from error
