"""Objects that answer names from what they hold, checked for names that somebody asks every object.

``Bunch``, ``OptimizeResult`` and the modules of PyTorch look up in their items, or in their children, whatever attribute they do not have. NumPy
asks every object for ``__array_interface__`` and reads the memory whose address it finds there, ``copy`` calls ``__deepcopy__``. The
judgement cannot see all keys, and a stream can add some later, so the objects are looked at when it has stopped. Rule: nothing that
such an object holds has the name of a protocol.
"""

from __future__ import annotations

from typing import Any

from safeload.facts.protocols import PROTOCOLS, TOLD, is_special

__all__ = ["CHECKS"]

# Types that are never equal to a string.
_OTHERS = frozenset({int, float, complex, bool, bytes, tuple, type(None)})
_CHILDREN = ("_parameters", "_buffers", "_modules")


def _check_items(mapping: Any) -> None:
    """Raise ``ValueError`` if a mapping that answers names from its items has one under a name of a protocol."""
    for key, value in dict.items(mapping):
        _check_name(key)
        if key in PROTOCOLS and callable(value):
            raise ValueError(f"an item {key!r} would be called in place of a method")


def _check_module(module: Any) -> None:
    held = object.__getattribute__(module, "__dict__")
    for children in _CHILDREN:
        for key in held.get(children) or ():
            _check_name(key)
    if type(module).__module__.partition(".")[0] == "torch":
        for name, hooks in held.items():
            if name.endswith("_hooks") and hooks:
                raise ValueError("a module of PyTorch has hooks, which it would call")


def _check_name(key: Any) -> None:
    if type(key) is not str:
        if type(key) not in _OTHERS:
            raise ValueError("a key is not text, and could be equal to a name that is looked up")
    elif is_special(key) or key in TOLD:
        raise ValueError(f"{key[:40]!r} is a name that is looked up on every object")


# Checked after STOP (safeload.engine.load.checks).
CHECKS = {
    "sklearn.utils:Bunch": _check_items,
    "scipy.optimize:OptimizeResult": _check_items,
    "torch.nn:Module": _check_module,
}
