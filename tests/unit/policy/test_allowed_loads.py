"""What the application has allowed loads: a class by its name is enough for the states, dicts and nested names that picklers write of it.

Without it a refusal that nobody can lift teaches people to switch the check off. The same states of classes that nobody has allowed, and what
leads to the interpreter or to an address of memory, stay refused.
"""

from __future__ import annotations

import collections
import enum
import functools
import io
import pickle
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import safeload
from safeload.policy.states import gives_callables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "allowed_loads_mod"
SOURCE = """
import enum
import numpy as np
class Model:                       # as pydantic's models
    def __getstate__(self): return {"__dict__": self.__dict__, "__pydantic_fields_set__": {"a"}, "__pydantic_private__": None}
    def __setstate__(self, state): object.__setattr__(self, "__dict__", state["__dict__"])
    def __eq__(self, other): return self.__dict__ == other.__dict__
class Node(dict): pass             # as yacs' CfgNode
class Dict(dict):                  # as addict's
    def __getstate__(self): return self
    def __setstate__(self, state): self.update(state)
class Outer:
    class Mode(enum.Enum): A = 1
    class Config:
        def __eq__(self, other): return self.__dict__ == other.__dict__
    def method(self): return 0
class Column(np.ndarray): pass
"""


@pytest.fixture
def mod() -> Iterator[Any]:
    module: Any = types.ModuleType(NAME)
    sys.modules[NAME] = module
    exec(SOURCE, module.__dict__)
    yield module
    del sys.modules[NAME]


def values(mod: Any) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Values, and the names that have to be allowed for them."""
    model, node, config = mod.Model(), mod.Node(a=0.1), mod.Outer.Config()
    model.a = 1
    config.b = "x"
    node.__dict__.update(
        __file__="a.csv", __immutable__=True, __deprecated_keys__=set(), __renamed_keys__={}, __new_allowed__=False
    )
    return {
        "a dict in the state": (model, ("Model",)),
        "special names of a class of its own": (node, ("Node",)),
        "the object as its state": (mod.Dict(a=1), ("Dict",)),
        "a nested enum": (mod.Outer.Mode.A, ("Outer", ":Outer.Mode")),
        "a method": ({"f": mod.Outer.method}, ("Outer", ":Outer.method")),
        "a nested class": (config, ("Outer", ":Outer.Config")),
        "a subclass of ndarray": (np.arange(3.0).view(mod.Column), ("Column",)),
    }


KINDS = tuple(values(types.SimpleNamespace(
    Model=types.SimpleNamespace, Node=collections.UserDict, Dict=dict, Column=np.ndarray,
    Outer=types.SimpleNamespace(Config=types.SimpleNamespace, Mode=enum.Enum("Mode", "A"), method=0),
)))  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_allowed_loads(kind: str, protocol: int, mod: Any, tmp_path: Path) -> None:
    """By allow() and by a learned policy that went through its file; and not without."""
    value, names = values(mod)[kind]
    data = pickle.dumps(value, protocol)
    with pytest.raises(safeload.PolicyError):
        safeload.loads(data)
    policy = safeload.Policy.packs("data", "numpy")
    for name in names:
        calls = name == ":Outer.Mode"
        policy = policy.allow(f"{NAME}{name}" if name.startswith(":") else f"{NAME}.{name}", call=calls)
    path, learned = tmp_path / "a.pkl", tmp_path / "safeload.toml"
    path.write_bytes(data)
    learned.write_text(safeload.Policy.learn([path]).to_toml())
    for loaded in (safeload.loads(data, policy=policy), safeload.load(path, policy=str(learned))):
        assert type(loaded) is type(value)
        assert np.array_equal(loaded, value) if kind.endswith("ndarray") else loaded == value


@pytest.mark.parametrize(
    "state",
    [
        {"__array_interface__": {"data": (1, False)}}, {"__cuda_array_interface__": {}}, {"__class__": 1}, {"__reduce_ex__": 1}, {"__len__": 1},
        {"__pyx_vtable__": 1}, {"__dict__": {"__array_struct__": 1}}, {"__dict__": {"__dict__": {"__class__": 1}}}, {"__dict__": [1]},
        {"__own__": print}, {"__dict__": {"__own__": print}},
    ],
)  # fmt: skip
def test_names_that_others_ask_for_stay_refused(state: Any, mod: Any) -> None:
    """Addresses of memory, what Python and libraries look up on any object, and anything that can be called; inside of a dict as well."""
    node = mod.Node()
    data = pickle.dumps(node, 2)[:-1] + pickle.dumps(state, 2)[2:-1] + b"b."
    policy = safeload.Policy.packs("data", "numpy").allow(f"{NAME}.Node").allow("builtins.print")
    with pytest.raises(safeload.PolicyError):
        safeload.loads(data, policy=policy)


def test_getattr_names_nothing_but_what_is_allowed(mod: Any) -> None:
    """Another attribute, a private one, one of the result of a call, and a module behind an attribute."""
    mod.Outer.system = types
    policy = safeload.Policy.packs("data").allow(f"{NAME}.Outer").allow(f"{NAME}:Outer.Mode", call=True)
    head = b"\x80\x02cbuiltins\ngetattr\nc" + NAME.encode() + b"\nOuter\n"
    for data in (
        head + b"X\x06\0\0\0Config\x86R.",
        head + b"X\x08\0\0\0__dict__\x86R.",
        head + b")\x81X\x04\0\0\0Mode\x86R.",
        head + b"X\x06\0\0\0system\x86R.",
    ):
        with pytest.raises(safeload.PolicyError):
            safeload.loads(data, policy=policy)
    with pytest.raises(safeload.PolicyError, match="module"):
        safeload.loads(head + b"X\x06\0\0\0system\x86R.", policy=policy.allow(f"{NAME}:Outer.system"))


def test_partials_of_what_may_be_called(mod: Any, tmp_path: Path) -> None:
    """With data as arguments; learned; not of what may only be named, and never where a class has a method."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(collections.defaultdict(functools.partial(collections.defaultdict, int))))
    assert safeload.load(path, policy=safeload.Policy.learn([path]))["a"]["b"] == 0
    data = pickle.dumps(functools.partial(int, base=2))
    assert safeload.loads(data, policy=["data", "numpy", "scipy", "sklearn"])("11") == 3
    data = pickle.dumps(functools.partial(mod.Outer.method, 1))
    with pytest.raises(safeload.PolicyError):
        safeload.loads(
            data, policy=safeload.Policy.packs("sklearn").allow(f"{NAME}:Outer.method").allow(f"{NAME}.Outer")
        )
    assert gives_callables("functools.partial") is True


