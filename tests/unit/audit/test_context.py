"""What events answer: which artifact, which context, which request, which globals; and what they never hold."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
import types
from pathlib import Path

import pytest

import safeload
from safeload.audit.testing import assert_valid, capture


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("never",)


def results(events):
    return [
        event
        for event in events
        if event["phase"] == "result" and event["event"] == "safeload.load" and "parent" not in event
    ]


def test_a_refusal_says_what_and_where(tmp_path):
    """The first thing that an analyst asks: which file, which global, how bad."""
    path = tmp_path / "bad\n\x1b[31m.pkl"
    path.write_bytes(pickle.dumps(Hostile()))
    with capture() as events, pytest.raises(safeload.PolicyError) as caught:
        safeload.Loader().load(path)
    (event,) = results(events)
    assert event["verdict"] == "malicious"
    assert event["globals"] == ["posix.mkdir"]
    assert event["source"].endswith("bad\\n\\x1b[31m.pkl")
    assert event["correlation_id"] == caught.value.correlation_id
    with path.open("rb") as file, capture() as events, pytest.raises(safeload.PolicyError):
        safeload.Loader().load(file)
    assert "bad" in results(events)[0]["source"]


def test_names_are_bounded_and_secrets_stay_out():
    """Eight names, each bounded; of a URL neither user nor query; a context is told, the value is not."""
    rubbish = b"(" + b"".join(b"cmodule%d\nname\n" % number for number in range(50)) + b"l."
    key = safeload.Key.generate()
    with capture() as events:
        with pytest.raises(safeload.PolicyError):
            safeload.loads(rubbish)
        loader = safeload.Loader(keys=key)
        data = loader.dumps({"payload": "content-of-it"}, context=("cache", b"\xffkey"))
        loader.loads(data, context=("cache", b"\xffkey"))
        with pytest.raises(Exception):  # noqa: B017 - there is no such place
            safeload.load("memory://user:password@host/there/is?token=secret#x")
    assert len(results(events)[0]["globals"]) == 8
    assert any(event.get("context") == "cache/\\xffkey" for event in events)
    assert any(event.get("source") == "memory://host/there/is" for event in events)
    text = repr(events)
    for never in ("content-of-it", "password", "secret", key.export().split(".")[2]):
        assert never not in text


def test_a_request_is_named_for_threads_and_tasks():
    """A correlation id and labels hold for what a request does, and for nothing beside it."""

    async def request(number):
        with safeload.audit_context(f"request-{number}", {"user": f"u{number}"}):
            await asyncio.sleep(0)
            safeload.loads(pickle.dumps(number))

    async def both():
        await asyncio.gather(request(1), request(2))

    with capture() as events:
        asyncio.run(both())
        with safeload.audit_context("outer", {"a": "1"}), safeload.audit_context(labels={"b": "2"}):
            safeload.loads(pickle.dumps(3))
            thread = threading.Thread(target=lambda: safeload.loads(pickle.dumps(4)))
            thread.start()
            thread.join()
        with safeload.audit_context("broken"), pytest.raises(safeload.SafeloadError) as caught:
            safeload.loads(b"rubbish")
    said = [(event["correlation_id"], event.get("labels")) for event in results(events)]
    assert ("request-1", {"user": "u1"}) in said
    assert ("request-2", {"user": "u2"}) in said
    assert ("outer", {"a": "1", "b": "2"}) in said
    assert [labels for _, labels in said].count(None) == 2
    assert caught.value.correlation_id == "broken"


def test_what_is_said_is_checked_and_escaped():
    """A label is text of the program, but may hold what its clients sent."""
    with capture() as events, safeload.audit_context("a\nb", {"x" * 100: "\x1b[31m" * 100}):
        safeload.loads(pickle.dumps(1))
    assert events[0]["correlation_id"] == "a\\nb"
    for wrong in ({"correlation_id": 5}, {"correlation_id": ""}, {"labels": {"a": 1}}):
        with pytest.raises(TypeError), safeload.audit_context(**wrong):
            pass
    with pytest.raises(ValueError, match="at most"), safeload.audit_context(labels={str(n): "" for n in range(17)}):
        pass


def test_traces_of_opentelemetry(monkeypatch):
    """Where it is loaded, events carry its ids; where it is broken, they are written without."""
    span = types.SimpleNamespace(is_valid=True, trace_id=0xABC, span_id=0xDEF)
    module = types.SimpleNamespace(get_current_span=lambda: types.SimpleNamespace(get_span_context=lambda: span))
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
    with capture() as events:
        safeload.loads(pickle.dumps(1))
    assert (events[0]["trace_id"], events[0]["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    module.get_current_span = None
    with capture() as events:
        safeload.loads(pickle.dumps(1))
    assert "trace_id" not in events[0]
    assert_valid(events[0])


def test_a_trail_that_is_passed_as_an_object_is_required(tmp_path):
    """A required sink that was silently optional loses exactly the events that somebody relies on."""
    sink = safeload.audit.JsonlSink(tmp_path / "no such folder" / "trail.jsonl")
    for audit in (sink, [sink], [print, sink]):
        with pytest.raises(safeload.AuditError):
            safeload.Loader(audit=audit).loads(pickle.dumps(1))


def test_a_trail_takes_a_key_of_safeload(tmp_path):
    """A shared secret makes the macs of a trail; a key that has none is a mistake in the constructor, not at three in the morning."""
    key = safeload.Key.generate("hs256")
    path = tmp_path / "trail.jsonl"
    safeload.Loader(audit=safeload.audit.JsonlSink(path, key=key)).loads(pickle.dumps(1))
    assert safeload.audit.verify_trail(path, key).checked
    assert not safeload.audit.verify_trail(path, safeload.Key.generate()).ok
    for wrong in (safeload.Key.generate("ed25519"), b"secret", "secret"):
        with pytest.raises(TypeError, match="shared secret"):
            safeload.audit.JsonlSink(path, key=wrong)


# --- trails in several files -----------------------------------------------------------------------------------------


@pytest.fixture
def rotated(tmp_path):
    """A trail that was rotated twice, and compressed once."""
    import gzip

    key = safeload.Key.generate()
    path = tmp_path / "trail.jsonl"
    loader = safeload.Loader(audit=safeload.audit.JsonlSink(path, key=key))
    for number in (2, 1):
        loader.loads(pickle.dumps(number))
        path.rename(tmp_path / f"trail.jsonl.{number}")
    loader.loads(pickle.dumps(0))
    (tmp_path / "trail.jsonl.2.gz").write_bytes(gzip.compress((tmp_path / "trail.jsonl.2").read_bytes()))
    (tmp_path / "trail.jsonl.2").unlink()
    return sorted(tmp_path.glob("trail.jsonl*")), key


def test_a_rotated_trail_is_one_chain(rotated, tmp_path):
    """Files in any order, compressed or not, are the trail they were; the anchor may be in any of them."""
    from safeload.audit.trails import verify_trails

    paths, key = rotated
    reports = verify_trails(paths, key)
    assert [Path(path).name for path, _ in reports] == ["trail.jsonl.2.gz", "trail.jsonl.1", "trail.jsonl"]
    assert all(report.ok and report.checked for _, report in reports)
    assert all(report.ok for _, report in verify_trails(paths, key, anchor=reports[0][1].head))
    assert not all(report.ok for _, report in verify_trails(paths, key, anchor=(3, "0" * 64)))
    without = [path for path in paths if not path.name.endswith(".1")]
    assert [report.ok for _, report in verify_trails(without, key)] == [True, False]


def test_the_command_verifies_them(rotated, tmp_path, capfd):
    """``audit verify trail.jsonl* --key-file`` is what a person types; a part of a trail is not called whole."""
    from safeload.cli import main
    from safeload.envelope.keys.providers.file import write_entries

    paths, key = rotated
    write_entries(tmp_path / "key", safeload.KeyRing([key]).entries)
    assert main(["audit", "verify", *map(str, paths), "--key-file", str(tmp_path / "key")]) == 0
    shown = capfd.readouterr().out
    assert shown.count("whole") == 3
    assert "with a mac, checked" in shown
    assert main(["audit", "verify", str(tmp_path / "trail.jsonl")]) == 0
    shown = capfd.readouterr().out
    assert "a part" in shown
    assert "whole" not in shown
    assert "not checked" in shown
    write_entries(tmp_path / "other", safeload.KeyRing([safeload.Key.generate()]).entries)
    assert main(["audit", "verify", *map(str, paths), "--key-file", str(tmp_path / "other")]) == 1


def test_show_answers_questions(tmp_path, capfd):
    """What was refused, from where, for which request, since when."""
    from safeload.cli import main

    trail, bad = tmp_path / "trail.jsonl", tmp_path / "bad.pkl"
    bad.write_bytes(pickle.dumps(Hostile()))
    loader = safeload.Loader(audit=trail)
    loader.loads(pickle.dumps(1))
    with safeload.audit_context("request-7"), pytest.raises(safeload.PolicyError):
        loader.load(bad)

    def lines(*options):
        assert main(["audit", "show", str(trail), *options]) == 0
        return capfd.readouterr().out.splitlines()

    everything = lines("--json")
    assert len(lines("--json", "--correlation", "request-7")) < len(everything)
    assert lines("--json", "--since", "2000-01-01") == everything
    assert lines("--json", "--since", "2999-01-01T00:00+02:00") == []
    assert len(lines("--json", "--source", "bad.pkl", "--outcome", "refused")) == 1
    assert lines("--verdict", "malicious", "--json") == lines(
        "--json", "--verdict", "malicious", "--correlation", "request-7"
    )
    assert "posix.mkdir" in " ".join(lines("--outcome", "refused"))
    assert main(["audit", "show", str(trail), "--since", "yesterday"]) == 2


def test_following_goes_on_across_a_rotation(tmp_path):
    """Somebody who watches a trail sees each event once, also when the file is exchanged beneath."""
    from safeload.audit.reading import follow_trail

    trail = tmp_path / "trail.jsonl"
    loader = safeload.Loader(audit=trail)
    loader.loads(pickle.dumps(1))
    seen, done = [], threading.Event()
    thread = threading.Thread(target=lambda: seen.extend(follow_trail(trail, until=done.is_set)))
    thread.start()
    import time

    time.sleep(0.5)
    loader.loads(pickle.dumps(2))
    time.sleep(0.5)
    trail.rename(tmp_path / "trail.jsonl.1")
    loader.loads(pickle.dumps(3))
    time.sleep(0.8)
    done.set()
    thread.join()
    written = [*safeload.audit.read_trail(tmp_path / "trail.jsonl.1"), *safeload.audit.read_trail(trail)]
    assert [event["event_id"] for event in seen] == [event["event_id"] for event in written]
