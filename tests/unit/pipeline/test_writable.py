"""``safeload.check``: what it says about an object is true, and asking it runs nothing but reduce methods."""

from __future__ import annotations

import collections
import functools
import io
import json
import pickle
import sys
import threading
from typing import Any

import numpy as np
import pytest

import safeload
from safeload.formats.containers import codecs
from safeload.pipeline.object_graph import walk
from safeload.pipeline.writable import CheckReport


class Model:
    """Pickles by reference to this class."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


class Slotted:
    """Keeps its parts in slots, one of them empty."""

    __slots__ = ("empty", "part")


def test_plain_data_needs_nothing():
    """Every codec that there is has an answer."""
    report = safeload.check({"a": [1, 2.5, ("x", None)]})
    assert isinstance(report, CheckReport)
    assert report.ok
    assert report.bad == ()
    assert report.needs.default
    assert report.needs.names == {}
    assert {each.name for each in report.codecs} == {"pickle", *codecs()}
    assert report.codecs[0].name == "pickle"
    assert report.codec("pickle").size == len(pickle.dumps({"a": [1, 2.5, ("x", None)]}, 5))
    assert report.codec("joblib").ok
    assert "plain data" in str(report)
    with pytest.raises(KeyError):
        report.codec("none")


def test_what_a_codec_says_it_writes():
    """Where the answer is yes, dump does it; where it is no, dump raises."""
    for obj in ([1], {"a": np.arange(3)}, {1, 2}, lambda: 1, Model(x=1), threading.Lock(), "text", b"x", 1 + 2j):
        for each in safeload.check(obj).codecs:
            key = safeload.Key.generate("hs256") if each.code else None
            if each.ok:
                data = safeload.dumps(obj, codec=each.name, key=key)
                assert len(data) > 0
            else:
                assert each.reason
                with pytest.raises(Exception):  # noqa: B017 - whatever the codec raises
                    safeload.dumps(obj, codec=each.name, key=key)


def test_paths_of_what_pickle_cannot_write():
    """Through attributes, slots, containers, keys, partials and arrays; all of them, with who else could."""
    slotted = Slotted()
    slotted.part = threading.Lock()
    array = np.empty(2, dtype=object)
    array[1] = threading.Lock()
    obj = Model(
        hook=lambda: 1,
        deep={"a": [1, {2: (threading.Lock(),)}]},
        slotted=slotted,
        call=functools.partial(print, threading.Lock()),
        array=array,
        queue=collections.deque([threading.Lock()]),
    )
    report = safeload.check(obj)
    assert not report.ok
    assert report.needs is None
    assert {part.path for part in report.bad} == {
        "obj.hook",
        "obj.deep['a'][1][2][0]",
        "obj.slotted.part",
        "obj.call.args[0]",
        "obj.array.flat[1]",
        "obj.queue[0]",
    }
    types = {part.path: part.type for part in report.bad}
    assert types["obj.hook"] == "function"
    assert types["obj.queue[0]"] == "_thread.lock"
    hook = next(part for part in report.bad if part.path == "obj.hook")
    assert "local object" in hook.reason or "lambda" in hook.reason
    text = str(report)
    assert "obj.deep['a'][1][2][0]" in text


def test_who_else_could_write_a_bad_part():
    """Cloudpickle writes the function, not the lock."""
    pytest.importorskip("cloudpickle")
    report = safeload.check([lambda: 1, threading.Lock()])
    able = {part.path: part.codecs for part in report.bad}
    assert "cloudpickle" in able["obj[0]"]
    assert "cloudpickle" not in able["obj[1]"]
    assert report.codec("cloudpickle").code


def test_a_local_class_is_found_by_its_instance():
    """The class itself is in no attribute."""

    class Local:
        pass

    (part,) = safeload.check({"x": [Local()]}).bad
    assert part.path == "obj['x'][0].__class__"
    assert part.type.endswith("Local")


def test_parts_that_exist_only_while_pickling():
    """Made by __reduce__: no path, and no endless search."""
    report = safeload.check([Failing(), 1])
    (part,) = report.bad
    assert part.path == ""
    assert "made while it is pickled" in str(report)


class Failing:
    """Reduces to something new each time that cannot be pickled."""

    def __reduce__(self) -> Any:
        return list, ([threading.Lock()],)


def test_errors_of_the_objects_own():
    """A reduce method that raises anything, with a message that raises."""

    class BadMessageError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    for error in (BadMessageError(), RecursionError(), ZeroDivisionError("x\x1b[2J\ny" + "z" * 1000), MemoryError()):
        Raising.error = error
        report = safeload.check(Model(a=Raising()))
        assert not report.codec("pickle").ok
        assert report.bad[0].path == "obj.a"
        assert len(report.bad[0].reason) < 300
        assert "\x1b" not in str(report)


class Raising:
    """Raises when it is reduced."""

    error: Exception

    def __reduce__(self) -> Any:
        raise self.error


class Denying:
    """Does not say what it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("no")


