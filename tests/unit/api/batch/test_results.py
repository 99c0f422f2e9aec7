"""Runs over many artifacts on threads: one bad item does not stop the rest, memory is bounded, mistakes are said at once."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import sys
import threading
import time

import pytest

import safeload
from safeload import Key, KeyRing, Verdict
from safeload.source.atomic import AtomicFile


class Hostile:
    """Runs a command if it is loaded."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture
def files(tmp_path):
    """Forty artifacts: the numbers from 0."""
    paths = [tmp_path / f"{number}.pkl" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(pickle.dumps(number))
    return paths


def test_results_print_without_what_was_loaded(tmp_path):
    """Logs of a run hold no payload, and a line is a line."""
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"password": "hunter2" * 1000}))
    (tmp_path / "y.pkl").write_bytes(pickle.dumps(Hostile()))
    loaded, refused = safeload.load_many([tmp_path / "x.pkl", tmp_path / "y.pkl"])
    assert repr(loaded).endswith("x.pkl'): dict>")
    assert "PolicyError" in repr(refused)
    assert "\n" not in repr(refused)
    [scanned] = safeload.scan_many([tmp_path / "x.pkl"])
    assert repr(scanned).endswith(": clean>")


def test_results_are_in_the_order_of_the_sources(files):
    """Callers zip results with what they asked for."""
    results = list(safeload.load_many(files, jobs=2))
    assert [result.unwrap() for result in results] == list(range(40))
    assert [result.index for result in results] == list(range(40))
    assert [result.source for result in results] == files


def test_unordered_results_are_all_there(files):
    """As completed, every item comes once, and knows which it is."""
    results = list(safeload.load_many(files, jobs=2, ordered=False))
    assert sorted((result.index, result.value) for result in results) == [(n, n) for n in range(40)]


def test_a_bad_item_does_not_stop_the_rest(tmp_path, files):
    """Whatever is wrong with an item is its own result: missing, a directory, no permission, hostile, broken, no path."""
    files[3].unlink()
    files[5].write_bytes(pickle.dumps(Hostile()))
    files[7].write_bytes(b"\x80\x04]")
    sources = [*files, tmp_path, 17, "nothing://x", "zip://a::memory://b"]
    if os.name == "posix" and os.geteuid():
        files[9].chmod(0)
    results = list(safeload.load_many(sources))
    assert isinstance(results[3].error, FileNotFoundError)
    assert isinstance(results[5].error, safeload.PolicyError)
    assert results[5].report.verdict is Verdict.MALICIOUS
    assert isinstance(results[7].error, safeload.FormatError)
    assert isinstance(results[40].error, IsADirectoryError)
    assert isinstance(results[41].error, TypeError)
    assert isinstance(results[42].error, ValueError)
    assert isinstance(results[43].error, ValueError)
    assert [result.index for result in results if not result.ok and result.index < 40 and result.index != 9] == [
        3,
        5,
        7,
    ]
    with pytest.raises(safeload.PolicyError):
        results[5].unwrap()


def test_a_scan_is_ok_only_if_the_artifact_is_clean(files):
    """Who writes ``if result.ok`` must not take a malicious artifact for a good one."""
    files[2].write_bytes(pickle.dumps(Hostile()))
    results = list(safeload.scan_many(files[:4]))
    assert [result.ok for result in results] == [True, True, False, True]
    assert results[2].unwrap().verdict is Verdict.MALICIOUS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_nobody_writes_to_holds_nothing_up(tmp_path, files):
    """A single load may wait for a pipe; among many, it would be the end of the run."""
    os.mkfifo(tmp_path / "pipe")
    for many in (safeload.load_many, safeload.scan_many):
        results = list(many([tmp_path / "pipe", files[1]]))
        assert results[0].error.code == "format.not-a-file"
        assert results[1].ok


