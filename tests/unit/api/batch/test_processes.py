"""The same runs in other processes: no key crosses, every audit event arrives, a process that dies costs one item."""

from __future__ import annotations

import os
import pickle

import joblib
import pytest

import safeload
from safeload import Key, KeyRing, Loader, Policy, errors
from safeload.api.batch.work import Task, Work
from safeload.api.batch.worker import run_packed
from safeload.audit import Auditor, JsonlSink, MemorySink, verify_trail


class Exits:
    """Ends the process that loads it."""

    def __reduce__(self):
        return os._exit, (3,)


class Locks:
    """Becomes something that cannot be pickled."""

    def __reduce__(self):
        from _thread import allocate_lock

        return allocate_lock, ()


@pytest.fixture
def files(tmp_path):
    """Ten artifacts: the numbers from 0."""
    paths = [tmp_path / f"{number}.pkl" for number in range(10)]
    for number, path in enumerate(paths):
        path.write_bytes(pickle.dumps(number))
    return paths


@pytest.mark.parametrize("ordered", [True, False])
def test_an_item_that_kills_its_process_costs_only_itself(files, ordered):
    """The rest of its window is done again; the culprit is named."""
    files[4].write_bytes(pickle.dumps(Exits()))
    exits = f"{os._exit.__module__}._exit"
    batch = safeload.load_many(files, policy=Policy().allow(exits, call=True), backend="loky", jobs=2, ordered=ordered)
    results = sorted(batch, key=lambda result: result.index)
    assert [result.value for result in results] == [0, 1, 2, 3, None, 5, 6, 7, 8, 9]
    assert results[4].error.code == "batch.process-died"


def test_what_cannot_be_brought_back_is_an_error_of_its_item(files):
    """An object that does not pickle, and an error whose class is made at run time."""
    files[1].write_bytes(pickle.dumps(Locks()))
    files[2].write_bytes(pickle.dumps(1)[:-1])
    files[3].write_bytes(b"\x80\x04K\x01\x85h\x07.")  # looks up what was never memoized
    policy = Policy().allow("_thread.allocate_lock", call=True)
    results = list(safeload.load_many(files, policy=policy, backend="loky", jobs=2))
    assert results[1].error.code == "batch.not-picklable"
    assert isinstance(results[2].error, EOFError)
    assert isinstance(results[3].error, safeload.SafeloadError)
    assert [result.index for result in results if not result.ok] == [1, 2, 3]


def test_joblibs_configuration_decides(files):
    """The same call runs where ``parallel_config`` says, and not in this process."""
    events = []
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert safeload.scan_many(files, audit=events.append).run().ok
    assert os.getpid() not in {event["pid"] for event in events}
    with joblib.parallel_config(backend="threading", n_jobs=2):
        events.clear()
        assert safeload.scan_many(files, audit=events.append).run().ok
    assert {event["pid"] for event in events} == {os.getpid()}


def test_many_scans_go_to_processes_unless_their_keys_cannot(files):
    """The default is what is faster where it is allowed, and never an error."""
    for keys, here in ((None, False), (Key.generate(), True)):
        events = []
        safeload.scan_many(files * 4, keys=keys, audit=events.append, jobs=2).run()
        assert (os.getpid() in {event["pid"] for event in events}) is here


def test_keys_do_not_cross():
    """Neither as arguments nor inside a loader; the message says what to do instead."""
    key = Key.generate()
    for call in (
        lambda: safeload.load_many([], keys=key, backend="loky", jobs=2),
        lambda: Loader(keys=key).scan_many([], backend="loky", jobs=2),
        lambda: safeload.dump_many([], key=key, backend="loky", jobs=2),
        lambda: safeload.rekey_many([], key, keys="env:X", backend="loky", jobs=2),
    ):
        with pytest.raises(ValueError, match="'env:SAFELOAD_KEYS'"):
            call()
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(Loader(keys=key))


def test_each_process_opens_the_place_itself(tmp_path):
    """A file of keys, for every action that needs some."""
    old, new = Key.generate(), Key.generate()
    for name, key in (("old", old), ("new", new)):
        (tmp_path / name).write_text(f"{key.export()}\n")
        (tmp_path / name).chmod(0o600)
    places = {name: f"file:{tmp_path / name}" for name in ("old", "new")}
    targets = [tmp_path / f"{number}.sle" for number in range(4)]
    elsewhere = {"backend": "loky", "jobs": 2}
    items = [(number, path) for number, path in enumerate(targets)]
    assert safeload.dump_many(items, key=places["old"], **elsewhere).run().ok
    assert safeload.verify_many(targets, keys=places["old"], **elsewhere).run().ok
    assert safeload.rekey_many(targets, places["new"], keys=places["old"], **elsewhere).run().ok
    assert [result.value for result in safeload.load_many(targets, keys=places["new"], **elsewhere)] == [0, 1, 2, 3]
    assert not safeload.load_many(targets, keys=places["old"], **elsewhere).run().ok


