"""Where the arrays of a joblib file lie, and what stands for them while it is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError
from safeload.program import ARRAY_WRAPPERS, Kind, Standin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeload.engine.census import Census
    from safeload.engine.trace import Tracer
    from safeload.program import Use

__all__ = [
    "MOST_PADDING",
    "RECONSTRUCT",
    "ArrayPlace",
    "ObjectStream",
    "as_numpy_would",
    "check_described",
    "descriptions",
]

# Bytes that joblib puts before an array, at most.
MOST_PADDING = 64

# How numpy itself pickles an array: the form in which the policy's rules know arrays.
RECONSTRUCT = "numpy._core.multiarray._reconstruct"


class ArrayPlace(NamedTuple):
    """Where the bytes of an array are, and how many; for an array of objects, the stream that holds it."""

    offset: int
    size: int
    objects: ObjectStream | None = None


class ObjectStream(NamedTuple):
    """The pickle of an array of objects, and its globals by the names that it spells."""

    census: Census
    spellings: Mapping[tuple[str, str], str]


def check_described(state: Any) -> None:
    """Refuse what does not describe an array.

    Raises:
        FormatError: its shape, order or dtype is missing.
    """
    if type(state) is not dict or not {"shape", "order", "dtype"} <= state.keys():
        raise FormatError("the description of an array lacks its shape, order or dtype", code="format.array")


def descriptions(uses: Iterable[Use]) -> int:
    """How many arrays a trace describes."""
    return sum(use.kind is Kind.STATE and use.name in ARRAY_WRAPPERS for use in uses)


def as_numpy_would(tracer: Tracer, state: dict[str, Any], size: int) -> Standin:
    """Record the array as if numpy had pickled it, for the policy's rules; zeros that take no memory stand for its bytes."""
    array: Standin = object.__new__(tracer.standin(RECONSTRUCT))
    tracer.record(Kind.CALL, RECONSTRUCT, (tracer.standin("numpy.ndarray"), (0,), b"b"), array)
    fortran = state["order"] == "F"
    tracer.record(Kind.STATE, RECONSTRUCT, ((1, state["shape"], state["dtype"], fortran, bytes(size)),), array)
    return array
