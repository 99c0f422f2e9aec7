"""Recognises model files that are no pickles and that nothing here judges: GGUF, TFLite, ONNX, ExecuTorch, SavedModel.

Rule: conservative. ONNX and SavedModel have no magic, so all of the outermost message has to be fields of theirs; text and pickles, of
which none begins with the byte of the first field, are never taken for it.
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
_NEWEST_SAVED_MODEL = 8


def model_container(blob: Blob) -> str | None:
    """The format's name, or ``None``. Never raises for what is in the bytes."""
    head = blob.head(8)
    if head.startswith(b"GGUF"):
        return "gguf"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[4:6] == b"ET" and head[6:8].isdigit():
        return "executorch"
    if head[:1] != b"\x08":
        return None
    return "onnx" if _is_onnx(blob) else "tensorflow-savedmodel" if _is_saved_model(blob) else None


def _is_saved_model(blob: Blob) -> bool:
    """Whether it is SavedModel's message (saved_model.proto): a version, and graphs of some parts each."""
    at = 2
    graphs = 0
    if not 0 < blob.head(2)[-1] <= _NEWEST_SAVED_MODEL:
        return False
    while at < blob.size and graphs < _MOST_FIELDS:
        if blob.read(at, 1) != b"\x12":
            return False
        size, start = _varint(blob, at + 1)
        if start < 0 or start + size > blob.size or not _is_graph(blob, start, start + size):
            return False
        at = start + size
        graphs += 1
    return at == blob.size and graphs > 0


def _is_graph(blob: Blob, at: int, end: int) -> bool:
    """Whether the bytes are a MetaGraphDef (meta_graph.proto): messages number 1 to 7, and one of them its graph."""
    seen: set[int] = set()
    for _ in range(_MOST_FIELDS):
        if at == end:
            return 2 in seen
        tag, start = _varint(blob, at)
        size, start = _varint(blob, start) if start >= 0 else (0, start)
        if start < 0 or tag & 7 != 2 or not 0 < tag >> 3 < 8 or start + size > end:
            return False
        seen.add(tag >> 3)
        at = start + size
    return False


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
