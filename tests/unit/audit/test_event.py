"""Events: the vocabulary, and that no value can leave its bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from safeload import errors
from safeload.audit import Auditor, MemorySink
from safeload.audit.event import (
    AUDIT_NAMES,
    FIELD_NAMES,
    MAX_RULES,
    MAX_TEXT,
    Fields,
    Op,
    clean,
    describe_error,
    new_id,
)
from safeload.audit.testing import assert_valid, capture, event_schema
from safeload.facts.suites import Suite
from safeload.findings import Finding, Severity, Verdict

SHA = "ab" * 32


def result_of(**fields):
    """The result event of an operation with these fields, checked against the schema."""
    with capture() as events, Auditor().operation("load", **fields):
        pass
    return events[-1]


def test_schema_is_valid_and_names_the_same_operations():
    """The published schema and the code cannot drift apart."""
    import jsonschema

    schema = event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]["event"]["enum"]) == set(AUDIT_NAMES.values())
    assert set(schema["properties"]["parent"]["enum"]) == set(get_args(Op))
    renamed = {"rules" if name == "findings" else name for name in FIELD_NAMES}
    assert renamed <= set(schema["properties"])
    assert set(Fields.__annotations__) == FIELD_NAMES


@pytest.mark.parametrize("op", get_args(Op))
def test_every_operation_makes_two_valid_events(op):
    """Attempt and result of each operation match the schema and share their ids."""
    with capture() as events, Auditor().operation(op, sha256=SHA, size=3):
        pass
    attempt, result = events
    assert (attempt["event"], attempt["phase"]) == (f"safeload.{op}", "attempt")
    assert (result["phase"], result["outcome"]) == ("result", "ok")
    assert attempt["operation_id"] == result["operation_id"]
    assert attempt["event_id"] != result["event_id"]
    assert "outcome" not in attempt


def test_all_fields_in_their_documented_types():
    """Each field takes the type that the pipeline has at hand."""
    finding = Finding("policy.call-not-allowed", Severity.HIGH, "SECRET message", evidence="SECRET")
    event = result_of(
        sha256=SHA,
        size=10,
        payload_size=9,
        container="pickle",
        codec="pickle",
        layout="inline",
        key_id=b"\x01" * 16,
        suite=Suite.HS256_GCM,
        policy_digest=SHA,
        program=SHA,
        verdict=Verdict.CLEAN,
        findings=[finding, finding, "x.y"],
        streams=1,
        operations=2,
        action="fetch",
        unsafe=("mmap",),
        reason_code="a.b",
        reason="because",
    )
    assert event["key_id"] == "01" * 16
    assert event["suite"] == "hs256-gcm"
    assert event["verdict"] == "clean"
    assert event["rules"] == ["policy.call-not-allowed", "x.y"]
    assert event["unsafe"] == ["mmap"]
    assert "SECRET" not in json.dumps(event)


def test_empty_values_are_left_out():
    """``None`` and empty mean: not known; the pipeline need not test before it tells."""
    event = result_of(sha256="", size=None, key_id=None, findings=[], unsafe=(), verdict=None)
    assert not {"sha256", "size", "key_id", "rules", "unsafe", "verdict"} & set(event)


class Loud:
    """An object as a payload could make it: whoever looks at it in words gives the secret away."""

    def __repr__(self):
        raise AssertionError("repr of a payload object")

    __str__ = __repr__
    __format__ = __repr__


@pytest.mark.parametrize("field", sorted(FIELD_NAMES - {"outcome"}))
def test_a_payload_object_in_a_field_is_never_looked_at(field):
    """A wrong type in any field gives the word "invalid", not its text, and no exception in production."""
    sink = MemorySink()
    with Auditor([sink]).operation("load", **{field: Loud()}):
        pass
    name = "rules" if field == "findings" else field
    assert sink.events[-1][name] in ("invalid", ["invalid"])


def test_a_payload_object_inside_a_list_is_never_looked_at():
    """The same for the items of findings and unsafe flags."""
    sink = MemorySink()
    with Auditor([sink]).operation("load", findings=[Loud()], unsafe=[Loud()]):
        pass
    assert sink.events[-1]["rules"] == ["invalid"]


def test_unknown_field_is_a_mistake_of_the_caller():
    """Nothing reaches an event but by a field that has a rule."""
    auditor = Auditor([MemorySink()])
    with pytest.raises(TypeError, match="no such audit field: payload"):
        auditor.operation("load", payload="x")
    with pytest.raises(TypeError, match="payload"), auditor.operation("load") as operation:
        operation.set(payload="x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egpj", "\\u202egpj"),
        ("back\\slash", "back\\\\slash"),
        ("\ud800", "\\ud800"),
        ("x" * (MAX_TEXT + 1), "x" * (MAX_TEXT - 3) + "..."),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
    ],
)
def test_clean_escapes_and_bounds(text, expected):
    """No control character, no direction override and no lone surrogate reaches a log."""
    assert clean(text) == expected


def test_lists_are_bounded():
    """A hostile artifact with a million findings makes a line of bounded length."""
    event = result_of(findings=[f"rule.{i}" for i in range(1000)])
    assert len(event["rules"]) == MAX_RULES


def test_numbers_are_bounded():
    """An announced length of 2**200 stays a number every reader can take."""
    assert result_of(size=1 << 200)["size"] == 1 << 63
    assert result_of(size=-5)["size"] == 0


class ForeignError(Exception):
    """As a payload could raise it."""


def test_describe_error_names_codes_and_only_builtin_classes():
    """Refusals, failures and foreign exceptions are told apart; a foreign class is not named."""
    refusal = errors.VerificationError("public", code="envelope.verification")
    refusal.reason = "tag mismatch"
    assert describe_error(refusal) == ("refused", "envelope.verification", "tag mismatch")
    assert describe_error(errors.LoadError("x"))[:2] == ("error", "load.failed")
    assert describe_error(KeyboardInterrupt())[:2] == ("error", "exception.KeyboardInterrupt")
    assert describe_error(ForeignError("SECRET")) == ("error", "exception.other", "")


def test_assert_valid_tells_what_is_wrong():
    """The helper for users' tests fails on an event that does not match."""
    event = result_of()
    assert_valid(event)
    with pytest.raises(AssertionError, match="verdict"):
        assert_valid(event | {"verdict": "fine"})
    with pytest.raises(AssertionError, match="surprise"):
        assert_valid(event | {"surprise": 1})
    with pytest.raises(AssertionError, match="outcome"):
        assert_valid({name: value for name, value in event.items() if name != "outcome"})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_ids_differ_after_a_fork():
    """A forked worker must not repeat the ids of its parent."""
    code = (
        "import os; from safeload.audit.event import new_id\n"
        "r, w = os.pipe(); pid = os.fork(); mine = new_id()\n"
        "if not pid: os.write(w, mine.encode()); os._exit(0)\n"
        "os.waitpid(pid, 0); print(mine != os.read(r, 99).decode())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert run.stdout.strip() == "True"
    assert new_id() != new_id()
