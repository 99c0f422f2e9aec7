"""Hostile pickles that use only names of the packs: each tried to run, read, write, corrupt or exhaust something.

Every case is refused by an argument rule before anything is resolved; where the same pickle harms a process under plain
``pickle``, the reason says how.
"""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import safeload
from safeload import FormatError, PolicyError
from safeload.policy import Policy
from safeload.policy.packs import pack_names

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.filterwarnings("ignore")


class Global:
    """Pickles as the import of a name, whether it exists or not."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


def body(value: Any) -> bytes:
    """The opcodes that leave ``value`` on the stack, protocol 2, without memo."""
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Made):
        return value.code
    if type(value) is tuple:
        return b"(" + b"".join(map(body, value)) + b"t"
    if type(value) is list:
        return b"](" + b"".join(map(body, value)) + b"e"
    if type(value) is dict:
        return b"}(" + b"".join(body(key) + body(item) for key, item in value.items()) + b"u"
    if type(value) is bytes:
        return b"C" + bytes([len(value)]) + value
    return pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"")


class Made:
    """Opcodes that leave something on the stack."""

    def __init__(self, code: bytes) -> None:
        self.code = code

    def state(self, state: Any) -> Made:
        """The same with its state set."""
        return Made(self.code + body(state) + b"b")

    def append(self, item: Any) -> Made:
        """The same with an item appended."""
        return Made(self.code + body(item) + b"a")

    def put(self, index: int) -> Made:
        """The same, remembered in the memo."""
        return Made(self.code + b"q" + bytes([index]))


def get(index: int) -> Made:
    """What was remembered."""
    return Made(b"h" + bytes([index]))


def call(module: str, name: str, *args: Any) -> Made:
    """A call by REDUCE."""
    return Made(body(Global(module, name)) + body(args) + b"R")


def new(module: str, name: str, *args: Any) -> Made:
    """A construction by NEWOBJ."""
    return Made(body(Global(module, name)) + body(args) + b"\x81")


def stream(made: Any) -> bytes:
    """A whole pickle of protocol 3 (names are not mapped)."""
    return b"\x80\x03" + body(made) + b"."


def dtype(spec: str, state: Any = None) -> Made:
    """A dtype as numpy writes it."""
    made = call("numpy", "dtype", spec, False, True)
    return made if state is None else made.state(state)


F8 = dtype("f8", (3, "<", None, None, None, -1, -1, 0))
I8 = dtype("i8", (3, "<", None, None, None, -1, -1, 0))
OBJECT = dtype("O8", (3, "|", None, None, None, -1, -1, 63))
NDARRAY = Global("numpy", "ndarray")
CORE = "numpy.core.multiarray"


def array(kind: Made, shape: tuple[int, ...], data: Any) -> Made:
    """An array as numpy writes it."""
    return call(CORE, "_reconstruct", NDARRAY, (0,), b"b").state((1, shape, kind, False, data))


def arrow_array(kind: Made, data: bytes, *more: bytes) -> Made:
    """An Arrow array of one item."""
    buffers = [call("pyarrow.lib", "py_buffer", part) for part in (data, *more)]
    return call("pyarrow.lib", "_restore_array", (kind, 1, 0, 0, [None, *buffers], [], None))


def check_array() -> Global:
    """A function that the sklearn pack lets be imported."""
    return Global("sklearn.utils.validation", "check_array")


TREE = ("sklearn.tree._tree", "Tree")
ONE = array(I8, (1,), b"\x02" + b"\0" * 7)
RV = {"_parse_arg_template": "import os\nos.system('true')\n", "numargs": 0, "shapes": None}

ATTACKS = {
    # numpy memory
    "an object dtype that denies its references": dtype("O8", (3, "|", None, None, None, -1, -1, 0)),
    "numbers with the flags of objects": dtype("f8", (3, "<", None, None, None, -1, -1, 63)),
    "a field outside the item": dtype("V8", (3, "|", None, ("a",), {"a": (F8, 10**8)}, 8, 1, 16)),
    "a field before the item": dtype("V8", (3, "|", None, ("a",), {"a": (F8, -8)}, 8, 1, 16)),
    "an object field without flags": dtype("V8", (3, "|", None, ("a",), {"a": (OBJECT, 0)}, 8, 1, 16)),
    "a number over an object": dtype("V8", (3, "|", None, ("a", "b"), {"a": (OBJECT, 0), "b": (F8, 0)}, 8, 1, 27)),
    "a title over an object": dtype("V8", (3, "|", None, ("a",), {"a": (OBJECT, 0), "t": (F8, 0)}, 8, 1, 27)),
    "a shape larger than the item": dtype("V8", (3, "|", (F8, (10**6,)), None, None, 8, 1, 0)),
    "a negative item size": dtype("V8", (3, "|", None, None, None, -8, 1, 0)),
    "a string of half characters": dtype("U1", (3, "<", None, None, None, 3, 4, 8)),
    "a dtype inside itself": Made(
        dtype("V8").put(1).code + body((3, "|", None, ("a",), {"a": (get(1), 0)}, 8, 1, 16)) + b"b"
    ),
    "a dtype changed after its use": (
        dtype("V8").put(1),
        array(get(1), (1,), b"\0" * 8),
        get(1).state((3, "|", None, None, None, 1 << 20, 1, 0)),
    ),
    "a comma in a type string": dtype("f8,f8"),
    "too few objects": array(OBJECT, (1000,), []),
    "objects from bytes": array(OBJECT, (1,), b"A" * 8),
    "an array's state set twice": array(F8, (1,), b"A" * 8).state((1, (2,), F8, False, b"B" * 16)),
    "an array of a large shape": call(CORE, "_reconstruct", NDARRAY, (10**10,), b"b"),
    "an array allocated by NEWOBJ": new("numpy", "ndarray", (10**10,)),
    "an array by its class": call("numpy", "ndarray", (10**10,)),
    "a scalar without a value": call(CORE, "scalar", dtype("V1000000000")),
    "a scalar of someone else's array": call(
        CORE, "scalar", dtype("V8", (3, "|", None, ("a",), {"a": (OBJECT, 0)}, 8, 1, 27)), array(F8, (1,), b"A" * 8)
    ),
    "a view of an array": call("numpy._core.numeric", "_frombuffer", array(F8, (1,), b"A" * 8), F8, (1,), "C"),
    "a masked array's state as lists": call(
        "numpy.ma.core", "_mareconstruct", Global("numpy.ma.core", "MaskedArray"), NDARRAY, (0,), b"b"
    ).state((1, (1,), F8, False, b"A" * 8, b"\0", [[1], [1]])),
    "a generator that calls another constructor": call(
        "numpy.random._pickle", "__randomstate_ctor", "MT19937", Global("builtins", "len")
    ),
    "a bit generator that is another class": call(
        "numpy.random._pickle", "__bit_generator_ctor", Global("numpy", "ndarray")
    ),
    "a position beyond the state": call("numpy.random._pickle", "__randomstate_ctor", "MT19937").state(
        {"bit_generator": "MT19937", "state": {"key": 1, "pos": 10**6}}
    ),
    "an import by a ufunc": call("numpy.core", "_ufunc_reconstruct", "os", "system"),
    # attributes that the unpickler calls
    "a __setstate__ in the dict": new("collections", "UserDict").state({"__setstate__": Global("builtins", "len")}),
    "a __class__ in the slots": new("collections", "UserDict").state((None, {"__class__": Global("uuid", "UUID")})),
    "an append in the dict": call("collections", "deque").state({"append": Global("builtins", "len")}).append(1),
    # the standard library
    "another codec": call("_codecs", "encode", "x", "zlib_codec"),
    "a time zone outside": call("zoneinfo", "ZoneInfo", "../../etc/passwd"),
    "an attribute of a class": call("builtins", "getattr", Global("collections", "OrderedDict"), "__init__"),
    "an attribute of a time zone": call("builtins", "getattr", Global("zoneinfo", "ZoneInfo"), "from_file"),
    "a pinned attribute with a path": Made(
        call("builtins", "getattr", Global("zoneinfo", "ZoneInfo"), "_unpickle").code + body(("/etc/passwd", 1)) + b"R"
    ),
    "a class made of parts": call("builtins", "type", "X", (), {}),
    "a large bytearray": call("builtins", "bytearray", 10**12),
    "a large bytes": call("builtins", "bytes", 10**12),
    "a power of ten": call("fractions", "Fraction", "1e1000000000"),
    "a pattern that prints": call("re", "_compile", "a", 128),
    "a factory that is called": call("collections", "defaultdict", Global("builtins", "len")),
    "a wrong base": call(
        "copyreg", "_reconstructor", Global("collections", "UserDict"), Global("builtins", "bytearray"), 10**12
    ),
    "a range that becomes the arguments of an exception": call("builtins", "ValueError").state(
        {"args": call("builtins", "range", 10**9)}
    ),
    "a range that becomes the position of an error": call(
        "builtins", "SyntaxError", "", call("builtins", "range", 10**9)
    ),
    "a range that becomes a group": call("builtins", "ExceptionGroup", "", call("builtins", "range", 10**9)),
    "a range that becomes a time": call("time", "struct_time", call("builtins", "range", 10**9)),
    "objects of items without bytes": call(
        "pandas.core.indexes.base",
        "_new_Index",
        Global("pandas", "Index"),
        {"data": array(dtype("V", (3, "|", None, None, None, 0, 1, 0)), (1 << 27,), b"")},
    ),
    "a set of something iterable": call("builtins", "set", call("builtins", "range", 10**12)),
    # scipy and scikit-learn
    "a rotation of three numbers": new("scipy.spatial.transform._rotation", "Rotation").state(  # read beyond the array
        (array(F8, (1, 3), bytes(24)), False)
    ),
    "a rotation of no numbers": new("scipy.spatial.transform._rotation", "Rotation").state(
        (array(F8, (1_000, 0), b""), False)
    ),
    "a distribution's text": new("scipy.stats._continuous_distns", "norm_gen").state(RV),
    "a distribution's method": new("scipy.stats._continuous_distns", "norm_gen").state(
        {"_attach_methods": Global("builtins", "len")}
    ),
    "a regression's method": new("sklearn.isotonic", "IsotonicRegression").state(
        {"X_thresholds_": 1, "y_thresholds_": 2, "_build_f": check_array()}
    ),
    "a tree's second state": call(*TREE, 1, ONE, 1)
    .state({"max_depth": 1, "node_count": 0, "nodes": array(F8, (0,), b""), "values": array(F8, (0,), b"")})
    .state({"max_depth": 1, "node_count": 0, "nodes": array(F8, (1,), b"A" * 8), "values": array(F8, (1,), b"A" * 8)}),
    "a tree of more outputs": call(*TREE, 1, ONE, 1 << 40),
    "a tree of something like arrays": call(*TREE, 1, ONE, 1).state(
        {"max_depth": 1, "node_count": 1, "nodes": call("types", "SimpleNamespace"), "values": ONE}
    ),
    "a predictor of something like an array": new(
        "sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"
    ).state({"nodes": call("types", "SimpleNamespace")}),
    "a foreign object": call("sklearn.neighbors._kd_tree", "newObj", NDARRAY),
    "a foreign Cython class": call("sklearn._loss._loss", "__pyx_unpickle_CyHalfMultinomialLoss", NDARRAY, 1, None),
    "a partial of another function": call("functools", "partial", Global("builtins", "len")),
    "a partial changed by its state": call("functools", "partial", check_array()).state(
        (Global("builtins", "len"), (), {}, None)
    ),
    "a vectorized function": new("numpy", "vectorize").state({"pyfunc": Global("builtins", "len")}),
    # pandas
    "an index that is no index": call("pandas.core.indexes.base", "_new_Index", Global("pandas", "DataFrame"), {}),
    "a dtype that is looked up": call(
        "pandas.core.indexes.base", "_new_Index", Global("pandas", "Index"), {"data": ONE, "dtype": "datetime64[ns, x]"}
    ),
    "a range that is expanded": call(
        "pandas.core.indexes.base",
        "_new_Index",
        Global("pandas", "RangeIndex"),
        {"start": 0, "stop": 10**12, "step": 1, "name": None},
    ),
    "codes that are a range": call(
        "pandas.core.indexes.base",
        "_new_Index",
        Global("pandas", "MultiIndex"),
        {"levels": [ONE], "codes": [call("builtins", "range", 10**10)], "names": [None]},
    ),
    "a frame's method": new("pandas", "DataFrame").state({"_typ": "dataframe", "_mgr": 1, "to_csv": check_array()}),
    "a manager without blocks": call("pandas.core.internals.managers", "BlockManager", (1,), []),
    "a manager unchecked": call("pandas.core.internals.managers", "BlockManager", (), [], None, False),
    "an offset's calendar": call(
        "pandas._libs.tslibs.offsets",
        "CustomBusinessDay",
        1,
        False,
        "Mon",
        (),
        call("types", "SimpleNamespace").state({"holidays": check_array()}),
    ),
    "an Arrow array without buffers": call(
        "pyarrow.lib", "_restore_array", (call("pyarrow.lib", "type_for_alias", "int64"), 5, 0, 0, [], [], None)
    ),
    "an Arrow array without data": call(
        "pyarrow.lib",
        "_restore_array",
        (call("pyarrow.lib", "type_for_alias", "int64"), 5, 0, 0, [None, None], [], None),
    ),
    "a buffer of an array": call("pyarrow.lib", "py_buffer", ONE),
    "an Arrow list without children": arrow_array(  # aborts the process
        call("pyarrow.lib", "list_", call("pyarrow.lib", "type_for_alias", "int64")), b"\0" * 8
    ),
    "an Arrow dictionary without values": arrow_array(  # aborts the process
        call(
            "pyarrow.lib",
            "dictionary",
            call("pyarrow.lib", "type_for_alias", "int32"),
            call("pyarrow.lib", "type_for_alias", "string"),
        ),
        b"\0" * 4,
    ),
    "an array of dates without dates": call(  # repr ends the process
        "pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked", Global("pandas.arrays", "DatetimeArray"), 82904607, None
    ),
    "an old array of dates without dates": new("pandas.core.arrays.datetimes", "DatetimeArray"),
    "a sparse index with its check turned off": call(
        "pandas._libs.sparse", "IntIndex", 5, ONE, array(I8, (1,), bytes(8))
    ),
    "a time zone's file": call("dateutil.tz.tz", "tzfile", "/etc/passwd"),
}


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Every shipped pack at once: the most that an application can allow without naming anything itself."""
    return Policy.packs(*pack_names())