def test_objects_that_do_not_say_what_they_are():
    """``isinstance`` asks an object for its class: one that raises is a part like any other, under its real type."""
    for obj, path in ((Denying(), "obj"), ({"a": [Denying()]}, "obj['a'][0]")):
        report = safeload.check(obj)
        assert not report.ok
        (part,) = report.bad
        assert (part.path, part.type.rpartition(".")[2]) == (path, "Denying")
        assert "RuntimeError" in part.reason
        assert str(report)


def test_nothing_else_of_the_object_runs():
    """Properties, __getattr__, __repr__, __iter__, __len__, __eq__, __hash__ and setters are never asked; nothing is loaded."""
    report = safeload.check({"a": Sensitive(1), 1: Items([Sensitive(2)]), "d": Mapping(b=Sensitive(3))})
    assert Sensitive.ran == []
    assert report.codec("pickle").ok
    assert report.types[f"{__name__}.Sensitive"] == 3


class Sensitive:
    """Notes whatever runs."""

    ran: list[str] = []

    def __init__(self, value: int) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        self.ran.append("__setstate__")

    @property
    def prop(self) -> None:
        self.ran.append("prop")

    def __getattr__(self, name: str) -> Any:
        # pickle and what it is built on ask for these on the instance
        if not name.startswith("__") and name not in ("_gorg", "_asdict"):
            self.ran.append(name)
        raise AttributeError(name)

    def __repr__(self) -> str:
        self.ran.append("__repr__")
        return "x"


class Items(list[Any]):
    """A list that notes when it is asked for its length."""

    def __len__(self) -> int:
        Sensitive.ran.append("__len__")
        return 0


class Mapping(dict[str, Any]):
    """A dict that notes when it is asked for its keys."""

    def keys(self) -> Any:
        Sensitive.ran.append("keys")
        return super().keys()


def test_types_are_counted():
    """Distinct objects by type; a cycle is walked once."""
    loop: list[Any] = [Model(x=1000), Model(x=2000), "a"]
    loop.append(loop)
    report = safeload.check(loop)
    assert report.type == "list"
    assert report.complete
    assert report.types["list"] == 1
    assert report.types[f"{__name__}.Model"] == 2
    assert report.types["int"] == 2


def test_the_walk_is_bounded():
    """Many objects, and a very deep one."""
    graph = walk([object() for _ in range(100)], 10)
    assert not graph.complete
    assert len(graph.objects) == 10
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    report = safeload.check(deep)
    assert not report.codec("pickle").ok
    assert "RecursionError" in report.codec("pickle").reason
    assert len(str(report)) < 3_000


def test_what_is_too_large_is_not_tried():
    """Neither what is seen to be large, nor what turns out to be."""
    for obj in (b"x" * 5_000, np.zeros(5_000), [Model(x=str(n)) for n in range(1_000)], Growing()):
        report = safeload.check(obj, max_bytes=3_000)
        assert not report.codec("pickle").ok
        assert all("max_bytes=3,000" in each.reason for each in report.codecs)
        assert report.needs is None
        assert report.bad == ()
        assert "max_bytes" in str(report)


class Growing:
    """Small, until it is pickled."""

    def __reduce__(self) -> Any:
        return bytes, (b"x" * 10_000,)


