"""Django: a serializer for its Redis cache, and caches in files, in memory and in Redis that bind values to their keys.

``settings.SAFELOAD`` is a dict; what it does not say is the default loader's::

    SAFELOAD = {
        "POLICY": ["data", "numpy"],  # as policy=
        "KEYS": "env:SAFELOAD_KEYS",  # or "file:PATH", "command:[...]", or a KeyRing
        "AUDIT": "trail.jsonl",  # as audit=
        "ON_REFUSED": "miss",  # or "raise", the default
    }
    CACHES = {"default": {"BACKEND": "safeload.integrations.django.RedisCache", "LOCATION": "redis://..."}}

Django's own ``RedisCache`` takes ``OPTIONS["serializer"] = "safeload.integrations.django.Serializer"``; it does not tell it the key, so a
signed value is bound to the cache and not to its key. Without keys of the loader, Redis holds numbers as they are, for ``incr``; with keys
everything is signed, and ``incr`` needs a cache of its own.
"""

from __future__ import annotations

import functools
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.filebased import FileBasedCache as _FileBasedCache
from django.core.cache.backends.locmem import LocMemCache as _LocMemCache
from django.core.cache.backends.redis import RedisCache as _RedisCache
from django.core.cache.backends.redis import RedisCacheClient as _RedisCacheClient
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from safeload.integrations.values import MISS, OnRefused, Values, stored_under

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeload.api.loader import Loader

__all__ = ["FileBasedCache", "LocMemCache", "RedisCache", "Serializer"]

_KNOWN: Final = frozenset({"POLICY", "KEYS", "AUDIT", "LIMITS", "ON_REFUSED"})
_EXPIRY: Final = struct.Struct("!d")


@functools.cache
def _from_settings() -> tuple[Loader | None, OnRefused]:
    """The loader and the rule of ``settings.SAFELOAD``; made once."""
    said: dict[str, Any] = dict(getattr(settings, "SAFELOAD", None) or {})
    unknown = sorted(said.keys() - _KNOWN)
    if unknown:
        raise ImproperlyConfigured(
            f"settings.SAFELOAD does not know {', '.join(unknown)}; it knows {', '.join(sorted(_KNOWN))}"
        )
    on_refused: OnRefused = said.pop("ON_REFUSED", "raise")
    if not said:
        return None, on_refused
    from safeload.api.defaults import loader_with

    keys = said.get("KEYS")
    choices = {
        "policy": said.get("POLICY"),
        "keys": _ring(keys),
        "audit": said.get("AUDIT"),
        "limits": said.get("LIMITS"),
    }
    return loader_with(**choices), on_refused


def _ring(keys: Any) -> Any:
    if not isinstance(keys, str):
        return keys
    from safeload.envelope.keys.places import fetch_ring

    try:
        return fetch_ring(keys)
    except ValueError as error:
        raise ImproperlyConfigured(
            f'SAFELOAD["KEYS"] is a KeyRing or the place of keys, never a key: {error}'
        ) from None


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "SAFELOAD":
        _from_settings.cache_clear()


setting_changed.connect(_forget)


def _values(purpose: str = "django.cache") -> Values:
    loader, on_refused = _from_settings()
    return Values(loader, on_refused=on_refused, purpose=purpose)


class Serializer:
    """For ``CACHES[...]["OPTIONS"]["serializer"]``, and for a cache of django-redis (``SERIALIZER``)."""

    def __init__(
        self, options: Any = None, *, loader: Loader | None = None, on_refused: OnRefused | None = None
    ) -> None:
        del options  # what django-redis gives
        known = _values()
        self._values = Values(
            loader or known._loader, on_refused=on_refused or known.on_refused, purpose=known.purpose  # noqa: SLF001
        )  # fmt: skip

    def dumps(self, obj: Any) -> Any:
        """``obj`` as bytes, or as the number it is where Redis counts with it."""
        if type(obj) is int and not self._values.signs:
            return obj
        return self._values.dumps(obj)

    def loads(self, data: Any) -> Any:
        """The object in ``data``; ``None`` for one that was refused, where that is a miss."""
        loaded = self.opened(data)
        return None if loaded is MISS else loaded

    def opened(self, data: Any) -> Any:
        """The object, or ``MISS``."""
        if not self._values.signs and data.removeprefix(b"-").isdigit():
            return int(data)
        return self._values.loads(data)


