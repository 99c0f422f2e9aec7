"""joblib.Memory, diskcache, cachelib, Flask-Caching, Flask-Session and aiocache: benign, hostile, signed, swapped."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import uuid
import warnings
from pathlib import Path

import pytest
from integration_values import BENIGN, Hostile

import safeload

# --- joblib ----------------------------------------------------------------------------------------------------------


def memory(folder, loader=None, **options):
    joblib = pytest.importorskip("joblib")
    from safeload.integrations.joblib import register

    name = f"safeload-{uuid.uuid4().hex}"
    register(loader, name=name)
    return joblib.Memory(folder, backend=name, verbose=0, **options)


def cached(store):
    calls = []

    def work(number):
        calls.append(number)
        return {"number": number, "list": [number] * 3}

    return store.cache(work, ignore=[]), calls


def outputs(folder):
    return sorted(Path(folder).rglob("output.pkl"))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("options", [{}, {"compress": 3}])
def test_joblib_remembers(signed, options, tmp_path, signing):
    """A result is computed once, and read back in a later run."""
    function, calls = cached(memory(tmp_path, signing if signed else None, **options))
    assert function(1) == function(1) == {"number": 1, "list": [1, 1, 1]}
    assert calls == [1]


@pytest.mark.parametrize("signed", [False, True])
def test_joblib_computes_again_what_is_refused(signed, tmp_path, signing, hostile):
    """A hostile entry does nothing but cost a computation, and the next call finds a good one."""
    function, calls = cached(memory(tmp_path, signing if signed else None))
    function(1)
    outputs(tmp_path)[0].write_bytes(hostile)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert function(1)["number"] == 1
    assert calls == [1, 1]
    assert function(1)["number"] == 1
    assert calls == [1, 1]


def test_joblib_binds_a_result_to_its_call(tmp_path, signing):
    """The signed result of other arguments, put in the place of a result, is not taken."""
    function, calls = cached(memory(tmp_path, signing))
    function(1)
    first = outputs(tmp_path)[0]
    function(2)
    second = next(path for path in outputs(tmp_path) if path != first)
    first.write_bytes(second.read_bytes())
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert function(1)["number"] == 1
    assert calls == [1, 2, 1]


def test_joblib_maps_arrays(tmp_path):
    """``mmap_mode`` is for arrays that are too large to read; judged entries are mapped as well."""
    np = pytest.importorskip("numpy")
    store = memory(tmp_path, mmap_mode="r")
    function = store.cache(lambda n: np.arange(n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert function(5).tolist() == function(5).tolist() == [0, 1, 2, 3, 4]


# --- diskcache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """Opens the cache in one folder with a loader."""
    pytest.importorskip("diskcache")
    from safeload.integrations.diskcache import Cache

    opened = []

    def open_cache(loader=None, **options):
        opened.append(Cache(str(tmp_path / "cache"), loader=loader, **options))
        return opened[-1]

    yield open_cache
    for cache in opened:
        cache.close()


def write_row(cache, at, /, **columns):
    """Change the row of a key in the database, as somebody who can write to the folder does."""
    with sqlite3.connect(Path(cache.directory) / "cache.db") as database:
        setting = ", ".join(f"{name} = ?" for name in columns)
        database.execute(f"UPDATE Cache SET {setting} WHERE key = ?", (*columns.values(), at))
    database.close()


@pytest.mark.parametrize("signed", [False, True])
def test_diskcache_keeps_values_and_keys(signed, disk, signing):
    """Keys and values of every kind come back, small ones from the database and large ones from files; queues work."""
    cache = disk(signing if signed else None, disk_min_file_size=200)
    for key, value in (("a", BENIGN), (1, "text"), (("t", 2), b"bytes"), (2.5, [1] * 1000), (b"k", 7), (None, None)):
        cache[key] = value
        assert cache[key] == value
    assert set(cache) == {"a", 1, ("t", 2), 2.5, b"k", None}
    assert cache.get("absent", "default") == "default"
    assert cache.pop("a") == BENIGN
    cache.push([1, 2], prefix="queue")
    assert cache.peek(prefix="queue")[1] == [1, 2]
    assert cache.pull(prefix="queue")[1] == [1, 2]
    assert cache.peekitem()[1] in (None, 7)


def test_diskcache_hostile_values_and_keys(disk, hostile):
    """A hostile value raises, or is a miss; a hostile key, which diskcache unpickles when it iterates, raises."""
    cache = disk()
    cache["a"] = [1]
    write_row(cache, "a", value=sqlite3.Binary(hostile))
    with pytest.raises(safeload.PolicyError):
        cache["a"]
    assert disk(on_refused="miss").get("a", "default") == "default"
    write_row(cache, "a", key=sqlite3.Binary(hostile), raw=0)
    with pytest.raises(safeload.PolicyError):
        list(cache)


def test_diskcache_signed_values_are_bound(disk, signing, hostile):
    """A value under another key, of another kind, unsigned or plain is refused."""
    cache = disk(signing)
    cache["a"], cache["b"], cache[1] = {"admin": False}, {"admin": True}, {"one": 1}
    cache.push({"queued": True}, prefix="queue")
    with sqlite3.connect(Path(cache.directory) / "cache.db") as database:
        rows = dict(database.execute("SELECT key, value FROM Cache").fetchall())
    database.close()
    for forged in (rows["b"], rows[1], rows["queue-500000000000000"], sqlite3.Binary(hostile)):
        write_row(cache, "a", value=forged)
        with pytest.raises(safeload.EnvelopeError):
            cache["a"]
    write_row(cache, "a", value="text", mode=1)
    with pytest.raises(safeload.MissingKeyError):
        cache["a"]
    assert disk(signing, on_refused="miss").get("a") is None
    with Path(__file__).open("rb") as file, pytest.raises(TypeError):
        cache.set("file", file, read=True)


def test_diskcache_disk_class_alone(tmp_path, hostile):
    """``disk=Disk`` in diskcache's own Cache and FanoutCache is judged by the default loader."""
    diskcache = pytest.importorskip("diskcache")
    from safeload.integrations.diskcache import Disk

    with diskcache.FanoutCache(str(tmp_path / "fanout"), shards=2, disk=Disk) as cache:
        cache["a"] = BENIGN
        assert cache["a"] == BENIGN
    with diskcache.Cache(str(tmp_path / "one"), disk=Disk) as cache:
        cache["a"] = [1]
        write_row(cache, "a", value=sqlite3.Binary(hostile))
        with pytest.raises(safeload.PolicyError):
            cache["a"]