def test_the_policy_it_needs():
    """The packs that cover it, entries for the rest; with them it loads, and without it does not."""
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(np.arange(6.0).reshape(3, 2), np.arange(3.0))
    report = safeload.check(model)
    assert set(report.needs.packs) >= {"numpy", "sklearn"}
    assert "[[allow]]" not in report.needs.toml
    assert not report.needs.default
    assert report.needs.names["sklearn.linear_model._base.LinearRegression"] == ("reference", "construct", "state")
    assert "sklearn" in str(report)
    default = safeload.check([np.arange(3)])
    assert default.needs.default
    assert default.needs.packs == ("data", "numpy")
    assert "default policy is enough" in str(default)


def test_the_toml_is_a_policy(tmp_path):
    """Pasted into a file it lets in exactly this."""
    obj = [Model(x=np.arange(3), y=collections.Counter("ab"))]
    report = safeload.check(obj)
    path = tmp_path / "safeload.toml"
    path.write_text(report.needs.toml)
    assert f"{__name__}.Model" in report.needs.toml
    back = safeload.loads(pickle.dumps(obj), policy=safeload.Policy.from_file(path))
    assert back[0].y == obj[0].y
    with pytest.raises(safeload.PolicyError):
        safeload.loads(pickle.dumps(Slotted()), policy=safeload.Policy.from_file(path))


def test_what_no_policy_can_allow():
    """A pickle that carries code, and one that has the extension registry's opcodes."""
    dill = pytest.importorskip("dill")
    report = safeload.check(Coded(dill.dumps))
    assert not report.ok
    assert any("carries code" in reason for reason in report.needs.never)
    assert "no policy allows it" in str(report)
    assert "_create_code" not in report.needs.toml
    import copyreg

    copyreg.add_extension(__name__, "Model", 0xF0F0)
    try:
        report = safeload.check(Model(x=1))
    finally:
        copyreg.remove_extension(__name__, "Model", 0xF0F0)
        copyreg.clear_extension_cache()
    assert report.codec("pickle").ok
    assert not report.ok


class Coded:
    """Its pickle is a call of dill's."""

    def __init__(self, dumps: Any) -> None:
        self.dumps = dumps

    def __reduce__(self) -> Any:
        return sys.modules["dill._dill"]._create_code, (1,)


def test_to_dict_is_json():
    """For a program that compares."""
    for obj in ([1], [lambda: 1], Model(x=np.arange(2))):
        text = json.dumps(safeload.check(obj).to_dict())
        assert json.loads(text)["codecs"][0]["name"] == "pickle"


def test_the_screen_is_safe_to_show():
    """Names of types and attributes, keys and messages do not steer a terminal."""
    hostile = "\x1b[31m\n::error::\u202e##[x]"
    made = type(hostile, (), {"__module__": hostile})
    obj = made()
    vars(obj)[hostile] = {hostile: threading.Lock()}
    text = str(safeload.check(obj))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "##[" not in text
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())


def test_mistakes_of_the_caller():
    """Not a report."""
    with pytest.raises(TypeError, match="Limits"):
        safeload.check(1, limits=5)  # type: ignore[arg-type]


def test_open_files_and_generators():
    """What nothing can write: each codec says why."""
    for obj in (io.StringIO(), (n for n in range(3)), sys.stdout):
        report = safeload.check([obj])
        if not report.codec("pickle").ok:
            assert report.bad[0].path == "obj[0]"
            assert report.codec("pickle").reason.startswith("TypeError")


def test_what_shares_its_parts_without_end():
    """A list of two times the list below is tiny as a pickle, and has no end for whoever writes a tree."""
    lattice = []
    for _ in range(60):
        lattice = [lattice, lattice]
    report = safeload.check(lattice)
    assert report.codec("pickle").ok
    assert report.codec("joblib").ok
    for name in ("json", "npy"):
        assert not report.codec(name).ok
    with pytest.raises(ValueError, match="max_json_bytes"):
        safeload.dumps(lattice, codec="json")
    few = []
    for _ in range(10):
        few = [few, few]
    assert safeload.loads(safeload.dumps(few, codec="json")) == few
