"""How a jailed process reads its artifact and tells what came of it, with the few system calls that it has left."""

from __future__ import annotations

import json
import os
from typing import Any

from safeload.sandbox.data.layout import DescriptorMemory, NotPlainError, TooLargeError
from safeload.sandbox.inside.wire import MAX_MESSAGE
from safeload.sandbox.kernel.filters import CHANNEL

__all__ = ["answer", "piece", "told"]

_MAX_TEXT = 500


def piece(source: int, offset: int, length: int) -> memoryview:
    """A part of the artifact, in memory of this process."""
    data = bytearray(length)
    DescriptorMemory(source, offset + length).read_into(offset, memoryview(data))
    return memoryview(data).toreadonly()


def answer(message: dict[str, Any]) -> None:
    """Tell something."""
    # Not by the socket's own methods: after the last lock only write is left.
    os.write(CHANNEL, json.dumps(message, separators=(",", ":")).encode()[: MAX_MESSAGE // 2])


def told(error: BaseException) -> dict[str, Any]:
    """What can be said about an exception of the artifact, whose methods may raise others."""
    kind = "plain" if isinstance(error, NotPlainError) else "size" if isinstance(error, TooLargeError) else "other"
    if isinstance(error, MemoryError):
        kind = "memory"
    elif isinstance(error, ImportError):
        kind = "import"
    try:
        text = str(error)[:_MAX_TEXT]
    except BaseException:  # noqa: BLE001 - __str__ of the artifact's own class
        text = ""
    return {
        "kind": kind,
        "type": type(error).__name__[:100],
        "text": text,
        "module": getattr(error, "name", None) or "",
    }
