"""``import safeload as pickle``: what programs do with pickle works, under a policy."""

from __future__ import annotations

import collections
import copyreg
import datetime as dt
import gc
import io
import pickle
import subprocess
import sys
import textwrap
import weakref

import pytest

import safeload
from safeload import Loader, Policy

HERE = __name__


class Point:
    """A class of the application."""

    def __init__(self, x: int = 0, y: int = 0) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None


class Pixel(Point):
    """What ``Point`` is called today."""


class Größe:  # noqa: PLC2401
    """A class with a name in another language."""


class Failing:
    def __setstate__(self, state: object) -> None:
        raise state["error"]


POINTS = Policy.packs("data", "numpy").allow(f"{HERE}.Point").allow(f"{HERE}.Pixel")


def unpickler(data: bytes, cls: type = safeload.Unpickler, **options):
    return cls(io.BytesIO(data), policy=POINTS, **options)


def shared(*objects, protocol: int = 4) -> bytes:
    """Several pickles of one Pickler, which share its memo."""
    file = io.BytesIO()
    pickler = safeload.Pickler(file, protocol)
    for obj in objects:
        pickler.dump(obj)
    return file.getvalue()


# Several pickles, one memo.


@pytest.mark.parametrize("protocol", range(6))
def test_a_memo_is_shared_by_the_pickles_of_one_pickler(protocol):
    """An object that was written once is one object after loading, whatever was loaded first."""
    point, words = Point(1, 2), ["a", "b"]
    loading = unpickler(shared(words, point, [words, point, Point(3, 4)], protocol=protocol))
    first, second, third = (loading.load() for _ in range(3))
    assert third[0] is first
    assert third[1] is second
    assert third == [words, point, Point(3, 4)]
    with pytest.raises(EOFError):
        loading.load()


def test_a_class_from_an_earlier_pickle_is_judged_when_it_is_used():
    """A later pickle may take a class out of the memo; calling it needs the permission to call."""
    policy = Policy().allow("collections.OrderedDict", construct=False, state=False)
    named = b"\x80\x02ccollections\nOrderedDict\nq\x00."
    called = b"\x80\x02h\x00)R."
    assert pickle.loads(named + called[2:], encoding="bytes") is collections.OrderedDict
    loading = safeload.Unpickler(io.BytesIO(named + called), policy=policy)
    assert loading.load() is collections.OrderedDict
    with pytest.raises(safeload.PolicyError, match=r"calls collections.OrderedDict"):
        loading.load()


def test_a_refused_pickle_leaves_nothing_in_the_memo():
    """The unpickler never saw it: what a later pickle finds at its place in the memo is judged as what it is there."""
    policy = (
        Policy()
        .allow("collections.OrderedDict", construct=False, state=False)
        .allow("collections.deque", construct=False, state=False, call=True)
    )
    named = b"\x80\x02ccollections\nOrderedDict\nq\x00."
    # Puts a callable that may be called where OrderedDict is, and is refused.
    refused = b"\x80\x02ccollections\ndeque\nq\x00cos\nsystem\n0."
    loading = safeload.Unpickler(io.BytesIO(named + refused + b"\x80\x02h\x00)R." + b"\x80\x02h\x00."), policy=policy)
    assert loading.load() is collections.OrderedDict
    with pytest.raises(safeload.PolicyError, match=r"os.system"):
        loading.load()
    with pytest.raises(safeload.PolicyError, match=r"calls collections.OrderedDict"):
        loading.load()
    assert loading.load() is collections.OrderedDict


def test_a_pickle_that_fails_leaves_nothing_in_the_memo():
    """Half of a failed pickle is in the unpickler's memo, and nobody knows which half: all of it is forgotten."""
    policy = POINTS.allow(f"{HERE}.Failing")
    failing = b"\x80\x02]q\x00c" + HERE.encode() + b"\nFailing\n)\x81}X\x05\x00\x00\x00errorK\x01sb."
    loading = safeload.Unpickler(io.BytesIO(failing + b"\x80\x02h\x00."), policy=policy)
    with pytest.raises(safeload.LoadError):
        loading.load()
    with pytest.raises(pickle.UnpicklingError, match="Memo value not found"):
        loading.load()


