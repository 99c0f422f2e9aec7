"""``os.fork`` beside loading threads: the child finds every lock free and the garbage collector as it was.

Each test forks in a process of its own, which dies by an alarm when it hangs.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import safeload

PACKAGE = Path(safeload.__file__).parent

HEAD = """
import gc, os, pickle, signal, sys, threading
import safeload
from safeload.facts import forks
from safeload.engine import collector

def child(work):
    \"\"\"What ``work`` returns in a fork, or how that ended.\"\"\"
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        try:
            os.write(theirs, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        text = answer.read()
    return text or os.waitpid(pid, 0)[1]
"""


def run(code, *arguments):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HEAD + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_a_child_finds_every_lock_free(tmp_path):
    """A thread of the parent holds all locks that there are; the child loads, scans, signs, reads and audits."""
    code = """
folder = sys.argv[1]
loader = safeload.Loader(audit=folder + "/trail.jsonl", policy=["data", "numpy"])
data = pickle.dumps({"a": [1, 2, 3]})
key = safeload.Key.generate("hs256")
with open(folder + "/data.pkl", "wb") as file:
    file.write(data)

def everything():
    sealed = safeload.dumps([1], key=key)
    assert safeload.loads(sealed, keys=key) == [1]
    assert safeload.loads(data) == safeload.load(folder + "/data.pkl") == loader.loads(data)
    assert loader.load(folder + "/data.pkl", audit=folder + "/trail.jsonl") == {"a": [1, 2, 3]}
    assert loader.scan(data).verdict == "clean"
    assert safeload.loads(safeload.dumps({"a": (1,)}, codec="json"), schema={"type": "object"}) == {"a": (1,)}
    return len(list(safeload.audit.read_trail(folder + "/trail.jsonl")))

everything()
held, go_on = threading.Event(), threading.Event()

def hold():
    for lock in list(forks._made):
        lock.acquire()
    held.set()
    go_on.wait()
    for lock in list(forks._made):
        if lock.locked():
            lock.release()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
print(len(forks._made) > 8)
print(child(everything))
go_on.set()
thread.join()
print(everything() > 0)
"""
    fine, events, after = run(code, tmp_path)
    assert (fine, after) == ("True", "True")
    assert int(events) > 0


@needs_fork
@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled):
    """Pauses of the parent's other threads end with the fork; one of the forking thread goes on."""
    code = """
if sys.argv[1] == "False":
    gc.disable()
inside, go_on = threading.Event(), threading.Event()

def load():
    with collector.CollectorPause():
        inside.set()
        go_on.wait()

def look():
    before = gc.isenabled()
    with collector.CollectorPause():
        within = gc.isenabled()
    return before, within, gc.isenabled(), len(collector._depth)

threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads:
    thread.start()
inside.wait()
print(child(look))
with collector.CollectorPause():
    def leave():
        collector.CollectorPause().__exit__()
        return gc.isenabled()
    print(child(look), child(leave))
go_on.set()
for thread in threads:
    thread.join()
print(gc.isenabled())
"""
    assert run(code, enabled) == [
        f"({enabled}, False, {enabled}, 0)",
        f"(False, False, False, 1) {enabled}",
        str(enabled),
    ]


@needs_fork
def test_forks_while_threads_load():
    """Thirty forks beside four threads that load without a pause: every child loads, and collects afterwards."""
    code = """
import random
data = [pickle.dumps([{"a": number, "b": [number, other]} for number in range(300)]) for other in range(20)]
stop = threading.Event()

def load(seed):
    choose = random.Random(seed).choice
    while not stop.is_set():
        safeload.loads(choose(data))

threads = [threading.Thread(target=load, args=(seed,)) for seed in range(4)]
safeload.loads(data[0])
for thread in threads:
    thread.start()
found = {child(lambda: (len(safeload.loads(data[3])), gc.isenabled())) for _ in range(30)}
stop.set()
for thread in threads:
    thread.join()
print(*found, gc.isenabled())
"""
    assert run(code) == ["(300, True) True"]


@needs_fork
def test_work_that_a_fork_cut_off_is_not_done():
    """Chunks that vanished threads had taken were never checked, so the child's operation fails."""
    code = """
from safeload.source.parallel import Workers

workers = Workers(lambda number: None, 4, 1 << 24)

def finish():
    try:
        workers.finish()
    except safeload.LoadError as error:
        return error.code

print(child(finish), workers.finish())
"""
    assert run(code) == ["'load.forked' None"]


def test_every_lock_is_one_of_these():
    """A lock made otherwise stays taken in a fork; before Python 3.12 a cached property holds one, too."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in getattr(node, "decorator_list", ()):
                if ast.unparse(decorator).rpartition(".")[2] == "cached_property":
                    found.append((name, "cached_property"))
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
            what = ast.unparse(node.func).rpartition(".")[2] if called else ""
            if what in {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Queue"}:
                found.append((name, what))
    assert found == [("facts/forks.py", "Lock"), ("facts/forks.py", "RLock")]
