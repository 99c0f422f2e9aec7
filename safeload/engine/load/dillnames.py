"""What dill's own unpickler does differently from pickle's, for payloads of a signer whose grant says ``code``.

dill writes ``__builtin__.__main__`` for the names of the main program and ``dill.dill`` for what has moved, and gives an instance of a
class of the main program the class that the running program has under that name (dill, ``Unpickler.find_class`` and ``load``).
Rule: nothing here is reached without the grant.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from safeload.facts.code_makers import family, family_of, import_library

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["current_class", "moved", "special"]

_MAIN = frozenset({"__builtin__.__main__", "builtins.__main__"})
_NONE_TYPE = frozenset({"__builtin__.NoneType", "builtins.NoneType"})


def special(name: str) -> Any:
    """What stands for a name that no module has; ``None`` for any other name."""
    if name in _MAIN:
        return vars(sys.modules["__main__"])
    return type(None) if name in _NONE_TYPE else None


def moved(name: str) -> str:
    """Where the global ``name`` is now; dill is imported for a name of its own."""
    if family(name) == "dill":
        with contextlib.suppress(ImportError):  # the name's own error says more
            import_library("dill")
    return name.replace("dill.dill", "dill._dill", 1) if name.startswith(("dill.dill.", "dill.dill:")) else name


def current_class(loaded: Any, names: Iterable[str]) -> None:
    """Give an instance of a class of the main program the class that is there now, as dill does by default.

    Args:
        loaded: the object.
        names: the globals of its stream: dill's among them, or nothing is done.
    """
    if type(loaded).__module__ != "__main__" or family_of(names) != "dill":
        return
    dill = sys.modules.get("dill")
    if dill is None or dill.settings.get("ignore"):
        return
    with contextlib.suppress(AttributeError, TypeError):
        loaded.__class__ = getattr(sys.modules["__main__"], type(loaded).__name__)