# --- cachelib, Flask-Caching, Flask-Session --------------------------------------------------------------------------


@pytest.fixture(params=["FileSystemCache", "SimpleCache", "RedisCache"])
def flat(request, tmp_path):
    """Makes a cache of cachelib, protected; with the same store each time."""
    cachelib = pytest.importorskip("cachelib")
    from safeload.integrations.cachelib import protect

    prefix = uuid.uuid4().hex
    made = {}

    def cache(loader=None, **options):
        if request.param == "FileSystemCache":
            plain = cachelib.FileSystemCache(str(tmp_path / "cache"))
        elif request.param == "SimpleCache":
            plain = cachelib.SimpleCache()
            plain._cache = made.setdefault("store", plain._cache)
        else:
            redis = pytest.importorskip("redis")
            client = made.setdefault("client", redis.Redis.from_url(request.getfixturevalue("redis_url") + "/4"))
            plain = cachelib.RedisCache(client, key_prefix=prefix)
        return protect(plain, loader, **options)

    yield cache
    if "client" in made:
        made["client"].close()


def exchange(cache, key, data):
    """Put ``data`` where the value of ``key`` stands; what stood there."""
    name = type(cache).__name__
    if name == "FileSystemCache":
        path = Path(cache._get_filename(key))
        before = path.read_bytes()
        path.write_bytes(before[:4] + data)
        return before[4:]
    if name == "SimpleCache":
        until, before = cache._cache[key]
        cache._cache[key] = until, data
        return before
    client = cache._write_client
    before = client.get(cache._get_prefix() + key)
    client.set(cache._get_prefix() + key, data)
    return before


@pytest.mark.parametrize("signed", [False, True])
def test_cachelib(flat, signed, signing):
    """What a cache of cachelib does, it does."""
    cache = flat(signing if signed else None)
    cache.set("a", BENIGN)
    assert cache.get("a") == BENIGN
    assert cache.add("b", 2)
    assert not cache.add("a", 1)
    assert not cache.set_many({"c": [3], "d": "x"}) or True
    assert cache.get_many("a", "c", "absent") == [BENIGN, [3], None]
    assert cache.get_dict("c") == {"c": [3]}
    assert cache.get("b") == 2
    if not signed:
        assert cache.inc("b", 5) == 7
        assert cache.get("b") == 7
    cache.delete("a")
    assert cache.get("a") is None


def test_cachelib_hostile_and_signed(flat, signing, hostile):
    """Hostile values raise or are misses; signed ones are bound to their keys."""
    for data in (hostile, b"!" + hostile):
        cache = flat()
        cache.set("a", [1])
        exchange(cache, "a", data)
        with pytest.raises(safeload.SafeloadError):
            cache.get("a")
        assert flat(on_refused="miss").get("a") is None
    cache = flat(signing)
    cache.set("a", {"admin": False})
    cache.set("b", {"admin": True})
    other = exchange(cache, "b", b"12")
    with pytest.raises(safeload.EnvelopeError):
        cache.get("b")
    exchange(cache, "a", other)
    with pytest.raises(safeload.VerificationError):
        cache.get("a")
    assert flat(signing, on_refused="miss").get("a") is None


