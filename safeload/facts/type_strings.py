"""numpy's type strings (``"<f8"``, ``"U12"``, ``"M8[ns]"``): what they stand for, without numpy.

Rule: one table for whoever judges a dtype in a pickle and whoever reads one from a header, so that both mean the same.
"""

from __future__ import annotations

import re

__all__ = ["MAX_ITEM", "type_string"]

MAX_ITEM = 1 << 31

_TYPE = re.compile(r"[<>|=]?([biufcOSUVaMm?])(\d{0,10})(?:\[[0-9a-zA-Zμ]{1,12}\])?", re.ASCII)
_SIZES = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8, 10, 12, 16),
    "c": (8, 16, 20, 24, 32),
    "O": (4, 8),
    "M": (8,),
    "m": (8,),
}


def type_string(text: str) -> tuple[str, int] | None:
    """The kind (a letter; ``"b"`` for booleans) and the size of an item in bytes; ``None`` if it is no type string."""
    match = _TYPE.fullmatch(text)
    if match is None:
        return None
    kind, digits = match.groups()
    if kind == "?":
        return ("b", 1) if not digits else None
    kind = "S" if kind == "a" else kind
    size = int(digits or 0)
    if kind in "SUV":
        size = size * 4 if kind == "U" else size
        return (kind, size) if size <= MAX_ITEM else None
    if not digits:
        size = {"O": 8, "M": 8, "m": 8}.get(kind, 0)
    return (kind, size) if size in _SIZES[kind] else None
