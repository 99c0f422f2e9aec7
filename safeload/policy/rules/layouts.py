"""How many bytes does an array have that a traced stream describes, and are they references?

The same rules that judge a dtype (:mod:`safeload.policy.rules.dtypes`) tell how large its items are. A container that keeps array
bytes outside of its stream has to know that before the stream is judged as a whole; it is told nothing that a judgement would not
confirm. Rule: what is not described in the way that numpy writes has no layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from safeload.errors import FormatError
from safeload.policy.decision import MALFORMED, Context
from safeload.policy.model import Policy
from safeload.policy.rules import find_rules
from safeload.policy.rules.dtypes import dtype_of, extent

if TYPE_CHECKING:
    from safeload.program import Use

__all__ = ["Layout", "Layouts"]

_DTYPE_RULES = frozenset({"dtype", "dtype-state", "string-dtype"})


class Layout(NamedTuple):
    """Of an array: its number of items, their size in bytes, and whether they are references to objects."""

    length: int
    itemsize: int
    has_objects: bool


class Layouts:
    """Follows a growing list of uses and knows the dtypes in it."""

    def __init__(self, uses: list[Use]) -> None:
        self._uses = uses
        self._seen = 0
        self._conditions = Policy.packs("numpy").conditions
        self._context = Context(Policy.packs("numpy"), uses)  # type: ignore[arg-type]

    def of(self, shape: Any, dtype: Any) -> Layout:
        """The layout of an array of this shape and dtype, both as traced.

        Raises:
            FormatError: one of them is not what numpy writes.
        """
        self._catch_up()
        count, described = extent(shape), dtype_of(dtype, self._context)
        if type(shape) is not tuple or count is None or described is None:
            _refuse("its shape or dtype is malformed")
        return Layout(count, described.size, described.has_objects)

    def _catch_up(self) -> None:
        context, uses = self._context, self._uses
        for index in range(self._seen, len(uses)):
            use = uses[index]
            condition = self._conditions.get((use.kind, use.name))
            if condition not in _DTYPE_RULES:
                continue
            context.index = index
            try:
                reasons = [check(use, context) for check in find_rules(condition)]
            except MALFORMED:
                _refuse("its dtype is malformed")
            if None not in reasons:
                _refuse(str(reasons[0]))
        self._seen = len(uses)


def _refuse(reason: str) -> NoReturn:
    raise FormatError(f"the file describes an array in a way that numpy does not write: {reason}", code="format.array")
