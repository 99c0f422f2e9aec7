"""Questions that checks of loaded objects ask: is this an array of that form, do these numbers lie in there.

Rule: an answer is given for exact types only. A subclass of an array or of an integer may answer differently the second time, when a
library's C code asks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["attributes", "integer", "need", "need_array", "need_inside", "need_width"]


def need(condition: object, wrong: str) -> None:
    """Raise ``ValueError`` with what is wrong unless ``condition`` holds."""
    if not condition:
        raise ValueError(wrong)


def attributes(thing: Any) -> dict[str, Any]:
    """The dict of an instance, whatever its class says of attributes."""
    found: Any = object.__getattribute__(thing, "__dict__")
    need(type(found) is dict, "the attributes of an object are not in a dict")
    return found  # type: ignore[no-any-return]


def integer(value: Any, name: str) -> int:
    """``value`` as an ``int``; booleans are none."""
    need(type(value) is int or isinstance(value, np.integer), f"{name} is not an integer")
    return int(value)


def need_array(value: Any, name: str, dimensions: int, kinds: str = "f") -> Any:
    """Return ``value``, which has to be a plain array with that many dimensions and a dtype of these kinds."""
    if type(value) is not np.ndarray or value.ndim != dimensions or value.dtype.kind not in kinds:
        raise ValueError(f"{name} is not an array of {dimensions} dimensions with numbers of kind {kinds}")
    return value


def need_inside(numbers: Any, stop: int, name: str, start: int = 0) -> None:
    """Raise ``ValueError`` unless all ``numbers`` of an array are at least ``start`` and below ``stop``."""
    if numbers.size and not (start <= int(numbers.min()) and int(numbers.max()) < stop):
        raise ValueError(f"{name} lies outside of what it is a place in ({stop:,})")


def need_width(estimator: Any, width: int, name: str) -> None:
    """Raise ``ValueError`` unless an estimator compares its input with ``width``, the number of features that its arrays have.

    scikit-learn asks an estimator that does not know its number of features (pickled before 0.24) for nothing, and its C code then
    reads rows of another length: such an estimator is told.
    """
    known = attributes(estimator)
    if "n_features_in_" not in known:
        known["n_features_in_"] = width
    elif integer(known["n_features_in_"], "the number of features") != width:
        raise ValueError(f"{name} is for {width} features, the estimator for {known['n_features_in_']}")