def test_an_end_of_file_forgets_nothing():
    """A program may wait for a file to grow and go on."""
    data = shared(["first"], ["second"])
    words = ["w"]
    data = shared(words, [words])
    middle = len(pickle.dumps(words, 4))
    file = io.BytesIO(data[:middle])
    loading = safeload.Unpickler(file)
    first = loading.load()
    with pytest.raises(EOFError):
        loading.load()
    file.write(data[middle:])
    file.seek(middle)
    assert loading.load()[0] is first


def test_the_memo_moves_to_another_unpickler():
    """As with pickle, ``memo`` can be assigned; it is judged there as it was here."""
    words = ["a"]
    data = shared(words, [words, words])
    one = unpickler(data)
    first = one.load()
    two = unpickler(data[len(pickle.dumps(words, 4)) :])
    two.memo = one.memo
    assert two.load()[1] is first
    assert one.memo.copy()[0] is first
    two.memo.clear()
    assert two.memo.copy() == {}
    for foreign in ({0: Point}, pickle.Unpickler(io.BytesIO()).memo, None):
        with pytest.raises(TypeError, match="were not judged"):
            two.memo = foreign


def test_thousands_of_small_pickles():
    """A long history costs nothing that grows with it."""
    data = shared(*[{"n": n, "text": "shared"} for n in range(3000)])
    loading = unpickler(data)
    assert [loading.load()["n"] for _ in range(3000)] == list(range(3000))


# find_class.


class Renaming(safeload.Unpickler):
    """The documented way to load what was written before a class moved."""

    def find_class(self, module, name):
        return super().find_class(HERE if module == "old_module" else module, "Pixel" if name == "Point" else name)


def renamed(protocol: int = 4) -> bytes:
    return (
        pickle.dumps(Point(1, 2), protocol).replace(HERE.encode(), b"old_module")
        if protocol < 4
        else b"".join((b"\x80\x04\x8c\x0aold_module\x8c\x05Point\x93)\x81}\x8c\x01xK\x05sb.",))
    )


def test_find_class_may_rename():
    """Both names have to be allowed: what the pickle says, and what it becomes."""
    policy = POINTS.allow("old_module.Point")
    loaded = Renaming(io.BytesIO(renamed()), policy=policy).load()
    assert type(loaded) is Pixel
    assert loaded.x == 5
    with pytest.raises(safeload.PolicyError, match=r"old_module.Point"):
        Renaming(io.BytesIO(renamed()), policy=POINTS).load()
    only_old = Policy.packs("data").allow("old_module.Point")
    with pytest.raises(safeload.PolicyError, match="Pixel"):
        Renaming(io.BytesIO(renamed()), policy=only_old).load()


def test_a_rename_needs_the_permissions_of_what_is_done():
    """A name that may be referenced is not called because another one may be, in this pickle or a later one."""
    policy = Policy().allow("old_module.Point", call=True).allow(f"{HERE}.Pixel", construct=False, state=False)
    call = b"\x80\x02cold_module\nPoint\nq\x00)R."
    with pytest.raises(safeload.PolicyError, match=r"calls .*Pixel"):
        Renaming(io.BytesIO(call), policy=policy).load()
    both = b"\x80\x02c" + HERE.encode() + b"\nPixel\n0" + call[2:]
    with pytest.raises(safeload.PolicyError, match=r"calls .*Pixel"):
        Renaming(io.BytesIO(both), policy=policy).load()
    named = b"\x80\x02cold_module\nPoint\nq\x00."
    loading = Renaming(io.BytesIO(named + b"\x80\x02h\x00)R."), policy=policy)
    assert loading.load() is Pixel
    with pytest.raises(safeload.PolicyError, match=r"calls .*Pixel"):
        loading.load()


