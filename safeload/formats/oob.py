"""Codec 2: a pickle with its out-of-band buffers, as the payload of an envelope.

Array bytes lie behind the stream, each buffer at a multiple of 64, so that a reader can use them where they are.
Little-endian: ``u32 version = 1``, ``u32 number of buffers``, ``u64 length of the stream``; per buffer ``u64 length`` with the
highest bit set if it is read-only; the stream; then each buffer, preceded by zero bytes up to the next multiple of 64
(counted from the payload's start). Rule: only verified bytes are parsed here, and the size must come out exactly.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALIGNMENT", "join_buffers", "split_buffers"]

ALIGNMENT = 64
_HEADER = struct.Struct("<IIQ")
_READ_ONLY = 1 << 63
_MAX_BUFFERS = 1 << 24


def join_buffers(stream: bytes, buffers: Sequence[memoryview]) -> list[bytes | memoryview]:
    """The parts of a payload; ``buffers`` are contiguous and of bytes (``PickleBuffer.raw()``)."""
    lengths = [view.nbytes | (_READ_ONLY if view.readonly else 0) for view in buffers]
    parts: list[bytes | memoryview] = [
        _HEADER.pack(1, len(buffers), len(stream)),
        struct.pack(f"<{len(lengths)}Q", *lengths),
        stream,
    ]
    position = _HEADER.size + 8 * len(lengths) + len(stream)
    for view in buffers:
        padding = -position % ALIGNMENT
        parts.append(bytes(padding))
        parts.append(view)
        position += padding + view.nbytes
    return parts


def split_buffers(payload: memoryview) -> tuple[bytes, list[Any]]:
    """The stream and its buffers (views of ``payload``, read-only where the writer's were).

    Raises:
        FormatError: the payload is not of this form.
    """
    size = len(payload)
    if size < _HEADER.size:
        _refuse()
    version, count, stream_size = _HEADER.unpack_from(payload)
    table_end = _HEADER.size + 8 * count
    if version != 1 or count > _MAX_BUFFERS or table_end + stream_size > size:
        _refuse()
    lengths = struct.unpack_from(f"<{count}Q", payload, _HEADER.size)
    position = table_end + stream_size
    stream = bytes(payload[table_end:position])
    buffers: list[Any] = []
    for entry in lengths:
        start = position + -position % ALIGNMENT
        position = start + (entry & ~_READ_ONLY)
        if position > size:
            _refuse()
        view = payload[start:position]
        buffers.append(view.toreadonly() if entry & _READ_ONLY else view)
    if position != size:
        _refuse()
    return stream, buffers


def _refuse() -> None:
    raise FormatError(
        "the payload is not a pickle with out-of-band buffers, or it is incomplete", code="format.buffers"
    )