@pytest.mark.parametrize("case", ATTACKS)
def test_attack_is_refused(case: str, policy: Policy) -> None:
    """Nothing but names of the packs, and still refused, by the policy and before anything runs."""
    with pytest.raises(PolicyError) as caught:
        safeload.loads(stream(ATTACKS[case]), policy=policy)
    report = caught.value.report
    assert report is not None
    assert any(finding.rule_id.startswith("policy.") for finding in report.findings), report.findings


def test_a_state_that_is_changed_afterwards(policy: Policy) -> None:
    """The fields of a dtype are what was judged: nothing is added to their dict once it was set."""
    changed = Made(
        dtype("V8").code
        + body((3, "|", None, ("a",)))[:-1]
        + body({"a": (F8, 10**8)})
        + b"q\x05"
        + body((8, 1, 16))[1:]
        + b"b0h\x05"
        + body("a")
        + body((F8, 0))
        + b"s"
    )
    with pytest.raises(FormatError, match="the state of an object already"):
        safeload.loads(stream(changed), policy=policy)


@pytest.mark.parametrize(
    "made", [F8, I8, OBJECT, ONE, array(OBJECT, (2,), [1, "a"]), call("builtins", "range", 10**12)]
)
def test_harmless_neighbours_load(made: Made, policy: Policy) -> None:
    """The same building blocks without the attack: the cases above are refused for what they do."""
    safeload.loads(stream(made), policy=policy)


