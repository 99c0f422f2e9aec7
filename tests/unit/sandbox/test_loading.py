"""``sandbox.load``: data comes out, nothing else, whatever the artifact does meanwhile."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pickle
import signal
import sys
import tarfile
import threading
import time

import numpy as np
import pytest
from sandbox_parts import FAST, Runs, jailed, needs_level, open_descriptors, running

import safeload
from safeload.errors import (
    FormatError,
    LimitExceededError,
    LoadError,
    MissingKeyError,
    PolicyError,
    SandboxError,
    SandboxTimeoutError,
    SandboxViolationError,
    VerificationError,
)
from safeload.limits import Limits
from safeload.sandbox import Described, load

pytestmark = needs_level("full")


def loaded(data, **options):
    return load(io.BytesIO(data), limits=FAST, **options)


def test_data_comes_back(tmp_path) -> None:
    """From a path and from a file; arrays can be changed."""
    value = {"a": [1, 2.5, None, "é"], "b": np.arange(1000).reshape(10, 100), 3: (b"x", {1})}
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(value))
    for source in (path, str(path), path.open("rb")):
        found = load(source, limits=FAST)
        assert found["a"] == value["a"]
        assert found[3] == value[3]
        assert (found["b"] == value["b"]).all()
        found["b"][0] = 7
        if hasattr(source, "close"):
            source.close()


def test_containers_are_read_inside(tmp_path) -> None:
    """joblib, npy, npz, compressed pickles, JSON: with the loader that their author meant."""
    joblib = pytest.importorskip("joblib")
    value = {"x": np.arange(5), "y": [1]}
    for compress in (0, 3):
        joblib.dump(value, tmp_path / "a.joblib", compress=compress)
        assert load(tmp_path / "a.joblib", limits=FAST)["x"].tolist() == [0, 1, 2, 3, 4]
    file = io.BytesIO()
    np.savez(file, a=np.arange(3), b=np.array([1, "x"], object))
    found = loaded(file.getvalue())
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == [1, "x"]
    assert loaded(gzip.compress(pickle.dumps([1, 2]))) == loaded(bz2.compress(pickle.dumps([1, 2]))) == [1, 2]
    assert loaded(b'{"a": [1, 2.5]}') == {"a": [1, 2.5]}
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(1))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.pickle", "a.pickle")
    with pytest.raises(FormatError, match="unpack it"):
        load(tmp_path / "a.tar", limits=FAST)


def test_hdf5_is_read_inside() -> None:
    """libhdf5 is C code that hostile files have crashed."""
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as target:
        target["group/x"] = np.arange(4)
    assert loaded(file.getvalue())["group"]["x"].tolist() == [0, 1, 2, 3]


def test_code_by_design_runs_inside() -> None:
    """A function that cloudpickle wrote: no policy can judge it, and here it needs none."""
    cloudpickle = pytest.importorskip("cloudpickle")

    class Point:
        def __init__(self, x) -> None:
            self.x = x

    data = cloudpickle.dumps([Point(3), lambda x: x])
    with pytest.raises(PolicyError):
        safeload.loads(data)
    with pytest.raises(LoadError, match="Point") as caught:
        loaded(data)
    assert caught.value.code == "sandbox.not-plain"
    point, function = loaded(data, on_other="describe")
    assert isinstance(point, Described)
    assert point.type_name.endswith("Point")
    assert point.attributes == {"x": 3}
    assert function.type_name == "builtins.function"


def test_evidence_of_harm_is_not_even_tried() -> None:
    """The sandbox is for the unknown, not for what somebody recognised."""
    with pytest.raises(PolicyError, match="not even in the sandbox") as caught:
        loaded(pickle.dumps(Runs(os.system, "true")))
    assert caught.value.report.verdict is safeload.Verdict.MALICIOUS


def test_envelopes_are_verified_and_decrypted_outside() -> None:
    """The key never enters; a wrong context or key refuses before a process is asked."""
    key, other = safeload.Key.generate("hs256-gcm"), safeload.Key.generate("hs256-gcm")
    value = {"a": np.arange(2000), "b": "secret"}
    data = safeload.dumps(value, key=key, context="here")
    found = loaded(data, keys=[key], context="here")
    assert found["b"] == "secret"
    assert (found["a"] == value["a"]).all()
    with pytest.raises(VerificationError):
        loaded(data, keys=[key], context="there")
    with pytest.raises(MissingKeyError):
        loaded(data, keys=[other], context="here")
    with pytest.raises(MissingKeyError):
        loaded(pickle.dumps(1), keys=[key])


def test_libraries_of_the_caller_are_imported_before_the_lock(tmp_path, monkeypatch) -> None:
    """An unknown module is no module in the jail; the error says how to name it."""
    (tmp_path / "shapes_of_mine.py").write_text("class Square:\n    side = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import shapes_of_mine

    data = pickle.dumps(shapes_of_mine.Square())
    with pytest.raises(LoadError, match=r"libraries=\['shapes_of_mine'\]"):
        loaded(data, on_other="describe")
    assert loaded(data, on_other="describe", libraries=["shapes_of_mine"]).type_name == "shapes_of_mine.Square"
    for wrong, error in ((["a b"], ValueError), ("text", TypeError), ([3], ValueError)):
        with pytest.raises(error):
            loaded(data, libraries=wrong)


def test_arguments_that_are_wrong_are_mistakes() -> None:
    """Before anything is read."""
    for options in ({"on_other": "x"}, {"require": "none"}, {"limits": 5}):
        with pytest.raises((ValueError, TypeError)):
            load(io.BytesIO(b"N."), **options)
    with pytest.raises(TypeError):
        load(5)
    with pytest.raises(FileNotFoundError):
        load("/nonexistent/x")


def test_limits_hold_and_are_named() -> None:
    """Memory, size of the result, time: each with the field to raise."""
    with pytest.raises(LimitExceededError, match="max_sandbox_memory"):
        jailed(running("result = len(bytearray(1 << 30))"))
    with pytest.raises(LimitExceededError, match="max_sandbox_memory"):
        jailed(running("x = []\nwhile True: x.append(bytearray(1 << 24))"))
    with pytest.raises(LimitExceededError, match="max_sandbox_result"):
        jailed(running("result = bytes(1 << 27)"))
    quick = Limits(max_sandbox_seconds=1)
    for code in (
        "while True: pass",
        "import time; time.sleep(1000)",
        "import signal\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except (OSError, ValueError): pass\nwhile True: pass",
    ):
        before = time.monotonic()
        with pytest.raises(SandboxTimeoutError) as caught:
            jailed(running(code), quick)
        assert isinstance(caught.value, TimeoutError)
        assert time.monotonic() - before < 30


ENDS = {
    "import os; os._exit(0)": "exit status 0",
    "import os; os._exit(7)": "exit status 7",
    "import os; os.abort()": "SIGABRT",
    "import ctypes; ctypes.string_at(0)": "SIGSEGV",
}


@pytest.mark.parametrize("code", ENDS, ids=lambda code: code[-30:])
def test_ends_without_a_result_are_told(code) -> None:
    """How the process ended, in words; never a hang, never a partial result."""
    with pytest.raises(safeload.SafeloadError, match=ENDS[code]):
        jailed(running(code), modules=("ctypes",))


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import socket; socket.socket()",
        "import os; os.kill(1, 9)",
        "import os; os.execv('/bin/true', ['x'])",
    ],
)
def test_hostile_calls_end_in_a_violation(code) -> None:
    """They kill, and the caller hears that somebody tried."""
    with pytest.raises(SandboxViolationError, match="forbids"):
        jailed(running(code))


def test_what_the_artifact_raises_is_quoted_not_raised() -> None:
    """Its words are escaped and cut; its class never leaves the jail."""
    with pytest.raises(LoadError, match="ZeroDivisionError") as caught:
        jailed(running("1/0"))
    assert caught.value.code == "sandbox.raised"
    with pytest.raises(LoadError) as caught:
        jailed(running("raise ValueError('\\x1b[31m' + 'A' * 10_000)"))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_nothing_is_left_behind() -> None:
    """No descriptor, no zombie, no child, whatever the end was."""
    import contextlib

    jailed(running("result = 1"))
    before = open_descriptors()
    for code in ("result = 1", "1/0", "import os; os._exit(1)", "import os; os.fork()", "import os; os.close(3)"):
        with contextlib.suppress(SandboxError, LoadError):
            jailed(running(code))
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError if "xdist" not in sys.modules else (ChildProcessError, AssertionError)):
        assert os.waitpid(-1, os.WNOHANG) != (0, 0)


def test_the_jail_is_one_shot() -> None:
    """What one artifact changes in its process, the next one does not see."""
    jailed(running("import json; json.evil = 1; result = 1"))
    assert jailed(running("import json; result = hasattr(json, 'evil')")) is False


def test_nothing_of_the_caller_is_inside(monkeypatch) -> None:
    """No environment, no arguments, no descriptor but the three that it needs."""
    monkeypatch.setenv("SAFELOAD_KEYS", "a secret")
    code = """
