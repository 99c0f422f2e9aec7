"""Recognises model files that are no pickles and that nothing here judges: GGUF, TFLite, ONNX.

Rule: conservative. ONNX has no magic, so all of the outermost message has to be one of ONNX's model fields; text and pickles, of
which none begins with the byte of its first field, are never taken for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeload.source.blob import Blob

__all__ = ["model_container"]

# ModelProto (onnx.proto): field numbers by wire type.
_VARINTS = frozenset({1, 5})
_MESSAGES = frozenset({2, 3, 4, 6, 7, 8, 14, 20, 25, 26})
_GRAPH, _OPSET = 7, 8
_MOST_FIELDS = 10_000
_NEWEST_IR = 64


def model_container(blob: Blob) -> str | None:
    """``"gguf"``, ``"tflite"``, ``"onnx"``, or ``None``. Never raises for what is in the bytes."""
    head = blob.head(8)
    if head.startswith(b"GGUF"):
        return "gguf"
    if head[4:8] == b"TFL3":
        return "tflite"
    return "onnx" if head[:1] == b"\x08" and _is_onnx(blob) else None


def _is_onnx(blob: Blob) -> bool:
    at = 0
    seen: set[int] = set()
    for _ in range(_MOST_FIELDS):
        if at == blob.size:
            return {_GRAPH, _OPSET} <= seen
        tag, at = _varint(blob, at)
        value, at = _varint(blob, at) if at >= 0 else (0, at)
        if at < 0:
            return False
        field, wire = tag >> 3, tag & 7
        seen.add(field)
        if wire == 2 and field in _MESSAGES:
            at += value
            if at > blob.size:
                return False
        elif wire or field not in _VARINTS or (field == 1 and not 0 < value <= _NEWEST_IR):
            return False
    return False


def _varint(blob: Blob, at: int) -> tuple[int, int]:
    """A number, and where it ends; ``-1`` if there is none."""
    data = blob.read(at, min(10, blob.size - at))
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    return 0, -1
