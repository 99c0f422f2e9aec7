"""JSON: one reading of a text, one form for what JSON does not have, nothing made that was not registered.

The first half is what a user relies on, the second what a hostile author of a text tries.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import dataclasses
import datetime as dt
import enum
import io
import json
import math
import pathlib
import sys
import time
import tracemalloc
import typing
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import safeload
from safeload.errors import FormatError, LimitExceededError, LoadError, PolicyError, SafeloadError
from safeload.formats.containers.json_text import FORMAT
from safeload.formats.jsontext import parse, registry
from safeload.formats.jsontext import parse as parse_text
from safeload.formats.jsontext.parse import _parse_exact, _parse_fast
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.source.blob import MemoryBlob


@pytest.fixture(autouse=True)
def _fresh_registry(monkeypatch):
    """Classes of one test are not seen by the next."""
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_class", {})


@pytest.fixture(params=["orjson", "stdlib"])
def backend(request, monkeypatch):
    """Both backends, which must behave alike."""
    if request.param == "orjson":
        pytest.importorskip("orjson")
    else:
        monkeypatch.setitem(sys.modules, "orjson", None)
    return request.param


def written(obj, **options):
    return safeload.dumps(obj, codec="json", **options)


def again(obj, **options):
    return safeload.loads(written(obj), **options)


def refused(data, error=FormatError, **options):
    """The error of a load; the scan must not find the text clean either."""
    if isinstance(data, (dict, list)):
        data = json.dumps(data).encode()
    with pytest.raises(error) as caught:
        safeload.loads(data, **options)
    assert safeload.scan(data, limits=options.get("limits")).verdict != "clean"
    return caught.value


def marker(kind, content, **members):
    return {"$safeload": kind, "v": content, **members}


# What a user relies on.

PLAIN = [
    None, True, False, 0, -1, 2**63, -(2**64), 0.5, -0.0, 1e300, 5e-324, 1e16, "", "text", "é\u2028😀", 'a"\\\n\x00', [], {}, [[]],
    {"a": [1, {"b": None}], "": 1, "é": "x"}, [None, True, 1, 1.5, "x"], "x" * 10_000, "é" * 10_000, {"v": 1, "name": "x"},
]  # fmt: skip


@pytest.mark.parametrize("obj", PLAIN, ids=lambda obj: repr(obj)[:20])
def test_plain_data_is_plain_json(obj, backend):
    """Every JSON reader understands it, and it comes back as it was."""
    data = written(obj)
    assert json.loads(data) == obj
    found = safeload.loads(data)
    assert found == obj
    assert repr(found) == repr(obj)
    assert safeload.scan(data).verdict == "clean"
    assert safeload.scan(data).container == "json"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        " \n[1, 2]\r\n",
        '{\n  "b": {}\n}\n',
        "[ ]",
        "[[[1]]]",
        '["x",\n"y"]',
        "[true]",
        " 3",
        '"x"\n',
        "-0.5e-3",
        "null",
    ],
)
def test_files_of_other_writers_load(text, tmp_path, backend):
    """White space, indentation, a single value: a JSON file reads as JSON, from a path, a file, and memory."""
    path = tmp_path / "x.json"
    path.write_text(text)
    expected = json.loads(text)
    assert safeload.load(path) == expected
    assert safeload.loads(text.encode()) == expected
    assert safeload.load(io.BytesIO(text.encode())) == expected
    with path.open("rb") as file:
        assert safeload.load(file) == expected
        assert file.read() == b""
    assert safeload.scan(path).verdict == "clean"


VALUES = [
    (), (1, ("a",)), set(), {1, "a", (2, b"x")}, frozenset({frozenset(), 1}), b"", b"\x00\xff" * 9, bytearray(b"abc"), 1j, complex("nan-0j"),
    math.inf, -math.inf, 2**20_000, -(2**50_000), "\ud800", "\ud83d\ude00", ["a\udfff"], {1: "a", None: 2, (1, 2): 3, 1.5: [4]}, {"\udc80": 1},
    {"$safeload": 1}, {"$safeload": "tuple", "v": [1]}, {"a": {"$safeload": {"$safeload": "dict", "v": []}}},
    Decimal("1.50"), Decimal("-0"), Decimal("1E+5"), Decimal("1E-999999"), Decimal("NaN"), Decimal("-sNaN12"), Decimal("-Infinity"),
    Fraction(-3, 7), Fraction(10**4000, 7), range(0), range(5, -10, -3), range(2**70), uuid.UUID(int=7),
    dt.date(1, 1, 1), dt.time(1, 2, 3, 4), dt.time(1, fold=1), dt.datetime(2024, 5, 1, 12), dt.datetime.max, dt.datetime(2024, 1, 1, tzinfo=dt.UTC),  # noqa: DTZ001, DTZ901
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), dt.time(tzinfo=dt.timezone(dt.timedelta(hours=-5), "EST")),
    dt.timedelta(0), dt.timedelta.min, dt.timedelta.max, dt.UTC, dt.timezone(dt.timedelta(microseconds=1)), zoneinfo.ZoneInfo("UTC"),
    pathlib.Path("a/b"), pathlib.Path(), pathlib.PurePosixPath("/x/../y"), pathlib.PureWindowsPath("C:/x"), pathlib.PurePosixPath("\udc80"),
    collections.deque([1, (2,)]), collections.deque([1], maxlen=3), collections.deque(maxlen=0), collections.OrderedDict([("b", 1), (2, 3)]),
    collections.Counter("abca"), collections.defaultdict(list, {"a": [1]}), collections.defaultdict(None, {1: 2}),
    np.dtype("<f8"), np.dtype([("a", "<i4"), ("b", "S3", (2,))]),
]  # fmt: skip


def same(left, right):
    """Equality that knows types, signs of zero, and NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, collections.deque) and left.maxlen != right.maxlen:
        return False
    if isinstance(left, collections.defaultdict) and left.default_factory is not right.default_factory:
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(map(same, left.items(), right.items()))
    if isinstance(left, list | tuple | collections.deque):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dt.datetime | dt.time):
        return (
            left.replace(tzinfo=None) == right.replace(tzinfo=None)
            and left.fold == right.fold
            and same(left.tzinfo, right.tzinfo)
        )
    if isinstance(left, int | Fraction | set | frozenset | str):
        return left == right
    return repr(left) == repr(right)


