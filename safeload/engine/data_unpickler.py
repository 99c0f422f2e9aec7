"""The unpickler for pure data: it can reach nothing, so a scan may use it to see whether a stream can be built.

Rule: it answers no name and no id. One that did would make of a scan a load.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from safeload.errors import PolicyError

__all__ = ["Built", "DataUnpickler"]


class Built(NamedTuple):
    """An object of pure data that is there already (:mod:`safeload.engine.built`)."""

    value: Any


class DataUnpickler(pickle.Unpickler):
    """For pure data: reaches nothing. The census has shown that the stream asks for nothing."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ARG002
        """Refuse."""
        raise PolicyError("a stream that was judged to be pure data asked for a global", code="policy.disagreement")

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        """Refuse."""
        raise PolicyError("a stream that was judged to be pure data has a persistent id", code="policy.disagreement")
