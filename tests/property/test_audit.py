"""Properties of the audit: events stay valid, bounded and printable; a trail accepts nothing that was changed."""

from __future__ import annotations

import hmac
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safeload.audit import Auditor, JsonlSink, LoggingSink, MemorySink, build, read_trail, verify_trail
from safeload.audit.chain import MAX_LINE, START, encode, parse
from safeload.audit.event import MAX_TEXT, clean
from safeload.audit.testing import assert_valid

TEXT_FIELDS = ("container", "codec", "layout", "suite", "reason", "action")
TEXT = st.text(st.characters(), max_size=400) | st.text("\x00\n\r\x1b\u202e\u2028\ud800\\\"'", max_size=300)


@given(TEXT)
def test_clean_text_is_bounded_printable_ascii(text):
    """No string reaches a log as anything but short printable ASCII."""
    cleaned = clean(text)
    assert cleaned.isascii()
    assert cleaned.isprintable() or not cleaned
    assert len(cleaned) <= MAX_TEXT


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(TEXT_FIELDS, TEXT)), st.lists(TEXT, max_size=50))
def test_hostile_strings_in_fields_make_valid_events_of_one_line(fields, words):
    """Whatever strings an artifact brings, each event matches the schema and fits into one line."""
    sink, lines = MemorySink(), []
    auditor = Auditor([sink, LoggingSink(), build(lines.append).sinks[0]])
    with auditor.operation("load", **fields) as operation:
        operation.set(findings=words, unsafe=words)
    assert len(lines) == 2
    for event in sink.events:
        assert_valid(event)
        line = encode(event, START)
        assert b"\n" not in line
        assert len(line) <= MAX_LINE
        assert parse(line).event == event


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=100),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([*TEXT_FIELDS, "sha256", "size", "key_id", "findings", "unsafe", "verdict", "reason_code"]), VALUES
)
def test_any_value_in_any_field_is_survived(field, value):
    """A wrong type never breaks a load, and the line stays bounded."""
    sink = MemorySink()
    with Auditor([sink]).operation("load", **{field: value}):
        pass
    assert len(json.dumps(sink.events[-1])) < MAX_LINE


class Key:
    """Authenticates lines, as a key of the keys package does."""

    def mac(self, data):
        return hmac.digest(b"k" * 32, data, "sha256")


@pytest.fixture(scope="module", params=[None, Key()], ids=["plain", "keyed"])
def trail(tmp_path_factory, request):
    """The bytes of a trail, and its key."""
    path = tmp_path_factory.mktemp("trail") / "trail.jsonl"
    auditor = Auditor(required=[JsonlSink(path, key=request.param)])
    for number in range(4):
        with auditor.operation("load", size=number):
            pass
    return path.read_bytes(), request.param


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_a_changed_trail_is_reported_or_is_a_prefix(trail, tmp_path, data):
    """Any splice of the file: not ok, or only the end is missing or, without a key, the last line changed."""
    trail, key = trail
    start = data.draw(st.integers(0, len(trail)))
    end = data.draw(st.integers(start, len(trail)))
    changed = trail[:start] + data.draw(st.binary(max_size=20) | st.just(trail[: start // 2])) + trail[end:]
    path = tmp_path / "changed.jsonl"
    path.write_bytes(changed)
    report = verify_trail(path, key)
    kept = list(read_trail(path))
    if report.ok:
        whole = changed[: changed.rfind(b"\n") + 1].splitlines(keepends=True)
        protected = whole if key else whole[:-1]
        assert protected == trail.splitlines(keepends=True)[: len(protected)]
        assert len(kept) == report.events


@given(st.binary(max_size=200))
def test_parsing_a_line_never_raises(line):
    """A reader of a hostile trail gets a record or nothing."""
    assert parse(line) is None