def test_sources_are_not_consumed_up_front(files):
    """A million sources, or a generator without end, cost what is in work and no more."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield files[0]

    for many, most in ((safeload.load_many, 64), (safeload.scan_many, 64)):
        taken = 0
        with many(endless(), jobs=2) as batch:
            next(batch)
            assert 0 < taken <= most
            for _ in range(200):
                next(batch)
            assert taken <= 201 + most


def test_a_slow_caller_bounds_what_is_finished(files):
    """Results that nobody takes must not pile up: at most ``ahead`` for each job."""
    finished = []

    def audit(event):
        if event["phase"] == "result" and "parent" not in event:
            finished.append(event)

    with safeload.load_many(itertools.cycle(files), jobs=2, ahead=3, audit=audit) as batch:
        for _ in range(13):
            next(batch)
        assert len(finished) <= 18


def test_an_error_of_the_sources_comes_after_the_results_before_it(files):
    """What was given before the generator broke is done, and the caller hears why there is no more."""

    def broken():
        yield files[1]
        yield files[2]
        raise RuntimeError("the database is gone")

    batch = safeload.load_many(broken())
    assert [next(batch).value, next(batch).value] == [1, 2]
    with pytest.raises(RuntimeError, match="the database is gone"):
        next(batch)
    assert list(batch) == []


def test_sources_are_taken_in_the_callers_thread(files):
    """A cursor or a file that is no friend of threads can be the source."""
    threads = set()

    def sources():
        for path in files:
            threads.add(threading.get_ident())
            yield path

    assert safeload.load_many(sources(), jobs=2).run().done == 40
    assert threads == {threading.get_ident()}


def test_open_files_are_sources_too(files):
    """As with load, from the position on."""
    with files[3].open("rb") as one, files[4].open("rb") as other:
        assert [result.value for result in safeload.load_many([one, other])] == [3, 4]


def test_callbacks_and_counts(files):
    """Each result is told once, in order, with counts that add up."""
    files[3].unlink()
    told, counts = [], []
    batch = safeload.load_many(files, on_result=told.append, progress=counts.append)
    assert batch.counts.total == 40
    assert batch.run() == counts[-1] == (40, 1, 0, 40)
    assert [result.index for result in told] == list(range(40))
    assert [count.done for count in counts] == list(range(1, 41))
    assert not batch.counts.ok


def test_an_error_in_a_callback_ends_the_run(files):
    """It is the caller's own, and is not put down to an artifact."""

    def broken(result):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        safeload.load_many(files, on_result=broken).run()


class Terminal:
    """A standard error that somebody looks at."""

    def __init__(self, *, tty):
        self.tty = tty
        self.text = ""

    def isatty(self):
        return self.tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    encoding = "utf-8"


@pytest.mark.parametrize("rich", [True, False])
def test_progress_is_for_a_terminal(files, monkeypatch, rich):
    """A person sees how far it is, with rich or without; a log file is not filled with it."""
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    for tty in (True, False):
        monkeypatch.setattr(sys, "stderr", stream := Terminal(tty=tty))
        monkeypatch.setenv("TERM", "xterm")
        assert safeload.load_many(files, progress=True).run().ok
        assert bool(stream.text) is tty
        assert not tty or "40/40" in stream.text or "loading" in stream.text


def test_dump_many_writes_whole_files_and_reports_the_others(tmp_path, monkeypatch):
    """Missing directories, directories in the target's place, objects that do not pickle, and targets given twice."""
    (tmp_path / "folder").mkdir()
    items = [
        ([1], tmp_path / "a.pkl"),
        ([2], f"{tmp_path}/./a.pkl"),
        ([3], tmp_path / "missing" / "a.pkl"),
        ([4], tmp_path / "folder"),
        (lambda: 0, tmp_path / "b.pkl"),
        "no tuple",
        ([5], 17),
        ([6], (tmp_path / "c.pkl").as_uri()),
    ]
    results = list(safeload.dump_many(items))
    kinds = [type(result.error) for result in results]
    assert kinds[:4] == [type(None), ValueError, FileNotFoundError, IsADirectoryError]
    assert kinds[4] in (AttributeError, pickle.PicklingError)
    assert kinds[5:] == [TypeError, TypeError, type(None)]
    assert "make it first" in str(results[2].error)
    assert safeload.load(tmp_path / "a.pkl") == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl", "c.pkl", "folder"]


def test_a_full_disk_leaves_no_halves(tmp_path, monkeypatch):
    """What did not fit is an error, the old file stays, and nothing is left beside it."""
    write = AtomicFile.write

    def full(self, data):
        if len(data) > 1_000:
            write(self, memoryview(data)[:100])
            raise OSError(errno.ENOSPC, "no space left on device")
        write(self, data)

    (tmp_path / "1").write_bytes(b"old")
    monkeypatch.setattr(AtomicFile, "write", full)
    results = list(safeload.dump_many((b"x" * 2_000 * number, tmp_path / str(number)) for number in range(3)))
    assert [getattr(result.error, "errno", None) for result in results] == [None, errno.ENOSPC, errno.ENOSPC]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert (tmp_path / "1").read_bytes() == b"old"


