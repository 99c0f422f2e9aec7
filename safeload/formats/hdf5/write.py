"""Writing nested dicts of arrays as HDF5.

Rules: only what comes back equal is written: arrays, numbers, text, bytes and ``None``; an object array is never pickled. A dict or
an array that stands in several places is written once and linked: a few groups of a file that was loaded can have more
ways to them than any file has room for.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from safeload.formats.hdf5.group import Group

__all__ = ["encoded"]

_METHODS = {"gzip": "gzip", "lzf": "lzf", "szip": "szip"}
# Smaller arrays are stored as they are: the index of a chunk takes more than compression saves.
_COMPRESS_FROM = 1 << 10


def encoded(obj: Any, compress: Any) -> bytes:
    """``obj`` as an HDF5 file.

    Args:
        obj: a mapping of names to mappings, arrays, scalars, text, bytes or ``None``; :class:`Group` keeps its attributes.
        compress: ``None``, ``True`` (gzip), a gzip level from 0 to 9, ``"gzip"``, ``"lzf"`` or ``"szip"``, or ``("gzip", level)``.

    Raises:
        TypeError, ValueError: it cannot be written, or not be read again as what it is.
    """
    h5py = _h5py()
    options = _options(compress)
    if not isinstance(obj, Mapping):
        raise TypeError(f"codec='hdf5' writes a dict of arrays (nested dicts are groups), not {type(obj).__name__}")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _Writer(h5py, options).group(file, obj, {id(obj)})
    return buffer.getvalue()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError("codec='hdf5' needs h5py: pip install 'safeload[hdf5]'") from error
    return h5py


def _options(compress: Any) -> dict[str, Any]:
    if compress is None or compress is False:
        return {}
    if compress is True:
        return {"compression": "gzip", "shuffle": True}
    if isinstance(compress, int):
        method, level = "gzip", compress
    elif isinstance(compress, tuple) and len(compress) == 2:
        method, level = compress
    else:
        method, level = compress, None
    if method not in _METHODS or (level is not None and (method != "gzip" or level not in range(10))):
        raise ValueError(
            f"compress={compress!r} is none of codec='hdf5': True, a level from 0 to 9, 'gzip', 'lzf', 'szip' or ('gzip', level)"
        )
    return {"compression": method, "shuffle": method != "szip"} | ({} if level is None else {"compression_opts": level})


class _Writer:
    """Writes one file."""

    def __init__(self, h5py: Any, options: dict[str, Any]) -> None:
        self._h5py = h5py
        self._options = options
        self._written: dict[Any, tuple[str, Any]] = {}  # the value too, so that its id stays its own

    def group(self, group: Any, obj: Any, inside: set[int]) -> None:
        """Write a mapping; ``inside`` are those that it is in, and itself."""
        _write_attrs(self._h5py, group, getattr(obj, "attrs", {}) if isinstance(obj, Group) else {})
        for name, value in obj.items():
            if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in (".", ".."):
                raise ValueError(f"codec='hdf5' cannot write the name {name!r}: names are text without '/'")
            if isinstance(value, Mapping) and id(value) in inside:
                raise ValueError("codec='hdf5' cannot write a dict that contains itself")
            attrs = obj.member_attrs.get(name, {}) if isinstance(obj, Group) else {}
            # Equal attributes of one array are the same objects, as they are loaded.
            key = id(value), frozenset((attr, id(item)) for attr, item in attrs.items())
            if key in self._written:
                group[name] = group.file[self._written[key][0]]
                continue
            if isinstance(value, Mapping):
                written = group.create_group(name)
            else:
                written = _write_dataset(self._h5py, group, name, value, self._options)
                _write_attrs(self._h5py, written, attrs)
            # Other mappings may make their values when they are asked for them.
            if isinstance(obj, dict) and (isinstance(value, Mapping) or _is_large(value)):
                self._written[key] = written.name, value
            if isinstance(value, Mapping):
                self.group(written, value, inside | {id(value)})


def _is_large(value: Any) -> bool:
    """Whether two places with this very object are no coincidence, as they are with small numbers and texts."""
    import numpy as np

    if isinstance(value, str | bytes):
        return len(value) >= _COMPRESS_FROM
    return isinstance(value, np.ndarray) or (isinstance(value, np.generic) and value.nbytes >= _COMPRESS_FROM)


def _write_dataset(h5py: Any, group: Any, name: str, value: Any, options: dict[str, Any]) -> Any:
    data, dtype = _writable(h5py, value, name)
    if isinstance(data, h5py.Empty):
        return group.create_dataset(name, data=data)
    compressed = options if data.ndim and data.nbytes >= _COMPRESS_FROM else {}
    if compressed.get("compression") == "szip" and (data.dtype.kind not in "iufb" or data.size < 64):
        compressed = {}
    return group.create_dataset(name, data=data, dtype=dtype, **compressed)


def _write_attrs(h5py: Any, target: Any, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        data, dtype = _writable(h5py, value, f"attribute {name}")
        target.attrs.create(name, data, dtype=dtype)


def _writable(h5py: Any, value: Any, name: str) -> tuple[Any, Any]:
    """``value`` as something h5py writes, and the HDF5 type where that is not the array's own."""
    import numpy as np

    if value is None:
        return h5py.Empty("f4"), None
    if isinstance(value, str):
        return np.asarray(_text(value), object), h5py.string_dtype()
    if isinstance(value, bytes):
        # A fixed length drops the zeros at the end of bytes; an opaque value keeps them.
        return (
            (np.bytes_(value), None)
            if value and not value.endswith(b"\0")
            else (np.asarray(np.void(value or b"\0")), None)
        )
    data = np.asarray(value)
    if data.dtype.kind == "U":
        data = data.astype(object)
    if data.dtype.kind == "O":
        if h5py.check_vlen_dtype(data.dtype) is not None:
            return data, data.dtype
        if not all(isinstance(item, str) for item in data.reshape(-1)):
            raise TypeError(
                f"codec='hdf5' cannot write {name!r}: an array of objects, and only texts come back as they are"
            )
        return np.array([_text(item) for item in data.reshape(-1)], object).reshape(data.shape), h5py.string_dtype()
    if data.dtype.kind in "mM":
        return data.astype(h5py.opaque_dtype(data.dtype)), h5py.opaque_dtype(data.dtype)
    return np.ascontiguousarray(data).reshape(data.shape), None


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("codec='hdf5' cannot write text with NUL characters: HDF5 ends it there")
    return value
