"""Tricks with the opcode stream: differences between parsers, the memo, frames, states, names and the extension cache."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import io
import os
import pickle
import struct
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from pickle_parts import STOP, Raw, arguments, call, frame, glob, inst, literal, obj, proto, put, short, stack_global

import safeload
from safeload import Policy

if TYPE_CHECKING:
    from pathlib import Path

DICT = glob("collections", "OrderedDict")


@pytest.fixture
def payload(marker: Path) -> bytes:
    """Opcodes that leave the result of ``os.system`` on the stack."""
    return call(glob("posix", "system"), f"touch {marker}")


@pytest.fixture
def own() -> Any:
    """A module of the application with classes and functions that its policy names."""
    module = types.ModuleType("attacked_application")
    exec(_OWN, module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


_OWN = """
calls = []
def function(*args):
    calls.append(args)
class Plain:
    shared = "class attribute"
    def method(self, *args):
        calls.append(("method", args))
class Slots:
    __slots__ = ("a", "b")
class Initargs:
    def __init__(self, *args):
        calls.append(("init", args))
    def __getinitargs__(self):
        return ()
class Stateful:
    def __setstate__(self, state):
        calls.append(("state", state))
class Meta(type):
    def __call__(cls, *args):
        calls.append(("meta", args))
        return super().__call__(*args)
class Metaclassed(metaclass=Meta):
    pass
