"""Is a model one that CatBoost's reader can be given?

The reader verifies that a flatbuffer's tables, texts and vectors lie inside the file, and then believes the numbers in them: a split is
a place in a list of borders, a tree has a place and a size, and both are used without a look (a model with one changed number in
fifty ends the process). Parts that several others share are copied for each. Rule: every number that CatBoost uses as a place
lies inside of its list, a part is read once, and what is not understood is refused.
"""

from __future__ import annotations

import sys
from array import array
from typing import Final, NamedTuple

__all__ = ["check_model"]

_MAX_DIMENSION = 1 << 16
_MAX_DEPTH = 24
_TEXT: Final = "text"


class _Vector(NamedTuple):
    """A vector of numbers, or of structures of them."""

    width: int


class _List(NamedTuple):
    """A vector of tables or texts."""

    of: str


# What the fields of a table are, by their number; others are single numbers (catboost/libs/model/flatbuffers/*.fbs).
_Field = str | _Vector | _List
_TABLES: dict[str, dict[int, _Field]] = {
    "core": {0: _TEXT, 1: "trees", 2: _List("pair"), 3: _List(_TEXT)},
    "pair": {0: _TEXT, 1: _TEXT},
    "trees": {
        1: _Vector(4), 2: _Vector(4), 3: _Vector(4), 4: _List("cat"), 5: _List("float"), 6: _List("one-hot"), 7: _List("ctr"),
        8: _Vector(8), 9: _Vector(8), 10: _Vector(4), 11: _Vector(4), 12: _List("cat"), 13: _List("estimated"), 16: _Vector(8),
        17: _Vector(4), 18: _List("cat"),
    },
    "cat": {2: _TEXT},
    "float": {3: _Vector(4), 4: _TEXT},
    "one-hot": {1: _Vector(4), 2: _List(_TEXT)},
    "estimated": {3: _Vector(4)},
    "ctr": {0: "ctr-value", 1: _Vector(4)},
    "ctr-value": {0: "ctr-base"},
    "ctr-base": {0: "combination"},
    "combination": {0: _Vector(4), 1: _Vector(8), 2: _Vector(8)},
}  # fmt: skip
# Where the borders of a kind of features are, each of which is a split that a tree may have.
_BORDERS = {"float": 3, "one-hot": 1, "estimated": 3, "ctr": 1}


class _RefusedError(ValueError):
    """The reason is a sentence."""


def check_model(data: bytes) -> str | None:
    """Why CatBoost must not be given ``data``, the file of a model, or ``None``."""
    try:
        _require(len(data) >= 8 and data[:4] == b"CBM1", "it is not in CatBoost's binary format")
        size = int.from_bytes(data[4:8], "little")
        _require(size <= len(data) - 8, "it ends too early")
        _Reader(data[8 : 8 + size]).check()
    except _RefusedError as error:
        return f"the model is malformed: {error}"
    return None


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _RefusedError(reason)


class _Reader:
    """Reads a flatbuffer of a model, each part once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)  # bytes that parts may still have
        self._trees: dict[int, int] | None = None
        self._splits = 0

    def check(self) -> None:
        self._table(self._jump(0), "core")
        if self._trees is not None:
            self._check_trees(self._trees)

    # ------------------------------------------------------------ the flatbuffer

    def _number(self, place: int, width: int = 4) -> int:
        _require(0 <= place <= len(self._data) - width, "a part lies outside of it")
        return int.from_bytes(self._data[place : place + width], "little", signed=False)

    def _jump(self, place: int) -> int:
        return place + self._number(place)

    def _take(self, size: int) -> None:
        self._left -= size
        _require(self._left >= 0, "a part of it is used more than once")

    def _fields(self, table: int) -> dict[int, int]:
        """The places of the fields of a table."""
        offset = self._number(table)
        vtable = table - (offset - (1 << 32) if offset >= 1 << 31 else offset)
        size = self._number(vtable, 2)
        _require(4 <= size <= 128 and size % 2 == 0, "a table has too many fields")
        found = (self._number(vtable + 4 + 2 * index, 2) for index in range((size - 4) // 2))
        return {index: table + offset for index, offset in enumerate(found) if offset}

    def _table(self, table: int, name: str) -> None:
        self._take(4)
        fields, known = self._fields(table), _TABLES[name]
        if name == "trees":
            self._trees = fields
        for index, place in fields.items():
            what = known.get(index)
            if isinstance(what, _Vector):
                length, _ = self._vector(place, what.width)
                self._splits += length if _BORDERS.get(name) == index else 0
            elif isinstance(what, _List):
                length, start = self._vector(place, 4)
                for item in range(start, start + 4 * length, 4):
                    self._part(self._jump(item), what.of)
            elif what is not None:
                self._part(self._jump(place), what)

    def _part(self, place: int, name: str) -> None:
        if name == _TEXT:
            self._take(self._number(place))
        else:
            self._table(place, name)

    def _vector(self, place: int, width: int) -> tuple[int, int]:
        """Length and beginning."""
        start = self._jump(place)
        length = self._number(start)
        _require(length * width <= len(self._data) - start - 4, "a list lies outside of it")
        self._take(4 + length * width)
        return length, start + 4

    # ------------------------------------------------------------ the trees

    def _values(self, fields: dict[int, int], index: int, code: str) -> array[int]:
        values = array(code)
        if index in fields:
            start = self._jump(fields[index])
            values.frombytes(self._data[start + 4 : start + 4 + 4 * self._number(start)])
            if sys.byteorder == "big":
                values.byteswap()
        return values

    def _check_trees(self, fields: dict[int, int]) -> None:
        dimension = self._number(fields[0]) if 0 in fields else 0
        _require(dimension <= _MAX_DIMENSION, "its dimension is impossible")
        splits, sizes, starts = (self._values(fields, index, "i") for index in (1, 2, 3))
        steps = self._values(fields, 10, "I")
        leaves = self._number(self._jump(fields[8])) if 8 in fields else 0
        _require(not splits or min(splits) >= 0, "a split does not exist")
        _require(not splits or max(splits) < max(self._splits, 1), "a split does not exist")
        _require(len(sizes) == len(starts), "not every tree has a beginning")
        _require(not sizes or dimension > 0, "its dimension is impossible")
        for start, size in zip(starts, sizes, strict=True):
            _require(min(start, size) >= 0 and start + size <= len(splits), "a tree lies outside of the splits")
        if steps:
            self._check_steps(fields, steps, len(splits), leaves // dimension * dimension if dimension else 0)
            return
        _require(not sizes or max(sizes) <= _MAX_DEPTH, "a tree is too deep")
        _require(sum(1 << size for size in sizes) * dimension <= leaves, "a tree has more leaves than there are values")

    def _check_steps(self, fields: dict[int, int], steps: array[int], count: int, leaves: int) -> None:
        """Of trees that are not symmetric: where each node goes on, or its leaf."""
        nodes = self._values(fields, 11, "I")
        dimension = self._number(fields[0])
        _require(len(steps) == len(nodes) == count, "there are not as many nodes as splits")
        for place, (step, leaf) in enumerate(zip(steps, nodes, strict=True)):
            left, right = step & 0xFFFF, step >> 16
            _require(place + max(left, right) < count, "a node leads out of the trees")
            if not left or not right:
                _require(leaf + dimension <= leaves, "a leaf has no value")
