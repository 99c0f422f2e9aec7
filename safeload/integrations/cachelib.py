"""cachelib, and what is built on it: Flask-Caching and the file sessions of Flask-Session.

``serializer = Serializer(...)`` of a cache judges what is stored. cachelib does not tell its serializer the key; :func:`protect` gives one
cache such a serializer and the keys, so that signed values are bound to them. Without keys of the loader, a Redis cache stores numbers as
they are, for its counters; with keys everything is signed, and counters need a cache of their own.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, TypeVar

from cachelib.serializers import BaseRedisSerializer, BaseSerializer

from safeload.errors import SafeloadError
from safeload.integrations.values import MISS, OnRefused, Values, stored_under

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.api.loader import Loader

__all__ = ["RedisSerializer", "Serializer", "protect"]

_Cache = TypeVar("_Cache")


class Serializer(BaseSerializer):  # type: ignore[misc]
    """For the attribute ``serializer`` of a cache.

    Args:
        loader: what judges and verifies; by default the default loader.
        on_refused: ``"raise"``, or ``"miss"``: the cache returns ``None``, as for what is not there.
    """

    def __init__(self, loader: Loader | None = None, *, on_refused: OnRefused = "raise") -> None:
        self.values = Values(loader, on_refused=on_refused, purpose="cachelib")

    def dumps(self, value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
        """``value`` as bytes."""
        return self.values.dumps(value, protocol=protocol)

    def loads(self, bvalue: Any) -> Any:
        """The value in ``bvalue``."""
        if bvalue is None:
            return None
        loaded = self.values.loads(bvalue)
        return None if loaded is MISS else loaded

    def dump(self, value: Any, f: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> None:
        """Write ``value`` to a file."""
        f.write(self.dumps(value, protocol))

    def load(self, f: Any) -> Any:
        """The value in the rest of a file."""
        return self.loads(f.read())


class RedisSerializer(Serializer):
    """The same for caches with counters in the store: Redis, Valkey, DynamoDB."""

    def dumps(self, value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
        """``value`` as bytes, a number in the way that the store counts with."""
        if type(value) is int and not self.values.signs:
            return str(value).encode("ascii")
        return b"!" + super().dumps(value, protocol)

    def loads(self, bvalue: Any) -> Any:
        """The value in ``bvalue``; without keys, digits are a number. Anything else is judged."""
        if bvalue is None:
            return None
        if not self.values.signs and bvalue.removeprefix(b"-").isdigit():
            return int(bvalue)
        return super().loads(bvalue.removeprefix(b"!"))


class _Keyed:
    """The methods of a cache that read or write a value by its key."""

    def get(self, key: str) -> Any:
        with stored_under(key):
            try:
                return super().get(key)  # type: ignore[misc]
            except SafeloadError:
                # How many files there are, which the constructor of a file cache has written before it was protected.
                if key != getattr(self, "_fs_count_file", None):
                    raise
                return None

    def get_many(self, *keys: str) -> list[Any]:
        return [self.get(key) for key in keys]

    def get_dict(self, *keys: str) -> dict[str, Any]:
        return dict(zip(keys, self.get_many(*keys), strict=True))

    def set(self, key: str, value: Any, *arguments: Any, **options: Any) -> Any:
        with stored_under(key):
            return super().set(key, value, *arguments, **options)  # type: ignore[misc]

    def add(self, key: str, value: Any, *arguments: Any, **options: Any) -> Any:
        with stored_under(key):
            return super().add(key, value, *arguments, **options)  # type: ignore[misc]

    def set_many(self, mapping: Mapping[str, Any], *arguments: Any, **options: Any) -> list[str]:
        return [key for key, value in mapping.items() if self.set(key, value, *arguments, **options)]


def protect(cache: _Cache, loader: Loader | None = None, *, on_refused: OnRefused = "raise") -> _Cache:
    """Make ``cache`` judge its values, and bind signed ones to their keys; returns the same cache.

    Args:
        cache: a cache of cachelib, ``Cache(app).cache`` of Flask-Caching, or the ``cache`` of a session interface.
        loader, on_refused: see :class:`Serializer`.

    Raises:
        TypeError: it has no serializer.
    """
    given: Any = cache
    before = getattr(given, "serializer", None)
    if before is None:
        raise TypeError(f"{type(cache).__name__} has no serializer to replace")
    kind = RedisSerializer if isinstance(before, BaseRedisSerializer | RedisSerializer) else Serializer
    given.serializer = kind(loader, on_refused=on_refused)
    given.__class__ = type(type(given).__name__, (_Keyed, type(given)), {"__module__": type(given).__module__})
    return cache
