"""Containers that hold no code but need a reader in C, in the jail: by safeload's own loader, as outside.

Rule: whatever the loader reads from files (policy packs, formats) is read when this module is imported, before the jail closes.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from safeload import engine, formats, pipeline, policy, source, validate
from safeload.audit import SILENT
from safeload.formats import containers
from safeload.formats.hdf5.group import Group
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline import load
from safeload.pipeline.request import JudgeOptions, ReadRequest
from safeload.policy import Policy
from safeload.sandbox.inside.cell import import_quietly

__all__ = ["load_judged"]

_REQUEST = ReadRequest(JudgeOptions(Policy.packs("data", "numpy"), DEFAULT_LIMITS))
# All of them: which ones a format imports on its first use is its own business, and changes.
_ROOMS = (engine, formats, pipeline, policy, source, validate)
import_quietly(
    info.name
    for room in _ROOMS
    for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    if "." in info.name
)
# The registries read a directory.
_REGISTRIES = (containers.formats(), containers.codecs())


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
