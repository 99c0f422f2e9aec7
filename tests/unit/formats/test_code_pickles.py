"""dill and cloudpickle: written and read under a signer's grant, refused from everybody else, described by a scan."""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import importlib
import io
import json
import pickle
import sys
import types
import warnings
from typing import Any

import pytest

import safeload
from safeload import Key, KeyEntry, KeyRing
from safeload.engine.code_objects import functions_of
from safeload.facts.code_makers import family, family_of
from safeload.program import Kind, Program, Use

CODECS = ("dill", "cloudpickle")
KEY = Key.generate("hs256")
GRANTED = KeyRing([KeyEntry(KEY, grants={"code"})])
BARE = KeyRing([KeyEntry(KEY)])

MAIN = """
import dataclasses, enum, functools, abc

def helper(value, *, by=1): return value + by

def recursive(n):
    def fact(k): return 1 if k < 2 else k * fact(k - 1) + n
    return fact

def counter():
    count = 0
    def step():
        nonlocal count
        count += 1
        return count
    return step

class Base:
    def __init__(self, v): self.v = v
    def get(self): return helper(self.v)

class Derived(Base):
    def get(self): return super().get() * 2
    @property
    def twice(self): return self.v * 2
    @classmethod
    def make(cls): return cls(5)

class Slotted:
    __slots__ = ("a",)

class State:
    def __getstate__(self): return {"x": 1}
    def __setstate__(self, state): self.got = state["x"]

@dataclasses.dataclass
class Data:
    a: int = 1
"""


@pytest.fixture(params=CODECS)
def codec(request):
    """Each of the two, if it is installed."""
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def main(monkeypatch):
    """A main program with functions and classes of its own, which both libraries pickle by value."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    dill = sys.modules.get("dill._dill")
    if dill is not None:
        monkeypatch.setattr(dill, "_main_module", module)
    exec(MAIN, module.__dict__)
    return module


def sent(obj: Any, codec: str, protocol: int | None = None) -> Any:
    """``obj`` after a way through an envelope."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dill warns about what it finds out while it pickles
        return safeload.loads(safeload.dumps(obj, protocol, codec=codec, key=KEY), keys=GRANTED)


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_functions_come_back(codec, protocol, main):
    """Lambdas, closures, recursive functions, partials, functions of the main program; in every protocol."""
    assert sent(lambda x: x + 1, codec, protocol)(1) == 2
    assert sent(functools.partial(lambda a, b: a - b, 5), codec, protocol)(3) == 2
    assert sent(main.helper, codec, protocol)(1, by=2) == 3
    step = sent(main.counter(), codec, protocol)
    assert (step(), step()) == (1, 2)
    if codec == "cloudpickle" or protocol != 2:
        assert sent(main.recursive(3), codec, protocol)(4) == main.recursive(3)(4)


def test_instances_of_classes_that_the_stream_makes(codec, main):
    """The class is the result of a call, which a policy never allows and a grant does."""
    assert sent(main.Base(1), codec).get() == 2
    derived = sent(main.Derived(2), codec)
    assert (derived.get(), derived.twice, derived.make().v) == (6, 4, 5)
    assert sent(main.State(), codec).got == 1
    assert sent(main.Data(7), codec).a == 7
    assert sent([main.Base(1)], codec)[0].v == 1
    slotted = main.Slotted()
    slotted.a = 3
    assert sent(slotted, codec).a == 3
    assert sent(main.Base(4).get, codec)() == 5


def test_dill_takes_the_class_of_the_main_program(main):
    """As dill's own loads does: an object of the main program is an instance of the class that is there."""
    pytest.importorskip("dill")
    assert type(sent(main.Base(1), "dill")) is main.Base


def test_modules_and_named_things(codec):
    """By reference: modules, functions of modules, types; data as pickle writes it."""
    assert sent(json, codec) is json
    assert sent(json.dumps, codec) is json.dumps
    assert sent([type(None), types.FunctionType, ...], codec) == [type(None), types.FunctionType, ...]
    assert sent({"a": [1, (2,)]}, codec) == {"a": [1, (2,)]}


