"""JSON that every reader understands alike: UTF-8, and no name twice in an object.

Of a name that stands twice some readers take the first value and some the last, so that what was judged is not what is used.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

__all__ = ["no_number", "strict_json"]


def strict_json(text: str | bytes, **hooks: Any) -> Any:
    """The value of ``text``.

    Args:
        text: bytes are UTF-8.
        hooks: ``parse_float``, ``parse_int`` and ``parse_constant``, as for ``json.loads``.

    Raises:
        ValueError: it is no JSON, names a key twice, or nests too deeply.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, object_pairs_hook=_unique, **hooks)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def no_number(text: str) -> NoReturn:
    """A hook that refuses what it is asked for."""
    raise ValueError(f"{text[:20]} is no number that is allowed here")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found