@pytest.mark.parametrize("obj", VALUES, ids=lambda obj: type(obj).__name__)
def test_values_come_back_as_they_were(obj, backend):
    """Type for type, alone and inside of others, as JSON that every reader can parse."""
    for value in (obj, [obj], {"x": obj}, (obj, {7: obj})):
        data = written(value)
        json.loads(data)
        assert same(safeload.loads(data), value)
    assert safeload.scan(written(obj)).verdict == "clean"


ARRAYS = [
    np.arange(6, dtype="<i8").reshape(2, 3), np.arange(6, dtype=">u2"), np.asfortranarray(np.eye(3)), np.array(1.5), np.zeros((0, 3)),
    np.array([True, False]), np.array([1j, np.nan], "c8"), np.array(["a", "é"]), np.array([b"a", b"bc"]), np.array([np.nan, -0.0], "f2"),
    np.array(["2024-01-01", "NaT"], "M8[D]"), np.array([1], "m8[25s]"), np.zeros(2, [("a", "<i4"), ("b", "?"), ("c", "U2", (2, 1))]),
    np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [4, 16], "itemsize": 32})),
    np.zeros(1, np.dtype([("a", "i1"), ("b", "f8")], align=True)), np.zeros(2, [("a", [("b", ">f4")])]), np.zeros(3, "V5"), np.zeros(1, [(("title", "a"), "i4"), ("\x1f", "?")]),
    np.arange(20)[::3], np.arange(12).reshape(3, 4).T[::2], np.array([1], np.longdouble), np.zeros((1,) * 20),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}"[:40])
def test_arrays_come_back_as_they_were(array, backend):
    """Bytes, dtype, byte order, shape and order; and writable. Their items as scalars, too."""
    found = again(array)
    assert same(found, array)
    assert found.flags.writeable
    if array.flags.f_contiguous or array.flags.c_contiguous:
        assert found.flags.f_contiguous == array.flags.f_contiguous
    for item in array.ravel()[:2]:
        assert same(again(item), item)


@pytest.mark.parametrize(
    "scalar",
    [np.float64(0.1), np.float32(0.1), np.float16("nan"), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.str_("é\x00"), np.bytes_(b"a\x00"),
     np.complex64(1j), np.datetime64("2024-01-01T00"), np.datetime64("NaT", "s"), np.timedelta64(3, "D"), np.longdouble(1) / 3, np.str_("")],
    ids=repr,
)  # fmt: skip
def test_scalars_come_back_as_they_were(scalar, backend):
    """numpy.float64 is no float, numpy.str_ no string."""
    assert same(again(scalar), scalar)
    assert same(again({"x": [scalar]}), {"x": [scalar]})


def test_equal_sets_are_equal_texts():
    """Sets have no order, so the text does not depend on one."""
    assert written({"b", "a", "c"}) == written({"c", "b", "a"}) == b'{"$safeload":"set","v":["a","b","c"]}'


@dataclasses.dataclass
class Point:
    x: int
    y: typing.Any = 0


class Colour(enum.Enum):
    RED = 1


class Modes(enum.Flag):
    A = 1
    B = 2


class Pair(typing.NamedTuple):
    left: int
    right: int


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return type(other) is Money and other.cents == self.cents

    __hash__ = None

    def to_json(self):
        return {"cents": self.cents}

    @classmethod
    def from_json(cls, state):
        return cls(state["cents"])


@pytest.mark.parametrize(
    "obj", [Point(1, (2,)), Colour.RED, Modes.A | Modes.B, Pair(1, 2), Money(5)], ids=lambda obj: type(obj).__name__
)
@pytest.mark.parametrize("name", [None, "short"])
def test_registered_classes_come_back(obj, name, backend):
    """Dataclasses, enums, named tuples, and what has the two methods; nested in each other; the scan names them."""
    assert safeload.register_json(type(obj), name=name) is type(obj)
    data = written({"x": [obj, (obj,)]})
    found = safeload.loads(data)
    assert found == {"x": [obj, (obj,)]}
    assert type(found["x"][0]) is type(obj)
    report = safeload.scan(data)
    assert (report.verdict, report.globals) == ("clean", (name or f"{type(obj).__module__}.{type(obj).__qualname__}",))


def test_register_json_as_a_decorator():
    """With a name, and with functions for a class that is not the program's own."""

    @safeload.register_json(name="box")
    @dataclasses.dataclass
    class Box:
        content: typing.Any

    assert again(Box(Box({1}))) == Box(Box({1}))
    safeload.register_json(array := type("Array", (), {}), to_json=lambda value: [], from_json=lambda state: array())
    assert type(again(array())) is array


