"""From a name that the policy allowed to the object it means.

Rule: a name is resolved only here, from the policy's spelling, and the object found must be what the name says: it is no
module, and it was defined in the package that the name begins with. A module whose attribute was replaced by
something from elsewhere, or that merely re-exports it, is refused.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from safeload.errors import LoadError, PolicyError

__all__ = ["check_class", "resolve"]


def resolve(name: str, *, modules: bool = False) -> Any:
    """Import and return the global called ``name`` (``module.attr`` or ``module:outer.inner``).

    Args:
        name: the policy's name for it.
        modules: it may be a module, as for a signer whose grant says ``code`` (dill names some so).

    Raises:
        LoadError: the module or attribute does not exist (also an ``ImportError`` or ``AttributeError``).
        PolicyError: the name leads to something that is not defined where the name says.
    """
    module_name, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        found: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except Exception as error:
        raise LoadError.wrap(error) from error
    if not (modules and isinstance(found, types.ModuleType)):
        _check_home(name, module_name, found)
    return found


def _check_home(name: str, module_name: str, found: Any) -> None:
    if isinstance(found, types.ModuleType):
        raise PolicyError(f"{name} is a module, not a class or function", code="policy.not-a-global", stage="load")
    home = getattr(found, "__module__", None)
    if not isinstance(home, str) or not callable(found):
        return
    expected, actual = module_name.partition(".")[0], home.partition(".")[0]
    # The C half of a standard module is called _module; builtins have no other home.
    if actual.lstrip("_") == expected.lstrip("_") or actual == "builtins":
        return
    if actual in sys.stdlib_module_names and expected in sys.stdlib_module_names:
        return
    raise PolicyError(
        f"{name} leads to {home}.{getattr(found, '__qualname__', '?')}, which is defined in another package; allow that "
        "name instead if it is what you want",
        code="policy.foreign-global",
        stage="load",
    )


def check_class(name: str, found: Any, *, callable_too: bool) -> None:
    """Check what instances are made of without a call: NEWOBJ, and OBJ and INST without arguments.

    The unpickler decides by what it finds: OBJ and INST *call* what is no class, and a class that has ``__getinitargs__``.

    Args:
        name: the global's policy name.
        found: what it is.
        callable_too: the policy lets it be called, so it does not matter.

    Raises:
        PolicyError: ``found`` would be called, and may not be.
    """
    if callable_too:
        return
    if not isinstance(found, type) or hasattr(found, "__getinitargs__"):
        raise PolicyError(
            f"the pickle makes an instance of {name}, which is not a class that can be made without a call; allow it with "
            "call=True if it may be called",
            code="policy.not-a-class",
            stage="load",
        )
