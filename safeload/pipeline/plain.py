"""Building streams of pure data, which can do nothing but be built: for a load, and for a scan that asks whether it can be.

Rule: only what the census has found to be free of code comes here. The unpickler answers no name, so a stream that got here by mistake
is refused, not run.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from safeload.engine.collector import pause
from safeload.engine.data_unpickler import DataUnpickler
from safeload.engine.feed import CodeFeed
from safeload.errors import FormatError, SafeloadError

if TYPE_CHECKING:
    from safeload.engine.census import Census
    from safeload.pipeline.request import JudgeOptions

__all__ = ["load_data", "load_plain"]


def load_plain(data: bytes, options: JudgeOptions) -> Any:
    """A small stream in one frame, which the C unpickler reads from a C file at once."""
    return _read(DataUnpickler(io.BytesIO(data), encoding=options.encoding, errors=options.errors))


def load_data(census: Census, options: JudgeOptions) -> Any:
    """Rebuild a stream of pure data.

    Raises:
        FormatError: the unpickler does not accept it.
    """
    unpickler = DataUnpickler(
        CodeFeed(census.code), encoding=options.encoding, errors=options.errors, buffers=census.buffers or None
    )
    with pause:
        return _read(unpickler)


def _read(unpickler: DataUnpickler) -> Any:
    try:
        return unpickler.load()
    except SafeloadError:
        raise
    except Exception as error:
        raise FormatError.wrap(error) from error
