"""Seal into files: one pass, bounded memory, and under the target's name only when complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from safeload.envelope import wire
from safeload.envelope.parts import Payload, Piece, as_source
from safeload.envelope.sealing import Emit, SealOptions, draft, write_envelope
from safeload.source.atomic import AtomicFile

if TYPE_CHECKING:
    import os


__all__ = ["emit_to", "seal_path", "seal_to"]


def seal_to(
    file: Any,
    payload: Payload,
    key: Any,
    *,
    length: int | None = None,
    **options: Unpack[SealOptions],
) -> int:
    """Write the envelope of ``payload`` to an open binary file, which need not be seekable; returns its size in bytes.

    Args:
        file: where to write, from where it stands.
        payload: bytes-like, a sequence of bytes-like objects, or a binary file.
        key: a key that can sign.
        length: bytes to take from a payload file whose size cannot be known (it is signed in front).
        options: those of :func:`~safeload.envelope.sealing.seal`.

    Raises:
        TypeError, ValueError: an argument is wrong; nothing has been written then.
        OSError, FormatError: writing or reading failed, or the source changed; what was written is no envelope and cannot be opened.
    """
    source = as_source(payload, length=length)
    plan = draft(source.size, key, **options)
    write_envelope(plan, source, emit_to(file.write))
    return wire.plan_of(plan.prelude).total


def emit_to(write: Any) -> Emit:
    """A function that writes pieces completely, also to a raw file that takes only part of one at a time."""

    def emit(piece: Piece) -> None:
        while len(piece):
            count = write(piece)
            if not isinstance(count, int) or count >= len(piece):
                return
            piece = memoryview(piece)[count:]

    return emit


def seal_path(
    path: str | os.PathLike[str],
    payload: Payload,
    key: Any,
    *,
    length: int | None = None,
    mode: int | None = None,
    **options: Unpack[SealOptions],
) -> int:
    """Write the envelope of ``payload`` to the file ``path``; whatever happens, it is the old file or the new one.

    Args:
        path: the file; an existing one is replaced and its permissions are kept.
        payload: bytes-like, a sequence of bytes-like objects, or a binary file.
        key: a key that can sign.
        length: bytes to take from a payload file whose size cannot be known.
        mode: permissions of a new file, by default those that ``open(path, "wb")`` would give.
        options: those of :func:`~safeload.envelope.sealing.seal`.

    Returns:
        the size of the envelope in bytes.
    """
    source = as_source(payload, length=length)
    plan = draft(source.size, key, **options)
    with AtomicFile(path, mode=mode) as target:
        write_envelope(plan, source, target.write)
        target.commit()
    return wire.plan_of(plan.prelude).total
