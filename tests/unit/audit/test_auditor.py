"""The auditor: order of events, failing sinks, PEP 578 events."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading

import pytest

from safeload import audit
from safeload.audit import SILENT, Auditor, MemorySink
from safeload.audit.testing import assert_valid, capture
from safeload.errors import AuditError, PolicyError, VerificationError

SHA = "cd" * 32


class FailingSink:
    """Fails with an exception on the chosen phases, and records what it was given otherwise."""

    name = "failing"

    def __init__(self, *phases, error=None):
        self.phases = phases
        self.error = error or OSError(errno.ENOSPC, "No space left on device")
        self.events = []

    def emit(self, event):
        if event["phase"] in self.phases:
            raise self.error
        self.events.append(event)


@pytest.fixture(params=["silent", "recorded"])
def auditor(request):
    """An auditor without and one with a sink: what must hold for both."""
    return SILENT if request.param == "silent" else Auditor([MemorySink()])


def test_children_share_the_correlation_id_and_the_artifact():
    """All events of one load can be found together."""
    with capture() as events, SILENT.operation("load", sha256=SHA, size=7, container="pickle") as load:
        with load.child("verify", key_id="ab" * 16):
            pass
        with load.child("decide") as decide:
            decide.set(verdict="clean")
    assert {event["correlation_id"] for event in events} == {load.correlation_id}
    assert {event["sha256"] for event in events} == {SHA}
    assert [event.get("parent") for event in events] == [None, "load", "load", "load", "load", None]
    assert [event["phase"][0] for event in events] == list("aararr")
    assert "key_id" not in events[3]
    assert len({event["operation_id"] for event in events}) == 3
    assert events[-1]["duration_us"] >= events[-2]["duration_us"]


def test_the_attempt_is_written_before_the_body_runs():
    """A file that kills the process leaves an attempt behind."""
    sink = MemorySink()
    with Auditor([sink]).operation("load"):
        assert [event["phase"] for event in sink.events] == ["attempt"]


def test_an_exception_passes_through_and_is_on_record(auditor):
    """The result says why, and the error stays what it was."""
    error = PolicyError("no", code="policy.refused")
    with pytest.raises(PolicyError) as caught, auditor.operation("load"):
        raise error
    assert caught.value is error
    for sink in auditor.sinks:
        assert (sink.events[-1]["outcome"], sink.events[-1]["reason_code"]) == ("refused", "policy.refused")
        assert_valid(sink.events[-1])


def test_the_private_reason_goes_to_the_trail_only():
    """Verification failures have one public message; the trail knows more."""
    error = VerificationError("the envelope does not verify")
    error.reason = "claims digest\nmismatch"
    with capture() as events, pytest.raises(VerificationError), SILENT.operation("verify"):
        raise error
    assert events[-1]["reason"] == "claims digest\\nmismatch"


def test_set_outcome_and_reason_win_unless_they_say_ok():
    """A stage may name its own reason; it cannot call a failure a success."""

    def fail():
        with SILENT.operation("scan") as scan:
            scan.set(outcome="ok", reason_code="scan.own")
            raise ValueError("x")

    with capture() as events, pytest.raises(ValueError, match="x"):
        fail()
    assert (events[-1]["outcome"], events[-1]["reason_code"]) == ("error", "scan.own")


def test_optional_sink_that_fails_is_counted_and_breaks_nothing():
    """A full disk must not stop a service that did not ask for that."""
    failing, good = FailingSink("attempt", "result"), MemorySink()
    auditor = Auditor([failing, good])
    with auditor.operation("load"):
        pass
    assert dict(auditor.dropped) == {"failing": 2, "memory": 0}
    assert [event["phase"] for event in good.events] == ["attempt", "result"]
    assert good.events[-1]["dropped"] == 1
    for event in good.events:
        assert_valid(event)


def test_required_sink_that_fails_on_the_attempt_stops_the_operation():
    """Not a byte is looked at when the attempt cannot be written; sinks that took it learn the end."""
    good = MemorySink()
    auditor = Auditor([good], required=[FailingSink("attempt")])
    ran = False
    with pytest.raises(AuditError, match="No space left") as caught, auditor.operation("load"):
        ran = True
    assert not ran
    assert isinstance(caught.value.__cause__, OSError)
    assert [(event["phase"], event.get("reason_code")) for event in good.events] == [
        ("attempt", None),
        ("result", "audit.sink-failed"),
    ]


def test_required_sink_that_fails_on_the_result_withholds_the_object():
    """An object whose loading is not on record is not handed out."""
    auditor = Auditor(required=[FailingSink("result")])
    with pytest.raises(AuditError, match="withheld"), auditor.operation("load"):
        pass


def test_required_sink_failure_does_not_mask_an_error():
    """The first error stays the error; the second is a note on it."""
    auditor = Auditor(required=[FailingSink("result")])
    with pytest.raises(PolicyError) as caught, auditor.operation("load"):
        raise PolicyError("no")
    assert "failing" in caught.value.__notes__[0]
    assert auditor.dropped["failing"] == 1


def test_a_child_that_cannot_be_audited_stops_the_whole():
    """A required sink that breaks down halfway stops the load at the next stage."""
    sink = FailingSink()

    def load():
        with Auditor(required=[sink]).operation("load") as operation:
            sink.phases = ("attempt", "result")
            with operation.child("verify"):
                pytest.fail("must not run")

    with pytest.raises(AuditError):
        load()


def test_the_message_of_a_foreign_sink_error_is_not_quoted():
    """What a sink's exception says may be about what it was given, or be hostile text."""
    auditor = Auditor(required=[FailingSink("attempt", error=RuntimeError("\x1b[2J secret"))])
    with pytest.raises(AuditError) as caught, auditor.operation("load"):
        pass
    assert "secret" not in str(caught.value)
    assert "RuntimeError" in str(caught.value)


