"""Which harmful global would a less strict unpickler call in a stream that the census finds malformed?

CPython's unpickler takes a second PROTO and frames that end anywhere, and runs opcodes as they come, so a payload in such a file fires.
``pickletools`` reads on there as well. Rule: evidence for a verdict only; the stream is refused whatever is found here, and nothing is
built of it but a list of texts.
"""

from __future__ import annotations

import io
import pickletools
from typing import Any, cast

from safeload.engine.harmful import is_harmful

__all__ = ["harmful_call"]

_MOST_TEXTS = 4_096
_ACTS = frozenset({"REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def harmful_call(data: bytes) -> str | None:
    """The first harmful global that ``data``, read as opcodes, imports and goes on to call something; ``None`` if there is none."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    harmful: str | None = None
    try:
        for opcode, value, _ in pickletools.genops(io.BytesIO(data)):
            name, argument = opcode.name, cast("Any", value)
            if name in ("GLOBAL", "INST"):
                harmful = harmful or _if_harmful(*argument.split(" ", 1))
                if harmful and name == "INST":
                    return harmful
            elif name == "STACK_GLOBAL" and len(texts) > 1:
                harmful = harmful or _if_harmful(texts[-2], texts[-1])
            elif name in _ACTS and harmful:
                return harmful
            elif name in _GETS and argument in memo:
                texts.append(memo[argument])
            elif texts and name in _PUTS:
                memo[argument] = texts[-1]
            elif texts and name == "MEMOIZE":
                memo[len(memo)] = texts[-1]
            elif type(argument) is str:
                texts.append(argument)
            if len(texts) > _MOST_TEXTS:
                del texts[:-2]
    except Exception:  # noqa: BLE001 - genops raises what it likes; what was read until then is not run
        return None
    return None


def _if_harmful(module: str, attribute: str) -> str | None:
    name = f"{module}:{attribute}" if "." in attribute else f"{module}.{attribute}"
    name = name.replace("__builtin__", "builtins", 1) if name.startswith("__builtin__") else name
    return name if is_harmful(name) else None
