"""safetensors: a JSON header, and behind it the bytes of the tensors. Nothing in it is code.

Loads as a dict of NumPy arrays, or with ``member=`` as one of them, without reading the others. A dtype that NumPy does not have is
kept as unsigned integers with its name in the metadata, as :mod:`safeload.formats.torch_arrays` has it.

Rules: the header is strict JSON without duplicate keys; the tensors fill the file from the header to the end, without holes and
without overlaps, each with the bytes that its dtype and shape need.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, LimitExceededError
from safeload.facts.strict_json import no_number, strict_json
from safeload.formats.archives import no_member
from safeload.formats.base import NO, SPECIFIC
from safeload.formats.detect import HEAD, begins_safetensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, Parts, SplitRequest
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]

_PREFIX = 8
_LONGEST_HEADER = 1 << 25
_MOST_DIMENSIONS = 64
_METADATA = "__metadata__"
_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16",
    "I32": "int32", "U32": "uint32", "F32": "float32", "F64": "float64", "I64": "int64", "U64": "uint64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_SPELLED = {name: code for code, name in _NAMES.items()}


class _Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class _Safetensors:
    name = "safetensors"

    def recognise(self, blob: Blob) -> int:
        """A length, and so many bytes of a JSON object."""
        head = blob.head(HEAD)
        if not begins_safetensors(head):
            return NO
        size = int.from_bytes(head[:_PREFIX], "little")
        fits = _PREFIX + size <= blob.size and head[_PREFIX + 1 :].lstrip()[:1] in (b'"', b"}")
        return SPECIFIC if fits else NO

    def split(self, blob: Blob, request: SplitRequest) -> _Split:
        """The header, checked."""
        return _Split(blob, request)


class _Split:
    container = "safetensors"
    streams = members = findings = ()

    def __init__(self, blob: Blob, request: SplitRequest) -> None:
        size = int.from_bytes(blob.read(0, _PREFIX), "little")
        if size > _LONGEST_HEADER:
            raise LimitExceededError(
                f"the safetensors header has {size:,} bytes, more than the {_LONGEST_HEADER:,} that are read",
                code="limit.header",
            )
        self._blob = blob
        self._request = request
        self._start = _PREFIX + size
        self._tensors = _header(blob.read(_PREFIX, size), blob.size - self._start, request)
        if request.part.member is not None and request.part.member not in self._tensors:
            no_member(list(self._tensors), "safetensors")
        if request.part.index is not None and request.part.member is None:
            raise FormatError(
                "index= is of one array, and this file holds several: name it with member=", code="format.member"
            )

    def rebuild(self, parts: Parts) -> Any:  # noqa: ARG002
        """The arrays."""
        if self._request.part.member is None:
            return {name: self._array(tensor, mapped=self._request.part.mmap) for name, tensor in self._tensors.items()}
        tensor = self._tensors[self._request.part.member]
        if self._request.part.index is None:
            return self._array(tensor, mapped=self._request.part.mmap)
        part = self._array(tensor, mapped=True)[self._request.part.index]
        return part if self._request.part.mmap else part.copy()

    def _array(self, tensor: _Tensor, *, mapped: bool) -> Any:
        import numpy as np

        size = tensor.end - tensor.start
        at = self._start + tensor.start
        from safeload.formats.torch_arrays import numpy_dtype

        dtype = numpy_dtype(tensor.dtype).newbyteorder("<")
        if not size:
            return np.empty(tensor.shape, dtype)
        memory = self._blob.mapped(at, size) if mapped else self._blob.view(at, size)
        if memory.readonly:
            memory = memoryview(bytearray(memory))
        return np.frombuffer(memory, dtype).reshape(tensor.shape)


def _header(text: bytes, size: int, request: SplitRequest) -> dict[str, _Tensor]:
    """The tensors that a header describes, for ``size`` bytes of data."""
    try:
        header = strict_json(text, parse_float=no_number, parse_constant=no_number)
    except ValueError as error:
        raise _malformed("it is not strict JSON") from error
    if len(header) > request.limits.max_members:
        raise LimitExceededError(
            f"the file holds more than max_members={request.limits.max_members:,} tensors", code="limit.members"
        )
    notes = header.pop(_METADATA, {})
    if type(notes) is not dict or not all(type(note) is str for note in notes.values()):
        raise _malformed("its metadata are not text")
    tensors = {name: _tensor(entry) for name, entry in header.items()}
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != end:
            raise _malformed("its tensors overlap, or leave holes")
        end = tensor.end
    if end != size:
        raise FormatError(
            "the file ends before its last tensor, or something follows it; fetch it again", code="format.trailing"
        )
    return tensors


def _malformed(what: str) -> FormatError:
    return FormatError(f"the safetensors header is malformed: {what}", code="format.safetensors")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _tensor(entry: Any) -> _Tensor:
    from safeload.facts.torch_types import DTYPES

    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _malformed("a tensor is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or type(shape) is not list or type(offsets) is not list:
        raise _malformed("a tensor is not described by text and lists of numbers")
    if dtype not in _NAMES:
        raise FormatError(
            "the file has a tensor of a dtype that safeload does not read; load it with the safetensors library",
            code="format.unsupported",
        )
    if not all(map(_is_count, [*shape, *offsets])) or len(offsets) != 2 or len(shape) > _MOST_DIMENSIONS:
        raise _malformed("a shape or an offset is no count")
    name = _NAMES[dtype]
    if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[name]:
        raise _malformed("a tensor has other bytes than its dtype and shape need")
    return _Tensor(name, tuple(shape), offsets[0], offsets[1])


class _Codec:
    """A dict of arrays (or of tensors of PyTorch) by name."""

    name = reads = "safetensors"
    number = 11
    code = False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:  # noqa: ARG002
        """Header and bytes, in the order of the safetensors library: wide dtypes first, so that all are aligned."""
        from safeload.facts.torch_types import DTYPES

        if type(obj) is not dict or not all(type(name) is str and name != _METADATA for name in obj):
            raise TypeError("codec='safetensors' writes a dict of arrays by name")
        arrays = {name: _flat(name, value) for name, value in obj.items()}
        order = sorted(arrays, key=lambda name: (-DTYPES[arrays[name][0]], name))
        header, at, parts = {}, 0, []
        for name in order:
            dtype, shape, data = arrays[name]
            header[name] = {"dtype": _SPELLED[dtype], "shape": shape, "data_offsets": [at, at + data.nbytes]}
            at += data.nbytes
            parts.append(data)
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _PREFIX)
        whole = [len(text).to_bytes(_PREFIX, "little") + text, *parts]
        if len(text) > _LONGEST_HEADER:
            raise ValueError("codec='safetensors': the header becomes too long; write fewer tensors to a file")
        return whole


def _flat(name: str, value: Any) -> tuple[str, list[int], memoryview]:
    """Dtype, shape and little-endian bytes of an array or a tensor."""
    import numpy as np

    if type(value).__module__.partition(".")[0] == "torch":
        import torch

        dtype = str(value.dtype).removeprefix("torch.")
        shape = list(value.shape)
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    elif isinstance(value, np.ndarray):
        dtype = (value.dtype.metadata or {}).get("torch") or value.dtype.name
        shape = list(value.shape)
        flat = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    else:
        raise TypeError(f"codec='safetensors' writes arrays, and {name!r} is a {type(value).__name__}")
    if dtype not in _SPELLED:
        raise TypeError(f"codec='safetensors' has no dtype for the {dtype} of {name!r}")
    return dtype, shape, memoryview(flat)


FORMAT = _Safetensors()
CODECS = (_Codec(),)
