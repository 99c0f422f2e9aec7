"""One object that signs when it writes and verifies when it reads, and the shapes in which libraries take it."""

from __future__ import annotations

import collections
import io
import itertools
import os
import pickle
import subprocess
import sys

import pytest

import safeload
from safeload.api import defaults
from safeload.envelope.keys.providers.file import write_entries

VALUE = {"numbers": [1, 2.5], "names": ("a", "b")}


@pytest.fixture
def ring():
    return safeload.KeyRing([safeload.Key.generate("hs256")])


@pytest.fixture
def loader(ring):
    return safeload.Loader(keys=ring)


@pytest.fixture
def default():
    """The default loader as it was, after the test."""
    before = defaults.current()
    yield
    defaults._install(before)


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


# --- signing ---------------------------------------------------------------------------------------------------------


def test_a_loader_with_keys_signs(loader, tmp_path):
    """What it writes is what it reads: bytes, paths, files, every codec; a reader without the key reads nothing."""
    assert loader.loads(loader.dumps(VALUE)) == VALUE
    loader.dump(VALUE, tmp_path / "value.sle")
    assert loader.load(tmp_path / "value.sle") == VALUE
    stream = io.BytesIO()
    loader.dump([1], stream)
    loader.dump([2], stream)
    stream.seek(0)
    assert [loader.load(stream), loader.load(stream)] == [[1], [2]]
    assert loader.loads(loader.dumps({"a": 1}, codec="json")) == {"a": 1}
    for result in loader.dump_many([(VALUE, tmp_path / "many.sle")]):
        assert result.error is None
    assert loader.load(tmp_path / "many.sle") == VALUE
    with pytest.raises(safeload.MissingKeyError):
        safeload.Loader().loads(loader.dumps(VALUE))


def test_plain_is_said_and_never_happens(loader, tmp_path):
    """``sign=False`` is the only way to plain pickle, and what asks for a key that is not there is an error."""
    assert loader.dumps(VALUE, sign=False) == pickle.dumps(VALUE)
    with pytest.raises(safeload.MissingKeyError):
        loader.loads(loader.dumps(VALUE, sign=False))
    reader = safeload.Loader(keys=safeload.Key.generate("ed25519").public)
    for write in (
        reader.dumps,
        lambda value: reader.dump(value, tmp_path / "x"),
        lambda value: safeload.Loader().dumps(value, sign=True),
    ):
        with pytest.raises(safeload.MissingKeyError):
            write(VALUE)
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="contradict"):
        loader.dumps(VALUE, sign=False, key=loader.keys.primary)


def test_the_functions_of_the_package_sign_too(ring, default):
    """``configure`` changes what it is given and keeps the rest; ``reset`` starts anew."""
    safeload.configure(keys=ring)
    assert safeload.loads(safeload.dumps(VALUE)) == VALUE
    safeload.configure(policy="data")
    assert defaults.current().keys is ring
    assert defaults.current().policy.pack_names == ("data",)
    with pytest.raises(safeload.MissingKeyError):
        safeload.loads(pickle.dumps(VALUE))
    safeload.reset()
    assert safeload.loads(pickle.dumps(VALUE)) == VALUE
    assert safeload.dumps(VALUE) == pickle.dumps(VALUE)


def test_bound(loader):
    """A loader that is bound to a cache opens what was written for that cache and key, and nothing else."""
    cache = loader.bound(purpose="cache", expires_in=60)
    data = cache.dumps(VALUE, context="key")
    assert cache.loads(data, context="key") == VALUE
    assert loader.loads(data, context=("cache", "key")) == VALUE
    for other in (loader, loader.bound(purpose="queue"), cache.bound(context="other key")):
        with pytest.raises(safeload.VerificationError):
            other.loads(data)
    with pytest.raises(safeload.VerificationError):
        cache.loads(data, context="another")
    assert cache.bound(context="key").loads(data) == VALUE
    assert loader.scan(data, context=("cache", "key")).envelope["expires_us"] is not None
    kinds = loader.bound(kind="app.state", codec="json", schema={"type": "object"})
    assert kinds.loads(kinds.dumps({"a": 1})) == {"a": 1}
    with pytest.raises(safeload.SchemaError):
        kinds.dumps([1])
    with pytest.raises(safeload.SafeloadError):
        kinds.loads(loader.dumps([1]))
    assert kinds.dumps({"a": 1}, sign=False, codec="pickle") == pickle.dumps({"a": 1})
    for wrong in ({"purpose": "x"}, {"context": "x"}, {"expires_in": 5}, {"kind": "k"}, {"version": 2}):
        with pytest.raises(ValueError, match="needs a loader with keys"):
            safeload.Loader().bound(**wrong)
    for wrong in ({"purpose": 5}, {"version": "2"}):
        with pytest.raises(TypeError):
            loader.bound(**wrong)
    with pytest.raises(ValueError, match="codec"):
        loader.bound(codec="yaml")
    with pytest.raises(ValueError, match="expires_in"):
        loader.bound(expires_in=-1).dumps(VALUE)


