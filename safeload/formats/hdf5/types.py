"""Datatypes of HDF5: which ones are read, and how their elements lie in the file.

Rules: a datatype is understood completely or refused, before NumPy is asked to make a dtype of it (h5py makes one of the text
in an opaque type's tag, and ``NUMPY:O`` would turn bytes of the file into pointers); references are not followed and not
given out; variable lengths are located, so that they can be checked before libhdf5 takes memory for them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from safeload.errors import FormatError

__all__ = ["Layout", "ReferenceTypeError", "layout_of", "same_bytes"]

_MAX_DEPTH = 16
_MAX_PARTS = 4_096
_DATETIME = re.compile(rb"NUMPY:[<>=|]?[mM]8(\[\d{0,9}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?")


class ReferenceTypeError(FormatError):
    """The datatype holds object or region references."""


class Layout(NamedTuple):
    """How an element of a datatype lies in the file.

    Attributes:
        size: bytes of one element in the file. memory: bytes of one element in memory, as libhdf5 sees it.
        lengths: where the variable lengths in it stand (offset in the element), and the size of what each counts.
        text: it holds text or bytes, in which a pickle could be.
    """

    size: int
    memory: int
    lengths: tuple[tuple[int, int], ...] = ()
    text: bool = False


def layout_of(library: Any, datatype: Any, *, depth: int = 0) -> Layout:
    """The layout of an h5py ``TypeID``.

    Raises:
        FormatError: it is none that safeload reads.
        ReferenceTypeError: it holds references.
    """
    if depth > _MAX_DEPTH:
        _unsupported("a datatype nested deeper than any real one")
    h5t = library.h5py.h5t
    kind = datatype.get_class()
    size = int(datatype.get_size())
    if kind in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.BITFIELD, getattr(h5t, "COMPLEX", h5t.INTEGER)):
        return Layout(size, size)
    if kind == h5t.STRING:
        if datatype.is_variable_str():
            return Layout(8 + library.offset_size, size, ((0, 1),), text=True)
        return Layout(size, size, text=True)
    if kind == h5t.OPAQUE:
        _check_tag(datatype.get_tag(), size)
        return Layout(size, size, text=True)
    if kind == h5t.VLEN:
        base = layout_of(library, datatype.get_super(), depth=depth + 1)
        if base.lengths:
            _unsupported("variable-length data inside variable-length data")
        return Layout(8 + library.offset_size, size, ((0, base.memory),), text=base.text or base.memory == 1)
    if kind == h5t.ARRAY:
        return _array(library, datatype, size, depth)
    if kind == h5t.COMPOUND:
        return _compound(library, datatype, size, depth)
    if kind == h5t.REFERENCE:
        raise ReferenceTypeError("object and region references are not loaded", code="hdf5.reference")
    raise FormatError("the HDF5 file has a datatype that safeload does not read", code="format.unsupported")


def _array(library: Any, datatype: Any, size: int, depth: int) -> Layout:
    base = layout_of(library, datatype.get_super(), depth=depth + 1)
    count = 1
    for length in datatype.get_array_dims():
        count *= int(length)
    if count * base.memory != size:
        raise FormatError("an array datatype in the HDF5 file contradicts itself")
    if base.lengths and count > _MAX_PARTS:
        _unsupported("an array datatype of so many variable-length parts")
    lengths = [
        (at + index * base.size, unit) for index in range(count if base.lengths else 0) for at, unit in base.lengths
    ]
    return Layout(count * base.size, size, tuple(lengths), text=base.text)


def _compound(library: Any, datatype: Any, size: int, depth: int) -> Layout:
    """A compound: its members do not overlap, or NumPy and libhdf5 would write one over the other."""
    count = datatype.get_nmembers()
    if count > _MAX_PARTS:
        _unsupported(f"a compound datatype of more than {_MAX_PARTS:,} members")
    members = sorted((int(datatype.get_member_offset(index)), index) for index in range(count))
    end = grown = 0
    lengths: list[tuple[int, int]] = []
    text = False
    for offset, index in members:
        member = layout_of(library, datatype.get_member_type(index), depth=depth + 1)
        if offset < end or offset + member.memory > size:
            raise FormatError("members of a compound datatype in the HDF5 file overlap")
        end = offset + member.memory
        lengths += [(offset + grown + at, unit) for at, unit in member.lengths]
        if len(lengths) > _MAX_PARTS:
            _unsupported("a compound datatype of so many variable-length members")
        grown += member.size - member.memory
        text = text or member.text
    return Layout(size + grown, size, tuple(lengths), text=text)


def _check_tag(tag: bytes, size: int) -> None:
    if tag.startswith(b"NUMPY:") and (size != 8 or not _DATETIME.fullmatch(tag)):
        raise FormatError(
            "an opaque datatype in the HDF5 file claims to be a NumPy type that it cannot be", code="hdf5.opaque"
        )


def same_bytes(library: Any, datatype: Any, dtype: Any) -> bool:
    """Whether the bytes in the file are those of an array of ``dtype``, so that nothing has to be converted."""
    h5t = library.h5py.h5t
    if dtype.hasobject or datatype.get_class() in (h5t.STRING, h5t.OPAQUE, h5t.BITFIELD):
        return False
    try:
        return bool(datatype.equal(h5t.py_create(dtype)))
    except (TypeError, ValueError, NotImplementedError):
        return False


def _unsupported(what: str) -> NoReturn:
    raise FormatError(f"the HDF5 file has {what}", code="format.unsupported")
