"""Patterns in schemas: exponential ones are refused, everyday ones are not."""

from __future__ import annotations

import pytest

from safeload.errors import LimitExceededError, SchemaError
from safeload.validate import check, register_schema
from safeload.validate.patterns import MAX_PATTERN_TEXT, check_pattern

EXPONENTIAL = [
    r"^(a+)+$", r"^(a*)*$", r"(a|a)*$", r"(a|ab|b)*$", r"^(\w+\s?)*$", r"^([a-zA-Z0-9]+)*$", r"(x+x+)+y", r"(.*)*",
    r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(a?a?,)*$", r"((a|a),)*$", r"(a+){10,}$", r"(a+){,}$", r"((a+)+b)*+$",
    r"(?>(a+)+b)*", r"(\ba+)*$", "([\u03b1-\u03c9]+[\u03b1-\u03c9]+)*", r"(?P<x>a+)+", r"(a+)+(?=b)", r"(a)\1*(b+)*",
    r"(?:(?:a|aa)+)+$", r"(\d+|\w)*$", r"(?i:a+)+", r"([^,]*,?)*$",
    r"^(,(\w*)?)*$", r"^(((,)*?)?a)*?$", r"^(a(b*)?)*?$", r"^((,?)?[^,])*$", r"((a?){2},)*$",
]  # fmt: skip
EVERYDAY = [
    r"^[a-z]+$", r"^\d{4}-\d{2}-\d{2}$", r"^[a-z]+(-[a-z]+)*$", r"^([a-z]+\.)+[a-z]{2,}$",
    r"^(?:[a-z0-9_]+,)*[a-z0-9_]+$",
    r"^#([0-9a-f]{3}|[0-9a-f]{6})$", r"^[^@]+@[^@]+\.[a-z]+$", r"^(a|b)*$", r"^(?:[a-z]|%[0-9a-f]{2})*$", r"^(ab)+$",
    r"^(?>a+)+$", r"^(a+)*+$", r"^(a++)$", r"^(\d{1,3},)*\d{1,3}$", r"^(/[^/]+)+$", r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$",
    r"^v?\d+(\.\d+)*$", r"(a)?b", r"^(\[[0-9]+\])*$", r"(?i)abc", r"^([^\\\"]|\\.)*$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", EXPONENTIAL)
def test_patterns_that_can_explode_are_refused(pattern):
    """The schema's author learns it when the schema is made, not when a hostile string arrives."""
    with pytest.raises(ValueError, match="exponential"):
        check_pattern(pattern)
    check_pattern(pattern, unsafe=True)


@pytest.mark.parametrize("pattern", EVERYDAY)
def test_everyday_patterns_are_accepted(pattern):
    """The test must not get in the way of what people write."""
    check_pattern(pattern)


def test_patterns_are_found_wherever_they_stand():
    """In properties, as names of patternProperties, below $defs."""
    for schema in (
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"patternProperties": {"(a+)+$": {}}},
        {"$defs": {"a": {"items": {"pattern": "(a+)+$"}}}},
    ):
        with pytest.raises(ValueError, match="exponential"):
            check({}, schema)
        register_schema("accepted", schema, unsafe_patterns=True)
        check({}, "accepted")
        with pytest.raises(ValueError, match="exponential"):  # accepted for the name only
            check({}, schema)
    check({"pattern": "x"}, {"properties": {"pattern": {"type": "string"}}, "const": {"pattern": "x"}})


def test_strings_for_patterns_are_bounded():
    """What is left of backtracking is polynomial, and gets a short string."""
    check("a" * MAX_PATTERN_TEXT, {"pattern": "^a"})
    with pytest.raises(LimitExceededError, match="maxLength"):
        check("a" * (MAX_PATTERN_TEXT + 1), {"pattern": "^a"})
    with pytest.raises(SchemaError):
        check("b", {"pattern": "^a"})
    check(3, {"pattern": "^a"})