def test_what_an_object_calls_later_is_learned(mod: Any, tmp_path: Path) -> None:
    """The factory of a defaultdict and the function of a partial of the application: named as calls, for whoever reviews the policy."""
    for number, value in enumerate((collections.defaultdict(mod.Outer), functools.partial(mod.Outer, 1))):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(pickle.dumps(value))
        policy = safeload.Policy.learn([path])
        assert policy.rules[f"{NAME}.Outer"].call is True
        assert type(safeload.load(path, policy=policy)) is type(value)


def test_learning_gives_a_policy_that_works_or_none(mod: Any, tmp_path: Path) -> None:
    """A class that is changed is never allowed: nothing is learned, and the reason is said."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02c" + NAME.encode() + b"\nOuter\n}X\x01\0\0\0aK\x01sb.")
    with pytest.raises(safeload.PolicyError, match="nothing was learned"):
        safeload.Policy.learn([path])


def written(value: object, protocol: int) -> bytes:
    """What Python itself writes: tblib, where something has imported it, registers another way for exceptions."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol)
    pickler.dispatch_table = {}
    pickler.dump(value)
    return file.getvalue()


def test_exceptions_of_other_versions() -> None:
    """AttributeError as Python 3.12 writes it, and errors of Unicode with the bytes of an old protocol."""
    head = b"\x80\x02cbuiltins\nAttributeError\nX\x03\0\0\0msgq\0\x85R}(X\x04\0\0\0nameX\x03\0\0\0fooX\x04\0\0\0args"
    assert safeload.loads(head + b"h\0\x85ub.").args == ("msg",)
    with pytest.raises(safeload.PolicyError):
        safeload.loads(head + b"cbuiltins\nrange\nJ\xff\xff\xff\x7f\x85Rub.")
    error = UnicodeDecodeError("ascii", b"\xff\xfe", 0, 2, "bad")
    for protocol in range(6):
        assert safeload.loads(written(error, protocol)).args == error.args
    outside = written(error, 2).replace(b"K\x00K\x02", b"K\x00K\x03")
    with pytest.raises(safeload.PolicyError):
        safeload.loads(outside)
