"""What was checked stays as it was, and what a call expands is counted: attacks that worked, and their kin.

Each stream is small and uses names of the packs only. It is refused, or loads without the effect that it was made for; none of them
costs the process more than a moment.
"""

from __future__ import annotations

import collections
import importlib.util
import io
import pickle
import re
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import safeload
from safeload.policy.packs import pack_names

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore")

_name = "stream_writer"
if _name not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_name])
Raw, Writer = sys.modules[_name].Raw, sys.modules[_name].Writer
call, named, new = sys.modules[_name].call, sys.modules[_name].named, sys.modules[_name].new

NDARRAY = Raw(named("numpy.ndarray"))
CORE = "numpy._core"


def _write(value: Any) -> bytes:
    return bytes(Writer(()).value(value))


def _state(made: Any, state: Any) -> Any:
    return Raw(made.code + _write(state) + b"b")


def _dtype(code: str) -> Any:
    flags, order = (63, "|") if code == "O8" else (0, "<")
    return _state(call("numpy.dtype", code, False, True), (3, order, None, None, None, -1, -1, flags))


def _empty() -> Any:
    return call(f"{CORE}.multiarray._reconstruct", NDARRAY, (0,), b"b")


def _array(code: str, count: int, data: Any) -> Any:
    return _state(_empty(), (1, (count,), _dtype(code), False, data))


def _masked(fill: Any) -> Any:
    made = call("numpy.ma.core._mareconstruct", Raw(named("numpy.ma.MaskedArray")), NDARRAY, (0,), b"b")
    return _state(made, (1, (1,), _dtype("f8"), False, bytes(8), bytes(1), fill))


def _get(index: int) -> Any:
    return Raw(b"j" + struct.pack("<I", index))


def _put(made: Any, index: int) -> Any:
    return Raw(made.code + b"r" + struct.pack("<I", index))


def _bytes(size: int) -> Any:
    """Bytes that can be changed, remembered as number 100."""
    return _put(Raw(b"\x96" + struct.pack("<Q", size) + bytes(size)), 100)


def _over(size: int, made: Any, places: range) -> bytes:
    """``made`` uses changeable bytes (number 100), which change afterwards."""
    changes = b"".join(b"K" + bytes([place]) + b"K\x14s" for place in places)
    return b"\x80\x05" + b"N0" * 100 + _bytes(size).code + b"0" + made.code + _get(100).code + changes + b"0."


def _view(code: str, count: int) -> Any:
    return call(f"{CORE}.numeric._frombuffer", _get(100), _dtype(code), (count,), "C")


def _loaded(data: bytes) -> Any:
    """What a stream makes, ``None`` if it is refused; nothing but an object or a SafeloadError comes out."""
    try:
        return safeload.loads(data, policy=list(pack_names()))
    except safeload.SafeloadError:
        return None


