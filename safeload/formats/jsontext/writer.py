"""Values to JSON text: plain data as itself, everything else in the marker form.

Rule: what cannot come back as it was is not written.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from safeload.errors import LimitExceededError
from safeload.facts.expansion import expanded
from safeload.formats.jsontext import groups, registry, scalars
from safeload.formats.jsontext.form import MisfitError, pointer
from safeload.formats.jsontext.parse import check_depth, fast_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.limits import Limits

__all__ = ["Writer", "write"]


def write(value: Any, limits: Limits) -> bytes:
    """The JSON text of ``value``, UTF-8 without white space.

    Raises:
        TypeError: there is something in it that cannot be written; the message names the place and the type.
        ValueError: it is nested deeper than a reader with the same limits accepts, or contains itself.
    """
    try:
        writer = Writer(limits, value)
        tree = writer.value(value)
    except MisfitError as misfit:
        raise misfit.error(f"{pointer(misfit.path)}: {misfit}") from None
    except RecursionError:
        raise ValueError("the object is nested too deeply to be written as JSON") from None
    try:
        if writer.marked:  # without a marker the tree is as deep as the object, which was measured
            check_depth(tree, limits)
    except LimitExceededError as error:
        raise ValueError(f"the object cannot be written: {error}") from None
    return _text(tree)


def _text(tree: Any) -> bytes:
    orjson = fast_backend()
    if orjson is not None:
        try:
            text: bytes = orjson.dumps(tree)
            return text
        except TypeError:  # it has shorter integers, and fewer levels
            pass
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class Writer:
    """Makes the tree of plain values for one text, that of ``root``."""

    def __init__(self, limits: Limits, root: Any = None) -> None:
        self._root = root
        self._most = limits.max_json_bytes
        self._unmeasured = _MEASURE
        self._left = limits.max_json_depth
        self._limit = limits.max_json_depth
        self.marked = False

    def value(self, value: Any) -> Any:
        """The node of one value."""
        kind = type(value)
        if kind is bool or value is None:
            return value
        write = _WRITE.get(kind)
        if write is not None:
            node = write(value, self)
            self.marked = self.marked or (type(node) is dict and kind is not dict)
            return node
        self.marked = True
        # A look at the name first, so that NumPy is imported only if it is there already.
        if any(base.__module__.partition(".")[0] == "numpy" for base in kind.__mro__):
            from safeload.formats.jsontext.arrays import write_numpy

            node = write_numpy(value, self)
            if node is not None:
                return node
        self._enter()
        node = registry.write_object(value, self)
        self._left += 1
        return node

    def items(self, values: Iterable[Any]) -> list[Any]:
        """The nodes of several values."""
        self._enter()
        nodes: list[Any] = []
        try:
            for value in values:
                kind = type(value)
                # Most values are of these kinds, and a call for each would take longer than all else.
                if (
                    (kind is str and value.isascii())
                    or (kind is int and -_SHORT < value < _SHORT)
                    or (kind is float and value - value == 0)  # finite
                    or kind is bool
                ):
                    nodes.append(value)
                else:
                    nodes.append(self.value(value))
        except MisfitError as misfit:
            misfit.path.append(len(nodes))
            raise
        self._left += 1
        self._unmeasured -= len(nodes)
        if self._unmeasured < 0:
            self._measure()
        return nodes

    def _measure(self) -> None:
        """What shares its parts may have no end as a text: this is asked once, when it is getting long."""
        self._unmeasured = sys.maxsize
        if expanded(self._root) > self._most:
            raise MisfitError(
                f"its parts, written as often as they stand there, have more than max_json_bytes={self._most:,} bytes",
                ValueError,
            )

    def members(self, values: dict[str, Any]) -> dict[str, Any]:
        """The nodes of a dict's values, under their names."""
        try:
            nodes = self.items(values.values())
        except MisfitError as misfit:
            if misfit.path:
                misfit.path[-1] = list(values)[int(misfit.path[-1])]
            raise
        return dict(zip(values, nodes, strict=True))

    def _enter(self) -> None:
        self._left -= 1
        if self._left < 0:
            message = f"nested deeper than max_json_depth={self._limit}, or it contains itself"
            raise MisfitError(message, ValueError)


_SHORT: Final = 1 << 63
_MEASURE: Final = 1 << 20
_WRITE: Final[dict[type, Callable[[Any, Writer], Any]]] = {**scalars.WRITE, **groups.WRITE}