def test_class_and_computed_are_never_allowed() -> None:
    """No permission that an application can give covers a patched class or a computed callable."""
    policy = Policy().allow("collections.Counter", call=True).allow("builtins.len", call=True)
    patched = Made(body(Global("collections", "Counter")) + body({"most_common": 1}) + b"b")
    computed = Made(call("builtins", "len", []).code + body(()) + b"R")
    for made, rule_id in ((patched, "policy.class-state"), (computed, "policy.computed-call")):
        with pytest.raises(PolicyError) as caught:
            safeload.loads(stream(made), policy=policy)
        assert caught.value.report is not None
        assert rule_id in {finding.rule_id for finding in caught.value.report.findings}


INDEX = call("pandas.core.indexes.base", "_new_Index", Global("pandas", "Index"), {"data": ONE, "name": None})
MANAGER = ("pandas.core.internals.managers", "BlockManager")
FAR = 100_000_000
PLACES = {
    "a slice": call("builtins", "slice", FAR, FAR + 1, 1),
    "an array": array(I8, (1,), FAR.to_bytes(8, "little")),
    "before the first": array(I8, (1,), b"\xff" * 8),
}


@pytest.mark.parametrize("form", ["call", "state"])
@pytest.mark.parametrize("places", PLACES)
def test_blocks_outside_of_their_frame(places: str, form: str, policy: Policy) -> None:
    """C code of pandas writes to the columns that blocks name, without a look at how many there are: they are checked before."""
    values = array(F8, (1, 1), bytes(8))
    if form == "call":
        block = call("pandas._libs.internals", "_unpickle_block", values, PLACES[places], 2)
        made = call(*MANAGER, (block,), [INDEX, INDEX])
    else:
        blocks = [{"values": values, "mgr_locs": PLACES[places]}]
        made = new(*MANAGER).state(([], [], [], {"0.14.1": {"axes": [INDEX, INDEX], "blocks": blocks}}))
    with pytest.raises(PolicyError, match="a block lies at column"):
        safeload.loads(stream(made), policy=policy)
    assert safeload.scan(stream(made), policy=policy).verdict == "unknown"


