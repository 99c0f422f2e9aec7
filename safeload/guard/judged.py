"""safeload's unpickler in the place of one of pickle's: same file, same position, and the methods of a subclass."""

from __future__ import annotations

from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

from safeload.api.defaults import loader_with
from safeload.api.pickle_classes import Unpickler

if TYPE_CHECKING:
    from safeload.api.loader import Loader
    from safeload.guard.state import State

__all__ = ["JudgedUnpickler"]


class JudgedUnpickler(Unpickler):
    """Judges and loads streams for ``owner``, an unpickler of a class that the guard replaced.

    A subclass's ``find_class`` and ``persistent_load`` are asked as pickle would, after the policy. What ``super().find_class``
    of that subclass looks up comes to :meth:`find_judged`, and so to the policy.
    """

    def __init__(self, state: State, owner: Any, file: Any, **options: Any) -> None:
        self.judges_for = state
        self.is_loading = False
        super().__init__(file, **options)
        if owner is None:
            return
        base: Any = next(each for each in type(owner).__mro__ if "_guard_class" in vars(each))
        if type(owner).find_class is not base.find_class or "find_class" in owner.__dict__:
            self.find_class = owner.find_class  # type: ignore[method-assign]
        persistent = _persistent_load(owner, base)
        if persistent is not None:
            self.persistent_load = persistent  # type: ignore[method-assign]
        owner._guard_inner = self  # noqa: SLF001 - its counterpart

    def _like(self, **choices: Any) -> Loader:
        return loader_with(self.judges_for.loader, **choices)

    def load(self) -> Any:
        """Load the next stream; what the owner asks its base class for comes to :meth:`find_judged` meanwhile."""
        self.is_loading = True
        try:
            return super().load()
        finally:
            self.is_loading = False

    def find_judged(self, module: str, name: str) -> Any:
        """The global that the owner's class asks its base class for."""
        return Unpickler.find_class(self, module, name)


def _persistent_load(owner: Any, base: Any) -> Any:
    """The owner's own method, of its class or set on the instance, which the C type keeps in a slot of its own."""
    own = getattr(type(owner), "persistent_load", None)
    if own is not None and own is not getattr(base, "persistent_load", None):
        return owner.persistent_load
    try:
        found = owner.persistent_load
    except AttributeError:
        return None
    return None if isinstance(found, BuiltinMethodType) else found  # from 3.13 on the base class has one that refuses