def _column(cls: str, *state: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    checksum = pandas.Categorical(["a"]).__reduce__()[1][1]
    made = call("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", Raw(named(cls)), checksum, None)
    return _state(made, state) if state else made


def _categories() -> Any:
    pandas = pytest.importorskip("pandas")
    return Raw(pickle.dumps(pandas.CategoricalDtype(pandas.Index([1.5, 2.5])), 2)[2:-1])


def _index(cls: str, **given: Any) -> Any:
    return call("pandas.core.indexes.base._new_Index", Raw(named(f"pandas.{cls}")), given)


def test_codes_that_change_after_their_check():
    """The codes of a categorical, and of an index of levels, lie on bytes that the stream changes later: nobody sees the change."""
    column = _loaded(_over(64, _column("pandas.Categorical", _view("i4", 16), _categories(), {}), range(0, 64, 4)))
    assert column is None or ((column.codes >= 0).all() and (column.codes < 2).all())
    level = _index("Index", data=_array("i8", 2, bytes(16)), name=None)
    index = _index("MultiIndex", levels=[level, level], codes=[_view("i1", 16)] * 2, names=[None, None], sortorder=None)
    found = _loaded(_over(16, index, range(16)))
    assert found is None or all((codes < 2).all() for codes in found.codes)


def test_places_that_change_after_their_check():
    """The same for the places of a sparse array and of the blocks of a frame."""
    pytest.importorskip("pandas")
    found = _loaded(_over(8, call("pandas._libs.sparse.IntIndex", 9, _view("i4", 1)), range(4)))
    assert found is None or found.indices.max() < 9
    values = _state(_empty(), (1, (1, 2), _dtype("f8"), False, bytes(16)))
    block = call("pandas._libs.internals._unpickle_block", values, _view("i8", 1), 2)
    axes = [_index("Index", data=_array("i8", count, bytes(8 * count)), name=None) for count in (1, 2)]
    manager = call("pandas.core.internals.managers.BlockManager", (block,), axes)
    found = _loaded(_over(8, manager, range(8)))
    assert found is None or found.blocks[0].mgr_locs.indexer in (slice(0, 1, 1), np.zeros(1))


def test_arrow_offsets_that_change_after_they_were_validated():
    """Where the texts of an Arrow array begin is read from bytes that the stream changes later."""
    pytest.importorskip("pyarrow")
    buffers = [None, call("pyarrow.lib.py_buffer", _get(100)), call("pyarrow.lib.py_buffer", b"ab")]
    parts = (call("pyarrow.lib.type_for_alias", "string"), 1, 0, 0, buffers, [], None)
    found = _loaded(_over(8, call("pyarrow.lib._restore_array", parts), range(8)))
    assert found is None or found.to_pylist() == [""]


@pytest.mark.parametrize("kind", ["objects", "masked"])
def test_an_array_that_gets_its_first_state_late(kind):
    """Codes are checked while they are an empty array, which is filled afterwards: refused before anything is loaded."""
    if kind == "masked":
        made = call("numpy.ma.core._mareconstruct", Raw(named("numpy.ma.MaskedArray")), NDARRAY, (0,), b"b")
        filled = (1, (2,), _dtype("i8"), False, struct.pack("<q", 1 << 40) * 2, bytes(2), None)
    else:
        made, filled = _empty(), (1, (2,), _dtype("O8"), False, [1 << 40, 1 << 40])
    for user in (
        lambda array: _column("pandas.Categorical", array, _categories(), {}),
        lambda array: _index("Index", data=array, name=None),
        lambda array: _index("MultiIndex", levels=[array], codes=[array], names=[None], sortorder=None),
        lambda array: call("pandas._libs.sparse.IntIndex", 9, array),
        lambda array: call("pandas._libs.internals._unpickle_block", array, call("builtins.slice", 0, 1, 1), 2),
        lambda array: _state(
            call("sklearn.neighbors._kd_tree.newObj", Raw(named("sklearn.neighbors._kd_tree.KDTree64"))),
            (array, array, array, array),
        ),
    ):
        data = b"\x80\x05" + b"N0" * 100 + _put(made, 100).code + b"0" + user(_get(100)).code
        with pytest.raises(safeload.PolicyError):
            safeload.loads(data + _get(100).code + _write(filled) + b"b0.", policy=list(pack_names()))


def test_arrays_that_would_share_their_memory():
    """Two arrays that can be written to do not lie on the same bytes: what is checked of one could be changed by way of the other."""
    arrays = [_view("i8", 4), _view("i8", 4)]
    data = b"\x80\x05" + b"N0" * 100 + _bytes(32).code + b"0" + _write(arrays) + b"."
    with pytest.raises(safeload.PolicyError, match="same bytes"):
        safeload.loads(data)


_LIST = new("collections.UserList", {"data": call("builtins.range", 9_900_000)})
EXPANDED = {
    "the fill value of a masked array": lambda: _masked(_LIST),
    "a range as the fill value": lambda: _masked(call("builtins.range", 9_900_000)),
    "the details of a syntax error": lambda: call("builtins.SyntaxError", "a", _LIST),
    "the exceptions of a group": lambda: call("builtins.ExceptionGroup", "a", _LIST),
    "the parts of a time": lambda: call("time.struct_time", _LIST),
    "the words of a generator": lambda: _state(
        call("numpy.random._pickle.__bit_generator_ctor", "SFC64"),
        {"bit_generator": "SFC64", "state": {"state": _LIST}},
    ),
    "a flag of unknown bits": lambda: call("re.RegexFlag", 1 << 40),
    "the names of a new enum": lambda: call("http.HTTPStatus", "X", "A B"),
    "a fraction of long numbers": lambda: call("fractions.Fraction", 3**200_000, 7**200_000),
    "a decimal of a long number": lambda: call("decimal.Decimal", 3**200_000),
    "a long path again and again": lambda: Raw(
        b"("
        + _put(Raw(_write("a/" * 500_000)), 100).code
        + (named("pathlib.PurePosixPath") + _get(100).code + b"\x85R") * 40
        + b"t"
    ),
    "a text that is encoded again and again": lambda: Raw(
        b"("
        + _put(Raw(_write("a" * 1_000_000)), 100).code
        + (named("_codecs.encode") + _get(100).code + _write("latin1") + b"\x86R") * 400
        + b"t"
    ),
    "dtypes whose fields lie over each other": lambda: _nested(40),
}


def _nested(depth: int) -> Any:
    """A dtype of two dtypes of two dtypes ... at the same place: 2**depth fields in eight bytes."""
    made = _put(_dtype("f8"), 100)
    code = made.code + b"0"
    for _ in range(depth):
        inner = call("numpy.dtype", "V8", False, True)
        fields = {"a": (_get(100), 0), "b": (_get(100), 0)}
        code += _put(_state(inner, (3, "|", None, ("a", "b"), fields, 8, 1, 0)), 100).code + b"0"
    return Raw(code + _get(100).code)


@pytest.mark.parametrize("case", EXPANDED)
def test_what_would_be_expanded(case):
    """What a call would expand, compute or keep for good is refused, or charged until it is too much."""
    with pytest.raises((safeload.PolicyError, safeload.LimitExceededError)):
        safeload.loads(b"\x80\x05" + b"N0" * 100 + EXPANDED[case]().code + b".", policy=list(pack_names()))


def test_patterns_of_many_members_have_one_budget():
    """Each member of an archive is judged by itself; what they compile is bounded for all of them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(40):
            pattern = call("re._compile", "[\u0100-\uffff]" * 20 + str(number), 34)
            array = _array("O8", 1, [pattern])
            stream = b"\x80\x04" + array.code + b"."
            head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
            head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
            archive.writestr(f"a{number}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + stream)
    with pytest.raises(safeload.PolicyError, match="patterns"):
        safeload.loads(packed.getvalue())


def test_patterns_that_programs_have():
    """The patterns of tokenizers, with flags and classes, load."""
    patterns = [r"(?u)\b\w\w+\b", r"[A-Za-z_][A-Za-z0-9_]*", "[\u0100-\uffff]+", r"(?i)[a-zà-ÿ]+"]
    loaded = safeload.loads(pickle.dumps([re.compile(each, re.MULTILINE) for each in patterns] * 20))
    assert [each.pattern for each in loaded] == patterns * 20


def test_an_array_of_objects_may_lead_back_to_itself():
    """An object in an array keeps the array: it is stored before it has its data, and nobody looks into it."""
    array = np.empty(2, object)
    array[0], array[1] = {"array": array}, _listed(array)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        loaded = safeload.loads(pickle.dumps(array, protocol))
        assert loaded[0]["array"] is loaded
        assert loaded[1].data[0] is loaded


def _listed(array: Any) -> Any:
    """A list of the user's kind with an array in it."""
    return collections.UserList([array])