def test_a_sink_that_loads_artifacts_does_not_audit_its_own_auditing():
    """A callable that uses safeload itself ends, instead of recursing."""
    calls = []

    def function(event):
        calls.append(event)
        with auditor.operation("load"):
            pass

    auditor = audit.build(function)
    with auditor.operation("load"):
        pass
    assert len(calls) == 2
    assert auditor.dropped == {"callable": 0}


def test_keyboard_interrupt_of_a_sink_is_not_swallowed():
    """Only exceptions are failures of a sink; leaving the process is not."""
    auditor = Auditor([FailingSink("attempt", error=KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt), auditor.operation("load"):
        pass
    with capture() as events, SILENT.operation("load"):
        pass
    assert len(events) == 2


def test_auditor_is_frozen_and_checks_its_sinks():
    """Configuration cannot change behind a loader's back, and a wrong sink is noticed at once."""
    auditor = Auditor([MemorySink(), MemorySink()])
    with pytest.raises(AttributeError):
        auditor.sinks = ()
    assert set(auditor.dropped) == {"memory", "memory#2"}
    with pytest.raises(TypeError):
        auditor.dropped["memory"] = 3
    with pytest.raises(TypeError, match="emit"):
        Auditor([print])
    with pytest.raises(TypeError, match="emit"):
        Auditor([MemorySink])
    sink = MemorySink()
    assert Auditor([sink], required=[sink]).sinks == ()


def test_unknown_operation_is_a_mistake_of_the_caller(auditor):
    """An operation outside the schema cannot be audited by accident."""
    with pytest.raises(KeyError):
        auditor.operation("explode").__enter__()


def test_host_is_named_only_on_request():
    """The host's name is off by default."""
    for host in (False, True):
        sink = MemorySink()
        with Auditor([sink], host=host).operation("load"):
            pass
        assert ("host" in sink.events[0]) is host
        assert_valid(sink.events[0])


def test_capture_sees_every_thread_and_nothing_after_it_ends():
    """The test helper is process-wide and leaves no trace."""

    def work():
        with SILENT.operation("scan"):
            pass

    with capture() as events:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert SILENT.active
    work()
    assert len(events) == 2
    assert not SILENT.active


def test_capture_rejects_an_event_outside_the_schema():
    """A pipeline test that captures also proves the schema."""
    with pytest.raises(AssertionError, match="verdict"), capture(), SILENT.operation("load") as load:
        load.set(verdict="splendid")


HOOK = """
import json, sys
seen = []
sys.addaudithook(lambda name, args: seen.append([name, *args]) if name.startswith("safeload.") else None)
from safeload.audit import Auditor, MemorySink, SILENT
from safeload.errors import VerificationError
auditor = SILENT if sys.argv[1] == "silent" else Auditor([MemorySink()])
try:
    with auditor.operation("load") as load:
        load.set(sha256="ff")
        with load.child("verify"):
            error = VerificationError("public")
            error.reason = "tag"
            raise error
except VerificationError:
    pass
print(json.dumps([seen, load.correlation_id]))
"""


@pytest.mark.parametrize("kind", ["silent", "recorded"])
def test_sys_audit_events_are_always_raised(kind):
    """PEP 578 hooks see each phase with correlation id, reason and digest, sink or not."""
    run = subprocess.run([sys.executable, "-c", HOOK, kind], capture_output=True, text=True, check=True)
    seen, correlation = json.loads(run.stdout)
    assert seen == [
        ["safeload.load", "attempt", correlation, "", ""],
        ["safeload.verify", "attempt", correlation, "", "ff"],
        ["safeload.verify", "result", correlation, "tag", "ff"],
        ["safeload.load", "result", correlation, "tag", "ff"],
    ]


VETO = """
import sys
def hook(name, args):
    if name == "safeload.load" and args[0] == sys.argv[2]:
        raise RuntimeError("vetoed")
sys.addaudithook(hook)
from safeload.audit import Auditor, MemorySink, SILENT
sink = MemorySink()
auditor = SILENT if sys.argv[1] == "silent" else Auditor([sink])
try:
    with auditor.operation("load"):
        if sys.argv[3] == "failing":
            raise KeyError("own")
except Exception as error:
    print(type(error).__name__, [e.get("outcome", "-") for e in sink.events], len(getattr(error, "__notes__", ())))
"""


@pytest.mark.parametrize(
    ("kind", "phase", "body", "expected"),
    [
        ("silent", "attempt", "fine", "RuntimeError [] 0"),
        ("silent", "result", "fine", "RuntimeError [] 0"),
        ("silent", "result", "failing", "KeyError [] 1"),
        ("recorded", "attempt", "fine", "RuntimeError [] 0"),
        ("recorded", "result", "fine", "RuntimeError ['-', 'error'] 0"),
        ("recorded", "result", "failing", "KeyError ['-', 'error'] 1"),
    ],
)
def test_an_audit_hook_may_veto_but_not_hide_an_error(kind, phase, body, expected):
    """A raising hook stops an operation that goes well; of a failing one the own error stays."""
    run = subprocess.run([sys.executable, "-c", VETO, kind, phase, body], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == expected
