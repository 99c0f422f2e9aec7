"""The guard, tried in processes of its own, because what it installs stays until a process ends."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COVERED_BY = {  # ways of guard_entry_points.py that the status does not name one by one
    "a subclass with find_class alone": {"early"},
}


def python(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": "0", **environment},
        timeout=300,
    )


def tried(when, folder, *more):
    run = python(HERE / "guard_entry_points.py", when, folder, *more)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize("when", ["early", "late"])
def test_no_payload_runs_in_what_is_covered(when, tmp_path):
    """The point of the guard: whoever unpickles, and whenever the guard came, a hostile object does nothing."""
    found = tried(when, tmp_path)
    results = found["results"]
    assert len(results) >= 30
    for name, outcome in results.items():
        covered = when in COVERED_BY.get(name, {"early", "late"})
        assert outcome["ran"] is not covered, f"{name}: {outcome}"
        assert outcome["benign"] is True, f"{name}: {outcome}"
        assert bool(outcome["error"]) is covered, name
    assert any("own find_class" in never for never in found["never"])
    assert ("shelve.Unpickler" in found["early"]) is (when == "late")
    assert {"pickle.loads", "joblib.load", "dill.loads", "numpy.load(allow_pickle=True)"} <= set(found["covered"])


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("hook", ["fickling-before", "fickling-after"])
def test_it_stands_beside_the_hook_of_fickling(when, hook, tmp_path):
    """Either hook may come first: nothing hostile runs, and honest objects load (what fickling itself refuses aside)."""
    results = tried(when, tmp_path, hook)["results"]
    for name, outcome in results.items():
        assert not outcome["ran"] or (when == "late" and name in COVERED_BY), f"{name}: {outcome}"
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load of a path", "pickle._Unpickler"):
        assert results[name]["benign"] is True, f"{name}: {results[name]}"


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def program(tmp_path):
    """A program that unpickles a file that it is given."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import pickle, sys
        with open(sys.argv[1], "rb") as file:
            print("loaded", pickle.load(file))
        """)
    )
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    (tmp_path / "good.pkl").write_bytes(pickle.dumps([1, 2]))
    return script


def test_a_program_that_is_not_changed_runs_under_it(program, tmp_path):
    """``python -m safeload.guard`` refuses by default, gives the program its own arguments, and keeps its exit code."""
    good = python("-m", "safeload.guard", program, tmp_path / "good.pkl", cwd=tmp_path)
    assert good.stdout == "loaded [1, 2]\n", good.stderr
    bad = python("-m", "safeload.guard", program, tmp_path / "bad.pkl", cwd=tmp_path)
    assert bad.returncode == 1
    assert "PolicyError" in bad.stderr
    assert not (tmp_path / "ran").exists()
    module = python("-m", "safeload.guard", "--mode", "refuse", "-m", "program", tmp_path / "bad.pkl", cwd=tmp_path)
    assert "PolicyError" in module.stderr
    assert not (tmp_path / "ran").exists()
    assert python("-m", "safeload.guard").returncode == 2
    assert python("-m", "safeload.guard", "--mode", "maybe", program).returncode == 2


def test_the_environment_turns_it_on(program, tmp_path):
    """A program that imports safeload for anything at all is guarded; a word without meaning stops it."""
    code = "import safeload, pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    run = python("-W", "ignore", "-c", code, tmp_path / "bad.pkl", SAFELOAD_GUARD="refuse")
    assert "PolicyError" in run.stderr
    assert not (tmp_path / "ran").exists()
    assert "the guard's mode is one of" in python("-c", "import safeload", SAFELOAD_GUARD="yes").stderr


def test_a_week_of_records_becomes_a_policy(tmp_path):
    """``record`` changes nothing, tells each name once, and ``policy learn --from-trail`` writes what would have to be allowed."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import collections, fractions, os, pickle
        class Mine:
            pass
        class Hostile:
            def __reduce__(self):
                return os.mkdir, ("ran",)
        for _ in range(3):
            pickle.loads(pickle.dumps([Mine(), fractions.Fraction(1, 2)]))
        pickle.loads(pickle.dumps(Hostile()))
        """)
    )
    trail = tmp_path / "trail.jsonl"
    run = python("-m", "safeload.guard", "--mode", "record", "--trail", trail, script, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "ran").exists()
    events = [json.loads(line) for line in trail.read_text().splitlines()]
    named = [event["globals"][0] for event in events if event.get("globals") and event["phase"] == "result"]
    assert sorted(named) == ["__main__.Mine", "fractions.Fraction", "posix.mkdir"]
    learned = python("-m", "safeload", "policy", "learn", "--from-trail", trail, cwd=tmp_path)
    assert learned.returncode == 0, learned.stderr
    assert '"__main__.Mine"' in learned.stdout
    assert '"data"' in learned.stdout
    assert "mkdir" not in learned.stdout
    assert python("-m", "safeload", "policy", "learn").returncode == 2


def test_modes_blocks_and_strictness(tmp_path):
    """A block guards its own context only; nothing makes a guard laxer; ``warn`` warns and loads."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio, io, os, pickle, threading, warnings
        import safeload
        class Hostile:
            def __init__(self, name): self.name = name
            def __reduce__(self): return os.mkdir, (self.name,)
        def refused(data):
            try:
                pickle.loads(data)
            except safeload.PolicyError:
                return True
            return False
        assert pickle.loads.__module__ == "_pickle"
        before = pickle.loads
        import safeload.guard
        assert pickle.loads is before and safeload.guard.status().mode == ""
        with safeload.guard.active("refuse"):
            assert refused(pickle.dumps(Hostile("in-block")))
            seen = []
            thread = threading.Thread(target=lambda: seen.append(refused(pickle.dumps(Hostile("in-thread")))))
            thread.start(); thread.join()
            assert seen == [False]
            async def task(): return refused(pickle.dumps(Hostile("in-task")))
            assert asyncio.run(task())
            assert safeload.loads(pickle.dumps({"a": {1, 2}})) == {"a": {1, 2}}
        assert not refused(pickle.dumps(Hostile("after-block")))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with safeload.guard.active("warn"):
                pickle.load(io.BytesIO(pickle.dumps(Hostile("warned"))))
        assert any("posix.mkdir" in str(each.message) for each in caught), caught
        # A stream that the policy judges and allows is no reason to warn, whatever conditions its names have.
        import uuid
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with safeload.guard.active("warn"):
                pickle.loads(pickle.dumps(uuid.UUID(int=3)))
        safeload.guard.install("refuse", policy="data")
        for laxer in (lambda: safeload.guard.install("warn"), lambda: safeload.guard.active("record").__enter__()):
            try:
                laxer()
            except RuntimeError:
                pass
            else:
                raise AssertionError
        assert refused(pickle.dumps(Hostile("installed")))
        assert isinstance(pickle.Unpickler(io.BytesIO(b"N.")), safeload.guard.layer.original_unpickler())
        stream = io.BytesIO(pickle.dumps([1]) + pickle.dumps([2]) + b"rest")
        assert [pickle.load(stream), pickle.load(stream), stream.read()] == [[1], [2], b"rest"]
        shared = ["one"]
        out = io.BytesIO(); pickler = pickle.Pickler(out); pickler.dump(shared); pickler.dump([shared])
        out.seek(0); unpickler = pickle.Unpickler(out)
        first, second = unpickler.load(), unpickler.load()
        assert second[0] is first
        print("done")
        """)
    )
    run = python(script, cwd=tmp_path)
    assert run.stdout == "done\n", run.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["after-block", "in-thread", "warned"]


def test_net_refuses_names_whose_conditions_it_cannot_check(tmp_path):
    """A name that the policy allows with some arguments only is refused where only names are seen: arguments are the attack."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import collections, datetime, pickle, numpy as np
        import safeload, safeload.guard
        class Early:
            loads = pickle.loads
        safeload.guard.install("refuse", policy=safeload.Policy.packs("data", "numpy").allow("builtins.len", call=True))
        def ends(data):
            try:
                return type(Early.loads(data)).__name__
            except safeload.PolicyError as error:
                return str(error.report.globals[0])
        print(ends(pickle.dumps(datetime.date(2020, 1, 1))), ends(pickle.dumps(collections.OrderedDict(a=1))))
        print(ends(pickle.dumps(ValueError("x"))), ends(pickle.dumps(np.zeros(2), 2)), ends(pickle.dumps({1}, 2)))
        print(ends(b"cbuiltins\\ngetattr\\n."), ends(b"c__builtin__\\neval\\n."), ends(b"cbuiltins\\nlen\\n."))
        print(ends(b"\\x80\\x04\\x8c\\x0bcollections\\x8c\\x12OrderedDict.update\\x93."))
        """)
    )
    run = python("-W", "ignore", script, cwd=tmp_path)
    assert run.stdout.split() == [
        "date", "OrderedDict", "ValueError", "numpy._core.multiarray._reconstruct", "set",
        "builtins.getattr", "builtins.eval", "builtin_function_or_method", "collections:OrderedDict.update",
    ], run.stderr  # fmt: skip


def test_pytest_plugin_fails_tests_and_prints_the_policy(tmp_path, monkeypatch):
    """A test that unpickles what is not allowed fails, also if the program swallowed the error; off by default."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # those of the run that this test is part of
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
        import os, pickle
        class Mine: pass
        class Hostile:
            def __reduce__(self): return os.mkdir, ("ran",)
        def test_plain(): assert pickle.loads(pickle.dumps([1])) == [1]
        def test_mine(): pickle.loads(pickle.dumps(Mine()))
        def test_swallowed():
            try: pickle.loads(pickle.dumps(Hostile()))
            except Exception: pass
        """)
    )
    installed = any(point.name == "safeload_guard" for point in entry_points(group="pytest11"))
    named = () if installed else ("-p", "safeload.guard.pytest_plugin")
    base = ("-m", "pytest", "-p", "no:cacheprovider", *named, "-q", "test_it.py")
    off = python(*base, cwd=tmp_path)
    assert "3 passed" in off.stdout, off.stdout + off.stderr
    (tmp_path / "ran").rmdir()
    on = python(*base, "--safeload-guard", cwd=tmp_path)
    assert "2 failed, 1 passed" in on.stdout, on.stdout + on.stderr
    assert '"test_it.Mine"' in on.stdout
    assert "# Evidence of harm, left out: posix.mkdir" in on.stdout
    assert not (tmp_path / "ran").exists()
