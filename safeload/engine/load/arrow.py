"""Arrow arrays with their buffers checked, which unpickling leaves undone.

An array says how long it is and where its texts begin and end, and Arrow's kernels believe it: a wrong offset is memory of someone
else, or the end of the process. Rule: what is said lies inside of the buffers, or there is no array.
"""

from __future__ import annotations

from typing import Any

__all__ = ["own_buffer", "restore_array"]


def own_buffer(data: Any) -> Any:
    """``pyarrow.py_buffer``, of bytes that nobody else can change after they have been validated."""
    import pyarrow as pa

    return pa.py_buffer(data if type(data) is bytes or memoryview(data).readonly else bytes(data))


def restore_array(data: tuple[Any, ...]) -> Any:
    """``pyarrow.lib._restore_array`` and Arrow's own validation.

    Raises:
        pyarrow.ArrowInvalid: the buffers are too small, an offset lies outside, or a text is not UTF-8.
    """
    import pyarrow.lib

    restored = pyarrow.lib._restore_array(data)  # noqa: SLF001 - the name in the pickle
    restored.validate(full=True)
    return restored