class _Client(_RedisCacheClient):  # type: ignore[misc]
    """Django's client, which tells the serializer the key."""

    def __init__(self, servers: Any, serializer: Any = None, **options: Any) -> None:
        super().__init__(servers, serializer or Serializer, **options)

    def get(self, key: str, default: Any) -> Any:
        data = self.get_client(key).get(key)
        return default if data is None else self._opened(key, data, default)

    def _opened(self, key: str, data: Any, default: Any) -> Any:
        with stored_under(key):
            loaded = self._serializer.opened(data)
        return default if loaded is MISS else loaded

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        keys = list(keys)
        found = zip(keys, self.get_client(None).mget(keys), strict=True)
        opened = {key: self._opened(key, data, MISS) for key, data in found if data is not None}
        return {key: value for key, value in opened.items() if value is not MISS}

    def set(self, key: str, value: Any, timeout: float | None) -> None:
        with stored_under(key):
            super().set(key, value, timeout)

    def add(self, key: str, value: Any, timeout: float | None) -> bool:
        with stored_under(key):
            return bool(super().add(key, value, timeout))

    def set_many(self, data: Mapping[str, Any], timeout: float | None) -> None:
        for key, value in data.items():
            self.set(key, value, timeout)


class RedisCache(_RedisCache):  # type: ignore[misc]
    """Django's Redis cache with judged values, signed ones bound to their keys."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client


class FileBasedCache(_FileBasedCache):  # type: ignore[misc]
    """Django's cache in files. A file is the time of expiry and the value; signed, neither can be changed."""

    def _binding(self, key: str, version: Any, expiry: bytes) -> bytes:
        return expiry + str(self.make_key(key, version=version)).encode()

    def get(self, key: str, default: Any = None, version: Any = None) -> Any:
        """The value under ``key``, judged."""
        loaded = self._read(key, version)[0]
        return default if loaded is MISS else loaded

    def _read(self, key: str, version: Any) -> tuple[Any, str]:
        """The value or ``MISS``, and the name of its file."""
        from pathlib import Path

        name: str = self._key_to_file(key, version)
        try:
            data = Path(name).read_bytes()
        except FileNotFoundError:
            return MISS, name
        if _is_over(data):
            self._delete(name)
            return MISS, name
        return _values().loads(data[_EXPIRY.size :], self._binding(key, version, data[: _EXPIRY.size])), name

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        """Store ``value`` under ``key``."""
        from safeload.source.atomic import AtomicFile

        self._createdir()
        self._cull()
        until = self.get_backend_timeout(timeout)
        expiry = _EXPIRY.pack(float("inf") if until is None else until)
        with AtomicFile(self._key_to_file(key, version)) as file:
            file.write(expiry + _values().dumps(value, self._binding(key, version, expiry)))
            file.commit()

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Store the value under ``key`` anew, for longer; whether there was one."""
        loaded, _ = self._read(key, version)
        if loaded is MISS:
            return False
        self.set(key, loaded, timeout, version)
        return True

    def _is_expired(self, f: Any) -> bool:
        over = _is_over(f.read(_EXPIRY.size))
        if over:
            f.close()
            self._delete(f.name)
        return over


def _is_over(data: bytes) -> bool:
    if len(data) < _EXPIRY.size:
        return True
    (until,) = _EXPIRY.unpack_from(data)
    return not until >= time.time()  # also for a number that is none


class LocMemCache(_LocMemCache):  # type: ignore[misc]
    """Django's cache in the memory of the process."""

    def get(self, key: str, default: Any = None, version: Any = None) -> Any:
        """The value under ``key``, judged."""
        key = self.make_and_validate_key(key, version=version)
        with self._lock:
            if self._has_expired(key):
                self._delete(key)
                return default
            data = self._cache[key]
            self._cache.move_to_end(key, last=False)
        loaded = _values().loads(data, key)
        return default if loaded is MISS else loaded

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        """Store ``value`` under ``key``."""
        key = self.make_and_validate_key(key, version=version)
        data = _values().dumps(value, key)
        with self._lock:
            self._set(key, data, timeout)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Store ``value`` under ``key`` if there is none; whether it was stored."""
        key = self.make_and_validate_key(key, version=version)
        data = _values().dumps(value, key)
        with self._lock:
            if not self._has_expired(key):
                return False
            self._set(key, data, timeout)
            return True

    def incr(self, key: str, delta: int = 1, version: Any = None) -> Any:
        """Add to a number; as in Django, what is stored keeps its time.

        Raises:
            ValueError: there is none.
        """
        key = self.make_and_validate_key(key, version=version)
        with self._lock:
            if self._has_expired(key):
                self._delete(key)
                raise ValueError(f"Key '{key}' not found")
            loaded = _values().loads(self._cache[key], key)
            if loaded is MISS:
                raise ValueError(f"Key '{key}' not found")
            value = loaded + delta
            self._cache[key] = _values().dumps(value, key)
            self._cache.move_to_end(key, last=False)
        return value
