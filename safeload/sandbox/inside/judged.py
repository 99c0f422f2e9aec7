"""Containers that hold no code but need a reader in C, in the jail: by safeload's own loader, as outside.

Rule: whatever the loader reads from files (policy packs, formats) is read when this module is imported, before the jail closes.
"""

from __future__ import annotations

from typing import Any

from safeload.audit import SILENT
from safeload.formats.containers import codecs, formats
from safeload.formats.hdf5.group import Group
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline import assemble, container, load
from safeload.pipeline.request import JudgeOptions, ReadRequest
from safeload.policy import Policy

__all__ = ["load_judged"]

_REQUEST = ReadRequest(JudgeOptions(Policy.packs("data", "numpy"), DEFAULT_LIMITS))
_WARM = (formats(), codecs(), container, assemble)


def load_judged(data: bytes) -> Any:
    """Load an artifact under the default policy.

    Raises:
        SafeloadError: it is refused here as it would be outside.
    """
    with SILENT.operation("load") as operation:
        return _plain(load.load_bytes(data, _REQUEST, operation))


def _plain(loaded: Any) -> Any:
    """HDF5 groups as the dicts that they are."""
    if type(loaded) is Group:
        return {name: _plain(part) for name, part in loaded.items()}
    return loaded
