"""Model files that nobody judges: named, never clean, never loaded; and nothing else is taken for one."""

from __future__ import annotations

import pickle

import pytest

import safeload
from safeload.formats.models import model_container
from safeload.source.blob import MemoryBlob


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + bytes([value])
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


ONNX = field(1, 8) + field(2, b"pytorch") + field(7, b"\x0a" + varint(300) + bytes(300)) + field(8, b"\x10\x11")

# A SavedModel with one graph: meta_info_def with a TensorFlow version, graph_def with a node.
SAVED_MODEL = field(1, 1) + field(
    2, field(1, field(5, b"2.15.0")) + field(2, field(1, field(1, b"x") + field(2, b"ReadFile")))
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("onnx", ONNX),
        ("gguf", b"GGUF\x03\0\0\0" + bytes(16)),
        ("tflite", b"\x1c\0\0\0TFL3" + bytes(32)),
        ("executorch", b"\x1c\0\0\0ET12" + bytes(32)),
        ("tensorflow-savedmodel", SAVED_MODEL),
    ],
)
def test_named(name: str, data: bytes) -> None:
    """Recognised by the bytes; skipped, with the reason."""
    report = safeload.scan(data)
    assert (report.container, report.verdict) == (name, "skipped")
    with pytest.raises(safeload.FormatError, match=name):
        safeload.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        ONNX[:-1],
        SAVED_MODEL[:-1],
        SAVED_MODEL + b"\0",
        field(1, 1),
        field(1, 1) + field(2, field(1, b"")),
        ONNX + b"\0",
        field(1, 8) + field(7, b""),
        field(1, 8) + field(8, b""),
        field(1, 0) + field(7, b"") + field(8, b""),
        field(2, b"x") + ONNX,
        field(1, 8) + field(9, b"") + field(7, b"") + field(8, b""),
        b"\x08" + bytes(40),
        b"\x08\x08",
        b"\x08",
        b"",
        b"\x08" + b"\xff" * 30,
        b"(lp0\n.",
        b"plain text\n",
        pickle.dumps({"a": 1}, 0),
        pickle.dumps({"a": 1}, 5),
        b"GGU",
    ],
)
def test_not_named(data: bytes) -> None:
    """ONNX has no magic: only a whole message of its fields is one."""
    assert model_container(MemoryBlob(data)) is None