def test_a_class_with_two_names_is_read_under_both():
    """A renamed class still reads old files."""
    safeload.register_json(Point, name="old")
    old = written(Point(1))
    safeload.register_json(Point, name="new")
    assert b'"new"' in written(Point(1))
    assert safeload.loads(old) == Point(1)


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            object(),
            r"\(root\): JSON has no form for builtins.object; .* register its class with safeload.register_json\(object\)",
        ),
        ({"a": [1, Point(1)]}, "/a/1: JSON has no form for .*Point"),
        (Colour.RED, "no form"),
        (type("Text", (str,), {})("x"), "no form"),
        (type("Rows", (list,), {})(), "no form"),
        ({"x": np.array([None])}, "/x: arrays of objects cannot be written"),
        (np.ma.array([1]), "numpy.MaskedArray"),
        (np.zeros(1, np.dtype((np.record, [("a", "i4")]))), "records"),
        (np.zeros(1, [(((1,), "a"), "i4")]), "titles"),
        (np.zeros(1, [("\ud800", "i4")]), "surrogates"),
        (np.zeros(2, "V0"), "without bytes"),
        (collections.defaultdict(lambda: 1), "factory"),
        (int, "no form"),
        (Ellipsis, "no form"),
        ({("a",): {object()}}, "/v/0/1|no form"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_come_back_is_not_written(obj, message, tmp_path):
    """The error names place and type, and what to do; the file that was there stays."""
    path = tmp_path / "x.json"
    path.write_text("[1]")
    with pytest.raises(TypeError, match=message):
        safeload.dump(obj, path, codec="json")
    assert path.read_text() == "[1]"


def test_subclasses_of_registered_classes_are_not_written():
    """What would come back is an instance of the registered class."""
    safeload.register_json(Point)
    with pytest.raises(TypeError, match="Child"):
        written(type("Child", (Point,), {})(1))


def test_objects_that_are_too_deep_or_contain_themselves():
    """A text that no reader accepts is not written."""
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        written(loop)
    deep = ()
    for _ in range(120):
        deep = (deep,)
    with pytest.raises(ValueError, match="max_json_depth=200"):
        written(deep)
    for leaf in (1, "\ud800", 1 << 20_000, math.inf, (), {1: 1}, {"$safeload": 1}):
        nested = leaf
        for _ in range(194):
            nested = [nested]
        for _ in range(6):  # what can be written can be read
            nested = [nested]
            with contextlib.suppress(ValueError):
                assert again(nested) == nested
        with pytest.raises(ValueError, match="max_json_depth=200"):
            written([nested])
    loader = safeload.Loader(limits=Limits(max_json_depth=300))
    assert loader.loads(loader.dumps(deep, codec="json")) == deep


def test_json_in_an_envelope(tmp_path):
    """Signed, encrypted, bound to a place, as any codec; the report names it."""
    for suite in ("hs256", "ed25519-gcm"):
        key = safeload.Key.generate(suite)
        path = tmp_path / suite
        safeload.dump((1, {2}), path, codec="json", key=key, context="here")
        assert safeload.load(path, keys=key, context="here") == (1, {2})
        report = safeload.scan(path, keys=key, context="here")
        assert (report.verdict, report.envelope["codec"]) == ("clean", "json")


def test_schema_for_json():
    """Before writing and after reading, with the place in the data."""
    schema = {"properties": {"when": {"type": "string"}, "n": {"maximum": 3}}}
    obj = {"when": dt.date(2024, 1, 1), "n": (1,)}
    data = written(obj, schema=schema)
    assert safeload.loads(data, schema=schema) == obj
    with pytest.raises(safeload.SchemaError, match="/n: expected type number"):
        safeload.loads(data, schema={"properties": {"n": {"type": "number"}}})
    with pytest.raises(safeload.SchemaError, match="/n: expected maximum 3"):
        written({"n": 4}, schema=schema)


def test_options_that_json_does_not_have(tmp_path):
    """They are refused, not ignored."""
    with pytest.raises(ValueError, match="does not compress"):
        written([1], compress=3)
    path = tmp_path / "x.json"
    path.write_text("[1]")
    for options in ({"member": "a"}, {"index": 0}, {"mmap": True}):
        with pytest.raises(FormatError, match="loaded whole"):
            safeload.load(path, **options)


@pytest.mark.parametrize(
    ("cls", "options", "error"),
    [
        (1, {}, TypeError), (object, {}, TypeError), (Point, {"to_json": str}, TypeError), (Point, {"name": ""}, ValueError),
        (Point, {"name": "a\nb"}, ValueError), (Point, {"name": "x" * 201}, ValueError), (Point, {"name": "gr\u00fcn"}, ValueError),
        (dataclasses.make_dataclass("Init", [("a", int), ("b", dataclasses.InitVar[int])]), {}, TypeError),
    ],
)  # fmt: skip
def test_mistakes_in_registering(cls, options, error):
    """They are found when the program starts, not when a file comes."""
    with pytest.raises(error):
        safeload.register_json(cls, **options)


# Recognised by content.


@pytest.mark.parametrize(
    "text",
    [
        "[section]\nkey = 1\n", "[a.b]\n", "[[table]]\nx = 1\n", "# comment\n[x]\n", "{{ template }}", "{% if x %}", "{ // json5\n}", "{'a': 1}", "{a: 1}",
        "\\{rtf}", "{\\rtf1 text}", "[link](http://example.org)", "[ ] todo", "text", "1.2.3", "3", "2024\n", "nullable", '"quoted" text', "", "   ", "[-]", "{1:2}",
        "[x for x in y]", "%PDF", "1 2", "[\x00", "{\x00", "n" * 5000, "1" * 10_000, "[None]", "[tru", "[True]",
    ],
    ids=lambda text: repr(text)[:20],
)  # fmt: skip
def test_other_texts_are_not_taken_for_json(text):
    """A file that is no artifact is not listed when a directory is scanned."""
    assert safeload.scan(text.encode()).is_no_artifact


@pytest.mark.parametrize(
    "text",
    ["[1]\nkey = 2\n", '["a"]\nb = 1\n', '{"a": 1} // comment', '{"a": 1,}', '{"a": 1}\n{"a": 2}\n', '{"a"', "[1", "[[1], /* x */ 2]",
     '\ufeff{"a": 1}', '{"a": NaN}', "[NaN]"],
    ids=lambda text: repr(text)[:20],
)  # fmt: skip
def test_what_begins_like_json_and_is_none(text):
    """INI files with odd sections, JSON with comments, lines of JSON: no artifacts in a directory; a load says where it stops being JSON."""
    report = safeload.scan(text.encode())
    assert report.is_no_artifact
    with pytest.raises(FormatError, match=r"line \d+, (column|byte) \d+"):
        safeload.loads(text.encode())


def test_broken_texts_that_are_meant_for_safeload_are_malformed():
    """With the marker in it somebody expects it to load."""
    assert safeload.scan(b'{"$safeload":"tuple","v":[1,]}').verdict == "malformed"


def test_recognising_looks_at_the_beginning_only():
    """A large text is not read to know that it is one."""

    class Watched(MemoryBlob):
        seen = 0

        def _read(self, offset, size):
            Watched.seen += size
            return super()._read(offset, size)

    assert FORMAT.recognise(Watched(b"[" + b" " * 10_000_000 + b"1]")) > 0
    assert FORMAT.recognise(Watched(b'"' + b"x" * 10_000_000 + b'"')) > 0
    assert FORMAT.recognise(Watched(b"[" + b'"\\' * 5_000_000)) >= 0
    assert Watched.seen < 30_000


# One reading.

BROKEN = [
    (b'{"a":1,"a":2}', "json.duplicate", "line 1, column 8"),
    (b'{"a":1,\n "\\u0061":2}', "json.duplicate", "line 2, column 2"),
    (b'[{"b":{"a":1,"c":":","a":{"a":2}}}]', "json.duplicate", "line 1, column 22"),
    (b'{"$safeload":"tuple","v":[],"v":[1]}', "json.duplicate", "line 1, column 29"),
    (b'{"$safeload":"bytes","\\u0024safeload":"tuple","v":[]}', "json.duplicate", "line 1, column 22"),
    (b'["a",\n1e999]', "json.number", "line 2, column 1"),
    (b"[-1e999999]", "json.number", "line 1, column 2"),
    (b"[" + b"9" * 310 + b".0]", "json.number", "line 1, column 2"),
    (b"[1,Infinity]", "json.syntax", "line 1, column 4"),
    (b"[1,-Infinity]", "json.syntax", "line 1, column 4"),
    (b"[1] [2]", "json.syntax", "line 1, column 5"),
    (b"[1]\x00", "json.syntax", "line 1, column 4"),
    (b'["a\nb"]', "json.syntax", "line 1, column 4"),
    (b'["\\x"]', "json.syntax", "line 1, column 3"),
    (b"[01]", "json.syntax", "line 1, column 3"),
    (b'["\xff"]', "json.encoding", "line 1, byte 3"),
    (b'["\n\xed\xa0\x80"]', "json.encoding", "line 2, byte 1"),
    (b'\xef\xbb\xbf["a"]', "json.bom", "line 1, column 1"),
]


@pytest.mark.parametrize(("data", "code", "place"), BROKEN, ids=lambda value: repr(value)[:25])
def test_texts_with_two_readings_are_refused(data, code, place, backend):
    """Duplicates however they are spelled, numbers that become infinite, encodings: by line and column, without the text."""
    error = None
    try:
        parse_text(data, DEFAULT_LIMITS)
    except FormatError as caught:
        error = caught
    assert error is not None
    assert (error.code, place in str(error)) == (code, True), str(error)


def test_errors_do_not_quote_the_text():
    """A secret in a broken file does not go to a log."""
    for data in (
        b'{"secret":1,"secret":2}',
        b'["secret\\q"]',
        b'["secret" x]',
        b'["\xffsecret"]',
        b'[{"$safeload":"UUID","v":"secret"}]',
    ):
        assert "secret" not in str(refused(data))


@pytest.mark.parametrize(
    "data",
    [b"[-0]", b"[100000000000000000000]", b"[1e2]", b"[1.0]", b"[1E400]", b'["\\ud800"]', b'["\\u00e9"]', b'{"a":1,"a":1}', b"[1.10]", b"[ 1]",
     b"[0.1000000000000000055511151231257827]", b"[18446744073709551615,-9223372036854775808]", b'["\x7f"]', b"[" * 300 + b"]" * 300, b"[1e16,1e-7]"],
)  # fmt: skip
def test_the_fast_backend_reads_what_the_exact_one_reads(data):
    """Where orjson would read something else, its result is not taken."""
    pytest.importorskip("orjson")
    fast = _parse_fast(data, DEFAULT_LIMITS)
    if fast is not None:
        assert repr(fast) == repr(_parse_exact(data, DEFAULT_LIMITS))


def test_the_fast_backend_is_used():
    """What this library writes is read by it, if it is there."""
    pytest.importorskip("orjson")
    assert _parse_fast(written({"a": [1, 1.5, "é", None, {"b": 2**63}]}), DEFAULT_LIMITS) is not None


# Limits.


def test_depth_is_limited(backend):
    """Also where no recursion would be deep enough to fail, and without one."""
    for data in (b"[" * 201 + b"]" * 201, b'{"a":' * 201 + b"1" + b"}" * 201, b"[" * 1_000_000, b'[{"a":' * 100_000):
        assert refused(data, LimitExceededError).code == "limit.json-depth"
    assert safeload.loads(b"[" * 200 + b"]" * 200)
    assert refused(b"[[1]]", LimitExceededError, limits=Limits(max_json_depth=1)).code == "limit.json-depth"


@pytest.mark.parametrize(
    "number", ["9" * 4301, "-" + "9" * 5000, "1." + "1" * 4300, "1" + "0" * 5000 + "e-5000", "9" * 1_000_000]
)
def test_long_numbers_are_refused(number, backend):
    """Converting them takes quadratic time, or is how the interpreter's own limit would show."""
    assert refused(f'["{number}", {number}]'.encode(), LimitExceededError).code == "limit.json-number"
    assert safeload.loads(b"[" + b"9" * 4300 + b"]")


def test_the_interpreters_limit_is_a_limit():
    """A process with a lower limit of its own gets the same error."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert refused(b"[" + b"9" * 700 + b"]", LimitExceededError).code == "limit.json-number"
        assert again(2**20_000) == 2**20_000
    finally:
        sys.set_int_max_str_digits(before)


def test_size_is_limited(tmp_path):
    """Before the text is read into memory."""
    path = tmp_path / "x.json"
    path.write_bytes(b"[" + b" " * 1_000 + b"1]")
    with pytest.raises(LimitExceededError) as caught:
        safeload.load(path, limits=Limits(max_json_bytes=1_000))
    assert caught.value.code == "limit.json-bytes"
    assert safeload.scan(path, limits=Limits(max_json_bytes=1_000)).verdict == "unknown"


MERSENNE = 2**61 - 1


@pytest.mark.parametrize(
    "keys",
    [
        [n * MERSENNE for n in range(3_000)],
        [marker("Decimal", str(n * MERSENNE)) for n in range(3_000)],
        [marker("Fraction", [n * MERSENNE, 1]) for n in range(3_000)],
        [marker("UUID", str(uuid.UUID(int=n * MERSENNE))) for n in range(3_000)],
        [marker("tuple", [n * MERSENNE]) for n in range(3_000)],
        [marker("frozenset", [n * MERSENNE]) for n in range(3_000)],
        [marker("scalar", n % MERSENNE, dtype="<i8") if n < 2 else n * MERSENNE for n in range(3_000)],
    ],
    ids=["int", "Decimal", "Fraction", "UUID", "tuple", "frozenset", "scalar"],
)
@pytest.mark.parametrize("kind", ["set", "frozenset", "dict", "OrderedDict", "Counter"])
def test_colliding_keys_are_limited(kind, keys):
    """Numbers hash to themselves modulo 2**61 - 1, so an author chooses collisions, and insertion gets quadratic."""
    content = keys if "set" in kind else [[key, 1] for key in keys]
    assert refused(marker(kind, content), LimitExceededError).code in ("limit.probes", "limit.hash-work")


def test_heavy_colliding_keys_are_limited():
    """Few keys, each of which is long to compare with all others."""
    keys = [marker("tuple", [*[0] * 2_000, n * MERSENNE]) for n in range(500)]
    assert refused(marker("set", keys), LimitExceededError).code == "limit.hash-work"


def test_many_dicts_of_colliding_keys_are_limited():
    """Each is small enough, all together are not."""
    keys = [[n * MERSENNE, 1] for n in range(1_000)]
    assert refused([marker("dict", keys)] * 120, LimitExceededError).code == "limit.hash-work"


def test_honest_keys_are_not_limited():
    """A hundred thousand integers, floats, tuples and dates as keys."""
    keys = [
        *range(50_000),
        *(n / 7 for n in range(1, 20_000)),
        *((n, "x") for n in range(20_000)),
        *(dt.date.fromordinal(n) for n in range(1, 10_000)),
    ]
    found = again(dict.fromkeys(keys, 1))
    assert len(found) == len(set(keys))


# Markers.

BAD_MARKERS = [
    {"$safeload": "tuple"}, {"$safeload": 1, "v": []}, {"$safeload": None, "v": []}, {"$safeload": [], "v": []}, {"$safeload": {}, "v": []},
    marker("tuple", [], extra=1), marker("Tuple", []), marker("os.system", "x"), marker("", []), marker("list", []),
    marker("tuple", {}), marker("tuple", "ab"), marker("set", {"a": 1}), marker("set", [[1]]), marker("set", [1, 1]), marker("set", [1, True]), marker("set", [1, 1.0]),
    marker("set", [{}]), marker("frozenset", [marker("set", [])]), marker("set", [marker("Decimal", "sNaN")]), marker("set", [marker("ndarray", "", dtype="<i4", shape=[0], order="C")]),
    marker("dict", [1]), marker("dict", ["ab"]), marker("dict", [[1]]), marker("dict", [[1, 2, 3]]), marker("dict", [[[], 1]]), marker("dict", [[1, 1], [1.0, 2]]),
    marker("dict", {"a": 1}), marker("dict", [marker("tuple", [1, 2])]), marker("Counter", [["a"]]), marker("OrderedDict", {}),
    marker("defaultdict", []), marker("defaultdict", [], factory="eval"), marker("defaultdict", [], factory=[]), marker("defaultdict", [], factory="object"),
    marker("deque", [1, 2], maxlen=1), marker("deque", [], maxlen=-1), marker("deque", [], maxlen=2**63), marker("deque", [], maxlen=True), marker("deque", [], maxlen=None),
    marker("bytes", "A"), marker("bytes", "AB=="), marker("bytes", "QQ=="[:3]), marker("bytes", "QQ== "), marker("bytes", "Q Q=="), marker("bytes", "QQ==QQ=="), marker("bytes", "é"),
    marker("bytes", [1]), marker("bytes", "QR=="), marker("bytearray", None), marker("bytes", "===="), marker("bytes", "QUI=="),
    marker("str", "QQ=="), marker("str", base64.b64encode(b"\xff").decode()), marker("str", "plain text"), marker("int", "0x1"), marker("int", 5), marker("int", "0x" + "0" * 9_000), marker("int", "1" * 9_000),
    marker("float", 1.5), marker("float", "1.5"), marker("float", "NaN"), marker("float", "+inf"), marker("float", "infinity"), marker("complex", [1, 2]), marker("complex", [1.0]), marker("complex", "1j"),
    marker("Decimal", 1), marker("Decimal", "1_0"), marker("Decimal", " 1"), marker("Decimal", "1e5"), marker("Decimal", "٣"), marker("Decimal", "01"), marker("Decimal", "1E+9999999999999999999"),
    marker("Decimal", "nan"), marker("Decimal", ""), marker("Fraction", [2, 4]), marker("Fraction", [1, 0]), marker("Fraction", [1, -2]), marker("Fraction", [True, 2]), marker("Fraction", "1/2"), marker("Fraction", [0, 5]),
    marker("range", [0, 1, 0]), marker("range", [0, 1]), marker("range", [0.0, 1, 1]), marker("UUID", "{00000000-0000-0000-0000-000000000000}"), marker("UUID", "0" * 32), marker("UUID", 1), marker("UUID", "é"),
    marker("date", "20240101"), marker("date", "2024-W01-1"), marker("date", "2024-02-30"), marker("date", 1), marker("time", "01"), marker("time", "01:00:00+00:00"), marker("datetime", "2024-01-01"),
    marker("datetime", "2024-01-01T00:00:00Z"), marker("datetime", "2024-01-01T00:00:00", tz="UTC"), marker("datetime", "2024-01-01T00:00:00", fold=0), marker("datetime", "2024-01-01T00:00:00", fold=True),
    marker("datetime", "2024-01-01T00:00:00", tz=None), marker("timedelta", [0, -1, 0]), marker("timedelta", [0, 86_400, 0]), marker("timedelta", [10**9, 0, 0]), marker("timedelta", 5), marker("timedelta", [10**400, 0, 0]),
    marker("timezone", 86_400_000_000), marker("timezone", 1.5), marker("timezone", True), marker("timezone", 0, name=1), marker("ZoneInfo", "../../etc/passwd"), marker("ZoneInfo", "/etc/localtime"), marker("ZoneInfo", ""),
    marker("ZoneInfo", "Europe/"), marker("ZoneInfo", "a.b"), marker("ZoneInfo", 1), marker("PosixPath", 1), marker("PosixPath", "a//b"), marker("PurePosixPath", "a/./b"), marker("PureWindowsPath", "a/b"), marker("PosixPath", ["a"]),
    marker("object", {}), marker("object", {}, name=1), marker("object", {}, name=None), marker("object", {}, name=["a"]),
]  # fmt: skip


@pytest.mark.parametrize("node", BAD_MARKERS, ids=lambda node: json.dumps(node)[:40])
def test_markers_that_are_not_of_the_form_are_refused(node, backend):
    """One value has one spelling, and what is no marker is no data either; the place is named."""
    error = refused({"a/b": [0, node]})
    assert error.code == "json.marker"
    assert str(error).startswith("/a~1b/1")


BAD_ARRAYS = [
    {"shape": [3]}, {"shape": [1]}, {"shape": []}, {"shape": [2**62, 2**62]}, {"shape": [-1, -2]}, {"shape": [2.0]}, {"shape": [True, 2]}, {"shape": 2}, {"shape": "2"}, {"shape": [2] + [1] * 64},
    {"shape": [0, 2**63], "v": ""}, {"shape": [2**63, 0], "v": ""}, {"shape": [10**30, 0], "v": ""}, {"dtype": "V0", "shape": [10**15], "v": ""}, {"dtype": "|V0", "shape": [10**15], "v": ""}, {"dtype": "|S0", "shape": [10**15], "v": ""},
    {"dtype": "O"}, {"dtype": "|O"}, {"dtype": "object"}, {"dtype": "|O8"}, {"dtype": "i4"}, {"dtype": "=i4"}, {"dtype": "int32"}, {"dtype": "<i4,<i4"}, {"dtype": "<i3"}, {"dtype": "(2,)i4"}, {"dtype": "<f16[ns]"}, {"dtype": None}, {"dtype": 5},
    {"dtype": "<i1"}, {"dtype": "<V8"}, {"dtype": "|S9999999999"}, {"dtype": "<M8[xx]"}, {"dtype": "<M8[1D]"}, {"dtype": "<M8[0s]"}, {"dtype": "T"}, {"dtype": "|T16"}, {"dtype": [["a", "<i4"]]},
    {"dtype": {}}, {"dtype": {"names": ["a"], "formats": ["|O"], "offsets": [0], "itemsize": 8}}, {"dtype": {"names": ["a"], "formats": ["<i4"], "offsets": [100], "itemsize": 4}},
    {"dtype": {"names": ["a"], "formats": ["<i4"], "offsets": [-4], "itemsize": 4}}, {"dtype": {"names": ["a", "a"], "formats": ["<i2", "<i2"], "offsets": [0, 2], "itemsize": 4}}, {"dtype": {"names": "ab", "formats": ["<i2", "<i2"], "offsets": [0, 2], "itemsize": 4}},
    {"dtype": {"names": ["a"], "formats": ["<i4"], "offsets": [0], "itemsize": 4, "titles": [1]}}, {"dtype": {"names": ["a"], "formats": ["<i4"], "offsets": [0], "itemsize": 4, "aligned": 1}}, {"dtype": {"names": 1, "formats": 1, "offsets": 1, "itemsize": 1}},
    {"dtype": {"base": "<i4", "shape": [2**62]}}, {"dtype": {"base": "<i4", "shape": [-1]}}, {"dtype": {"base": "|O", "shape": [1]}}, {"dtype": {"base": "<i4", "shape": [1]}}, {"dtype": {"base": "<i4", "shape": "1"}},
    {"order": "K"}, {"order": "A"}, {"order": None}, {"order": ["C"]}, {"v": "AAAAAAEAAAA"}, {"v": 5}, {"v": [1, 2]}, {"extra": 1}, {"dtype": "|b1", "shape": [8], "v": "AAAAAAIAAAA="},
    {"dtype": {"names": ["a"], "formats": ["|b1"], "offsets": [0], "itemsize": 1}, "shape": [8], "v": "AAAAAAIAAAA="},
]  # fmt: skip


@pytest.mark.parametrize("changes", BAD_ARRAYS, ids=lambda changes: json.dumps(changes)[:40])
def test_arrays_that_lie_are_refused(changes):
    """About shape, dtype, order or bytes: before memory is taken, and without a dtype of objects ever being made."""
    good = {"$safeload": "ndarray", "dtype": "<i4", "shape": [2], "order": "C", "v": "AAAAAAEAAAA="}
    assert safeload.loads(json.dumps(good).encode()).tolist() == [0, 1]
    tracemalloc.start()
    assert refused({**good, **changes}).code == "json.marker"
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("dtype", "content"),
    [("<i1", 1), ("|i1", 128), ("|u1", -1), ("|u1", 1.0), ("|u1", True), ("|b1", 1), ("|b1", 2), ("<f4", 0.1), ("<f2", 1e300), ("<f4", 1), ("<f8", 5), ("<f8", "AAA="), ("<c8", 1.5), ("U", 5),
     ("U", "/w=="), ("S", "x"), ("O", 1), ("|V0", ""), ("|i1", "AA=="), ("<M8[D]", 1.5), ("<M8[D]", "AAAA")],
)  # fmt: skip
def test_scalars_that_lie_are_refused(dtype, content):
    """Out of range, of another type, of another size."""
    assert refused([marker("scalar", content, dtype=dtype)]).code == "json.marker"


def test_markers_in_odd_places():
    """As a name's value inside of dict forms, and as the content of another: read once, by one rule."""
    inner = marker("tuple", [1])
    assert safeload.loads(json.dumps(marker("tuple", [inner, {"v": inner}])).encode()) == ((1,), {"v": (1,)})
    assert safeload.loads(json.dumps({"$safelOad": inner, "$safeload ": 1}).encode()) == {
        "$safelOad": (1,),
        "$safeload ": 1,
    }
    assert safeload.loads(b'{"\\u0024safeload":"tuple","v":[]}') == ()


def test_registered_code_runs_only_on_a_clean_load():
    """A scan makes nothing, and neither does a load of a text that asks for another class as well."""
    made = []
    cls = type("Noted", (), {})
    safeload.register_json(
        cls, name="noted", to_json=lambda value: 1, from_json=lambda state: made.append(state) or cls()
    )
    good = marker("object", 1, name="noted")
    assert safeload.scan(json.dumps(good).encode()).verdict == "clean"
    error = refused([good, marker("object", 1, name="other")], PolicyError)
    assert error.code == "json.not-registered"
    assert "'other'" in str(error)
    assert "register_json" in str(error)
    refused(b'[{"$safeload":"object","v":1,"name":"noted"},{"a":1,"a":2}]')
    assert made == []


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "test_json.Point",
        "Point",
        "short ",
        "SHORT",
        "short\x00",
        "sho\u200brt",
        "\u0455hort",
        "",
        "x" * 10_000,
    ],
)
def test_only_the_exact_name_is_known(name):
    """Nothing is imported, no module searched, no name normalised; the report shows it as ASCII."""
    safeload.register_json(Point, name="short")
    before = set(sys.modules)
    data = json.dumps(marker("object", {"x": 1}, name=name)).encode()
    assert refused(data, PolicyError).code == "json.not-registered"
    report = safeload.scan(data)
    assert report.verdict == "unknown"
    assert all(found.isascii() and len(found) < 1_000 for found in report.globals)
    assert set(sys.modules) - before <= {"safeload.pipeline.scan"}


