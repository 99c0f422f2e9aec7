"""The sinks and what ``audit=`` takes; the conformance tests run over the registry."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys

import pytest

from safeload import audit
from safeload.audit import SILENT, Auditor, CallableSink, JsonlSink, LoggingSink, MemorySink, read_trail, verify_trail
from safeload.audit.event import make_event
from safeload.audit.sinks import Sink, registry
from safeload.audit.sinks import jsonl as jsonl_module
from safeload.errors import AuditError, PolicyError

SHA = "ef" * 32


def event(op="load", phase="attempt", **fields):
    return make_event(op, phase, "0" * 16 + "-1", "0" * 16 + "-1", "", fields)


def test_registry_holds_every_sink_of_the_package():
    """Adding a sink is adding one module."""
    assert set(registry()) == {"callable", "jsonl", "logging", "memory"}


@pytest.mark.parametrize("name", sorted(registry()))
def test_registered_sinks_keep_the_contract(name):
    """A sink class has a name, refuses foreign values with ``None``, and is a Sink."""
    kind = registry()[name]
    assert kind.name == name
    assert kind.of(object()) is None
    assert isinstance(kind.required_by_default, bool)
    assert callable(kind.emit)


@pytest.mark.parametrize("make", [MemorySink, lambda: CallableSink(lambda event: event.clear()), LoggingSink])
def test_sinks_leave_the_event_as_it_is(make):
    """One sink cannot change what the next one gets."""
    given = event()
    copy = dict(given)
    sink = make()
    assert isinstance(sink, Sink)
    sink.emit(given)
    assert given == copy


def test_memory_sink_is_bounded_on_request():
    """A long-running program can keep the latest events only."""
    sink = MemorySink(limit=2)
    for op in ("load", "scan", "dump"):
        sink.emit(event(op))
    assert [item["event"] for item in sink.events] == ["safeload.scan", "safeload.dump"]


def test_callable_sink_wants_a_function():
    """A mistake shows when the sink is made, not when the first event is lost."""
    with pytest.raises(TypeError, match="callable"):
        CallableSink(3)


def test_logging_level_follows_the_outcome(caplog):
    """Refusals are warnings, failures are errors, and the structured event rides along."""
    caplog.set_level(logging.DEBUG, "safeload.audit")
    auditor = Auditor([LoggingSink()])
    with auditor.operation("load", sha256=SHA):
        pass
    with pytest.raises(PolicyError), auditor.operation("load"):
        raise PolicyError("no")
    with pytest.raises(ZeroDivisionError), auditor.operation("load"):
        raise ZeroDivisionError
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.DEBUG, logging.INFO, logging.DEBUG, logging.WARNING, logging.DEBUG, logging.ERROR]
    assert caplog.records[1].safeload["sha256"] == SHA
    assert f"safeload.load result outcome=ok sha256={SHA}" in caplog.records[1].getMessage()


def test_a_hostile_name_cannot_forge_a_log_line(caplog):
    """Whatever an artifact puts into a field, one event stays one line."""
    caplog.set_level(logging.DEBUG, "safeload.audit")
    with Auditor([LoggingSink()]).operation("load", reason_code="x\nINFO root: all is well", container="a\r\x1b[1m"):
        pass
    for record in caplog.records:
        assert record.getMessage().isprintable()


def test_build_takes_everything_that_audit_takes(tmp_path):
    """``audit=`` in all its forms."""
    logger = logging.getLogger("safeload.test")
    memory = MemorySink()
    assert audit.build(None) is SILENT
    auditor = Auditor()
    assert audit.build(auditor) is auditor
    assert isinstance(audit.build(logger).sinks[0], LoggingSink)
    assert isinstance(audit.build(print).sinks[0], CallableSink)
    assert audit.build(memory).sinks == (memory,)
    trail = audit.build(tmp_path / "trail.jsonl")
    assert isinstance(trail.required[0], JsonlSink)
    combined = audit.build([memory, tmp_path / "trail.jsonl", Auditor([MemorySink()], host=True), None])
    assert [sink.name for sink in combined.required] == ["jsonl"]
    assert [sink.name for sink in combined.sinks] == ["memory", "memory"]
    assert combined.host


def test_build_opens_one_trail_per_path(tmp_path, monkeypatch):
    """A path named in every load does not cost a descriptor per load, and old ones are closed."""
    monkeypatch.chdir(tmp_path)
    first = audit.build("a.jsonl")
    assert audit.build(tmp_path / "a.jsonl") is first
    with first.operation("load"):
        pass
    for number in range(40):
        with audit.build(f"{number}.jsonl").operation("load"):
            pass
    assert first.required[0]._fd == -1
    with first.operation("load"):  # still usable by whoever holds it
        pass
    assert verify_trail("a.jsonl").events == 4


@pytest.mark.parametrize("value", [3, 2.5, object(), JsonlSink, {"a": 1}, b"path"])
def test_build_refuses_everything_else(value):
    """A mistake in ``audit=`` is a TypeError, not a silent load without a trail."""
    with pytest.raises(TypeError, match="audit="):
        audit.build(value)


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@posix
def test_trail_is_private_and_its_lines_are_whole(tmp_path):
    """Created 0600 whatever the umask; every line ends in a newline."""
    path = tmp_path / "trail.jsonl"
    old = os.umask(0)
    try:
        with audit.build(path).operation("load"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().count(b"\n") == 2
    assert [item["phase"] for item in read_trail(path)] == ["attempt", "result"]


@posix
def test_a_symbolic_link_is_refused(tmp_path):
    """Who can plant a link would choose the file that is written."""
    victim = tmp_path / "victim"
    link = tmp_path / "trail.jsonl"
    link.symlink_to(victim)
    with pytest.raises(AuditError, match="symbolic link"), audit.build(link).operation("load"):
        pytest.fail("must not run")
    assert not victim.exists()


@posix
def test_a_fifo_is_refused_without_hanging(tmp_path):
    """A pipe in the trail's place must not block the loader."""
    os.mkfifo(tmp_path / "trail.jsonl")
    with pytest.raises(AuditError, match="regular file"):
        JsonlSink(tmp_path / "trail.jsonl").emit(event())
    with pytest.raises(AuditError, match="regular file"):
        verify_trail(tmp_path / "trail.jsonl")


