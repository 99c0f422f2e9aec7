"""The trail: one chain by many writers, crashes survived, every manipulation reported."""

from __future__ import annotations

import hashlib
import hmac
import json
import multiprocessing
import os
import random
import sys
import threading

import pytest

from safeload.audit import Auditor, Head, JsonlSink, read_trail, trail_head, verify_trail
from safeload.audit import lock as lock_module
from safeload.audit import trail_file as trail_module
from safeload.audit.chain import GENESIS, MAX_LINE, START, digest, encode, parse
from safeload.audit.event import make_event
from safeload.audit.testing import assert_valid
from safeload.errors import AuditError


class Key:
    """A key as the keys package has it."""

    def __init__(self, secret=b"k" * 32):
        self.secret = secret

    def mac(self, data):
        return hmac.new(self.secret, data, hashlib.sha256).digest()


def fill(path, count=6, key=None):
    """A trail of ``count`` attempts; its lines."""
    sink = JsonlSink(path, key=key)
    for number in range(count):
        sink.emit(make_event("load", "attempt", f"{number:016x}-{number}", "0" * 16 + "-0", "", {"size": number}))
    sink.close()
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Torn lines stay torn in these tests."""
    monkeypatch.setattr(trail_module, "_BETWEEN_LOOKS", 0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trail.jsonl"


def test_a_fresh_trail_holds(path):
    """Events come back as written, each valid, the head is the digest of the last line."""
    lines = fill(path)
    report = verify_trail(path)
    assert (report.ok, report.events, report.keyed, report.torn, report.torn_end) == (True, 6, 0, (), False)
    assert report.head == Head(5, hashlib.sha256(lines[-1][:-1]).hexdigest()) == trail_head(path)
    assert report.starts_after == GENESIS
    events = list(read_trail(path))
    assert [event["size"] for event in events] == list(range(6))
    for line, event in zip(lines, events, strict=True):
        assert_valid(event)
        assert_valid(json.loads(line))
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_an_empty_trail_holds(path):
    """No event is no break."""
    path.touch()
    assert verify_trail(path).ok
    assert verify_trail(path).head == trail_head(path) == START


@pytest.mark.parametrize("content", [b"\x80\x04N.", b"\x80\x04N.\n", b"some text", b"\n"])
def test_another_file_is_no_trail(path, content):
    """A wrong path is not reported as a trail that holds: only the beginning of a line can be what a crash left."""
    path.write_bytes(content)
    assert not verify_trail(path).ok
    path.write_bytes(b'{"seq": 1, "pr')
    assert verify_trail(path).ok


def test_unfinished_operations_are_listed(path):
    """An attempt without a result is itself a finding."""
    auditor = Auditor(required=[JsonlSink(path)])
    with auditor.operation("load"):
        pass
    auditor.operation("scan").__enter__()
    report = verify_trail(path)
    assert [event["event"] for event in report.unfinished] == ["safeload.scan"]


def broken(path, lines, **kw):
    path.write_bytes(b"".join(lines))
    report = verify_trail(path, **kw)
    assert not report.ok
    assert not report.checked
    return report.broken


def test_every_edited_byte_is_reported(path):
    """Each byte of a line inside the trail, changed: never accepted."""
    lines = fill(path, 3)
    rng = random.Random(7)
    for position in range(len(lines[1])):
        edited = bytearray(lines[1])
        edited[position] ^= 1 << rng.randrange(8)
        found = broken(path, [lines[0], bytes(edited), lines[2]])
        assert found.line in (2, 3)


def test_every_edited_byte_of_a_keyed_trail_is_reported(path):
    """With a key the last line is protected as well."""
    lines = fill(path, 2, Key())
    assert verify_trail(path, Key()).checked
    for position in range(len(lines[1]) - 1):
        edited = bytearray(lines[1])
        edited[position] ^= 1
        assert broken(path, [lines[0], bytes(edited)], key=Key()).line == 2


@pytest.mark.parametrize(
    ("change", "line", "kind"),
    [
        (lambda x: x[1:], 1, "missing"),
        (lambda x: x[:2] + x[3:], 3, "missing"),
        (lambda x: [x[0], x[2], x[1], *x[3:]], 2, "reordered"),
        (lambda x: [*x[:3], x[1], *x[3:]], 4, "reordered"),
        (lambda x: [*x[:2], x[2].replace(b'"size":2', b'"size":9'), *x[3:]], 4, "edited"),
        (lambda x: [*x[:2], b"junk\n", *x[2:]], 3, "edited"),
        (lambda x: [*x[:2], b"\n", *x[2:]], 3, "edited"),
        (lambda x: [*x, b'{"seq":6}\n'], 7, "edited"),
        (lambda x: [*x[:2], b"[" * 100_000 + b"\n", *x[2:]], 3, "edited"),
        (lambda x: [*x[:2], b'{"a":' + b"9" * 9000 + b"}\n", *x[2:]], 3, "edited"),
        (lambda x: [*x[:2], x[2][:-2] + b',"size":2}\n', *x[3:]], 3, "edited"),
        (lambda x: [*x[:2], x[2].replace(b'"seq":2,', b'"seq":2, '), *x[3:]], 3, "edited"),
    ],
    ids=[
        "head-cut",
        "middle-cut",
        "swapped",
        "doubled",
        "edited",
        "junk",
        "blank",
        "forged-end",
        "deep",
        "huge-int",
        "twice-a-field",
        "respelled",
    ],
)
def test_manipulations_are_named(path, change, line, kind):
    """Removed, moved, doubled, edited and inserted lines are told apart, with the line number."""
    lines = fill(path)
    found = broken(path, change(lines))
    assert (found.line, found.kind) == (line, kind)


def test_a_cut_end_shows_against_an_anchor_only(path):
    """What a chain cannot show by itself, and what an anchor is for."""
    lines = fill(path)
    anchor = verify_trail(path).head
    path.write_bytes(b"".join(lines[:4]))
    assert verify_trail(path).ok
    found = broken(path, lines[:4], anchor=anchor)
    assert (found.line, found.kind) == (5, "truncated")
    path.write_bytes(b"".join(lines))
    with JsonlSinkClosing(path) as sink:
        sink.emit(make_event("scan", "attempt", "0" * 16 + "-9", "0" * 16 + "-9", "", {}))
    assert verify_trail(path, anchor=anchor).ok
    assert verify_trail(path, anchor=START).ok


class JsonlSinkClosing(JsonlSink):
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def test_a_rewritten_trail_shows_under_the_key_or_the_anchor(path):
    """Without a key, whoever may write the file can recompute the chain: stated, and shown here."""
    lines = fill(path, 3, Key())
    anchor = verify_trail(path).head
    head, forged = START, []
    for line in lines:
        event = parse(line[:-1]).event | {"size": 99}
        forged.append(encode(event, head) + b"\n")
        head = Head(head.seq + 1, digest(forged[-1][:-1]))
    path.write_bytes(b"".join(forged))
    assert verify_trail(path).ok
    assert broken(path, forged, key=Key()).kind == "forged"
    assert broken(path, forged, anchor=anchor).kind == "truncated"
    wrong = broken(path, lines, key=Key(b"w" * 32))
    assert (wrong.line, wrong.kind) == (1, "forged")


def test_an_unkeyed_line_in_a_keyed_trail_is_forged(path):
    """A mac that is simply left out is not accepted."""
    lines = fill(path, 2, Key())
    head = Head(1, digest(lines[1][:-1]))
    extra = encode({"event": "x"}, head) + b"\n"
    assert broken(path, [*lines, extra], key=Key()).line == 3


@pytest.mark.parametrize("first", [False, True])
def test_a_torn_line_is_survived_at_every_length(path, first):
    """A crash at any byte of a line: reported, vouched for by the next writer, and the chain goes on."""
    lines = fill(path, 3)
    keep = [] if first else lines[:2]
    torn = lines[0] if first else lines[2]
    for cut in range(1, len(torn) - 1):
        path.write_bytes(b"".join(keep) + torn[:cut])
        before = verify_trail(path)
        assert (before.ok, before.torn_end, before.events) == (True, True, len(keep))
        fill(path, 2)
        report = verify_trail(path)
        assert (report.ok, report.torn, report.torn_end) == (True, (len(keep) + 1,), False)
        assert report.events == len(keep) + 2
        assert len(list(read_trail(path))) == report.events


def test_a_line_that_lacks_only_its_newline_is_adopted(path):
    """All of the event is there: it counts."""
    lines = fill(path, 3)
    path.write_bytes(b"".join(lines)[:-1])
    assert verify_trail(path).torn_end
    fill(path, 1)
    report = verify_trail(path)
    assert (report.ok, report.events, report.torn) == (True, 4, ())


def test_two_crashes_in_a_row(path):
    """The second crash while closing off the first: both parts are vouched for."""
    lines = fill(path, 3)
    path.write_bytes(lines[0] + lines[1][:50] + b"\n" + lines[1][:70])
    fill(path, 1)
    report = verify_trail(path)
    assert (report.ok, report.events, report.torn) == (True, 2, (2, 3))


def test_debris_cannot_hide_an_edit(path):
    """What a writer vouched for as torn cannot be changed or removed afterwards."""
    lines = fill(path, 3)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:60])
    after = fill(path, 2)
    assert verify_trail(path).ok
    assert broken(path, [*after[:2], b"x" + after[2][1:], *after[3:]]).line == 3
    assert broken(path, [*after[:2], *after[3:]]).line == 3


def test_an_overlong_line_is_reported_in_bounded_memory(path):
    """A line of megabytes is no event, and is read in pieces."""
    lines = fill(path, 2)
    found = broken(path, [lines[0], b"x" * (MAX_LINE * 5) + b"\n", lines[1]])
    assert (found.line, found.kind) == (2, "edited")


def test_lines_removed_under_a_running_writer_show(path):
    """Truncation while the writer lives is a gap, because the writer remembers."""
    sink = JsonlSink(path)
    event = make_event("load", "attempt", "0" * 16 + "-1", "0" * 16 + "-1", "", {})
    for _ in range(4):
        sink.emit(event)
    lines = path.read_bytes().splitlines(keepends=True)
    for rest in (b"".join(lines[:2]), b"".join(lines[:2]) + lines[2][:30]):
        path.write_bytes(rest)
        sink.emit(event)
        assert not verify_trail(path).ok
        path.write_bytes(b"".join(lines))
        sink.close()
        sink.emit(event)
        sink.emit(event)
        lines = path.read_bytes().splitlines(keepends=True)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed there")
def test_rotation_is_followed_and_linked(path, tmp_path):
    """After a rename the new file goes on where the old one ended, also when somebody else wrote last."""
    sink, other = JsonlSink(path), JsonlSink(path)
    event = make_event("load", "attempt", "0" * 16 + "-1", "0" * 16 + "-1", "", {})
    sink.emit(event)
    other.emit(event)
    path.rename(tmp_path / "trail.1")
    sink.emit(event)
    other.emit(event)
    old = verify_trail(tmp_path / "trail.1")
    assert (old.ok, old.events) == (True, 2)
    new = verify_trail(path, previous=old.head.digest)
    assert (new.ok, new.events, new.starts_after) == (True, 2, old.head.digest)
    assert not verify_trail(path, previous="1" * 64).ok
    path.unlink()
    sink.emit(event)
    assert verify_trail(path).events == 1


def test_copytruncate_rotation(path, tmp_path):
    """Emptied in place: the new first line is linked to the last of what was copied away."""
    sink = JsonlSink(path)
    event = make_event("load", "attempt", "0" * 16 + "-1", "0" * 16 + "-1", "", {})
    sink.emit(event)
    head = sink.head()
    os.truncate(path, 0)
    sink.emit(event)
    assert verify_trail(path, previous=head.digest).ok


def _append(path, count):
    sink = JsonlSink(path, lock_timeout=60)
    auditor = Auditor(required=[sink])
    for number in range(count):
        with auditor.operation("load", size=number):
            pass


def test_several_processes_and_threads_keep_one_chain(path):
    """No line is lost, torn or doubled when everybody appends at once."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(path, 100)) for _ in range(3)]
    for process in processes:
        process.start()
    sink = Auditor(required=[JsonlSink(path, lock_timeout=60)])

    def work():
        for _ in range(25):
            with sink.operation("scan"):
                pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for running in (*threads, *processes):
        running.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    report = verify_trail(path)
    assert (report.ok, report.events, report.torn, report.unfinished) == (True, 700, (), ())
    assert len({event["pid"] for event in read_trail(path)}) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_takes_its_own_lock(path):
    """Parent and child share no lock and no position, so both keep the chain."""
    sink = JsonlSink(path)
    event = make_event("load", "attempt", "0" * 16 + "-1", "0" * 16 + "-1", "", {})
    sink.emit(event)
    pid = os.fork()
    if not pid:
        try:
            for _ in range(50):
                sink.emit(event)
        finally:
            os._exit(0)
    for _ in range(50):
        sink.emit(event)
    os.waitpid(pid, 0)
    report = verify_trail(path)
    assert (report.ok, report.events) == (True, 101)