def test_blocks_outside_of_their_frame_are_checked_at_load_too(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    """Where a stream does not tell the places, as when joblib keeps the bytes of arrays outside of it, the load does."""
    from safeload.policy.rules import pandas_frames as tables

    monkeypatch.setattr(tables, "check_places", lambda *_: None)
    values = array(F8, (1, 1), bytes(8))
    for places in PLACES.values():
        block = call("pandas._libs.internals", "_unpickle_block", values, places, 2)
        with pytest.raises(safeload.LoadError, match="a block lies at column"):
            safeload.loads(stream(call(*MANAGER, (block,), [INDEX, INDEX])), policy=policy)


def test_places_of_real_frames(policy: Policy) -> None:
    """Slices with steps, arrays in any order, extension arrays, transposed and empty frames, in every protocol."""
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b": [1.0, 2.0], "c": ["x", "y"], "d": [3, 4], "e": pd.Categorical(["u", "v"])})
    frame["f"], frame["g"], frame["h"] = 1, 2.5, 3
    for given in (frame, frame[["h", "b", "a", "g"]], frame[["a", "d"]].T, frame.iloc[:0], frame[[]], frame["a"]):
        for protocol in range(6):
            data = pickle.dumps(given, protocol)
            assert safeload.scan(data, policy=policy).verdict == "clean"
            assert safeload.loads(data, policy=policy).equals(given)


def test_axes_that_are_no_indexes(policy: Policy) -> None:
    """Pandas makes an index of anything, and not always one of the same length."""
    values, inner = array(F8, (1, 1), bytes(8)), array(I8, (1,), bytes(8))
    blocks = [{"values": values, "mgr_locs": call("builtins", "slice", 500, 501, 1)}]
    made = new(*MANAGER).state(([], [], [], {"0.14.1": {"axes": [[inner] * 1_000, INDEX], "blocks": blocks}}))
    assert safeload.scan(stream(made), policy=policy).verdict == "unknown"
    with pytest.raises(PolicyError, match="not an index"):
        safeload.loads(stream(made), policy=policy)


def test_frames_have_the_class_of_pandas(policy: Policy) -> None:
    """The class that checks a frame is gone when the frame is there."""
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.0, 2.0], "d": [3, 4]})[["d", "c", "b", "a"]]
    for given in (frame, frame.T, frame.iloc[:0], frame[[]], pd.DataFrame()):
        loaded = safeload.loads(pickle.dumps(given), policy=policy)
        assert loaded.equals(given)
        assert type(loaded._mgr) is type(given._mgr)