"""


def own_policy(*names: str, **permissions: Any) -> Policy:
    policy = Policy.packs("data")
    for name in names:
        policy = policy.allow(f"attacked_application.{name}", **permissions)
    return policy


# ---------------------------------------------------------------- payload first


@pytest.mark.parametrize(
    "rest",
    [b"", b"\x00", b"\xff" * 20, b"hello world", b"0000.", b"}.", b"b.", b"R.", b"(", b"\x80\xff.", b"PK\x03\x04"],
)
def test_payload_before_a_broken_stream(rest: bytes, payload: bytes, refused: Any) -> None:
    """nullifAI: an unpickler runs what comes before the place where the stream breaks."""
    for protocol in (0, 2, 4):
        refused(proto(protocol) + payload + rest)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_payload_cut_anywhere(cut: int, payload: bytes, refused: Any) -> None:
    """A truncated file has fired already when the truncation is noticed."""
    data = proto(2) + b"](" + payload + literal({"key": list(range(20))}) + b"e" + STOP
    refused(data[:-cut])


def test_trailing_build(payload: bytes, refused: Any) -> None:
    """GHSA-mhc9-48gj-9gp3: the payload is the state of a last BUILD, behind a harmless object."""
    refused(proto(2) + DICT + b")R" + payload + b"b" + STOP)
    refused(proto(2) + b"]" + payload + b"b" + STOP)


def test_obj_and_pop(payload: bytes, marker: Path, refused: Any) -> None:
    """GHSA-mxhj-88fx-4pcv: OBJ or INST makes the call and POP hides it from whoever looks at the result only."""
    refused(obj(glob("posix", "system"), f"touch {marker}") + b"0N" + STOP)
    refused(inst("posix", "system", f"touch {marker}") + b"0N" + STOP)
    refused(b"(" + inst("posix", "system", f"touch {marker}") + b"1N" + STOP)
    refused(b"]" + obj(glob("posix", "system"), f"touch {marker}") + b"0" + STOP)
    refused(b"N" + payload + b"0" + STOP)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "path.os.system"), ("collections", "abc.sys.modules"), ("uuid", "os.system"), ("uuid", "sys.modules.get"),
        ("collections", "OrderedDict.__init__.__globals__"), ("decimal", "Decimal.__class__.__subclasses__"),
        ("numpy", "os.system"), ("numpy", "f2py.crackfortran.getlincoef"), ("numpy", "dtype.__new__"), ("datetime", "sys.exit"),
        ("zoneinfo", "ZoneInfo._unpickle.__globals__"), ("builtins", "__loader__.load_module"), ("uuid", "UUID.__init__.__builtins__"),
        ("random", "_os.system"), ("collections", "_sys.exit"), ("fractions", "re.sys.exit"), ("re", "enum.sys.exit"),
    ],
)  # fmt: skip
def test_dotted_names(module: str, name: str, refused: Any) -> None:
    """GHSA-5j3x-jp52-966f: STACK_GLOBAL walks attributes; a dotted name is matched whole, so no prefix of it is enough."""
    refused(proto(4) + stack_global(module, name) + STOP)
    refused(proto(4) + call(stack_global(module, name), "x") + STOP)
    refused(proto(2) + call(glob(module, name), "x") + STOP)
    refused(proto(4) + stack_global(f"{module}.{name.rpartition('.')[0]}", name.rpartition(".")[2]) + STOP)


def test_memo_confusion(marker: Path, refused: Any) -> None:
    """PUT and MEMOIZE count differently: a parser that mixes them up sees the decoy where the unpickler sees the payload."""
    evil, decoy = glob("posix", "system"), DICT
    args = arguments(f"touch {marker}")
    for body in (
        decoy + put(1) + b"0" + evil + b"\x94" + b"0h\x01" + args + b"R",
        evil + put(1) + b"0" + decoy + b"\x94" + b"0h\x01" + args + b"R",
        evil + b"\x94" + b"0" + decoy + put(0) + b"0" + evil + b"\x94" + b"0h\x01" + args + b"R",
        decoy + put(0) + b"0" + evil + put(0) + b"0h\x00" + args + b"R",
        evil + b"p007\n0" + decoy + b"q\x080" + b"g7\n" + args + b"R",
        decoy + put(255) + b"0" + evil + b"\x94" + b"0j\x01\x00\x00\x00" + args + b"R",
    ):
        refused(proto(4) + body + STOP)


def test_frame_boundaries(payload: bytes, marker: Path, refused: Any) -> None:
    """Readers disagree about frames that end inside an opcode, overlap, nest or reach beyond the end: refused as such."""
    body = payload + STOP
    for size in range(len(body) + 3):
        data = proto(4) + b"\x95" + struct.pack("<Q", size) + body
        refused(data)
    refused(proto(4) + frame(frame(payload) + STOP))
    refused(proto(4) + frame(b"N0") + frame(payload) + STOP)
    for size in (1, 2, 5):
        with pytest.raises(safeload.FormatError):
            safeload.loads(proto(4) + b"\x95" + struct.pack("<Q", size) + b"\x8c\x05hello.")
    with pytest.raises(safeload.FormatError):
        safeload.loads(proto(4) + frame(frame(b"N") + STOP))


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("__builtin__", "apply")]
)
def test_builtins_leave_a_trace(module: str, name: str, marker: Path, refused: Any) -> None:
    """GHSA-h4rm-mm56-xf63: an import of builtins has to be in the program like any other."""
    data = proto(2) + call(glob(module, name), f"open({str(marker)!r}, 'w')") + STOP
    report = refused(data).report
    assert any(found.endswith(name) or "builtins" in found for found in report.globals)


def test_second_pickle_is_judged_when_asked_for(payload: bytes, marker: Path) -> None:
    """One artifact is one pickle: what follows is refused from a path and in memory, and judged as its own from a file."""
    data = pickle.dumps([1, 2]) + proto(2) + payload + STOP
    with pytest.raises(safeload.FormatError):
        safeload.loads(data)
    assert safeload.scan(data).verdict == "malicious"
    file = io.BytesIO(data)
    assert safeload.load(file) == [1, 2]
    with pytest.raises(safeload.PolicyError):
        safeload.load(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02\x80\x02N.",
        b"\x80\x02N\x80\x020.",
        b"N\x80\x04.",
        b"\x80\x06N.",
        b"\x80\xffN.",
        b"\x80",
        b"\x80\x04\x95" + bytes(7),
    ],
)
def test_protocol_opcode(data: bytes) -> None:
    """A second PROTO changes how names are mapped for some readers: one, first, and known."""
    with pytest.raises(safeload.FormatError):
        safeload.loads(data)
    assert safeload.scan(data).verdict != "clean"


def test_missing_proto(payload: bytes, refused: Any) -> None:
    """Without PROTO, and with opcodes of newer protocols, a payload is still a payload."""
    refused(payload + STOP)
    refused(short("posix") + short("system") + b"\x93)R.")
    refused(b"\x8c\x05posix\x94\x8c\x06system\x94\x93\x94)R.")


def test_extension_cache(marker: Path) -> None:
    """EXT1, EXT2 and EXT4 with a filled cache reach an object without find_class: refused whatever the cache holds."""
    copyreg.add_extension("posix", "system", 0x77777777)
    copyreg.add_extension("collections", "OrderedDict", 0x77)
    filled = copyreg._extension_cache  # type: ignore[attr-defined]
    filled[0x77777777], filled[0x77] = os.system, collections.OrderedDict
    try:
        for opcode in (b"\x84wwww", b"\x82w", b"\x83w\x00", b"\x82\x01", b"\x84\xff\xff\xff\xff"):
            data = proto(2) + opcode + arguments(f"touch {marker}") + b"R" + STOP
            for read in (safeload.loads, lambda data: safeload.Unpickler(io.BytesIO(data)).load()):
                with pytest.raises(safeload.FormatError):
                    read(data)
            assert safeload.scan(data).verdict != "clean"
            with pytest.raises(safeload.FormatError):
                safeload.loads(proto(2) + opcode + b"0N.")
    finally:
        copyreg.remove_extension("posix", "system", 0x77777777)
        copyreg.remove_extension("collections", "OrderedDict", 0x77)
        copyreg.clear_extension_cache()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("__builtin__", "eval"), ("__builtin__", "execfile"), ("__builtin__", "reduce"), ("__builtin__", "reload"), ("__builtin__", "unicode"),
     ("commands", "getoutput"), ("exceptions", "SystemExit"), ("UserDict", "IterableUserDict"), ("os", "getcwdu"), ("urllib2", "urlopen"),
     ("urllib", "urlretrieve"), ("anydbm", "open"), ("whichdb", "whichdb"), ("cPickle", "loads"), ("copy_reg", "__newobj__"), ("copy_reg", "add_extension"),
     ("itertools", "imap"), ("multiprocessing", "Process"), ("_socket", "fromfd"), ("Tkinter", "Tk"), ("dummy_thread", "start_new_thread")],
)  # fmt: skip
def test_python_2_names(module: str, name: str, refused: Any) -> None:
    """Names are mapped as the unpickler maps them, before the policy sees them; in newer protocols they are not mapped."""
    for protocol in (0, 2, 3, 4):
        data = proto(protocol) + call(glob(module, name), "1") + STOP
        if (module, name, protocol) in {("__builtin__", "unicode", 0), ("__builtin__", "unicode", 2), ("exceptions", "SystemExit", 0),
                                        ("exceptions", "SystemExit", 2)}:  # fmt: skip
            continue  # str and SystemExit, a record that is made and not raised
        refused(data)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a\t",
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a\x00",
        "a\x1b[2J",
        "1a",
        "a-b",
        "\udc80",
        "a\r",
        "\N{FULLWIDTH LATIN SMALL LETTER A}-",
    ],
)
def test_odd_names(name: str, refused: Any) -> None:
    """What is no identifier is no name; terminals and logs do not see it raw."""
    for module, attribute in ((name, "x"), ("x", name)):
        data = proto(4) + stack_global(module, attribute) + STOP
        refused(data)
        text = safeload.scan(data).to_json()
        assert text.isascii()
        assert "\x1b" not in text


def test_names_that_are_no_strings(refused: Any) -> None:
    """STACK_GLOBAL on numbers, bytes, tuples, globals and results of calls."""
    for one in (b"K\x01", b"C\x02os", b")", b"]", b"N", DICT, DICT + b")R"):
        refused(proto(4) + one + short("system") + b"\x93" + STOP)
        refused(proto(4) + short("os") + one + b"\x93" + STOP)


# ---------------------------------------------------------------- states


def test_state_of_a_class(own: Any, refused: Any) -> None:
    """A state that is set on a class changes it for the whole process: refused although every name is allowed."""
    policy = own_policy("Plain", "Slots", "Stateful", "Metaclassed", call=True)
    for name in ("Plain", "Slots", "Stateful", "Metaclassed"):
        cls = glob("attacked_application", name)
        for state in (
            b"}" + short("shared") + short("patched") + b"s",
            b"N}" + short("shared") + short("patched") + b"s\x86",
            b"]",
            b"N",
        ):
            refused(proto(2) + cls + state + b"b" + STOP, policy=policy)
        for items in (b"Na", b"(NNe", b"NNs", b"(NNu", b"(N\x90"):
            refused(proto(4) + cls + items + STOP, policy=policy)
    for module, name in (
        ("collections", "OrderedDict"),
        ("uuid", "UUID"),
        ("decimal", "Decimal"),
        ("numpy", "ndarray"),
        ("builtins", "object"),
    ):
        refused(proto(2) + glob(module, name) + b"N}" + short("x") + b"Ns\x86b" + STOP)
    assert own.Plain.shared == "class attribute"
    assert own.calls == []


SPECIAL = ["__class__", "__setstate__", "__dict__", "__reduce__", "__getattr__", "__hash__", "__eq__", "__del__", "__call__", "__init__",
           "__array_interface__", "__array__", "__index__", "__iter__", "__len__", "__weakref__", "__slots__", "__bases__"]  # fmt: skip


@pytest.mark.parametrize("key", SPECIAL)
def test_special_attributes_in_a_state(key: str, own: Any, refused: Any) -> None:
    """``__class__`` turns an instance into one of another class; others are called by the unpickler or the interpreter."""
    policy = own_policy("Plain", "Slots", "function")
    value = glob("attacked_application", "function")
    for name in ("Plain", "Slots"):
        made = glob("attacked_application", name) + b")\x81"
        plain = b"}" + short(key) + value + b"s"
        for state in (plain, b"N" + plain + b"\x86", plain + b"N\x86", plain + plain + b"\x86", b"}" + plain + b"\x86"):
            refused(proto(2) + made + state + b"b" + STOP, policy=policy)
    assert own.calls == []


@pytest.mark.parametrize("method", ["append", "extend", "add"])
def test_methods_replaced_by_a_state(method: str, own: Any, refused: Any) -> None:
    """The unpickler looks ``append`` up on the instance, where a state can put any callable."""
    policy = own_policy("Plain", "function")
    made = (
        glob("attacked_application", "Plain")
        + b")\x81}"
        + short(method)
        + glob("attacked_application", "function")
        + b"sb"
    )
    for items in (b"Na", b"(NNe", b"(NN\x90"):
        refused(proto(4) + made + items + STOP, policy=policy)
    assert own.calls == []


def test_computed_callables(own: Any, refused: Any) -> None:
    """What a call returned, a bound method, an instance, a persistent id: none of them may be called."""
    policy = own_policy("Plain", "function", call=True)
    for function in (
        call(glob("attacked_application", "function")),
        glob("attacked_application", "Plain") + b")\x81",
        call(glob("attacked_application", "Plain")),
        b"K\x01", b"N", short("x"), b"]", b")",
    ):  # fmt: skip
        for how in (b")R", b")\x81", b")}\x92"):
            refused(proto(4) + function + how + STOP, policy=policy)
        refused(proto(4) + b"(" + function + b"o" + STOP, policy=policy)
    assert own.calls == []


def test_functions_are_not_constructed(own: Any) -> None:
    """OBJ and INST without arguments call what is no class; a function that may only be referenced must not run."""
    policy = own_policy("function", "Initargs", "Metaclassed")
    for name in ("function", "Initargs", "Metaclassed"):
        for data in (
            obj(glob("attacked_application", name)) + STOP,
            b"(iattacked_application\n" + name.encode() + b"\n.",
        ):
            with contextlib.suppress(safeload.SafeloadError):
                safeload.loads(data, policy=policy)
            assert own.calls == [], f"{name} was called"


def test_arguments_changed_after_the_call(own: Any, refused: Any) -> None:
    """A judge that looks at the end would see other arguments than the callable did."""
    np = pytest.importorskip("numpy")
    inner = b"}" + short("pos") + b"J\xff\xff\xff\x0fs" + short("key") + b"Ns" + put(1) + b"0"
    state = b"}(" + short("bit_generator") + short("MT19937") + short("state") + b"j\x01\x00\x00\x00u"
    made = call(glob("numpy.random._pickle", "__bit_generator_ctor"), "MT19937")
    for restore in (b"j\x01\x00\x00\x00" + short("pos") + b"K\x00s0", b""):
        refused(proto(4) + inner + made + state + b"b" + restore + STOP)
    data = b"(" + b"K\x00" + b"l" + put(2) + b"0"
    objects = (
        call(glob("numpy", "dtype"), "O8", False, True)
        + b"(K\x03"
        + short("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    )
    array = call(glob("numpy._core.multiarray", "_reconstruct"), Raw(glob("numpy", "ndarray")), (0,), Raw(b"C\x01b"))
    grown = b"j\x02\x00\x00\x00(" + b"N" * 99 + b"e0"
    refused(proto(4) + data + array + b"(K\x01" + literal((100,)) + objects + b"\x89j\x02\x00\x00\x00tb" + grown + STOP)
    assert np is not None


def test_memory_of_a_failed_load() -> None:
    """A refused or failed stream leaves nothing in the memo that the next one of the same Unpickler could mistake."""
    first = proto(4) + short("latin1") + b"\x94" + b"0" + glob("posix", "system") + b")R" + STOP
    second = (
        proto(4) + short("rot13") + b"\x94" + b"0" + glob("_codecs", "encode") + short("uryyb") + b"h\x00\x86R" + STOP
    )
    third = (
        proto(4)
        + short("latin1")
        + b"\x94"
        + b"0"
        + call(glob("fractions", "Fraction"), 1, 0)
        + short("x")
        + b"\x94"
        + STOP
    )
    for start in (first, third):
        file = io.BytesIO(start + second)
        unpickler = safeload.Unpickler(file)
        with pytest.raises(safeload.SafeloadError):
            unpickler.load()
        file.seek(len(start))
        with pytest.raises(safeload.SafeloadError):
            unpickler.load()


def test_memo_across_streams(own: Any) -> None:
    """What an earlier stream memoized is judged again when a later one uses it."""
    policy = own_policy("function", "Plain")
    first = proto(4) + glob("attacked_application", "function") + b"\x94" + STOP
    for second in (b"h\x00)R.", b"h\x00}b.", b"h\x00)\x81.", b"h\x00NNs.", b"(h\x00)o."):
        file = io.BytesIO(first + proto(4) + second)
        unpickler = safeload.Unpickler(file, policy=policy)
        assert unpickler.load() is own.function
        with pytest.raises(safeload.SafeloadError):
            unpickler.load()
    assert own.calls == []


def test_persistent_ids(own: Any) -> None:
    """A persistent object may be stored, but not called, constructed or changed; without a resolver it is refused."""

    class Persistent(safeload.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return {"class": own.Stateful, "instance": own.Stateful(), "function": own.function, "list": []}[pid]

    for kind in ("class", "instance", "function"):
        pid = short(kind) + b"Q"
        for how in (
            b")R",
            b")\x81",
            b")}\x92",
            b"}b",
            b"}" + short("x") + b"Nsb",
            b"NN\x86b",
            b"Na",
            b"(NNe",
            b"NNs",
            b"(N\x90",
        ):
            with pytest.raises(safeload.SafeloadError):
                Persistent(io.BytesIO(proto(4) + pid + how + STOP)).load()
        with pytest.raises(safeload.SafeloadError):
            Persistent(io.BytesIO(proto(4) + b"(" + pid + b"o" + STOP)).load()
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(proto(4) + pid + STOP)
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(b"P" + kind.encode() + b"\n.")
    assert own.calls == []


@pytest.mark.parametrize("state", [b"N", b"N}\x86"])
def test_empty_states_of_persistent_objects(state: bytes, own: Any) -> None:
    """BUILD with nothing to set calls ``__setstate__`` all the same."""

    class Persistent(safeload.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return own.Stateful()

    with pytest.raises(safeload.SafeloadError):
        Persistent(io.BytesIO(proto(4) + short("x") + b"Q" + state + b"b" + STOP)).load()
    assert own.calls == []


def test_buffers_cannot_be_changed_by_calls() -> None:
    """Out-of-band buffers belong to the application: a stream may hold them and nothing else."""
    for how in (b"}b", b"NN\x86b", b")R", b"NNs"):
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(proto(5) + b"\x97" + how + STOP, buffers=[bytearray(b"abc")])
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(proto(5) + b"\x97\x97\x86.", buffers=[b"one"])
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(proto(5) + b"\x97.")


def test_overwritten_modules(refused: Any, monkeypatch: pytest.MonkeyPatch, marker: Path) -> None:
    """ArXiv 2607.17503: an allowed name that leads elsewhere, because its module was changed, is not what the policy meant."""
    import fractions

    import numpy as np

    monkeypatch.setattr(fractions, "Fraction", np.dtype)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(proto(2) + call(glob("fractions", "Fraction"), 1, 3) + STOP)
    monkeypatch.setattr(fractions, "Fraction", os)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(proto(2) + call(glob("fractions", "Fraction"), 1, 2) + STOP)


def test_recursive_arguments(own: Any) -> None:
    """Structures that hold themselves, as arguments, states and keys: an object or a refusal, never a hang."""
    policy = own_policy("Plain", "function", call=True)
    loop = b"]" + put(1) + b"j\x01\x00\x00\x00a"
    function = glob("attacked_application", "function")
    for data in (
        function + loop + b"\x85R", function + b"(" + put(3)[:0] + loop + loop + b"tR", glob("attacked_application", "Plain") + b")\x81" + put(1) + b"}"
        + short("self") + b"j\x01\x00\x00\x00sb", loop + b"0}j\x01\x00\x00\x00Ns", loop + b"\x85" + put(2) + b"0}j\x02\x00\x00\x00Ns",
        glob("builtins", "tuple") + loop + b"\x85R", glob("builtins", "frozenset") + loop + b"\x85R", loop + b"j\x01\x00\x00\x00b",
        glob("collections", "OrderedDict") + b")R" + put(1) + b"Nj\x01\x00\x00\x00s", b"}" + put(1) + b"Nj\x01\x00\x00\x00sj\x01\x00\x00\x00b",
    ):  # fmt: skip
        with contextlib.suppress(safeload.SafeloadError):
            safeload.loads(proto(4) + data + STOP, policy=policy)
        safeload.scan(proto(4) + data + STOP, policy=policy)


def test_hostile_hash_and_equality(own: Any) -> None:
    """Keys whose hash or comparison runs on a state that the stream chose: an object or a SafeloadError."""
    for state in (b"]", b"}", b"N", b"K\x01", short("x"), DICT, DICT + b")R", b"G" + bytes(8)):
        for name, attribute in (("uuid.UUID", "int"), ("collections.UserString", "data")):
            module, _, attr = name.rpartition(".")
            made = glob(module, attr) + b")\x81}" + short(attribute) + state + b"sb"
            for data in (b"}" + made + b"Ns", b"}(" + made + b"N" + made + b"Nu", b"\x8f(" + made + made + b"\x90"):
                with contextlib.suppress(safeload.SafeloadError):
                    safeload.loads(proto(4) + data + STOP)