@pytest.mark.parametrize("protocol", range(6))
def test_find_class_gets_the_names_of_the_pickle(protocol):
    """Also those of Python 2; the base class maps them, as pickle's does."""
    asked = []

    class Asking(safeload.Unpickler):
        def find_class(self, module, name):
            asked.append((module, name))
            return super().find_class(module, name)

    value = dt.timedelta(1)
    assert unpickler(pickle.dumps(value, protocol), Asking).load() == value
    theirs = []

    class Plain(pickle.Unpickler):
        def find_class(self, module, name):
            theirs.append((module, name))
            return super().find_class(module, name)

    Plain(io.BytesIO(pickle.dumps(value, protocol))).load()
    assert asked == theirs
    asked.clear()
    assert unpickler(b"c__builtin__\nset\n(lp0\nI1\na\x85R.", Asking).load() == {1}
    assert asked == [("__builtin__", "set")]


def test_find_class_may_return_objects_of_the_application():
    """What the application puts in place of an allowed name is its own business."""

    class Own(safeload.Unpickler):
        def find_class(self, module, name):
            return Pixel

    assert type(unpickler(pickle.dumps(Point()), Own).load()) is Pixel


def test_find_class_is_not_asked_about_refused_pickles():
    """The application's hook runs after the decision."""

    class Never(safeload.Unpickler):
        def find_class(self, module, name):
            raise AssertionError("asked")

    with pytest.raises(safeload.PolicyError):
        unpickler(b"cos\nsystem\n(S'true'\ntR.", Never).load()


class OwnError(Exception):
    """An exception of the application."""


@pytest.mark.parametrize("error", [OwnError("as it is"), pickle.UnpicklingError("theirs"), KeyError("k"), EOFError()])
def test_exceptions_of_hooks_arrive_unchanged(error):
    """The very object that a hook raised, without a trace of what carried it."""

    class Raising(safeload.Unpickler):
        def find_class(self, module, name):
            raise error

        def persistent_load(self, pid):
            raise error

    for data in (pickle.dumps(Point()), b"Pid\n."):
        with pytest.raises(type(error)) as caught:
            unpickler(data, Raising).load()
        assert caught.value is error
        assert error.__cause__ is None
        assert error.__context__ is None


def test_find_class_as_an_attribute_of_the_instance():
    """An assigned ``find_class`` is asked too, whenever it was assigned."""
    loading = unpickler(shared(Point(), Point()))
    assert type(loading.load()) is Point
    loading = unpickler(pickle.dumps(Point()))
    loading.find_class = lambda module, name: Pixel
    assert type(loading.load()) is Pixel


def test_find_class_can_be_called_directly():
    """Outside of loading the policy is asked whether the name may be referenced."""
    assert unpickler(b"").find_class("collections", "OrderedDict") is collections.OrderedDict
    with pytest.raises(safeload.PolicyError):
        unpickler(b"").find_class("os", "system")


# persistent_load.


class Saving(safeload.Pickler):
    def persistent_id(self, obj):
        return ("point", obj.x, obj.y) if isinstance(obj, Point) else None


def persisted(obj: object, protocol: int) -> bytes:
    file = io.BytesIO()
    Saving(file, protocol).dump(obj)
    return file.getvalue()


def load_point(pid):
    kind, x, y = pid
    assert kind == "point"
    return Point(x, y)


@pytest.mark.parametrize("protocol", range(1, 6))
def test_persistent_load_by_a_subclass_or_an_attribute(protocol):
    """Both documented ways, and static and class methods."""

    class Method(safeload.Unpickler):
        def persistent_load(self, pid):
            return load_point(pid)

    class Static(safeload.Unpickler):
        persistent_load = staticmethod(load_point)

    class Early(safeload.Unpickler):
        def __init__(self, *args, **options):
            self.persistent_load = load_point
            super().__init__(*args, **options)

    data = persisted([Point(1, 2), "text"], protocol)
    for cls in (Method, Static, Early):
        assert cls(io.BytesIO(data)).load() == [Point(1, 2), "text"]
    loading = safeload.Unpickler(io.BytesIO(data))
    loading.persistent_load = load_point
    assert loading.load() == [Point(1, 2), "text"]


