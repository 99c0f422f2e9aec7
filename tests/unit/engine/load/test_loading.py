"""The restricted load reaches what the decision allowed, and nothing else."""

from __future__ import annotations

import collections
import gc
import io
import pickle
import sys
import threading
import types

import pytest

from safeload.engine.collector import CollectorPause
from safeload.engine.data_unpickler import DataUnpickler
from safeload.engine.load.resolve import resolve
from safeload.engine.load.unpickler import RestrictedUnpickler
from safeload.errors import LoadError, PolicyError


class Outer:
    class Inner:
        pass

    def method(self) -> None:
        pass


def test_names_lead_to_objects():
    """Plain names, dotted ones, and those whose implementation is in C under another name."""
    assert resolve("collections.OrderedDict") is collections.OrderedDict
    assert resolve("builtins.set") is set
    assert resolve(f"{__name__}:Outer.Inner") is Outer.Inner
    assert resolve(f"{__name__}:Outer.method") is Outer.method
    assert resolve("copyreg._reconstructor").__name__ == "_reconstructor"
    assert resolve("datetime.datetime").__module__ == "datetime"
    assert resolve("sys.maxsize") == sys.maxsize


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("no_such_module.Thing", ModuleNotFoundError),
        ("collections.NoSuchThing", AttributeError),
        (f"{__name__}:Outer.Missing", AttributeError),
        ("collections.abc.no.deeper", ImportError),
    ],
)
def test_missing_names_are_what_pickle_raises(name, error):
    """An allowed name that does not exist is a LoadError, and what pickle raises."""
    with pytest.raises(error) as caught:
        resolve(name)
    assert isinstance(caught.value, LoadError)
    assert isinstance(caught.value, pickle.UnpicklingError)


def test_a_module_is_not_a_global():
    """Whoever gets hold of a module gets hold of everything in it."""
    with pytest.raises(PolicyError, match="is a module") as caught:
        resolve("os.path")
    assert caught.value.code == "policy.not-a-global"


def test_an_object_from_another_package_is_refused(monkeypatch):
    """An attribute that was replaced or re-exported is not what the policy's author has read."""
    module = types.ModuleType("application_module")
    module.loader = pytest.raises
    monkeypatch.setitem(sys.modules, "application_module", module)
    with pytest.raises(PolicyError, match="defined in another package") as caught:
        resolve("application_module.loader")
    assert caught.value.code == "policy.foreign-global"


def test_an_import_that_fails_is_a_load_error(monkeypatch, tmp_path):
    """Whatever a module raises while it is imported is chained."""
    (tmp_path / "module_that_fails.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError) as caught:
        resolve("module_that_fails.Thing")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_data_reaches_nothing():
    """If the census and the C unpickler disagreed, this is where it would end."""
    for data in (b"cos\nsystem\n.", b"Pid\n."):
        with pytest.raises(PolicyError) as caught:
            DataUnpickler(io.BytesIO(data)).load()
        assert caught.value.code == "policy.disagreement"


def test_only_resolved_names_exist():
    """A name that the decision did not see is refused; one that it saw raises CPython's audit event."""
    seen = []

    def hook(event, arguments):
        if seen is not None and event == "pickle.find_class":
            seen.append(arguments)

    sys.addaudithook(hook)
    resolved = {("collections", "OrderedDict"): collections.OrderedDict}
    assert RestrictedUnpickler(io.BytesIO(b"ccollections\nOrderedDict\n."), resolved).load() is collections.OrderedDict
    assert seen == [("collections", "OrderedDict")]
    with pytest.raises(PolicyError, match="was not part of the program"):
        RestrictedUnpickler(io.BytesIO(b"cos\nsystem\n."), resolved).load()
    seen = None


def test_hooks_can_be_changed():
    """The application's hooks are asked while they are set."""
    unpickler = RestrictedUnpickler(io.BytesIO(b"Pone\n.Ptwo\n.cany\nname\n."), {}, persistent_load=str.upper)
    assert unpickler.load() == "ONE"
    unpickler.use(None, None)
    with pytest.raises(pickle.UnpicklingError, match="no persistent_load"):
        unpickler.load()
    unpickler = RestrictedUnpickler(io.BytesIO(b"cany\nname\n."), {}, find_class=lambda *name: name)
    assert unpickler.load() == ("any", "name")


def test_the_collector_is_left_as_it_was():
    """Nested pauses, errors, and a collector that was off already."""
    pause = CollectorPause()
    assert gc.isenabled()
    with pause:
        with pytest.raises(ZeroDivisionError), pause:
            1 / 0  # noqa: B018
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with pause:
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_last_thread_out_restores_the_collector():
    """Two threads that load at the same time."""
    pause = CollectorPause()
    inside, leave = threading.Event(), threading.Event()

    def load() -> None:
        with pause:
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=load)
    with pause:
        thread.start()
        inside.wait(20)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()
