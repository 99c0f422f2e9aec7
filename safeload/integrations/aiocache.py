"""aiocache: a serializer, and :func:`protect` for one cache, which binds signed values to their keys.

Without keys of the loader, numbers are stored as they are, for ``increment``; with keys everything is signed, and counters need a cache
of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from aiocache.serializers import BaseSerializer

from safeload.integrations.values import MISS, OnRefused, Values, stored_under

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.api.loader import Loader

__all__ = ["Serializer", "protect"]

_Cache = TypeVar("_Cache")


class Serializer(BaseSerializer):  # type: ignore[misc]
    """For ``Cache(..., serializer=Serializer())``.

    Args:
        loader: what judges and verifies; by default the default loader.
        on_refused: ``"raise"``, or ``"miss"``: the cache returns the default, as for what is not there.
    """

    DEFAULT_ENCODING: ClassVar[str | None] = None

    def __init__(
        self, loader: Loader | None = None, *arguments: Any, on_refused: OnRefused = "raise", **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.values = Values(loader, on_refused=on_refused, purpose="aiocache")

    def dumps(self, value: Any) -> Any:
        """``value`` as bytes, or as the number it is where the store counts with it."""
        if type(value) is int and not self.values.signs:
            return value
        return self.values.dumps(value)

    def loads(self, value: Any) -> Any:
        """The value in ``value``; ``None`` for what is not there."""
        if value is None or (type(value) is int and not self.values.signs):
            return value
        if isinstance(value, int | str):
            value = str(value).encode()
        if not self.values.signs and value.removeprefix(b"-").isdigit():
            return int(value)
        loaded = self.values.loads(value)
        return None if loaded is MISS else loaded


class _Keyed:
    """The methods of a cache that read or write a value by its key."""

    async def get(self, key: Any, *arguments: Any, **options: Any) -> Any:
        with stored_under(_name(key)):
            return await super().get(key, *arguments, **options)  # type: ignore[misc]

    async def multi_get(self, keys: Iterable[Any], **options: Any) -> list[Any]:
        return [await self.get(key, **options) for key in keys]

    async def set(self, key: Any, value: Any, *arguments: Any, **options: Any) -> Any:
        with stored_under(_name(key)):
            return await super().set(key, value, *arguments, **options)  # type: ignore[misc]

    async def add(self, key: Any, value: Any, *arguments: Any, **options: Any) -> Any:
        with stored_under(_name(key)):
            return await super().add(key, value, *arguments, **options)  # type: ignore[misc]

    async def multi_set(self, pairs: Iterable[tuple[Any, Any]], *arguments: Any, **options: Any) -> bool:
        for key, value in pairs:
            await self.set(key, value, *arguments, **options)
        return True


def _name(key: Any) -> str | bytes:
    return key if isinstance(key, str | bytes) else f"{type(key).__name__}:{key}"


def protect(cache: _Cache, loader: Loader | None = None, *, on_refused: OnRefused = "raise") -> _Cache:
    """Make ``cache`` judge its values, and bind signed ones to their keys; returns the same cache."""
    given: Any = cache
    given.serializer = Serializer(loader, on_refused=on_refused)
    given.__class__ = type(type(given).__name__, (_Keyed, type(given)), {"__module__": type(given).__module__})
    return cache