def test_persistent_ids_without_persistent_load():
    """An UnpicklingError, before anything of the pickle is loaded."""
    data = persisted([Point(1, 2)], 4)
    for load in (safeload.Unpickler(io.BytesIO(data)).load, lambda: safeload.loads(data)):
        with pytest.raises(pickle.UnpicklingError, match="persistent"):
            load()
    with pytest.raises(pickle.UnpicklingError, match="unsupported persistent id"):
        safeload.Unpickler(io.BytesIO()).persistent_load("1")
    granted = safeload.Unpickler(io.BytesIO(data), policy=POINTS.with_code())
    with pytest.raises(pickle.UnpicklingError, match="persistent"):
        granted.load()


def test_what_persistent_load_returned_is_not_called():
    """Otherwise a pickle could call whatever it gets hold of by an id."""

    class Giving(safeload.Unpickler):
        def persistent_load(self, pid):
            raise AssertionError("asked")

    for hostile in (b"Pid\n)R.", b"Pid\n)\x81.", b"Pid\n}S'a'\nI1\nsb."):
        with pytest.raises(safeload.SafeloadError):
            unpickler(hostile, Giving).load()


# Life of an Unpickler.


def test_init_that_forgets_super():
    """As pickle: an UnpicklingError that names the class."""

    class Forgetful(safeload.Unpickler):
        def __init__(self):
            pass

    with pytest.raises(pickle.UnpicklingError, match=r"Unpickler.__init__\(\) was not called by Forgetful"):
        Forgetful().load()


def test_init_again_with_another_file():
    """An Unpickler can be made to read another file."""
    loading = unpickler(pickle.dumps(1))
    assert loading.load() == 1
    loading.__init__(io.BytesIO(pickle.dumps(2)))
    assert loading.load() == 2


def test_an_unpickler_is_no_cycle():
    """It goes with its last reference, also after hooks were used."""

    class Hooks(safeload.Unpickler):
        def find_class(self, module, name):
            return super().find_class(module, name)

        def persistent_load(self, pid):
            return pid

    gc.collect()
    gc.disable()
    try:
        for cls in (safeload.Unpickler, Hooks):
            loading = unpickler(pickle.dumps(Point(1, 2)), cls)
            assert loading.load() == Point(1, 2)
            gone = weakref.ref(loading)
            del loading
            assert gone() is None
    finally:
        gc.enable()


def test_an_unpickler_does_not_load_while_it_loads():
    """A hook that calls back into ``load`` would mix two pickles."""

    class Reentrant(safeload.Unpickler):
        def find_class(self, module, name):
            return self.load()

    with pytest.raises(RuntimeError, match="loading already"):
        unpickler(pickle.dumps(Point()) * 2, Reentrant).load()


def test_attributes_may_be_added():
    """Subclasses keep their own attributes."""

    class Counting(safeload.Unpickler):
        count = 0

        def find_class(self, module, name):
            self.count += 1
            return super().find_class(module, name)

    loading = unpickler(shared(Point(), dt.date(2020, 1, 1)), Counting)
    loading.load()
    loading.load()
    assert loading.count == 2


# Keys: the default loader may demand signatures.


def test_a_loader_with_keys_has_no_unsigned_way_around_it():
    """With keys configured, an Unpickler refuses what is not signed, and verifies what is."""
    key = safeload.Key.generate("hs256")
    sealed = safeload.dumps({"x": 1}, key=key)
    try:
        safeload.configure(keys=key)
        with pytest.raises(safeload.MissingKeyError):
            safeload.Unpickler(io.BytesIO(pickle.dumps({"x": 1}))).load()
        file = io.BytesIO(sealed + safeload.dumps([2], key=key) + b"rest")
        loading = safeload.Unpickler(file)
        assert loading.load() == {"x": 1}
        assert loading.load() == [2]
        assert file.read() == b"rest"
        broken = bytearray(sealed)
        broken[-1] ^= 1
        with pytest.raises(safeload.VerificationError):
            safeload.Unpickler(io.BytesIO(broken)).load()
        other = safeload.dumps({"x": 1}, key=safeload.Key.generate("hs256"))
        with pytest.raises(safeload.EnvelopeError):
            safeload.Unpickler(io.BytesIO(other)).load()
    finally:
        safeload.reset()
    with pytest.raises(safeload.MissingKeyError):
        safeload.Unpickler(io.BytesIO(sealed)).load()


