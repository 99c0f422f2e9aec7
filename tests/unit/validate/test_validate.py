"""Checking objects against JSON Schemas: clear errors, bounded work, nothing fetched, nothing of the payload's run."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import enum
import json
import socket
import tracemalloc
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeload.errors import LimitExceededError, SafeloadError, SchemaError
from safeload.validate import check, compiled, register_schema
from safeload.validate.plain import MAX_DEPTH, MAX_VALUES, plain
from safeload.validate.schema import _by_digest, _by_file, _by_name
from safeload.validate.simpler import MAX_ITEMS

USER = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
    },
}


@pytest.fixture(autouse=True)
def _fresh_caches():
    """Registered names of one test are not seen by the next."""
    yield
    for cache in (_by_digest, _by_file, _by_name):
        cache.clear()


class Zone(dt.tzinfo):
    def utcoffset(self, _):
        raise AssertionError("code of the payload's class ran")


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "obj",
    [
        {"name": "ann"},
        {"name": "ann", "age": 3, "tags": ["a", "b"]},
        {"name": "ann", "tags": ("a", "b")},
        {"name": "ann", "age": Colour.RED},
        {"name": "ann", "age": 3.0},
        collections.OrderedDict(name="ann"),
        collections.defaultdict(list, name="ann"),
    ],
)
def test_matching_objects_pass(obj):
    """Tuples are arrays, integral floats are integers, subclasses of the basic types are what they derive from."""
    assert check(obj, USER) is None


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({}, r"\(root\): expected the member\(s\) 'name', found an object of 0 members"),
        ({"name": 3}, "/name: expected type string, found an integer"),
        ({"name": "secret-value"}, "/name: expected maxLength 5, found a string of 12 characters"),
        ({"name": "a", "age": -1}, "/age: expected minimum 0, found an integer"),
        ({"name": "a", "tags": ["a", "c"]}, r"/tags/1: expected one of \[\"a\", \"b\"\], found a string"),
        ({"name": "a", "tags": ["a", "a"]}, "/tags: expected items that differ, found an array of 2 items"),
        ({"name": "a", "x/~\n": 1}, r"no further member or item \(such as 'x/~\\n'\)"),
        ([], r"\(root\): expected type object, found an array of 0 items"),
        (None, "found null"),
        ({"name": True}, "found a boolean"),
        ({"name": 1.5}, "found a number"),
    ],
)
def test_errors_name_the_place_and_the_expectation(obj, message):
    """A person can find the place; the values themselves are not quoted."""
    with pytest.raises(SchemaError, match=message) as caught:
        check(obj, USER)
    assert caught.value.stage == "validate"
    assert "secret-value" not in str(caught.value)


def test_at_most_five_errors_and_no_long_values():
    """A million mismatches make a short message."""
    obj = [{"name": "s" * 10_000}] * 1000
    with pytest.raises(SchemaError) as caught:
        check(obj, {"items": USER})
    assert str(caught.value).count("expected") == 5
    assert str(caught.value).endswith("and more")
    assert "sss" not in str(caught.value)


def test_hostile_names_are_escaped_and_shortened():
    """A member's name of the payload cannot steer a terminal or flood a log."""
    with pytest.raises(SchemaError) as caught:
        check({"\x1b[2J\n" + "k" * 5000: {"a/b~": 1}}, {"additionalProperties": {"additionalProperties": False}})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("schema", "obj", "words"),
    [
        (False, 1, "expected nothing here"),
        ({"const": 1}, 2, "exactly 1"),
        ({"pattern": "^a$"}, "b", "a string that matches"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 2, "one of the 2 alternatives of anyOf"),
        ({"oneOf": [{}, {}]}, 2, "exactly one of the 2 alternatives"),
        ({"not": {}}, 2, "what the schema under 'not' does not match"),
        ({"type": ["null", "string"]}, 2, "type null or string"),
        ({"prefixItems": [{}], "items": False}, [1, 2], "/x: expected no further item"),
        ({"minProperties": 2}, {}, "expected minProperties 2"),
        ({"unevaluatedProperties": False}, {"a": 1}, "no further member"),
    ],
)
def test_every_kind_of_keyword_has_words(schema, obj, words):
    """Each keyword's expectation can be read without knowing jsonschema."""
    with pytest.raises(SchemaError, match=words):
        check({"x": obj}, {"properties": {"x": schema}})


