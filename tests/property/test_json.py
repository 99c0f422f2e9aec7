"""JSON: whatever can be written comes back as it was, and whatever bytes there are give an object or a ``SafeloadError``."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
import typing
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import safeload
from safeload.errors import SafeloadError
from safeload.formats.jsontext import write
from safeload.formats.jsontext.parse import _parse_exact, _parse_fast
from safeload.limits import DEFAULT_LIMITS

KINDS = ["tuple", "set", "frozenset", "dict", "deque", "OrderedDict", "Counter", "defaultdict", "bytes", "bytearray", "str", "int", "float", "complex",
         "Decimal", "Fraction", "range", "UUID", "date", "time", "datetime", "timedelta", "timezone", "ZoneInfo", "PosixPath", "WindowsPath",
         "PurePosixPath", "PureWindowsPath", "ndarray", "scalar", "dtype", "object"]  # fmt: skip


@dataclasses.dataclass
class Record:
    left: typing.Any
    right: typing.Any = None


safeload.register_json(Record, name="test.property.Record")

any_text = st.text(st.characters(), max_size=8)  # with lone surrogates
zones = st.none() | st.just(dt.UTC) | st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))) | st.sampled_from(
    [zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo("Europe/Berlin")]
)  # fmt: skip
hashable_leaves = (
    st.none() | st.booleans() | st.integers() | st.integers(13_990, 14_010).map(lambda bits: 1 << bits) | st.floats(allow_nan=False) | any_text | st.binary(max_size=8)
    | st.sampled_from(["$safeload", "v", "name"]) | st.dates() | st.times(timezones=zones) | st.datetimes(timezones=zones) | st.timedeltas()
    | st.decimals(allow_nan=False) | st.fractions() | st.uuids() | st.complex_numbers(allow_nan=False) | zones
    | st.builds(range, st.integers(), st.integers(), st.integers(1)) | st.builds(pathlib.PurePosixPath, any_text.filter(lambda text: "\0" not in text))
)  # fmt: skip
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
dtypes = npst.scalar_dtypes() | npst.array_dtypes(allow_subarrays=True, max_size=3)
leaves = (
    hashables | st.floats() | st.binary(max_size=8).map(bytearray) | st.decimals() | st.complex_numbers()
    | npst.arrays(dtypes, npst.array_shapes(min_dims=0, min_side=0, max_side=3)) | npst.arrays(npst.scalar_dtypes(), 1).map(lambda array: array[0])
)  # fmt: skip


def containers(inner):
    """Everything that holds others."""
    pairs = st.dictionaries(hashables, inner, max_size=3)
    items = st.lists(inner, max_size=3)
    return (
        items | items.map(tuple) | pairs | st.dictionaries(any_text | st.just("$safeload"), inner, max_size=3) | st.sets(hashables, max_size=3)
        | pairs.map(collections.OrderedDict) | pairs.map(lambda found: collections.defaultdict(list, found))
        | st.builds(lambda found, more: collections.deque(found, maxlen=more and len(found) + more), items, st.none() | st.integers(1, 3))
        | st.builds(Record, inner, inner)
    )  # fmt: skip


values = st.recursive(leaves, containers, max_leaves=12)


def same(left, right):
    """Equality that knows types, signs of zero, NaN, and the order of dicts."""
    if type(left) is not type(right):
        return False
    match left:
        case np.ndarray() | np.generic():
            return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
        case dict():
            return len(left) == len(right) and all(map(same, left.items(), right.items()))
        case list() | tuple():
            return len(left) == len(right) and all(map(same, left, right))
        case collections.deque():
            return left.maxlen == right.maxlen and same(list(left), list(right))
        case Record():
            return same(left.left, right.left) and same(left.right, right.right)
        case dt.datetime() | dt.time():
            naive = left.replace(tzinfo=None) == right.replace(tzinfo=None)
            return naive and left.fold == right.fold and same(left.tzinfo, right.tzinfo)
        case set() | frozenset():
            return left == right and sorted(map(str, map(type, left))) == sorted(map(str, map(type, right)))
        case float() | complex() | Decimal():
            return repr(left) == repr(right)
    return left == right


@given(values)
@settings(max_examples=300)
def test_what_is_written_comes_back(value):
    """Identity including types; the text is JSON that the standard library reads, and the scan finds it clean."""
    data = safeload.dumps(value, codec="json")
    json.loads(data)
    assert same(safeload.loads(data), value)
    assert safeload.scan(data).verdict == "clean"


@given(values)
@settings(max_examples=100)
def test_both_backends_write_the_same_value(value):
    """The text may differ in the spelling of a float, and in nothing that it means."""
    value = [value]  # a number that is all of a text is no JSON to a reader of any format
    fast = write(value, DEFAULT_LIMITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "orjson", None)
        slow = write(value, DEFAULT_LIMITS)
        assert same(safeload.loads(fast), value)
    assert same(safeload.loads(slow), value)


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(data):
    """An object or a SafeloadError; a scan always has a report."""
    for text in (data, b"[" + data, b'{"' + data, b'["' + data + b'"]', b'{"$safeload":"' + data):
        with contextlib.suppress(SafeloadError):
            safeload.loads(text)
        safeload.scan(text)


json_texts = st.recursive(
    st.sampled_from(["0", "-0", "1e5", "1.0", "1e16", "1E400", "1e-400", "123456789012345678901", "true", "null", "NaN", "0.1", "1.10", "01", "5e-324"])
    | st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(str)
    | st.text(max_size=4).map(lambda text: json.dumps(text, ensure_ascii=False)) | st.text(st.characters(), max_size=4).map(json.dumps),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
    | st.lists(st.tuples(st.sampled_from(['"a"', '"\\u0061"', '"b"', '"$safeload"']), inner), max_size=3).map(
        lambda pairs: "{" + ",".join(f"{name}:{item}" for name, item in pairs) + "}"
    ),
    max_leaves=8,
)  # fmt: skip


@given(json_texts)
@settings(max_examples=500)
def test_the_fast_backend_reads_nothing_else(text):
    """Where its result is taken, the exact parser accepts the text as well, and reads the very same value."""
    data = text.encode("utf-8", "surrogatepass")
    fast = _parse_fast(data, DEFAULT_LIMITS)
    if fast is not None:
        tree, marked = _parse_exact(data, DEFAULT_LIMITS)
        assert same(tree, fast[0])
        assert not marked or fast[1]


contents = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=6)
    | st.sampled_from(["AAAA", "AAAAAA==", "2024-01-01", "01:00:00", "<f8", "|O", "|b1", "|V0", "nan", "0x1", "C", "UTC", "test.property.Record", "os.system"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["$safeload", "v", "name", "tz", "dtype", "shape", "order", "factory", "maxlen", "fold", "names", "formats", "offsets", "itemsize", "base"]),
        inner | st.sampled_from(KINDS), max_size=5,
    ) | st.builds(lambda kind, content: {"$safeload": kind, "v": content}, st.sampled_from(KINDS), inner)
    | st.builds(lambda name, content: {"$safeload": "object", "v": content, "name": name}, st.sampled_from(["test.property.Record", "x"]), inner)
    | st.builds(lambda dtype, shape, content: {"$safeload": "ndarray", "v": content, "dtype": dtype, "shape": shape, "order": "C"}, inner, inner, inner),
    max_leaves=8,
)  # fmt: skip


@given(contents)
@settings(max_examples=500)
def test_any_markers(tree):
    """A text that is made of the form's own words gives an object or a SafeloadError; what loads was clean to the scan.

    A clean text can still fail to load only where a registered class, or this machine's time zones, have a say.
    """
    data = json.dumps(tree).encode()
    report = safeload.scan(data)
    try:
        found = safeload.loads(data)
    except SafeloadError:
        return
    assert report.verdict == "clean"
    safeload.dumps(found, codec="json")


@given(values, st.data())
@settings(max_examples=100)
def test_mutated_texts(value, data):
    """One byte changed, removed or doubled."""
    text = bytearray(safeload.dumps(value, codec="json"))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + 1] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(SafeloadError):
        safeload.loads(bytes(text))


def test_fractions_and_uuids_are_among_the_values():
    """The strategies cover the types that equality alone would not tell apart."""
    for value in (Fraction(1, 2), uuid.UUID(int=3), Fraction(2)):
        assert same(safeload.loads(safeload.dumps(value, codec="json")), value)
