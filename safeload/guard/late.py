"""Libraries that are imported after the guard was installed, and have an entry point of their own.

Rule: a library is changed when its module has been executed and before anyone else sees it, and is never imported by the guard.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any, Final

from safeload.guard.layer import replace_joblib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["watch_imports"]

_AFTER: Final[dict[str, Callable[[Any], object]]] = {"joblib.numpy_pickle": replace_joblib}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: asks the other finders, and has the module changed after it was executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _AFTER:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec: ModuleSpec | None = find(fullname, path, target)
                if spec is not None and spec.loader is not None:
                    spec.loader = _Loader(spec.loader, _AFTER[fullname])
                    return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, after: Callable[[Any], object]) -> None:
        self._loader = loader
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._after(module)


def watch_imports() -> None:
    """Have the libraries changed when they come."""
    sys.meta_path.insert(0, _Finder())
