"""An array of an npy file, once its header was read: for npy files and for those inside an npz.

Rule: what is no pickle becomes an array over exactly the announced bytes; a pickle is a stream, judged like any other, and has
to give an array of the announced shape and type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from safeload.errors import FormatError
from safeload.source.memory import private_memory

if TYPE_CHECKING:
    from safeload.formats.npy_header import Header
    from safeload.source.blob import Blob

__all__ = ["array_of", "checked_object_array"]


def array_of(blob: Blob, header: Header, *, index: Any = None, mmap: bool = False) -> Any:
    """The array whose bytes follow ``header`` in ``blob``, or ``array[index]``; writable, unless nobody may write to a part of it.

    Raises:
        TruncatedError: there are fewer bytes.
    """
    import numpy as np

    order: Literal["C", "F"] = "F" if header.fortran else "C"
    if not header.size:
        array = np.ndarray(header.shape, header.dtype, order=order)
        return array if index is None else array[index]
    if mmap:
        array = blob.memmap(header.data, header.dtype, header.shape, order)
        return array if index is None else array[index]
    if index is not None:  # only the pages that it touches are read
        array = blob.memmap(header.data, header.dtype, header.shape, order)
        part = array[index]
        return np.array(part, copy=True) if isinstance(part, np.ndarray) else part
    memory = blob.view(header.data, header.size)
    array = np.ndarray(header.shape, header.dtype, memory, order=order)
    if not memory.readonly and array.flags.aligned:
        return array
    copy = private_memory(header.size)
    copy[:] = memory  # the bytes between fields as well
    return np.ndarray(header.shape, header.dtype, copy, order=order)


def checked_object_array(array: Any, header: Header) -> Any:
    """``array``, which a pickle gave, if it is what the header announces.

    Raises:
        FormatError: it is something else.
    """
    import numpy as np

    if not isinstance(array, np.ndarray):
        _mismatch("no array")
    if array.shape != header.shape:
        _mismatch("an array of another shape")
    # numpy announces types of newer kinds (StringDType) as object, too.
    announced = array.dtype == header.dtype or (header.dtype.kind == "O" and array.dtype.kind == "T")
    if not announced:
        _mismatch("an array of another type")
    return array


def _mismatch(what: str) -> None:
    raise FormatError(f"the array's header announces objects, and the pickle behind it is {what}", code="format.npy")