def test_flask_caching(tmp_path, signing, hostile):
    """The cache behind Flask-Caching is one of cachelib's, and is protected as such."""
    flask = pytest.importorskip("flask")
    flask_caching = pytest.importorskip("flask_caching")
    from safeload.integrations.cachelib import protect

    app = flask.Flask("app")
    cache = flask_caching.Cache(app, config={"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(tmp_path / "c")})
    with app.app_context():
        protect(cache.cache, signing)
        cache.set("a", BENIGN)
        assert cache.get("a") == BENIGN
        exchange(cache.cache, "a", hostile)
        with pytest.raises(safeload.EnvelopeError):
            cache.get("a")


@pytest.mark.parametrize("kind", ["redis", "cachelib"])
def test_flask_session(kind, tmp_path, signing, hostile, request):
    """A session comes back for its visitor; somebody else's, put under its id, or a hostile one, is no session at all."""
    flask = pytest.importorskip("flask")
    flask_session = pytest.importorskip("flask_session")
    from safeload.integrations.flask_session import protect

    app = flask.Flask("app")
    if kind == "redis":
        redis = pytest.importorskip("redis")
        client = redis.Redis.from_url(request.getfixturevalue("redis_url") + "/5")
        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
    else:
        from cachelib import FileSystemCache

        app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(tmp_path / "sessions")))
    flask_session.Session(app)
    protect(app, signing)

    @app.get("/set/<value>")
    def put(value):
        flask.session["value"] = value
        return flask.session.sid

    @app.get("/get")
    def get():
        return flask.session.get("value", "nothing")

    one, other = app.test_client(), app.test_client()
    ids = [visitor.get(f"/set/{name}").text for visitor, name in ((one, "one"), (other, "other"))]
    assert [one.get("/get").text, other.get("/get").text] == ["one", "other"]
    names = [app.session_interface._get_store_id(sid) for sid in ids]
    if kind == "redis":
        client.set(names[0], client.get(names[1]))
        assert one.get("/get").text == "nothing"
        client.set(names[1], hostile)
        assert other.get("/get").text == "nothing"
        client.close()
    else:
        cache = app.session_interface.cache
        exchange(cache, names[0], exchange(cache, names[1], hostile))
        assert one.get("/get").text == "nothing"
        assert other.get("/get").text == "nothing"


# --- aiocache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_aiocache(signed, signing, hostile):
    """In memory: what a cache does, hostile values, and values under other keys; many tasks at once keep their keys apart."""
    aiocache = pytest.importorskip("aiocache")
    from safeload.integrations.aiocache import protect

    async def run():
        cache = protect(aiocache.SimpleMemoryCache(namespace=uuid.uuid4().hex), signing if signed else None)
        await cache.set("a", BENIGN)
        assert await cache.get("a") == BENIGN
        assert await cache.get("absent", "default") == "default"
        await cache.multi_set([("b", [2]), ("c", {"c": 3})])
        assert await cache.multi_get(["b", "c", "absent"]) == [[2], {"c": 3}, None]
        await asyncio.gather(*(cache.set(f"k{n}", [n]) for n in range(50)))
        assert await asyncio.gather(*(cache.get(f"k{n}") for n in range(50))) == [[n] for n in range(50)]
        if not signed:
            await cache.set("n", 1)
            assert await cache.increment("n") == 2
            assert await cache.get("n") == 2
        cache._cache[cache.build_key("a", cache.namespace)] = hostile
        with pytest.raises(safeload.SafeloadError):
            await cache.get("a")
        cache.serializer = type(cache.serializer)(signing if signed else None, on_refused="miss")
        assert await cache.get("a", "default") == "default"
        if signed:
            stored = cache._cache
            stored[cache.build_key("c", cache.namespace)] = stored[cache.build_key("b", cache.namespace)]
            assert await cache.get("c") is None

    asyncio.run(run())


# --- the rule of all -------------------------------------------------------------------------------------------------


def test_a_failing_trail_is_no_miss(tmp_path):
    """``on_refused="miss"`` is about values: a required sink that cannot be written stops the load as everywhere."""
    from safeload.integrations.values import Values

    loader = safeload.Loader(audit=tmp_path / "no such folder" / "trail.jsonl")
    values = Values(loader, on_refused="miss", purpose="test")
    with pytest.raises(safeload.AuditError):
        values.loads(pickle.dumps([1]))
    with pytest.raises(ValueError, match="on_refused"):
        Values(on_refused="ignore", purpose="test")
    with pytest.raises(TypeError, match="bound to a key"):
        Values(safeload.Loader(keys=safeload.KeyRing([safeload.Key.generate("hs256")])), purpose="t").dumps(
            1, Hostile("x")
        )