def test_hooks_of_an_unpickler_of_signed_artifacts():
    """``find_class`` is asked under the signer's policy, also for arrays outside the stream."""
    numpy = pytest.importorskip("numpy")
    key = safeload.Key.generate("hs256")
    asked = []

    class Asking(safeload.Unpickler):
        def find_class(self, module, name):
            asked.append(name)
            return super().find_class(module, name)

    try:
        safeload.configure(keys=key, policy=POINTS)
        loader = Loader(keys=key, policy=POINTS)
        sealed = loader.dumps([Point(1, 2), numpy.arange(5000)], key=key)
        point, array = Asking(io.BytesIO(sealed)).load()
    finally:
        safeload.reset()
    assert point == Point(1, 2)
    assert array.sum() == sum(range(5000))
    assert "Point" in asked


# Writing, and what comes back.


def test_a_small_program(tmp_path):
    """``import safeload as pickle`` in a program that keeps its state in a file."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import collections, io, sys
            import safeload as pickle

            path = sys.argv[1]
            try:
                with open(path, "rb") as f:
                    state = pickle.load(f)
            except (OSError, EOFError, pickle.UnpicklingError):
                state = {"runs": 0, "log": collections.deque(maxlen=3)}
            state["runs"] += 1
            state["log"].append(("run", state["runs"]))
            with open(path, "wb") as f:
                pickle.dump(state, f, protocol=pickle.HIGHEST_PROTOCOL)
            assert pickle.loads(pickle.dumps(state)) == state
            buffer = io.BytesIO()
            pickle.Pickler(buffer, pickle.DEFAULT_PROTOCOL).dump(state)
            buffer.seek(0)
            assert pickle.Unpickler(buffer).load() == state
            try:
                pickle.dumps(lambda: 0)
            except (pickle.PicklingError, AttributeError):
                pass
            assert issubclass(pickle.UnpicklingError, pickle.PickleError)
            print(state["runs"], *[n for _, n in state["log"]])
            """
        )
    )
    state = tmp_path / "state.pickle"
    for expected in ("1 1", "2 1 2", "3 1 2 3", "4 2 3 4"):
        ran = subprocess.run(
            [sys.executable, "-W", "error", program, state], capture_output=True, text=True, timeout=60, check=False
        )
        assert (ran.stderr, ran.stdout.strip()) == ("", expected)
    state.write_bytes(b"cos\nsystem\n(S'echo hostile'\ntR.")
    ran = subprocess.run([sys.executable, program, state], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "1 1"


@pytest.mark.parametrize("protocol", [None, *range(-1, 6)])
def test_the_bytes_are_those_of_pickle(protocol):
    """Without a key, writing is pickle's."""
    obj = [Point(1, 2), {"a": (1, 2.5)}, b"bytes", {3}]
    for fix_imports in (True, False):
        expected = pickle.dumps(obj, protocol, fix_imports=fix_imports)
        assert safeload.dumps(obj, protocol, fix_imports=fix_imports) == expected
        file = io.BytesIO()
        safeload.dump(obj, file, protocol, fix_imports=fix_imports)
        assert file.getvalue() == expected
        file = io.BytesIO()
        safeload.Pickler(file, protocol, fix_imports=fix_imports).dump(obj)
        assert file.getvalue() == expected


def test_keywords_of_pickle():
    """The names of pickle's arguments are accepted."""
    file = io.BytesIO()
    safeload.dump(obj=[1], file=file, protocol=2, fix_imports=True, buffer_callback=None)
    file.seek(0)
    assert safeload.load(file=file, fix_imports=True, encoding="ASCII", errors="strict", buffers=()) == [1]
    assert safeload.loads(pickle.dumps([1]), fix_imports=True, encoding="ASCII", errors="strict", buffers=None) == [1]
    for call in (safeload.load, lambda: safeload.dump([1]), lambda: safeload.load(file, file=file)):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("protocol", range(6))
def test_recursive_structures(protocol):
    """Lists, dicts and instances that contain themselves."""
    cycle: list = [1]
    cycle.append(cycle)
    table = {"self": None}
    table["self"] = table
    point = Point()
    point.x = point
    loaded = safeload.loads(pickle.dumps([cycle, table, point], protocol), policy=POINTS)
    assert loaded[0][1] is loaded[0]
    assert loaded[1]["self"] is loaded[1]
    assert loaded[2].x is loaded[2]


@pytest.mark.parametrize("protocol", range(6))
def test_exceptions(protocol):
    """Exceptions with arguments, attributes and notes."""
    error = ValueError("text", 5)
    error.add_note("a note")
    error.extra = [1]
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol)
    pickler.dispatch_table = {}  # other libraries register ways of their own to write exceptions for the whole process
    pickler.dump([error, KeyError("k"), OSError(2, "no", "file")])
    loaded = safeload.loads(file.getvalue())
    assert type(loaded[0]) is ValueError
    assert loaded[0].args == ("text", 5)
    assert (loaded[0].__notes__, loaded[0].extra) == (["a note"], [1])
    assert loaded[1].args == ("k",)
    assert (loaded[2].errno, loaded[2].filename) == (2, "file")