def test_a_policy_can_admit_a_name_for_scans():
    """Where the program that registers it does not run: a scan in CI."""
    data = json.dumps(marker("object", {"x": 1}, name="shapes.Point")).encode()
    policy = safeload.Policy.packs("data").allow("shapes.Point")
    assert safeload.scan(data).verdict == "unknown"
    assert safeload.scan(data, policy=policy).verdict == "clean"
    with pytest.raises(PolicyError):
        safeload.loads(data, policy=policy)


def test_a_name_belongs_to_one_class():
    """The second class does not get the files of the first; the same class defined again does."""
    safeload.register_json(Point, name="point")
    with pytest.raises(ValueError, match="belongs to Point"):
        safeload.register_json(Money, name="point")
    again_defined = dataclasses.make_dataclass("Point", [("x", int)], namespace={"__module__": Point.__module__})
    again_defined.__module__, again_defined.__qualname__ = Point.__module__, Point.__qualname__
    safeload.register_json(again_defined, name="point")


@pytest.mark.parametrize(
    ("cls", "state"),
    [
        (Point, []), (Point, {}), (Point, {"x": 1, "z": 2}), (Point, None), (Point, marker("OrderedDict", [["x", 1]])), (Colour, "BLUE"), (Colour, "__class__"), (Colour, 1), (Modes, "A"), (Modes, 99), (Pair, [1]),
        (Pair, {"left": 1, "right": 2}), (Pair, "ab"), (Money, {}), (Money, 5),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_states_that_a_class_does_not_take(cls, state):
    """Its error is a LoadError with the cause chained."""
    safeload.register_json(cls, name="c")
    with pytest.raises(LoadError) as caught:
        safeload.loads(json.dumps([marker("object", state, name="c")]).encode())
    assert caught.value.__cause__ is not None


def test_from_json_that_makes_something_else():
    """What comes back is of the class that was asked for."""
    safeload.register_json(Money, name="m", to_json=lambda value: 1, from_json=lambda state: state)
    with pytest.raises(LoadError, match="made an instance of int"):
        safeload.loads(json.dumps(marker("object", 1, name="m")).encode())


def test_from_json_that_recurses_or_raises_refusals():
    """Errors of its own loads are not mistaken for refusals of this text."""
    safeload.register_json(
        Money, name="m", to_json=lambda value: 1, from_json=lambda state: safeload.loads(b"cos\nsystem\n.")
    )
    with pytest.raises(LoadError):
        safeload.loads(json.dumps(marker("object", 1, name="m")).encode())
    safeload.register_json(Point, name="p", to_json=lambda value: 1, from_json=lambda state: Point.loop())
    Point.loop = classmethod(lambda cls: cls.loop())
    with pytest.raises(LoadError):
        safeload.loads(json.dumps(marker("object", 1, name="p")).encode())
    del Point.loop


def test_unknown_time_zones():
    """The name of a directory or of no zone: an error that says what to install."""
    for key in ("Europe", "No/Where", "tzdata", "zone"):
        with pytest.raises(SafeloadError):
            safeload.loads(json.dumps(marker("ZoneInfo", key)).encode())
    with pytest.raises(LoadError, match="pip install tzdata"):
        safeload.loads(json.dumps(marker("ZoneInfo", "No/Where")).encode())


def test_paths_of_the_other_system():
    """They come back as pure paths."""
    other = "WindowsPath" if sys.platform != "win32" else "PosixPath"
    assert isinstance(safeload.loads(json.dumps(marker(other, "a")).encode()), pathlib.PurePath)


def test_decimals_with_huge_exponents_stay_small():
    """They are numbers of a few digits; as keys they are hashed without being written out."""
    tracemalloc.start()
    started = time.process_time()
    keys = [marker("Decimal", f"1E+{n}") for n in range(999_999_000, 999_999_100)]
    assert len(safeload.loads(json.dumps(marker("set", keys)).encode())) == 100
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert time.process_time() - started < 30


def test_base64_takes_no_more_than_it_says():
    """Eight million characters of it are six million bytes, and memory for a few copies."""
    data = json.dumps(marker("bytes", "AAAA" * 2_000_000)).encode()
    tracemalloc.start()
    assert len(safeload.loads(data)) == 6_000_000
    assert tracemalloc.get_traced_memory()[1] < 5 * len(data)
    tracemalloc.stop()


def test_a_pickle_is_no_json_and_json_no_pickle():
    """No byte that begins JSON begins a pickle, so nobody reads one as the other."""
    import pickle

    for first in b' \t\n\r{["-0123456789tfn':
        with pytest.raises((pickle.UnpicklingError, IndexError, EOFError, KeyError)):
            pickle.loads(bytes([first]) + b"0" * 20 + b".")


def test_deep_callers_get_an_error_of_ours():
    """Near the interpreter's recursion limit a load fails as a refusal, not as a RecursionError."""
    data = b"[" * 190 + b'{"$safeload":"tuple","v":[]}' + b"]" * 190

    def deep(levels):
        return deep(levels - 1) if levels else safeload.loads(data)

    frames = len(__import__("inspect").stack())
    with pytest.raises(SafeloadError):
        deep(sys.getrecursionlimit() - frames - 150)


def test_parse_is_what_the_reader_uses():
    """The module's one entry."""
    assert parse(b"[1]", DEFAULT_LIMITS) == ([1], False)


@pytest.mark.parametrize(
    "dtype", ["<U1", ">U1", {"names": ["a"], "formats": [{"base": "<U1", "shape": [1]}], "offsets": [0], "itemsize": 4}]
)
@pytest.mark.parametrize("kind", ["ndarray", "scalar"])
def test_characters_that_there_are_not(kind, dtype):
    """NumPy takes any 32 bits as a character, and raises a SystemError when it is looked at."""
    node = {"$safeload": kind, "dtype": dtype, "v": base64.b64encode(b"\xff" * 4).decode()}
    if kind == "ndarray":
        node |= {"shape": [1], "order": "C"}
    text = json.dumps(node).encode()
    assert safeload.scan(text).verdict == "malformed"
    with pytest.raises(FormatError, match="Unicode"):
        safeload.loads(text)
