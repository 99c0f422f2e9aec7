"""``Pickler`` and ``Unpickler`` with pickle's signatures.

``Pickler`` is pickle's own. ``Unpickler`` judges each stream before it loads it; several ``load`` calls share a memo, as
with pickle. A subclass's ``find_class`` and ``persistent_load`` are called as documented for pickle, but only for
streams that the policy allowed.

Rule: the memo of earlier streams is part of what a later stream is judged by, so once a second stream is loaded every
stream is traced.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from safeload import defaults
from safeload.feed import CodeFeed
from safeload.formats.sources import source_for_file
from safeload.loading.unpickler import RestrictedUnpickler
from safeload.pipeline import MemoTracer, Options, run, users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.limits import Limits

__all__ = ["Pickler", "Unpickler"]


class Pickler(pickle.Pickler):
    """pickle's own Pickler: the bytes are the same, and so is subclassing."""


class Unpickler:
    """Loads streams from a binary file under a policy; signature, methods and subclassing as in ``pickle.Unpickler``.

    Args:
        file: binary file with ``read`` and ``readline``.
        fix_imports, encoding, errors, buffers: as for ``pickle.Unpickler``.
        policy, limits, audit: instead of those of the default loader.

    Raises:
        TypeError: ``file`` lacks a method.
    """

    def __init__(
        self,
        file: Any,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
        policy: Any = None,
        limits: Limits | None = None,
        audit: Any = None,
    ) -> None:
        source_for_file(file)
        self._file = file
        self._loader = defaults.loader_with(policy=policy, limits=limits, audit=audit)
        own_find = type(self).find_class is not Unpickler.find_class or "find_class" in self.__dict__
        self._options = Options(
            self._loader.policy, self._loader.limits, None, fix_imports, encoding, errors,
            users(getattr(self, "persistent_load", None)),
            users(self._find_by_subclass) if own_find else None,
        )  # fmt: skip
        self._given = None if buffers is None else iter(buffers)
        self._feed = CodeFeed()
        self._resolved: dict[tuple[str, str], Any] = {}
        self._buffers = _Refill()
        self._tracer = MemoTracer(self._options)
        self._current: tuple[str, str] | None = None
        self._unpickler = RestrictedUnpickler(
            self._feed, self._resolved, find_class=self._options.find_class, persistent_load=self._options.persistent_load,
            buffers=self._buffers, encoding=encoding, errors=errors,
        )  # fmt: skip

    def load(self) -> Any:
        """Judge the next stream of the file and return its object.

        Raises:
            SafeloadError: as :meth:`safeload.Loader.load` does.
        """
        try:
            file = self._file
        except AttributeError:
            raise pickle.UnpicklingError(f"Unpickler.__init__() was not called by {type(self).__name__}.__init__()") from None
        source = source_for_file(file)
        with self._loader.audit.operation("load") as operation:
            judgement = self._tracer.judge(source, operation, self._given)
            if self._options.find_class is None:
                self._tracer.resolve_into(self._resolved)
            with operation.child("load"):
                self._feed.feed(judgement.census.code)
                self._buffers.load(judgement.census.buffers)
                loaded = run(self._unpickler)
        source.finish(judgement.census.size)
        return loaded

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The global that a stream calls ``global_name`` in ``module_name``, if the policy allows it.

        Subclasses may override it and call this one with another name; then the policy must allow for that name what the
        stream does with the original one.

        Raises:
            PolicyError: the policy does not allow it.
        """
        sys.audit("pickle.find_class", module_name, global_name)
        return self._tracer.find(module_name, global_name, self._current)

    @property
    def memo(self) -> Any:
        """What the streams so far have memoized; can be given to another :class:`Unpickler`."""
        return UnpicklerMemo(self)

    @memo.setter
    def memo(self, value: Any) -> None:
        if not isinstance(value, UnpicklerMemo):
            raise TypeError("memo can only be set to the memo of another safeload.Unpickler: others were not judged")
        other = value.owner
        self._tracer.share_memo(other._tracer)  # noqa: SLF001 - same class
        self._unpickler.memo = other._unpickler.memo  # noqa: SLF001

    def _find_by_subclass(self, module: str, name: str) -> Any:
        self._current = module, name
        try:
            return self.find_class(module, name)
        finally:
            self._current = None


class UnpicklerMemo:
    """The memo of an :class:`Unpickler`."""

    __slots__ = ("owner",)

    def __init__(self, owner: Unpickler) -> None:
        self.owner = owner

    def copy(self) -> dict[int, Any]:
        """The memoized objects by index."""
        return dict(self.owner._unpickler.memo.copy())  # noqa: SLF001

    def clear(self) -> None:
        """Forget all of it."""
        self.owner._unpickler.memo.clear()  # noqa: SLF001
        self.owner._tracer.clear_memo()  # noqa: SLF001


class _Refill:
    """An iterator of buffers that is filled again for each stream."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: Any = iter(())

    def load(self, buffers: Iterable[Any]) -> None:
        self._items = iter(buffers)

    def __iter__(self) -> _Refill:
        return self

    def __next__(self) -> Any:
        return next(self._items)