def test_a_loader_holds_a_ring_that_rotates(tmp_path, monkeypatch):
    """A service goes on while its key file is replaced, and its trail says when that was."""
    now = [100.0]
    monkeypatch.setattr("safeload.envelope.keys.ring.time.monotonic", lambda: now[0])
    old, new = safeload.Key.generate(), safeload.Key.generate()
    write_entries(tmp_path / "keys", safeload.KeyRing([old]).entries)
    events = []
    loader = safeload.Loader(keys=safeload.KeyRing.from_file(tmp_path / "keys", refresh=60), audit=events.append)
    loader.changed(policy="data")  # a second loader of the same trail tells it nothing twice
    data = loader.dumps(VALUE)
    (tmp_path / "keys").unlink()
    write_entries(tmp_path / "keys", safeload.KeyRing([old]).rotate(new).entries)
    now[0] += 61
    assert loader.loads(data) == VALUE
    assert loader.scan(loader.dumps(VALUE)).envelope["key_id"] == new.key_id_hex
    told = [event for event in events if event["event"] == "safeload.key" and event.get("action") == "rotate"]
    assert [event["phase"] for event in told] == ["attempt", "result"]
    assert told[1]["key_id"] == new.key_id_hex


# --- the shape of the module -----------------------------------------------------------------------------------------


def test_everything_of_pickle_is_there(loader):
    """Libraries take constants, opcodes and the Python classes from the module that they are given."""
    for module in (loader.pickle_module("mine"), safeload.pickle):
        assert {*pickle.__all__, "_Pickler", "_Unpickler", "whichmodule", "format_version", "__name__"} <= set(
            dir(module)
        )
        assert module.encoding is None
        assert module.__all__ == pickle.__all__
    assert loader.pickle_module("mine").__name__ == "mine"


@pytest.mark.parametrize("signed", [False, True])
def test_a_module_reads_streams_one_after_the_other(signed, loader, tmp_path):
    """It stops behind each stream, as pickle does, whatever follows."""
    module = (loader if signed else safeload.Loader()).pickle_module()
    assert module.loads(module.dumps(VALUE)) == VALUE
    stream = io.BytesIO()
    module.dump([1], stream)
    module.Pickler(stream, 2).dump([2])
    stream.write(b"PK rest")
    stream.seek(0)
    assert [module.load(stream), module.Unpickler(stream).load()] == [[1], [2]]
    assert stream.read() == b"PK rest"
    with pytest.raises(safeload.SafeloadError):
        module.loads(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(safeload.SafeloadError):
        module.loads(b"PK\x03\x04")
    assert not (tmp_path / "ran").exists()
    if signed:
        with pytest.raises(safeload.MissingKeyError):
            module.loads(pickle.dumps(VALUE))
    else:
        assert module.dumps(VALUE, 2) == pickle.dumps(VALUE, 2)
        assert module.loads(module.dumps(VALUE) + b"anything") == VALUE


@pytest.mark.parametrize("signed", [False, True])
def test_subclasses_of_its_classes(signed, loader):
    """``persistent_id`` and ``persistent_load`` work through an envelope, which is how torch stores tensors."""
    module = (loader if signed else safeload.Loader()).pickle_module()
    store = {}

    class Writes(module.Pickler):
        def persistent_id(self, obj):
            if type(obj) is bytearray:
                store[len(store)] = obj
                return len(store) - 1
            return None

    class Reads(module.Unpickler):
        def persistent_load(self, pid):
            return store[pid]

    stream = io.BytesIO()
    pickler = Writes(stream)
    shared = bytearray(b"big")
    pickler.dump([shared, 1])
    pickler.dump([shared, collections.OrderedDict(a=1)])
    stream.seek(0)
    unpickler = Reads(stream)
    assert unpickler.load() == [shared, 1]
    assert unpickler.load() == [shared, collections.OrderedDict(a=1)]


def test_the_default_module_follows_the_default_loader(ring, default):
    """``safeload.pickle`` is handed to a library once, and configured before or after."""
    module = safeload.pickle
    safeload.configure(keys=ring)
    data = module.dumps(VALUE)
    assert module.loads(data) == safeload.loads(data) == VALUE
    buffer = io.BytesIO()
    safeload.Pickler(buffer).dump(VALUE)
    assert safeload.loads(buffer.getvalue()) == VALUE
    safeload.reset()
    with pytest.raises(safeload.MissingKeyError):
        module.loads(data)


def test_joblib_shelve_and_others_take_it(loader, tmp_path):
    """Where a library has a name for its pickle module, this is put there."""
    import shelve

    module = loader.pickle_module()
    program = (
        "import shelve, sys, safeload\n"
        "module = safeload.Loader(keys=safeload.KeyRing.from_env()).pickle_module()\n"
        "shelve.Pickler, shelve.Unpickler = module.Pickler, module.Unpickler\n"
        "with shelve.open(sys.argv[1]) as shelf: shelf['a'] = {'b': [1]}\n"
        "with shelve.open(sys.argv[1]) as shelf: print(shelf['a'])\n"
    )
    environment = {**os.environ, "SAFELOAD_KEYS": loader.keys.primary.export()}
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "shelf")], env=environment, capture_output=True, text=True
    )
    assert run.stdout == "{'b': [1]}\n", run.stderr
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        raw = shelf.dict[b"a"]
    assert module.loads(raw) == {"b": [1]}


def test_torch_takes_it(tmp_path):
    """Zip and legacy files, with tensors behind persistent ids."""
    torch = pytest.importorskip("torch")
    module = safeload.Loader(policy=["data", "numpy", "torch"]).pickle_module()
    for zipped, number in itertools.product((True, False), range(2)):
        path = tmp_path / f"{zipped}-{number}.pt"
        torch.save({"w": torch.arange(4.0)}, path, _use_new_zipfile_serialization=zipped)
        loaded = torch.load(path, pickle_module=module, weights_only=False)
        assert loaded["w"].tolist() == [0.0, 1.0, 2.0, 3.0]