def test_dispatch_tables_and_reducer_override():
    """The ways to pickle one's own types in one's own way."""

    class Overriding(safeload.Pickler):
        def reducer_override(self, obj):
            return (Pixel, (), {"x": 7}) if obj is Point else NotImplemented

    class Table(safeload.Pickler):
        dispatch_table = collections.ChainMap({complex: lambda c: (list, ((c.real, c.imag),))}, copyreg.dispatch_table)

    file = io.BytesIO()
    Overriding(file).dump([Point])
    loaded = safeload.loads(file.getvalue(), policy=POINTS.allow(f"{HERE}.Pixel", call=True))
    assert type(loaded[0]) is Pixel
    assert loaded[0].x == 7
    file = io.BytesIO()
    Table(file).dump(1 + 2j)
    assert safeload.loads(file.getvalue(), policy=POINTS.allow("builtins.list", call=True)) == [1.0, 2.0]


# Out-of-band buffers.


class Buffered:
    """Holds bytes that it pickles out of band."""

    def __init__(self, data) -> None:
        self.data = data

    def __reduce_ex__(self, protocol):
        return Buffered, (pickle.PickleBuffer(self.data),)


BUFFERED = POINTS.allow(f"{HERE}.Buffered", call=True)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_buffers_in_and_out_of_band(kind):
    """Out of band the object itself comes back; in band a copy of the same kind."""
    data = kind(b"z" * 100_000)
    views: list = []
    stream = safeload.dumps(Buffered(data), 5, buffer_callback=views.append)
    assert len(stream) < 1000
    assert safeload.loads(stream, buffers=views, policy=BUFFERED).data is views[0]
    assert safeload.load(io.BytesIO(stream), buffers=iter(views), policy=BUFFERED).data is views[0]
    assert safeload.Unpickler(io.BytesIO(stream), buffers=views, policy=BUFFERED).load().data is views[0]
    inside = safeload.loads(safeload.dumps(Buffered(data), 5), policy=BUFFERED).data
    assert type(inside) is kind
    assert inside == data
    read_only = safeload.loads(stream, buffers=[bytes(data)], policy=BUFFERED).data
    assert memoryview(read_only).readonly


def test_buffers_are_taken_one_after_the_other_by_several_pickles():
    """One iterator of buffers serves all pickles of a file."""
    views: list = []
    file = io.BytesIO()
    pickler = safeload.Pickler(file, 5, buffer_callback=views.append)
    pickler.dump(Buffered(b"one"))
    pickler.dump([Buffered(b"two"), Buffered(b"three")])
    file.seek(0)
    loading = safeload.Unpickler(file, buffers=iter(views), policy=BUFFERED)
    assert bytes(loading.load().data) == b"one"
    assert [bytes(item.data) for item in loading.load()] == [b"two", b"three"]


