"""Every callable with an argument rule, in all packs: something else in each place of an honest call is refused or harmless.

"A call result" where an array, an index, a number is meant is the kind of hole that was found most often: a stand-in tells which call made
an object, not what it is. So for each rule honest uses are traced, and each of their arguments, and each part of it, is replaced by
objects of many producers: ranges of a billion, lists over them, arrays that have no data yet, subclasses, namespaces. What the policy
allows then is loaded by a process with little memory.
"""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from safeload.errors import SafeloadError
from safeload.policy import Policy
from safeload.policy.packs import pack_names
from safeload.program import Kind, Program

np = pytest.importorskip("numpy")


def _beside(name: str) -> Any:
    """A module of this directory, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


stream_writer = _beside("stream_writer")
Raw, Writer = stream_writer.Raw, stream_writer.Writer
call, named, new, traced = stream_writer.call, stream_writer.named, stream_writer.new, stream_writer.traced
pytestmark = pytest.mark.filterwarnings("ignore")

BILLION = 10**9
F8 = Raw(call("numpy.dtype", "f8", False, True).code + Writer(()).value((3, "<", None, None, None, -1, -1, 0)) + b"b")
NDARRAY = Raw(named("numpy.ndarray"))
EMPTY = call("numpy._core.multiarray._reconstruct", NDARRAY, (0,), b"b")
RANGE = call("builtins.range", BILLION)


def _state(made: Raw, state: Any) -> Raw:
    return Raw(made.code + Writer(()).value(state) + b"b")


def _array(cls: str, code: str, count: int, data: Any, flags: int = 0) -> Raw:
    dtype = call("numpy.dtype", code, False, True)
    order = "|" if code == "O8" else "<"
    dtype = _state(dtype, (3, order, None, None, None, -1, -1, flags))
    made = call("numpy._core.multiarray._reconstruct", Raw(named(cls)), (0,), b"b")
    return _state(made, (1, (count,), dtype, False, data))


def _masked() -> Raw:
    return call("numpy.ma.core._mareconstruct", Raw(named("numpy.ma.MaskedArray")), NDARRAY, (0,), b"b")


def _shared_lists() -> Raw:
    """A list in lists, 2**60 items when it is expanded."""
    return Raw(b"]" + b"q\x63" + b"".join(b"](" + b"h\x63" * 2 + b"e" + b"q\x63" for _ in range(60)))


HOSTILE: dict[str, Raw] = {
    "a range of a billion": RANGE,
    "a range of ten million": call("builtins.range", 10**7),
    "a list over a range": new("collections.UserList", {"data": RANGE}),
    "a list over a shorter range": new("collections.UserList", {"data": call("builtins.range", 9_900_000)}),
    "a user's dict": new("collections.UserDict", {"data": {"a": 1}}),
    "a chain of ranges": new("collections.ChainMap", {"maps": [RANGE]}),
    "text that is no str": new("collections.UserString", {"data": "append"}),
    "an ordered dict": call("collections.OrderedDict"),
    "a deque": call("collections.deque", [1, 2, 3]),
    "a namespace": new("types.SimpleNamespace", {"shape": (BILLION,), "dtype": "f8", "__len__": 1}),
    "lists that share parts": _shared_lists(),
    "a billion": Raw(pickle.dumps(BILLION, 3)[2:-1]),
    "a negative number": Raw(pickle.dumps(-1, 3)[2:-1]),
    "a large number": Raw(pickle.dumps(1 << 70, 3)[2:-1]),
    "nothing": Raw(b"N"),
    "text": Raw(pickle.dumps("a", 3)[2:-1]),
    "an empty list": Raw(b"]"),
    "a class": Raw(named("builtins.list")),
    "an array without its data": EMPTY,
    "a masked array without its data": _masked(),
    "a masked array": _state(_masked(), (1, (2,), F8, False, bytes(16), bytes(2), None)),
    "an array": _array("numpy.ndarray", "f8", 2, bytes(16)),
    "an array of integers": _array("numpy.ndarray", "i8", 2, b"\x7f" * 16),
    "an array of objects": _array("numpy.ndarray", "O8", 2, [RANGE, RANGE], 63),
    "a matrix": _array("numpy.matrix", "f8", 2, bytes(16)),
    "an array of records": _array("numpy.recarray", "f8", 2, bytes(16)),
    "a scalar": call("numpy._core.multiarray.scalar", F8, bytes(8)),
    "a dtype": F8,
    "a slice": call("builtins.slice", 0, BILLION, 1),
    "an index of a billion": call(
        "pandas.core.indexes.base._new_Index",
        Raw(named("pandas.RangeIndex")),
        {"start": 0, "stop": 9_000_000, "step": 1},
    ),
    "an index": call(
        "pandas.core.indexes.base._new_Index",
        Raw(named("pandas.Index")),
        {"data": _array("numpy.ndarray", "i8", 2, bytes(16))},
    ),
    "a column without its data": call(
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", Raw(named("pandas.Categorical")), 82904607, None
    ),
    "a buffer": call("pyarrow.lib.py_buffer", b"abc"),
    "bytes that can be changed": Raw(b"\x96" + (8).to_bytes(8, "little") + bytes(8)),
}
_PANDAS = frozenset({"an index of a billion", "an index", "a column without its data", "a buffer"})


def _seeds() -> list[Any]:
    """Honest objects whose pickles use every rule that the installed libraries can show."""
    honest = _beside("test_packs_roundtrip")
    seeds: list[Any] = [value for values in honest.DATA.values() for value in values]
    seeds += honest.numpy_objects().values()
    seeds += [np.ma.array([1.0, 2.0], mask=[0, 1], fill_value=7.0), np.random.default_rng(1), np.zeros(3, "i4,f8")]
    if importlib.util.find_spec("pandas") is not None:
        seeds += _beside("test_packs_columns").objects()
    if importlib.util.find_spec("sklearn") is not None:
        seeds += honest.scipy_objects()
        seeds += honest.sklearn_parts()
    return seeds


_PER_RULE = 4


def _honest_uses() -> dict[str, list[tuple[Writer, Any]]]:
    """Up to so many uses for each rule, of different names where there are some."""
    policy = Policy.packs(*pack_names())
    found: dict[str, list[tuple[Writer, Any]]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    for seed in _seeds():
        for protocol in (2, 5):
            try:
                uses = traced(pickle.dumps(seed, protocol))
            except Exception:  # it has no pickle in this protocol
                continue
            writer = Writer(uses)
            for use in uses:
                rule = policy.rule(use.name)
                condition = rule.permission(use.kind) if rule is not None else False
                if (
                    use.kind not in (Kind.CALL, Kind.CONSTRUCT, Kind.STATE)
                    or type(condition) is not str
                    or not use.args
                ):
                    continue
                key = f"{use.kind.value} {condition}"
                if len(found[key]) < _PER_RULE and use.name not in names[key]:
                    names[key].add(use.name)
                    found[key].append((writer, use))
    return found


def _mutants() -> tuple[dict[str, list[tuple[str, bytes]]], set[str]]:
    """For each rule the streams with something else in one place that the policy allows; and the rules that were tried."""
    policy = Policy.packs(*pack_names())
    allowed: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    tried = set()
    for rule, uses in _honest_uses().items():
        for writer, use in uses:
            for name, other in HOSTILE.items():
                if name in _PANDAS and importlib.util.find_spec("pandas") is None:
                    continue
                for args in stream_writer.replaced(use.args, other):
                    try:
                        data = b"\x80\x05" + writer.use(use, args) + b"."
                        program = Program.of(traced(data))
                    except (stream_writer.CannotWriteError, KeyError, SafeloadError):
                        continue
                    tried.add(rule)
                    if not policy.decide(program):
                        allowed[rule].append((f"{rule}: {name} in {use.name}", data))
    return allowed, tried


# What one stream may take at most; a process that starts to use a library grows by more, once.
_SECONDS, _MEGABYTES = 3.0, 200


def test_something_else_in_every_place_of_every_call(tmp_path: Path) -> None:
    """Nothing hostile in any argument of any rule crashes, hangs or fills the process that loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        allowed, tried = _mutants()
    assert len(tried) > 40, sorted(tried)
    streams = [stream for some in allowed.values() for stream in some]
    path = tmp_path / "streams"
    path.write_bytes(pickle.dumps([data for _, data in streams]))
    program = Path(__file__).with_name("hostile_loads.py")
    done = subprocess.run([sys.executable, program, path], capture_output=True, text=True, timeout=600, check=False)
    lines = done.stdout.splitlines()
    last = streams[min(len(lines), len(streams) - 1)][0]
    assert done.returncode == 0, (last, done.returncode, done.stderr[-2_000:])
    assert len(lines) == len(streams)
    wrong = []
    for line, (what, _) in zip(lines, streams, strict=True):
        _, seconds, megabytes, outcome = line.split(" ", 3)
        if outcome.startswith("raised") or float(seconds) > _SECONDS or int(megabytes) > _MEGABYTES:
            wrong.append((what, line))
    assert not wrong, wrong[:20]