def test_what_the_library_refuses(codec):
    """The library's own error, before anything is sealed; compress= is for others."""
    with pytest.raises(TypeError, match="generator"):
        safeload.dumps((i for i in range(3)), codec=codec, key=KEY)
    with pytest.raises(ValueError, match="compress="):
        safeload.dumps(1, codec=codec, key=KEY, compress=3)


def test_writing_needs_a_key(codec, tmp_path):
    """Nobody may load it unsigned, so it is not written unsigned."""
    with pytest.raises(ValueError, match="grants"):
        safeload.dumps(1, codec=codec)
    with pytest.raises(ValueError, match="unsigned"):
        safeload.dump(1, tmp_path / "x", codec=codec)
    assert not (tmp_path / "x").exists()


def test_a_missing_library_names_the_extra(codec, monkeypatch):
    """And nothing is written."""
    monkeypatch.setitem(sys.modules, codec, None)
    with pytest.raises(ImportError, match=rf"pip install 'safeload\[{codec}\]'"):
        safeload.dumps(1, codec=codec, key=KEY)


def test_files_and_the_drop_in_unpickler(codec, tmp_path):
    """From a path, an open file and an Unpickler; encrypted too."""
    path = tmp_path / "f.sle"
    safeload.dump(lambda: "here", path, codec=codec, key=KEY)
    assert safeload.load(path, keys=GRANTED)() == "here"
    with path.open("rb") as file:
        assert safeload.load(file, keys=GRANTED)() == "here"
    safeload.configure(keys=GRANTED)
    try:
        with path.open("rb") as file:
            assert safeload.Unpickler(file).load()() == "here"
        safeload.configure(keys=BARE)
        with path.open("rb") as file, pytest.raises(safeload.PolicyError) as caught:
            safeload.Unpickler(file).load()
        assert caught.value.code == "policy.code"
    finally:
        safeload.reset()
    secret = Key.generate("hs256-gcm")
    sealed = safeload.dumps(lambda: 1, codec=codec, key=secret)
    assert safeload.loads(sealed, keys=KeyRing([KeyEntry(secret, grants={"code"})]))() == 1


def test_without_the_grant_nothing_is_imported(codec, monkeypatch):
    """Refused by the codec alone: the payload reaches no parser, and the library is not imported."""
    sealed = safeload.dumps(lambda: 1, codec=codec, key=KEY)
    for name in [name for name in sys.modules if name.partition(".")[0] == codec]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(safeload.PolicyError) as caught:
        safeload.loads(sealed, keys=BARE)
    assert caught.value.code == "policy.code"
    assert "does not grant code" in str(caught.value)
    assert codec not in sys.modules


def test_unsigned_is_refused_with_what_to_do(codec, main):
    """Whatever the policy says: its rules, its grant; in load, from a file, by an Unpickler."""
    library = importlib.import_module(codec)
    made = f"{library.__name__}.{'_dill._create_function' if codec == 'dill' else 'cloudpickle._make_function'}"
    policies = (None, safeload.Policy().allow(made, call=True), safeload.Policy().with_code())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        streams = [library.dumps(obj) for obj in (lambda: 1, main.Base(1), main.Base)]
    ways = (
        safeload.loads,
        lambda data, policy: safeload.load(io.BytesIO(data), policy=policy),
        lambda data, policy: safeload.Unpickler(io.BytesIO(data), policy=policy).load(),
    )
    for data in streams:
        for policy in policies:
            for load in ways:
                with pytest.raises(safeload.PolicyError) as caught:
                    load(data, policy=policy)
                assert caught.value.code == "policy.code"
                assert f'codec="{codec}"' in str(caught.value)
                assert 'grants={"code"}' in str(caught.value)


def test_every_operation_may_be_allowed_and_it_is_still_refused(codec):
    """A policy that names all that the pickle does is no grant."""
    data = importlib.import_module(codec).dumps(lambda: 1)
    policy = safeload.Policy()
    for name in safeload.scan(data).globals:
        policy = policy.allow(name, call=True)
    with pytest.raises(safeload.PolicyError) as caught:
        safeload.loads(data, policy=policy)
    assert caught.value.code == "policy.code"


