"""The restricted load: CPython's C unpickler, able to reach only what the decision allowed.

Rule: names were resolved before the first opcode runs; a name that the decision did not see does not exist.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from safeload.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["RestrictedUnpickler"]


class RestrictedUnpickler(pickle.Unpickler):
    """For streams with code: ``resolved`` maps the names as the stream spells them to objects."""

    def __init__(
        self,
        file: Any,
        resolved: Mapping[tuple[str, str], Any],
        *,
        find_class: Callable[[str, str], Any] | None = None,
        persistent_load: Callable[[Any], Any] | None = None,
        buffers: Iterable[Any] | None = None,
        encoding: str = "ASCII",
        errors: str = "strict",
    ) -> None:
        super().__init__(file, encoding=encoding, errors=errors, buffers=buffers)
        self._resolved = resolved
        self._asked: set[str] = set()  # modules of names that the application resolved
        self.use(find_class, persistent_load)

    def use(self, find_class: Callable[[str, str], Any] | None, persistent_load: Callable[[Any], Any] | None) -> None:
        """Ask the application for globals and persistent ids, or (``None``) do not."""
        self._find = find_class
        self._persistent = persistent_load

    @property
    def packages(self) -> frozenset[str]:
        """The top-level packages of the names that it can reach."""
        return frozenset(
            module.partition(".")[0] for module in (*self._asked, *(spelling[0] for spelling in self._resolved))
        )

    def persistent_load(self, pid: Any) -> Any:
        """What the application has for this id."""
        if self._persistent is None:
            raise pickle.UnpicklingError(
                "the pickle holds persistent ids, but no persistent_load function was specified"
            )
        return self._persistent(pid)

    def find_class(self, module: str, name: str) -> Any:
        """What the decision allowed for this spelling; raises the audit event that CPython's own lookup raises."""
        if self._find is not None:
            found = self._find(module, name)
            home = getattr(found, "__module__", None)
            self._asked |= {module, home} if type(home) is str else {module}
            return found
        try:
            found = self._resolved[module, name]
        except KeyError:
            raise PolicyError(
                f"{module}.{name} was not part of the program that was judged", code="policy.disagreement"
            ) from None
        sys.audit("pickle.find_class", module, name)
        return found