def test_missing_buffers():
    """No buffers, or too few."""
    stream = safeload.dumps([Buffered(b"1"), Buffered(b"2")], 5, buffer_callback=lambda _: None)
    for buffers in (None, [], [b"1"]):
        with pytest.raises(pickle.UnpicklingError, match="buffers"):
            safeload.loads(stream, buffers=buffers, policy=BUFFERED)
    with pytest.raises(TypeError):
        safeload.Unpickler(io.BytesIO(stream), buffers=5)


# Python 2.


def test_strings_of_python_2():
    """``encoding`` and ``errors`` mean what they mean to pickle."""
    for data in (b"S'caf\\xe9'\n.", b"U\x04caf\xe9.", b"T\x04\x00\x00\x00caf\xe9."):
        for options in (
            {"encoding": "latin1"},
            {"encoding": "bytes"},
            {"encoding": "utf-8", "errors": "replace"},
            {"errors": "ignore"},
        ):
            assert safeload.loads(data, **options) == pickle.loads(data, **options)
        with pytest.raises(UnicodeDecodeError, match="latin1"):
            safeload.loads(data)
        with pytest.raises(pickle.UnpicklingError):
            safeload.loads(data)
    assert safeload.Unpickler(io.BytesIO(b"U\x01\xe9."), encoding="latin1").load() == "é"


def test_fix_imports():
    """Names of Python 2 are mapped below protocol 3, unless the caller does not want it."""
    data = b"\x80\x02c__builtin__\nset\n]K\x01a\x85R."
    assert safeload.loads(data) == {1}
    assert safeload.load(io.BytesIO(data)) == {1}
    with pytest.raises(safeload.PolicyError):
        safeload.loads(data, fix_imports=False)
    with pytest.raises(safeload.PolicyError):
        safeload.Unpickler(io.BytesIO(data), fix_imports=False).load()


def test_names_beyond_ascii():
    """Classes may be called anything that Python allows."""
    named = Policy().allow(f"{HERE}.Größe")
    for protocol in range(3, 6):
        assert type(safeload.loads(pickle.dumps(Größe(), protocol), policy=named)) is Größe
    with pytest.raises(safeload.PolicyError, match=r"Gr\\xf6\\xdfe"):
        safeload.loads(pickle.dumps(Größe()))


# Errors that programs catch.


def test_errors_that_programs_catch():
    """What pickle raises, safeload's errors are too."""
    gone = POINTS.allow(f"{HERE}.Gone").allow("no_such_module.Thing")
    cases = [
        (b"", EOFError),
        (b"\x80\x04", EOFError),
        (b"\x80\x63.", ValueError),
        (b"I12x\n.", ValueError),
        (b"Fx\n.", ValueError),
        (b"\xffabc", pickle.UnpicklingError),
        (b"h\x05.", pickle.UnpicklingError),
        (b"0.", pickle.UnpicklingError),
        (b"(K\x01K\x02d]Na}u.", pickle.UnpicklingError),
        (f"c{HERE}\nGone\n.".encode(), AttributeError),
        (b"cno_such_module\nThing\n.", ImportError),
        (b"cno_such_module\nThing\n.", ModuleNotFoundError),
        (f"c{HERE}\nPoint\n)\x81K\x05b.".encode("latin1"), pickle.UnpicklingError),
        (b"}]K\x01s.", TypeError),
    ]
    for data, error in cases:
        for load in (
            lambda data=data: safeload.loads(data, policy=gone),
            lambda data=data: safeload.Unpickler(io.BytesIO(data), policy=gone).load(),
        ):
            with pytest.raises(error) as caught:
                load()
            assert isinstance(caught.value, pickle.UnpicklingError), data
            assert isinstance(caught.value, safeload.SafeloadError), data