def test_nothing_is_learned_from_code(codec, tmp_path):
    """No policy could let it in, so none is proposed."""
    (tmp_path / "f.pkl").write_bytes(importlib.import_module(codec).dumps(lambda: 1))
    with pytest.raises(safeload.PolicyError) as caught:
        safeload.Policy.learn([tmp_path / "f.pkl"])
    assert caught.value.code == "policy.code"


def test_the_grant_may_come_from_the_configuration(codec, tmp_path):
    """``[signers."..."] grants = ["code"]`` is the same as in the ring."""
    config = tmp_path / "safeload.toml"
    config.write_text(f'[signers."{KEY.key_id.hex()}"]\ngrants = ["code"]\n')
    sealed = safeload.dumps(lambda: 3, codec=codec, key=KEY)
    try:
        safeload.configure_from_file(config, keys=BARE)
        assert safeload.loads(sealed)() == 3
    finally:
        safeload.reset()


def test_a_grant_is_on_record(codec):
    """The trail says that names were not judged."""
    events: list[Any] = []
    sealed = safeload.dumps(lambda: 1, codec=codec, key=KEY)
    for _ in range(2):  # the second judgement is remembered
        events.clear()
        safeload.loads(sealed, keys=GRANTED, audit=events.append)
        assert any(event.get("unsafe") == ["code"] for event in events)
    events.clear()
    safeload.loads(pickle.dumps({1}), audit=events.append)
    assert not any("unsafe" in event for event in events)


def test_scan_lists_the_functions(codec, tmp_path):
    """Name, arguments, file, line and names used; unknown, because nobody says that it is harmful."""
    source = tmp_path / "shapes.py"
    source.write_text("def area(width, height=1, *rest, scale=2, **more):\n    return sum(rest) * round(width)\n")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source.read_text(), str(source), "exec"), space)
    report = safeload.scan(importlib.import_module(codec).dumps(space["area"]))
    assert report.verdict == "unknown"
    assert report.container == "pickle"
    (finding,) = (each for each in report.findings if each.rule_id == "policy.code")
    assert finding.evidence == codec
    (note,) = (each for each in report.findings if each.rule_id == "code.function")
    assert "area(width, height, scale, *rest, **more)" in note.message
    assert "line 1" in note.message
    assert "uses sum, round" in note.message
    assert note.verdict == "clean"


def test_scan_with_the_grant(codec):
    """Clean for who is granted code, with the functions as information; for others a finding."""
    sealed = safeload.dumps(lambda hidden: hidden, codec=codec, key=KEY)
    granted = safeload.scan(sealed, keys=GRANTED)
    assert granted.verdict == "clean"
    assert any("<lambda>(hidden)" in each.message for each in granted.findings)
    assert any(each.rule_id == "code.kind" and each.evidence == codec for each in granted.findings)
    assert safeload.scan(sealed, keys=BARE).verdict == "unknown"
    assert safeload.scan(sealed).verdict == "skipped"


def test_importing_dill_for_a_codec_leaves_pickle_alone():
    """On import dill changes what joblib writes in the whole process; that is taken back."""
    pytest.importorskip("dill")
    pytest.importorskip("joblib")
    import subprocess

    code = (
        "import io, safeload, joblib\n"
        "key = safeload.Key.generate('hs256')\n"
        "ring = safeload.KeyRing([safeload.KeyEntry(key, grants={'code'})])\n"
        "assert safeload.loads(safeload.dumps(lambda: 1, codec='dill', key=key), keys=ring)() == 1\n"
        "try: joblib.dump(lambda: 1, io.BytesIO())\n"
        "except Exception: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dill._dill._create_function", "dill"),
        ("dill.dill._create_code", "dill"),
        ("dill._dill._load_type", "dill"),
        ("cloudpickle.cloudpickle._make_function", "cloudpickle"),
        ("cloudpickle.cloudpickle_fast._function_setstate", "cloudpickle"),
        ("joblib.externals.cloudpickle.cloudpickle.subimport", "cloudpickle"),
        ("pyspark.cloudpickle._fill_function", "cloudpickle"),
        ("types.CodeType", "code"),
        ("marshal.loads", "code"),
        ("mydill.tools.pickle", None),
        ("shop.dill.Pickled", None),
        ("cloudpickled.model.Rain", None),
        ("collections.OrderedDict", None),
    ],
)
def test_families(name, expected):
    """By the module's parts, not by a piece of its text."""
    assert family(name) == expected