def test_envelopes_are_written_verified_and_sealed_anew(tmp_path):
    """The way of a key change: every envelope, each after it was verified; repeated, nothing is left to do."""
    old, new = Key.generate(), Key.generate("ed25519")
    targets = [tmp_path / f"{number}.sle" for number in range(6)]
    assert safeload.dump_many(((n, path) for n, path in enumerate(targets)), key=old, context="c").run().ok
    ring = KeyRing([old])
    facts = [result.unwrap() for result in safeload.verify_many(targets, keys=ring, context="c")]
    assert {fact["key_id"] for fact in facts} == {old.key_id_hex}
    sealed = bytearray(targets[2].read_bytes())
    sealed[-1] ^= 1
    targets[2].write_bytes(sealed)
    targets[3].write_bytes(pickle.dumps(3))
    for wanted in ("sealed", "unchanged"):
        results = list(safeload.rekey_many(targets, new, keys=ring, context="c"))
        assert [result.value for result in results] == [wanted, wanted, None, None, wanted, wanted]
        assert results[3].error.code == "envelope.unsigned"
    assert safeload.load(targets[0], keys=new.public, context="c") == 0
    assert safeload.load(targets[3]) == 3


def test_a_detached_signature_beside_the_file_verifies(tmp_path):
    """As the command line does; a file that changed, or has no signature, does not."""
    from safeload.envelope import seal_detached

    key = Key.generate()
    for name in ("good", "changed", "unsigned"):
        (tmp_path / name).write_bytes(b"data")
        if name != "unsigned":
            (tmp_path / f"{name}.slsig").write_bytes(seal_detached(b"data", key))
    (tmp_path / "changed").write_bytes(b"Data")
    results = safeload.verify_many([tmp_path / name for name in ("good", "changed", "unsigned")], keys=key)
    codes = [getattr(result.error, "code", None) for result in results]
    assert codes == [None, "envelope.verification", "envelope.unsigned"]


def test_keys_may_be_a_place(tmp_path, monkeypatch):
    """The place is opened once; a place without keys ends the call, not every item."""
    key = Key.generate()
    monkeypatch.setenv("BATCH_KEYS", key.export())
    target = tmp_path / "a.sle"
    assert safeload.dump_many([([1], target)], key="env:BATCH_KEYS").run().ok
    assert [result.value for result in safeload.load_many([target], keys="env:BATCH_KEYS")] == [[1]]
    with pytest.raises(safeload.KeyProviderError):
        safeload.load_many([target], keys="env:BATCH_NOTHING")
    with pytest.raises(ValueError, match="key location") as caught:
        safeload.load_many([target], keys=key.export())
    assert key.export() not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: safeload.load_many("one.pkl"), TypeError),
        (lambda: safeload.load_many(17), TypeError),
        (lambda: safeload.load_many([], polcy="data"), TypeError),
        (lambda: safeload.load_many([], policy="nothing"), ValueError),
        (lambda: safeload.load_many([], jobs=0), ValueError),
        (lambda: safeload.load_many([], ahead=0), ValueError),
        (lambda: safeload.load_many([], on_result=3), TypeError),
        (lambda: safeload.load_many([], backend="nothing"), ValueError),
        (lambda: safeload.verify_many([]), ValueError),
        (lambda: safeload.rekey_many([], "env:NOTHING_AT_ALL"), ValueError),
        (lambda: safeload.rekey_many([], b"raw", keys=Key.generate()), TypeError),
        (lambda: safeload.dump_many([], key=b"raw"), TypeError),
        (lambda: safeload.dump_many(5), TypeError),
    ],
)
def test_mistakes_are_said_at_once(call, error):
    """Before the first item, and not as the fate of every item."""
    with pytest.raises(error):
        call()


def test_no_items_is_no_error():
    """An empty list is a run that is over."""
    assert safeload.load_many([]).run() == (0, 0, 0, 0)
    assert list(safeload.scan_many(iter(()))) == []


def test_leaving_early_leaves_no_warnings_and_no_threads(files):
    """Whoever stops in the middle has seen enough."""
    before = threading.active_count()
    with safeload.load_many(itertools.cycle(files), jobs=2) as batch:
        next(batch)
    assert list(batch) == []
    assert threading.active_count() <= before + 1


def test_leaving_early_waits_for_what_is_on_its_way_to_a_process(files, monkeypatch):
    """Killing workers while loky's thread was given one more task ended that thread with a KeyError, now and then."""
    from joblib.externals.loky import process_executor

    submit, failed, main = process_executor.ProcessPoolExecutor.submit, [], threading.current_thread()

    def slowly(self, *arguments, **named):
        future = submit(self, *arguments, **named)
        if threading.current_thread() is not main:
            time.sleep(0.2)  # long enough for the main thread to leave
        return future

    monkeypatch.setattr(process_executor.ProcessPoolExecutor, "submit", slowly)
    monkeypatch.setattr(threading, "excepthook", failed.append)
    for taken in (1, 1, 4):
        with safeload.scan_many(itertools.cycle(files), jobs=2) as batch:
            for _ in range(taken):
                next(batch)
    assert failed == []
