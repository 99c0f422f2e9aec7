"""The places of the blocks of a pandas frame, as far as a stream tells them.

A load checks them on the real objects (:mod:`safeload.engine.load.frames`), because C code of pandas writes to them; here the judgement
refuses what that check would. Rule: the blocks of a frame hold each of its columns once, so that a place lies outside of it if its
number is not below the number of all places. What a stream does not tell (bytes of an array that lie outside of it) is left to the load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.producers import is_plain_array
from safeload.program import Standin, producer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.policy.decision import Context

__all__ = ["check_places"]

_RANGE = 1 << 62


def check_places(places: list[Any], context: Context) -> str | None:
    """Why blocks with these places make no frame; ``None`` if nothing says so."""
    known = [_known(item, context) for item in places]
    columns = sum(found[2] for found in known if found is not None)
    if columns > 1 << 20 and context.expands_too_much(_PER_COLUMN * columns):
        return "the frames have many millions of columns"
    for found in known:
        if found is None or not found[2]:
            continue
        # Where the places of another block are not told, the number of columns is not known either.
        if found[0] < 0 or (None not in known and found[1] >= columns):
            return f"a block lies at column {found[1] if found[0] >= 0 else found[0]} of a frame of {columns}"
    return None


# pandas looks up in two arrays which block a column is in, and where.
_PER_COLUMN = 16


def _known(places: Any, context: Context) -> tuple[int, int, int] | None:
    """The lowest and the highest of some places, and how many there are; looked at once however many blocks share them."""
    key = id(places)
    if key not in context.places:
        made = producer(places)
        context.places[key] = (
            _of_slice(places, context)
            if made == "builtins.slice"
            else _of_array(places, context)
            if is_plain_array(places, context)
            else None
        )
    return context.places[key]


def _of_slice(places: Standin, context: Context) -> tuple[int, int, int] | None:
    args = next((use.args for use in context.content_of(places)), ())
    if any(type(item) not in (int, type(None)) or abs(item or 0) > _RANGE for item in args):
        return None
    start, stop, step = (None, *args, None)[:3] if len(args) == 1 else (*args, None)[:3]
    step = 1 if step is None else step
    if not step or (stop is None and step > 0):
        return None
    inside = range(start or 0, -1 if stop is None else stop, step)
    return (min(inside[0], inside[-1]), max(inside[0], inside[-1]), len(inside)) if inside else (0, 0, 0)


def _of_array(places: Standin, context: Context) -> tuple[int, int, int] | None:
    kind, data = context.data.get(id(places), (None, None))
    data = _bytes(data, context)
    if kind is None or data is None or kind.kind not in "iu" or kind.size not in (1, 2, 4, 8):
        return None
    import numpy as np

    if len(data) % kind.size:
        return None
    # The byte order is not noted with the dtype: a machine of the other one has its places inside when read that way.
    read = [np.frombuffer(data, f"{order}{kind.kind}{kind.size}") for order in "<>"]
    if not read[0].size:
        return 0, 0, 0
    found = [(int(values.min()), int(values.max()), values.size) for values in read]
    return min(found, key=_worst)


def _worst(found: Iterable[int]) -> int:
    return max(abs(number) for number in found)


def _bytes(data: Any, context: Context) -> bytes | None:
    """The bytes that an array was made of; protocols without bytes write them as text."""
    if type(data) in (bytes, bytearray, memoryview):
        return context.literal(data)
    if type(data) is str:
        return data.encode("latin-1", "replace")
    made = next(iter(context.content_of(data)), None) if producer(data) == "_codecs.encode" else None
    if made is not None and made.args and type(made.args[0]) is str:
        return made.args[0].encode("latin-1", "replace")
    return None