@pytest.mark.parametrize(
    ("name", "words"), [("missing/trail.jsonl", "directory does not exist"), (".", "directory: name a file")]
)
def test_unwritable_paths_say_what_to_do(tmp_path, name, words):
    """No silent loss, and a message that helps."""
    with pytest.raises(AuditError, match=words) as caught:
        JsonlSink(tmp_path / name).emit(event())
    assert caught.value.code == "audit.unwritable"
    with pytest.raises(AuditError, match=r"cannot read|not a regular"):
        verify_trail(tmp_path / name)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_a_path_without_permission(tmp_path, monkeypatch, error):
    """Simulated, because tests may run as root."""

    def refuse(*args):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(jsonl_module.os, "open", refuse)
    with pytest.raises(AuditError, match="the right to append"):
        JsonlSink(tmp_path / "trail.jsonl").emit(event())


def test_somebody_elses_file_is_not_appended_to(tmp_path):
    """``audit="model.pkl"`` is a slip that must not destroy the model."""
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(AuditError, match="does not end in audit events"):
        JsonlSink(path).emit(event())
    assert path.read_bytes() == b"\x80\x04N."


def test_a_full_disk_leaves_a_whole_trail(tmp_path, monkeypatch):
    """A short write is taken back, the operation is stopped, and the trail goes on when there is space again."""
    path = tmp_path / "trail.jsonl"
    sink = JsonlSink(path)
    sink.emit(event())
    real = os.write
    monkeypatch.setattr(jsonl_module.os, "write", lambda fd, data: real(fd, data[:20]))
    with pytest.raises(AuditError, match="disk is full"), Auditor(required=[sink]).operation("load"):
        pytest.fail("must not run")
    optional = Auditor([sink])
    with optional.operation("load"):
        pass
    assert optional.dropped == {"jsonl": 2}
    monkeypatch.setattr(jsonl_module.os, "write", real)
    sink.emit(event("scan"))
    report = verify_trail(path)
    assert (report.ok, report.events, report.torn) == (True, 2, ())


def test_a_write_that_fails_outright(tmp_path, monkeypatch):
    """ENOSPC without a byte written."""

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = JsonlSink(tmp_path / "trail.jsonl")
    monkeypatch.setattr(jsonl_module.os, "write", full)
    with pytest.raises(AuditError, match="disk is full"):
        sink.emit(event())


def test_an_event_that_is_too_long_is_refused(tmp_path):
    """Whoever calls the sink directly cannot write a line that no reader would accept."""
    with pytest.raises(AuditError, match="does not fit"):
        JsonlSink(tmp_path / "trail.jsonl").emit({"x": "y" * 40_000})


def test_fsync_and_close(tmp_path, monkeypatch):
    """Fsync on request, once per event; a closed sink opens again."""
    synced = []
    monkeypatch.setattr(jsonl_module.os, "fsync", synced.append)
    sink = JsonlSink(tmp_path / "trail.jsonl", fsync=True)
    sink.emit(event())
    sink.close()
    Auditor([sink]).close()
    sink.emit(event())
    assert len(synced) == 2
    assert verify_trail(tmp_path / "trail.jsonl").ok
    assert sink.head() == verify_trail(tmp_path / "trail.jsonl").head