def test_text_of_a_distribution_is_short(policy: Policy) -> None:
    """Distributions compile the text of their arguments: a long one takes seconds, and every object its own time."""
    from safeload.policy.rules.sklearn_scipy import _RV_TEMPLATE

    shapes = "".join(f"a{index}, " for index in range(5_000))
    template = _RV_TEMPLATE.format(shapes=shapes, given="loc=0, scale=1", taken="loc, scale")
    made = new("scipy.stats._continuous_distns", "norm_gen").state({"_parse_arg_template": template, "numargs": 5_000})
    with pytest.raises(PolicyError, match="not scipy's"):
        safeload.loads(stream(made), policy=policy)


def test_trees_that_copy_the_same_nodes(policy: Policy) -> None:
    """A tree copies its nodes: a file that shares them between many trees would take as much memory as it likes."""
    count = 20_000
    kind = dtype("V64", (3, "|", None, None, None, 64, 1, 0))
    nodes = call(CORE, "_reconstruct", NDARRAY, (0,), b"b").put(1)
    large = Made(b"B" + (64 * count).to_bytes(4, "little") + bytes(64 * count))
    made = [nodes.state((1, (count,), kind, False, large))]
    for _ in range(500):
        state = {"max_depth": 1, "node_count": count, "nodes": get(1), "values": get(1)}
        made.append(call(*TREE, 2, ONE, 1).state(state))
    with pytest.raises(PolicyError) as caught:
        safeload.loads(stream(made), policy=policy)
    assert caught.value.report is not None
    assert any("copy the same" in finding.message for finding in caught.value.report.findings)