import os, sys, fcntl
held = []
for number in range(64):
    try: fcntl.fcntl(number, fcntl.F_GETFD); held.append(number)
    except OSError: pass
result = [sorted(os.environ), held, sys.argv[3:]]
"""
    environment, held, arguments = jailed(running(code), modules=("fcntl",))
    assert all(name.endswith("_NUM_THREADS") for name in environment)
    assert held == [0, 1, 2, 3, 5] or len(held) <= 6
    assert arguments == []


def test_a_signal_to_the_jailed_process_is_an_error_not_a_hang(monkeypatch) -> None:
    """Somebody kills it at any moment: the kernel, out of memory, or an operator."""
    from safeload.sandbox import zygotes

    made = []
    given = zygotes.ZygoteHandle.child

    def child(self, deadline):
        made.append(given(self, deadline))
        threading.Timer(0.3, made[-1].signal, [signal.SIGKILL]).start()
        return made[-1]

    monkeypatch.setattr(zygotes.ZygoteHandle, "child", child)
    with pytest.raises(SandboxError, match="killed"):
        jailed(running("import time; time.sleep(5)"))


STEPS = {"before its job": "_send", "before its answer": "_answer", "after its answer": "_result"}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_there_is_an_error_or_a_whole_result(step, monkeypatch) -> None:
    """Never a hang, a partial result, or a descriptor that stays; the next one is served."""
    from safeload.sandbox.session import Session

    jailed(running("result = 1"))
    before = open_descriptors()
    name = STEPS[step]
    done = getattr(Session, name)

    def killing(self, *arguments):
        self._child.signal(signal.SIGKILL)
        return done(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Session, name, killing)
        if step == "after its answer":  # its memory is ours by then
            assert jailed(running("result = [1, 2]")) == [1, 2]
        else:
            with pytest.raises(SandboxError):
                jailed(running("import time; time.sleep(2); result = 1"))
    assert open_descriptors() == before
    assert jailed(running("result = 3")) == 3


def test_no_memory_files_is_an_error_in_time(monkeypatch) -> None:
    """A process that has as many descriptors as it may gets the system's own error, and loses none."""
    import resource

    jailed(running("result = 1"))
    before = open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
    try:
        with pytest.raises((OSError, SandboxError)):
            jailed(running("result = 1"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_descriptors() <= before  # the zygote may have been given up
    assert jailed(running("result = 2")) == 2