class Loud:
    """Gives itself away when anything of it runs."""

    def __repr__(self):
        raise AssertionError("ran")

    __str__ = __eq__ = __hash__ = __len__ = __iter__ = __repr__


class LoudDict(dict):
    """A payload class whose own methods must not take part in judging it."""

    def items(self):
        raise AssertionError("ran")

    __iter__ = __getitem__ = __contains__ = __len__ = __repr__ = keys = items


class LoudInt(int):
    def __add__(self, other):
        raise AssertionError("ran")

    __lt__ = __repr__ = __index__ = __eq__ = bit_length = __add__
    __hash__ = int.__hash__


def test_no_method_of_a_payload_class_runs():
    """The judged copy is made by the base classes' own methods."""
    check(LoudDict(name="ann"), USER)
    check([LoudInt(3)], {"items": {"minimum": 1}})
    with pytest.raises(SchemaError, match="/0: expected minimum 5"):
        check([LoudInt(3)], {"items": {"minimum": 5}})


@pytest.mark.parametrize(
    "value",
    [
        1j, Loud(), np.array([1j]), np.array([None]), np.array([1.0, np.nan]), np.ma.array([1]), float("nan"), float("inf"),
        {1: 2}, Loud, collections.UserDict(), Fraction(10**5000, 3), dt.datetime(2024, 1, 1, tzinfo=Zone()),
        np.zeros(1, "i4,i4"), {(1, 1j)},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_json_does_not_have_is_refused(value):
    """A schema that cannot judge a value does not let it pass, whatever the schema says about the place."""
    with pytest.raises(SchemaError, match="/deep/0") as caught:
        check({"deep": [value]}, {})
    assert caught.value.code == "schema.not-json"


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (np.arange(6).reshape(2, 3), {"items": {"items": {"type": "integer"}, "minItems": 3}, "minItems": 2}),
        (np.array([True]), {"items": {"const": True}}),
        (np.array(["a", "b"]), {"items": {"enum": ["a", "b"]}}),
        (np.array(["2024-01-01"], "M8[D]"), {"items": {"const": "2024-01-01"}}),
        (np.array([1500], "m8[ms]"), {"items": {"const": 1.5}}),
        (np.int64(1), {"type": "integer", "minimum": 1}),
        (np.float32(0.5), {"const": 0.5}),
        (np.float16(0.5), {"const": 0.5}),
        (np.bool_(True), {"type": "boolean"}),
        ({1, 2}, {"type": "array", "uniqueItems": True, "minItems": 2}),
        (frozenset({"a"}), {"items": {"const": "a"}}),
        (collections.deque([1]), {"items": {"const": 1}}),
        (dt.date(2024, 1, 2), {"const": "2024-01-02"}),
        (dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC), {"const": "2024-01-02T03:00:00+00:00"}),
        (dt.timedelta(minutes=1), {"const": 60}),
        (Decimal("1.50"), {"const": "1.50"}),
        (UUID(int=1), {"const": "00000000-0000-0000-0000-000000000001"}),
        (PurePosixPath("a/b"), {"pattern": "^a/"}),
        (b"ab", {"const": "YWI="}),
        ({"group": {"data": np.zeros((2, 2))}}, {"properties": {"group": {"properties": {"data": {"maxItems": 2}}}}}),
    ],
    ids=repr,
)
def test_values_that_usually_become_json_are_checked_as_that(value, schema):
    """Arrays are nested arrays, moments strings, and so on; the schema sees them and can refuse them."""
    assert check(value, schema) is None
    with pytest.raises(SchemaError):
        check(value, {"not": schema})


def test_places_inside_of_arrays_are_named():
    """An error points into a NumPy array as into a list."""
    with pytest.raises(SchemaError, match="schema: /data/1/0: expected minimum 0"):
        check({"data": np.array([[1], [-1]])}, {"properties": {"data": {"items": {"items": {"minimum": 0}}}}})


