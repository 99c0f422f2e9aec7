"""Pickles that are kept as values inside another format: PyTables and pandas keep objects as pickled attributes and strings.

Rule: what a reader might unpickle is found whatever type it is stored as; whether it is harmless is for the engine to say.
"""

from __future__ import annotations

import itertools
import pickletools
import re
from typing import TYPE_CHECKING, Any

from safeload.errors import LimitExceededError
from safeload.formats.detect import looks_like_pickle_head

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ACTS", "IMPORTS", "Effort", "pickles_in", "seems_pickled"]

# Opcodes a pickle of protocol 0 or 1 can begin with, and those that act.
_FIRST = frozenset(b"(cNIJKLMSTUVXFG]})iP")
# As the first letter of a text; a byte of 0x80 that is no UTF-8 is kept as a surrogate.
_FIRST_LETTERS = frozenset({"\udc80", *map(chr, _FIRST)})
ACTS = frozenset({"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"})
IMPORTS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_GLOBAL = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_<][\w.>]*")
_MOST_OPCODES = 100_000
_FIRST_LOOK = 8  # what it takes to begin, in opcodes
_ACTING = 6  # bytes of the shortest text that acts: "ca\nb\nR"


class Effort:
    """What looking at values may still take, in opcodes: many that compress well begin like pickles and go on for long.

    Args:
        size: of the artifact. What is written into it to be looked at costs its author as much.
    """

    def __init__(self, size: int) -> None:
        self._left = 4_000_000 + 2 * size

    def take(self, opcodes: int) -> None:
        """Note that so many opcodes were looked at.

        Raises:
            LimitExceededError: they are too many.
        """
        self._left -= opcodes
        if self._left < 0:
            raise LimitExceededError(
                "the file has more values that begin like pickles than can be looked at; read a part with member=",
                code="limit.pickles",
            )


def seems_pickled(value: bytes, effort: Effort | None = None) -> bool:
    """Whether ``value`` is a pickle to somebody who tries: it is one from the first byte to the last, or would act before it breaks.

    Raises:
        LimitExceededError: ``effort`` is used up.
    """
    if not value:
        return False
    if not looks_like_pickle_head(value):
        value = value.rstrip(b"\0")
        if len(value) < 2 or value[0] not in _FIRST:
            return False
    imports = acts = False
    seen = _FIRST_LOOK
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(value), _MOST_OPCODES):
            if opcode.name in IMPORTS:
                imports = imports or opcode.name == "STACK_GLOBAL" or bool(_GLOBAL.fullmatch(str(argument)))
            acts = acts or opcode.name in ACTS
            seen += 1
    except Exception:  # noqa: BLE001 - genops raises what it likes on what is no pickle
        return imports and acts
    finally:
        if effort is not None:
            effort.take(seen)
    return True


def pickles_in(array: Any, effort: Effort) -> Iterator[tuple[str, bytes]]:
    """The values of an array that seem to be pickles, with where they stand: texts, opaque bytes, and arrays of bytes.

    Raises:
        LimitExceededError: ``effort`` is used up.
    """
    if array.dtype.names:
        for name in array.dtype.names:
            yield from ((f".{name}{where}", value) for where, value in pickles_in(array[name], effort))
    elif array.dtype.kind == "O":
        for place, value in enumerate(array.reshape(-1).tolist() if array.ndim else [array[()]]):
            if type(value) is str and value[:1] not in _FIRST_LETTERS:
                continue
            data = _bytes_of(value)
            if data is not None and seems_pickled(data, effort):
                yield f"[{place}]", data
    elif array.dtype.kind in "SV":
        for place in _candidates(array):
            data = array.reshape(-1)[place].tobytes()
            if seems_pickled(data, effort):
                yield f"[{place}]", _without_padding(data)
    elif array.dtype.itemsize == 1 and array.dtype.kind in "ui" and array.ndim == 1:
        data = array.tobytes()
        if looks_like_pickle_head(data) and seems_pickled(data, effort):
            yield "", _without_padding(data)


def _candidates(array: Any) -> Any:
    """Where a fixed-length value begins as a pickle can."""
    import numpy as np

    if not array.dtype.itemsize or not array.size:
        return ()
    rows = np.ascontiguousarray(array.reshape(-1)).view(np.uint8).reshape(array.size, -1)
    found = np.flatnonzero(np.isin(rows[:, 0], np.frombuffer(bytes((0x80, *_FIRST)), np.uint8)))
    if rows.shape[1] < _ACTING:  # no room to act in, so it is one to its end, if one at all
        found = found[(rows[found, 1:] == ord(".")).any(axis=1)]
    return found


def _bytes_of(value: Any) -> bytes | None:
    import numpy as np

    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
        return value.tobytes()
    return value if isinstance(value, bytes) else None


def _without_padding(data: bytes) -> bytes:
    """Without the zeros that fill a fixed length; a pickle ends with its STOP."""
    end = data.rfind(b".")
    return data[: end + 1] if end >= 0 and not data[end + 1 :].strip(b"\0") else data