def test_texts_of_many_indexes(policy: Policy) -> None:
    """An index makes an object of each text: many of one array would take as much memory as a file likes."""
    count = 100_000
    kind = dtype("U1", (3, "<", None, None, None, 4, 4, 8))
    texts = call(CORE, "_reconstruct", NDARRAY, (0,), b"b").put(1)
    large = Made(b"B" + (4 * count).to_bytes(4, "little") + bytes(4 * count))
    made = [texts.state((1, (count,), kind, False, large))]
    made += [call(NEW_INDEX, "_new_Index", Global("pandas", "Index"), {"data": get(1)}) for _ in range(500)]
    with pytest.raises(PolicyError, match="copy the same"):
        safeload.loads(stream(made), policy=policy)


NEW_INDEX = "pandas.core.indexes.base"
TEXTS = call(NEW_INDEX, "_new_Index", Global("pandas", "Index"), {"data": array(OBJECT, (2,), ["a", "b"])})


def backed(name: str, *state: Any, module: str = "pandas.arrays") -> Made:
    """An extension array of pandas."""
    function = "__pyx_unpickle_NDArrayBacked"
    return call("pandas._libs.arrays", function, Global(module, name), 82904607, None).state(state)


def codes(value: int) -> Made:
    """An array of one code."""
    return array(I8, (1,), value.to_bytes(8, "little", signed=True))


CATEGORIES = new("pandas", "CategoricalDtype").state({"categories": TEXTS, "ordered": False})
DATES = dtype("M8", (4, "<", None, None, None, -1, -1, 0, (None, (b"ns", 1, 1, 1))))
OUTSIDE = {
    "a code behind the categories": backed("Categorical", codes(FAR), CATEGORIES, module="pandas"),
    "a code before the categories": backed("Categorical", codes(-FAR), CATEGORIES, module="pandas"),
    "a code of an old categorical": new("pandas.core.arrays.categorical", "Categorical").state(
        {"_codes": codes(FAR), "_dtype": CATEGORIES}
    ),
    "codes that are objects": backed("Categorical", array(OBJECT, (1,), [1]), CATEGORIES, module="pandas"),
    "a code of a level": call(
        NEW_INDEX,
        "_new_Index",
        Global("pandas", "MultiIndex"),
        {"levels": [TEXTS], "codes": [codes(100)], "names": ["a"]},
    ),
    "numbers for dates": backed("DatetimeArray", codes(1), DATES),
    "numbers for time deltas": backed(
        "TimedeltaArray", codes(1), dtype("m8", (4, "<", None, None, None, -1, -1, 0, (None, (b"ns", 1, 1, 1))))
    ),
    "objects for periods": backed(
        "PeriodArray", array(OBJECT, (1,), [1]), call("pandas.core.dtypes.dtypes", "PeriodDtype", "period[D]")
    ),
    "an offset of a text": arrow_array(
        call("pyarrow.lib", "type_for_alias", "string"), b"\0\0\0\0\xff\xff\xff\x70", b"abc"
    ),
    "a short buffer": arrow_array(call("pyarrow.lib", "type_for_alias", "int64"), b""),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_places_outside_of_their_arrays(case: str, policy: Policy) -> None:
    """``repr`` of these reads beyond the array and ends the process; the loaded object has been checked.

    The number that NDArrayBacked compares is that of pandas 3; another version refuses it, which is a ``LoadError`` as well.
    """
    if "text" in case or "buffer" in case:
        pytest.importorskip("pyarrow")
    with pytest.raises(safeload.LoadError):
        safeload.loads(stream(OUTSIDE[case]), policy=policy)


def test_checked_objects_have_the_class_of_pandas(policy: Policy) -> None:
    """The class that checks an array is gone when the array is there."""
    import pandas as pd

    dates = pd.date_range("2026-01-01", periods=3, tz="Europe/Berlin")
    for given in (
        pd.Categorical(["a", None, "b"]),
        pd.Categorical([]),
        pd.CategoricalIndex([1, 2]),
        pd.MultiIndex.from_tuples([("a", 1), ("b", None)]),
        dates,
        dates.array,
        (dates - dates[0]).array,
        pd.period_range("2026", periods=2, freq="M").array,
        pd.array(["a", None], dtype="string"),
        pd.array([1, None], dtype="Int64"),
    ):
        loaded = safeload.loads(pickle.dumps(given), policy=policy)
        assert type(loaded) is type(given)
        assert loaded.equals(given)