def test_large_arrays_are_not_unfolded():
    """Neither one that is too large, nor many that are together, nor one that is referred to often."""
    with pytest.raises(LimitExceededError, match="too large to check"):
        check(np.zeros(MAX_ITEMS + 1, "i1"), {})
    part = np.zeros(MAX_ITEMS, "i1")
    tracemalloc.start()
    with pytest.raises(LimitExceededError, match="too many to check"):
        check([part] * 1_000, {})
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_numpy_floats_are_floats():
    """``numpy.float64`` derives from ``float`` and is one here."""
    check([np.float64(1.5)], {"items": {"type": "number"}})


def test_an_object_that_contains_itself_is_refused():
    """A cycle is no JSON."""
    loop: list = []
    loop.append({"a": loop})
    with pytest.raises(SchemaError, match="contains itself"):
        check(loop, {})


def test_sharing_cannot_multiply_the_work():
    """Thirty lists, each twice the next, would be a thousand million values to a validator."""
    bomb: list = []
    for _ in range(60):
        bomb = [bomb, bomb]
    with pytest.raises(LimitExceededError, match=str(MAX_VALUES)):
        check(bomb, {})


def test_nesting_is_bounded_also_through_shared_parts():
    """Depth is an error, not a crash."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(LimitExceededError, match="nested deeper"):
        check(deep, {})
    part: list = []
    for _ in range(MAX_DEPTH - 2):
        part = [part]
    plain(part)
    with pytest.raises(LimitExceededError, match="nested deeper"):
        plain([part, [[[part]]]])


def test_recursive_schemas_work_down_to_the_depth_limit():
    """A tree as deep as allowed is judged; a schema that refers to itself for ever is an error."""
    tree: dict = {}
    for _ in range(MAX_DEPTH - 10):
        tree = {"child": tree}
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    with contextlib.suppress(LimitExceededError):  # a deep caller leaves less of the stack
        check(tree, schema)
    with pytest.raises(LimitExceededError, match="recurses"):
        check(1, {"$ref": "#"})


def test_huge_numbers_and_names_are_bounded():
    """No quadratic conversion to decimal, no OverflowError from ``multipleOf``."""
    with pytest.raises(LimitExceededError, match="bits"):
        check([1 << 20_000], {"items": {"multipleOf": 0.1}})
    check([(1 << 1023) - 1], {"items": {"multipleOf": 1}})
    with pytest.raises(SchemaError):
        check([(1 << 1023) - 1], {"items": {"multipleOf": 0.3}})
    with pytest.raises(LimitExceededError, match="name"):
        check({"k" * 10_000: 1}, {})


def test_unique_items_are_compared_as_json_values_in_linear_time():
    """1 and 1.0 are equal, 1 and true are not; many different objects do not take quadratic time."""
    for same in ([1, 1.0], [{"a": 1, "b": [0.0]}, {"b": [0], "a": 1}], [(1,), [1]]):
        with pytest.raises(SchemaError, match="differ"):
            check(same, {"uniqueItems": True})
    check([1, True, "1", None, "None", [1], {"1": 1}, 1.5, "True"], {"uniqueItems": True})
    check([{"a": number} for number in range(20_000)], {"uniqueItems": True})
    check([1, 1], {"uniqueItems": False})


def test_tuples_are_equal_to_arrays_everywhere():
    """Also where a keyword compares values."""
    check({"a": (1, (2,))}, {"properties": {"a": {"const": [1, [2]]}}})
    check((1, 2), {"enum": [[1, 2]]})


@pytest.mark.parametrize(
    "reference", ["https://example.com/s.json", "other.json", "file:///etc/passwd", "//host/x", "https://json-schema.org/draft/2020-12/schema"]
)  # fmt: skip
def test_remote_references_are_a_mistake_of_the_caller(reference, monkeypatch):
    """Nothing is fetched, not even tried, wherever the reference stands."""
    monkeypatch.setattr(socket, "socket", None)
    for schema in ({"$ref": reference}, {"$defs": {"unused": {"anyOf": [{"$ref": reference}]}}}):
        with pytest.raises(ValueError, match="another document"):
            check({}, schema)


def test_local_references_work():
    """Inside the document: pointers, anchors, embedded ids."""
    schema = {
        "$id": "https://example.com/root",
        "$defs": {
            "n": {"type": "integer"},
            "s": {"$anchor": "str", "type": "string"},
            "e": {"$id": "embedded", "type": "null"},
        },
        "prefixItems": [{"$ref": "#/$defs/n"}, {"$ref": "#str"}, {"$ref": "embedded"}],
    }
    check([1, "a", None], schema)
    with pytest.raises(SchemaError):
        check(["1", "a", None], schema)
    with pytest.raises(ValueError, match="leads nowhere"):
        check([1], {"items": {"$ref": "#/$defs/missing"}})
    check({"$ref": "https://example.com"}, {"const": {"$ref": "https://example.com"}})


def test_the_draft_is_the_schemas_own():
    """``items`` as a list is draft 7 and is refused in 2020-12."""
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    check([1], old)
    with pytest.raises(SchemaError):
        check(["a"], old)
    with pytest.raises(ValueError, match="not valid"):
        check([1], {"items": [{"type": "integer"}]})
    with pytest.raises(ValueError, match=r"unknown \$schema"):
        check([1], {"$schema": "https://example.com/mine"})
    with pytest.raises(ValueError, match="mixes drafts"):
        check([1], {"$defs": {"a": {"$schema": old["$schema"]}}})
    with pytest.raises(ValueError, match=r"\$schema"):
        check([1], {"$schema": 3})


def test_a_named_draft_does_not_switch_the_bounds_off():
    """Where a subschema names the draft, strings for patterns are bounded all the same."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    schema = {"$schema": draft, "items": {"$ref": "#/$defs/p"}, "$defs": {"p": {"$schema": draft, "pattern": "a"}}}
    with pytest.raises(LimitExceededError, match="too long"):
        check(["x" * 9000], schema)