def test_no_key_is_in_what_crosses_or_is_shown(tmp_path):
    """The work of a run whose loader has keys: its repr, and its pickle, hold nothing of them."""
    key = Key.generate()
    work = Work("load", Loader(keys=KeyRing([key])), keys=f"file:{tmp_path}", run="r")
    crossing = run_packed.__name__ + repr(work) + repr(pickle.loads(__import__("zlib").decompress(work.packed())))
    assert key.export()[5:25] not in crossing
    assert pickle.loads(__import__("zlib").decompress(work.packed())).loader.keys is None


def test_every_event_reaches_every_sink(tmp_path, files):
    """A trail is written where the work is done; functions and memory get their events with the results."""
    memory, seen, trail = MemorySink(), [], tmp_path / "trail.jsonl"
    files[3].write_bytes(b"broken")
    with pytest.raises(TypeError, match="cannot cross"):
        pickle.dumps(Auditor(sinks=[memory]))
    audit = [memory, seen.append, trail]
    assert safeload.load_many(files, audit=audit, backend="loky", jobs=2).run() == (10, 1, 0, 10)
    whole = [event for event in memory.events if "parent" not in event]
    assert len(whole) == 20
    assert {event["pid"] for event in whole}.isdisjoint({os.getpid()})
    assert [event["event_id"] for event in seen] == [event["event_id"] for event in memory.events]
    report = verify_trail(trail)
    assert report.ok
    assert len(trail.read_text().splitlines()) == len(memory.events)


def test_a_sink_that_fails_here_is_counted_here(files):
    """Events that come back are delivered by the same rules as events of this process."""

    def broken(event):
        raise RuntimeError

    auditor = Auditor(sinks=[safeload.audit.CallableSink(broken)])
    assert safeload.load_many(files[:2], audit=auditor, backend="loky", jobs=2).run().ok
    assert auditor.dropped["callable"] >= 4


def test_a_required_sink_that_cannot_cross_stops_the_run(tmp_path):
    """Its attempt has to be on record before a byte is looked at, which nobody can promise for another process."""

    class MacKey:
        def mac(self, data):
            return b"x" * 32

    for sink in (MemorySink(), JsonlSink(tmp_path / "t", key=MacKey())):
        with pytest.raises(ValueError, match="required audit sink"):
            safeload.load_many([], audit=Auditor(required=[sink]), backend="loky", jobs=2)
    with pytest.raises(TypeError, match="leaks it"):
        pickle.dumps(JsonlSink(tmp_path / "t", key=MacKey()))


def test_arguments_that_cannot_cross_are_said_at_once():
    """Not as the fate of every item."""
    with pytest.raises(TypeError, match="backend='threading'"):
        safeload.load_many([], schema=lambda: 0, backend="loky", jobs=2)
    with pytest.raises(ValueError, match="generator"):
        safeload.load_many([], backend="multiprocessing", jobs=2)


def test_a_worker_does_what_the_parent_asked_with_the_same_policy(files):
    """The digest of the policy is the same on the other side."""
    work = Work("load", Loader(policy=["data", "sklearn"], signers={}), run="r")
    outcome = run_packed(work.packed(), Task(5, files[5])).open()
    assert (outcome.number, outcome.value) == (5, 5)
    loader = pickle.loads(pickle.dumps(work.loader))
    assert (loader.policy, loader.limits, loader.keys) == (work.loader.policy, work.loader.limits, None)


@pytest.mark.parametrize(
    "cause",
    [
        KeyError("a"),
        OSError(2, "x"),
        UnicodeDecodeError("ascii", b"x", 0, 1, "r"),
        RecursionError("d"),
        ImportError("q"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_errors_cross_as_what_they_are(cause):
    """Class, text, code, stage and report; an ``except KeyError`` around a result works whatever the backend."""
    for made in (errors.LoadError.wrap(cause), errors.FormatError.wrap(cause)):
        back = pickle.loads(pickle.dumps(made))
        assert type(back) is type(made)
        assert (str(back), back.code, back.stage) == (str(made), made.code, made.stage)


def test_a_refusal_crosses_with_its_report(files):
    """What was found is the point of the error."""
    files[0].write_bytes(pickle.dumps(Exits()))
    with pytest.raises(safeload.PolicyError) as caught:
        safeload.load(files[0])
    back = pickle.loads(pickle.dumps(caught.value))
    assert back.report == caught.value.report
    assert back.report is not None