def test_family_of_a_program():
    """The pickler is named before the bare types that it uses."""
    assert family_of(["types.CodeType", "dill._dill._create_function"]) == "dill"
    assert family_of(["builtins.list"]) is None


LAYOUTS = {
    "2.7": (2, 2, 3, 0x43, b"code", (None,), ("sqrt",), ("a", "b"), "/m.py", "area", 7, b"", (), ()),
    "3.7": (1, 1, 2, 3, 0x43, b"code", (None,), ("sqrt",), ("a", "b"), "/m.py", "area", 7, b"", (), ()),
    "3.8": (1, 0, 1, 2, 3, 0x43, b"code", (None,), ("sqrt",), ("a", "b"), "/m.py", "area", 7, b"", (), ()),
    "3.11": (1, 0, 1, 2, 3, 3, b"code", (None,), ("sqrt",), ("a", "b"), "/m.py", "f", "area", 7, b"", b"", (), ()),
    "3.11a": (1, 0, 1, 2, 3, 3, b"c", (None,), ("sqrt",), ("a", "b"), "/m.py", "f", "area", 7, *[b""] * 4, (), ()),
    "pypy": (1, 0, 1, 2, 3, 3, b"code", (None,), ("sqrt",), ("a", "b"), "/m.py", "f", "area", 7, b"", (), ()),
}


@pytest.mark.parametrize("version", LAYOUTS)
@pytest.mark.parametrize("lnotab", [(), (b"",), (object(),)], ids=["", "lnotab", "standin"])
def test_layouts_of_all_versions(version, lnotab):
    """The same function, whichever Python wrote it, and with what dill puts before it."""
    program = Program.of([Use(Kind.CALL, "dill._dill._create_code", (*lnotab, *LAYOUTS[version]))])
    (function,) = functions_of(program)
    assert function.message == "makes the function area(a, b) of /m.py, line 7; uses sqrt"


def test_what_is_no_code_object_is_left_out():
    """Whatever types and numbers of arguments a stream gives."""
    whole = LAYOUTS["3.11"]
    for args in ((), (1,), (1,) * 50, (b"",), (None,) * 20, whole[:9], whole[:11], (True, *whole[1:]), ([],) * 18):
        list(functions_of(Program.of([Use(Kind.CALL, "types.CodeType", args)])))
    for at in range(len(whole)):
        for item in (
            None,
            -(1 << 70),
            1 << 70,
            "x" * 1000,
            b"\xff" * 1000,
            [],
            {},
            (1, None, b"y"),
            object(),
            float("nan"),
        ):
            args = (*whole[:at], item, *whole[at + 1 :])
            for function in functions_of(Program.of([Use(Kind.CALL, "types.CodeType", args)])):
                assert len(function.message) < 6_000
                assert function.message.isascii()
                assert function.message.isprintable()


def test_enum_abstract_and_named_tuple(codec):
    """Classes with metaclasses of the library's; dill cannot write an enum of the main program, so only what works is asked."""
    if codec == "cloudpickle":
        space: dict[str, Any] = {"__name__": "__main__", "enum": enum}
        exec("class Colour(enum.Enum):\n    RED = 1", space)
        assert sent(space["Colour"], codec).RED.value == 1
    space = {"__name__": "__main__", "abc": abc}
    exec("class A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...", space)
    made = sent(space["A"], codec)
    with pytest.raises(TypeError, match="abstract"):
        made()
    assert dataclasses.is_dataclass(sent(dataclasses.make_dataclass("D", ["a"]), codec))