def test_schemas_by_path_and_name(tmp_path):
    """The three forms of ``schema=``; a changed file is read again."""
    path = tmp_path / "user.json"
    path.write_text(json.dumps(USER))
    check({"name": "a"}, path)
    check({"name": "a"}, str(path))
    assert compiled(path) is compiled(path)
    path.write_text(json.dumps({"type": "array"}))
    with pytest.raises(SchemaError):
        check({"name": "a"}, path)
    made = register_schema("user", USER)
    check({"name": "a"}, "user")
    assert compiled("user") is made is compiled(made)
    register_schema("user", path)
    check([], "user")
    with pytest.raises(ValueError, match=r"registered: user"):
        check({}, "usr")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"type": 3}', '{"pattern": "("}', "\x00"])
def test_bad_schema_files(tmp_path, content):
    """A typo in the schema is the caller's ValueError, before the object is looked at."""
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="schema") as caught:
        check({}, path)
    assert not isinstance(caught.value, SafeloadError)
    with pytest.raises(ValueError, match="schema"):
        check({}, tmp_path)


@pytest.mark.parametrize("schema", [None, 3, [], b"x", True])
def test_wrong_types_of_schema(schema):
    """No silent "no schema"."""
    with pytest.raises(TypeError, match="schema"):
        check({}, schema)
    with pytest.raises((TypeError, ValueError)):
        register_schema("x", {"a": object()})
    with pytest.raises(TypeError):
        register_schema(3, {})


def test_a_compiled_schema_is_a_copy():
    """Changing the dict changes the schema, and only then; the cache does not grow for ever."""
    schema = {"type": "object"}
    made = compiled(schema)
    assert compiled({"type": "object"}) is made
    schema["type"] = "array"
    assert compiled(schema) is not made
    check({}, made)
    for number in range(300):
        compiled({"minimum": number})
    assert len(_by_digest) <= 128


NAMES = st.text() | st.integers()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def _refusal(obj, schema):
    try:
        check(obj, schema)
    except SafeloadError as error:
        return str(error)
    return ""


@given(JSON)
def test_any_object_passes_or_is_a_safeload_error(obj):
    """Nothing else comes out, and no message is long or unprintable."""
    for schema in (USER, {"items": USER, "uniqueItems": True, "additionalProperties": {"pattern": "a"}}):
        message = _refusal(obj, schema)
        assert message.isprintable()
        assert len(message) < 3000