def test_a_lock_that_is_never_released_is_an_error(path):
    """A reader who holds the lock cannot hang the loader for good."""
    fill(path, 1)
    with path.open("r+b") as file:
        lock_module.acquire(file.fileno(), 1)
        with pytest.raises(AuditError, match="holds the lock") as caught:
            JsonlSink(path, lock_timeout=0.01).emit({"a": 1})
        assert caught.value.code == "audit.lock-timeout"
        lock_module.release(file.fileno())


def test_a_lock_that_stays_taken_is_waited_for_once(path, monkeypatch):
    """Anybody who may read the trail can hold its lock; no load may then take the full time again, or even twice."""
    fill(path, 1)
    waited = []
    monkeypatch.setattr(lock_module.time, "sleep", waited.append)
    monkeypatch.setattr(lock_module.time, "monotonic", lambda: sum(waited))
    auditor = Auditor(required=[JsonlSink(path, lock_timeout=10)])
    fcntl = pytest.importorskip("fcntl")
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        for _ in range(3):
            with pytest.raises(AuditError, match="holds the lock"), auditor.operation("load"):
                pass
        assert 10 <= sum(waited) < 11
        fcntl.flock(reader, fcntl.LOCK_UN)
    with auditor.operation("load"):
        pass
    with path.open("rb") as reader:  # free in between: full time again
        fcntl.flock(reader, fcntl.LOCK_SH)
        waited.clear()
        with pytest.raises(AuditError), auditor.operation("load"):
            pass
        assert 10 <= sum(waited) < 11


def test_readers_take_no_lock(path):
    """A reader that is stopped in the middle must not stop writers, and a lock must not keep readers out."""
    fill(path, 2)
    fcntl = pytest.importorskip("fcntl")
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert (verify_trail(path).events, len(list(read_trail(path))), trail_head(path).seq) == (2, 2, 1)


def test_a_line_that_is_being_written_is_not_torn(path, monkeypatch):
    """A reader waits for the rest of a line before it looks."""
    fill(path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    monkeypatch.setattr(trail_module.time, "sleep", lambda _: path.write_bytes(whole))
    report = verify_trail(path)
    assert (report.ok, report.torn_end, report.events) == (True, False, 1)


def test_a_file_system_without_locks_is_an_error(path, monkeypatch):
    """No lock, no chain: the sink says so instead of writing a trail that breaks."""

    def unsupported(fd):
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(lock_module, "_try_lock", unsupported)
    with pytest.raises(AuditError, match="not supported"):
        JsonlSink(path).emit({"a": 1})
    path.write_bytes(b"")
    assert verify_trail(path).ok
