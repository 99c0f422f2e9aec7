"""Django's caches: files, memory and a real Redis; benign, hostile, signed, swapped."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from integration_values import BENIGN

import safeload

django = pytest.importorskip("django")
pytest.importorskip("redis")


@pytest.fixture(scope="module", autouse=True)
def _configured():
    from django.conf import settings

    if not settings.configured:
        settings.configure(SAFELOAD={})


KINDS = ("FileBasedCache", "LocMemCache", "RedisCache", "serializer")


@pytest.fixture(params=KINDS)
def make(request, tmp_path):
    """Makes a cache of one kind under ``settings.SAFELOAD``."""
    from django.core.cache.backends.redis import RedisCache as Plain
    from django.test.utils import override_settings

    from safeload.integrations import django as ours

    overrides = []

    def cache(**said):
        overrides.append(override_settings(SAFELOAD=said))
        overrides[-1].enable()
        params = {"KEY_PREFIX": uuid.uuid4().hex}
        if request.param == "FileBasedCache":
            return ours.FileBasedCache(str(tmp_path / "cache"), params)
        if request.param == "LocMemCache":
            return ours.LocMemCache(params["KEY_PREFIX"], params)
        url = request.getfixturevalue("redis_url") + "/3"
        if request.param == "RedisCache":
            return ours.RedisCache(url, params)
        return Plain(url, {**params, "OPTIONS": {"serializer": "safeload.integrations.django.Serializer"}})

    yield cache
    for override in reversed(overrides):
        override.disable()


def put_raw(cache, key, data):
    """What somebody who can write to the store puts there, whatever the value of ``key`` was."""
    from safeload.integrations.django import FileBasedCache, LocMemCache

    if isinstance(cache, FileBasedCache):
        path = Path(cache._key_to_file(key))
        path.write_bytes(path.read_bytes()[:8] + data)
    elif isinstance(cache, LocMemCache):
        cache._cache[cache.make_key(key)] = data
    else:
        cache._cache.get_client(write=True).set(cache.make_key(key), data)


def get_raw(cache, key):
    from safeload.integrations.django import FileBasedCache, LocMemCache

    if isinstance(cache, FileBasedCache):
        return Path(cache._key_to_file(key)).read_bytes()[8:]
    if isinstance(cache, LocMemCache):
        return cache._cache[cache.make_key(key)]
    return cache._cache.get_client().get(cache.make_key(key))


def test_values_and_what_a_cache_does(make):
    """A cache under safeload is a cache: get, add, get_many, set_many, incr, touch, delete, and what has expired."""
    cache = make()
    cache.set("a", BENIGN)
    assert cache.get("a") == BENIGN
    assert not cache.add("a", 1)
    assert cache.add("b", 2)
    cache.set_many({"c": [3], "d": None})
    assert cache.get_many(["a", "c", "absent"]) == {"a": BENIGN, "c": [3]}
    assert cache.incr("b", 5) == 7
    assert cache.get("b") == 7
    assert cache.touch("a", 100)
    assert not cache.touch("absent")
    assert cache.get("absent", "default") == "default"
    cache.set("gone", 1, timeout=-1)
    assert cache.get("gone") is None
    assert "gone" not in cache
    cache.set("kept", 1, timeout=None)
    assert "kept" in cache
    cache.delete("a")
    assert cache.get("a") is None


def test_hostile_values_raise_or_are_misses(make, hostile, tmp_path):
    """Nothing of a hostile value runs; as a miss it leaves its refusal in the trail."""
    cache = make()
    cache.set("a", 1)
    put_raw(cache, "a", hostile)
    with pytest.raises(safeload.PolicyError):
        cache.get("a")
    events = []
    cache = make(ON_REFUSED="miss", AUDIT=events.append)
    cache.set("a", 1)
    put_raw(cache, "a", hostile)
    assert cache.get("a", "default") in ("default", None)
    assert any(event.get("outcome") == "refused" for event in events)


def test_signed_values_are_bound(make, hostile, ring):
    """With keys nothing unsigned is read, not even a number, and the value of another key is refused in its place."""
    cache = make(KEYS=ring)
    cache.set_many({"a": BENIGN, "b": {"admin": True}})
    cache.set("n", 1)
    assert cache.get("a") == BENIGN
    for forged in (hostile, safeload.Loader().dumps({"admin": True}), b"1"):
        put_raw(cache, "n", forged)
        with pytest.raises(safeload.EnvelopeError):
            cache.get("n")
    if type(cache).__module__.startswith("safeload"):
        put_raw(cache, "a", get_raw(cache, "b"))
        with pytest.raises(safeload.VerificationError):
            cache.get("a")


def test_the_time_of_a_signed_file_cannot_be_changed(make, ring, tmp_path):
    """Who can write to the folder cannot make a value live longer."""
    cache = make(KEYS=ring)
    if type(cache).__name__ != "FileBasedCache":
        return
    cache.set("a", 1, timeout=50)
    path = Path(cache._key_to_file("a"))
    path.write_bytes(b"\x7f\xef\xff\xff\xff\xff\xff\xff" + path.read_bytes()[8:])
    with pytest.raises(safeload.VerificationError):
        cache.get("a")


def test_settings_are_checked(make):
    """A setting that means nothing is an error, and a key is never written into settings."""
    from django.core.exceptions import ImproperlyConfigured

    for wrong in ({"POLICIES": []}, {"KEYS": "secret"}):
        with pytest.raises(ImproperlyConfigured):
            make(**wrong).set("a", [1])
