"""A value made on first use, without a lock.

``functools.cached_property`` holds a lock of its own before Python 3.12. A fork in the middle of the first use would leave it
taken in the child, whose next load would hang. Rule: what is made here may be made twice by two threads that
come at once, so it is immutable and each is as good as the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Once"]

_Value = TypeVar("_Value")


class Once(Generic[_Value]):
    """A method's result as an attribute, which the instance keeps from the first use on."""

    def __init__(self, make: Callable[[Any], _Value]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, instance: Any, owner: type) -> _Value:
        value = self._make(instance)
        # Found before this descriptor from now on: it has no __set__.
        vars(instance)[self._make.__name__] = value
        return value
