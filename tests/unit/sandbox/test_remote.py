"""Objects that live in the jail: asked from many threads, with deadlines, replaced when they die."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sandbox_parts import FAST, needs_level, open_descriptors

import safeload
from safeload.errors import (
    LimitExceededError,
    LoadError,
    PolicyError,
    SandboxError,
    SandboxTimeoutError,
    SandboxViolationError,
)
from safeload.sandbox import Described, Remote
from safeload.sandbox import open as open_remote

pytestmark = needs_level("full")


class Served:
    """What a class of an author whom nobody knows may do; cloudpickle carries its code."""

    def __init__(self) -> None:
        self.count = 0
        self.inner = {"a": np.arange(3)}

    def add(self, *numbers, factor=1):
        return sum(numbers) * factor

    def counted(self):
        self.count += 1
        return self.count

    def wait(self, seconds):
        import time

        time.sleep(seconds)
        return seconds

    def fail(self):
        raise ZeroDivisionError("on purpose")

    def die(self, how):
        import ctypes
        import os

        {
            "exit": lambda: os._exit(3),
            "crash": lambda: ctypes.string_at(0),
            "fork": os.fork,
            "close": lambda: (os.close(3), wait()),
            "lie": lambda: os.write(3, b'{"number": 1, "size": 1000000}'),
            "noise": lambda: os.write(3, b"[]"),
            "other": lambda: os.write(3, b'{"number": 77, "size": 1}'),
        }[how]()

    def grow(self, size):
        return len(bytearray(size))

    def many(self, size):
        return bytes(size)

    def myself(self):
        return self


def wait() -> None:
    while True:
        pass


@pytest.fixture(scope="module")
def data():
    cloudpickle = pytest.importorskip("cloudpickle")
    import sys

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        return cloudpickle.dumps(Served())
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def remote(data):
    with open_remote(io.BytesIO(data), limits=FAST) as remote:
        yield remote


def test_calls_attributes_and_descriptions(remote) -> None:
    """Plain data goes in and comes out; paths lead to parts."""
    assert isinstance(remote, Remote)
    assert "Served" in repr(remote)
    assert remote.call("add", 1, 2, factor=10) == 30
    assert [remote.call("counted"), remote.call("counted")] == [1, 2]
    assert remote.get("inner")["a"].tolist() == [0, 1, 2]
    assert remote.get("count") == 2
    assert remote.call("add.__call__", 4) == 4
    found = remote.describe()
    assert found["type"].endswith("Served")
    assert found["attributes"] == ["count", "inner"]
    assert "counted" in found["methods"]


def test_errors_of_the_object_leave_it_alive(remote) -> None:
    """It raised, ran out of memory or gave what is no data: it is asked on, in the same process."""
    assert remote.call("counted") == 1
    with pytest.raises(LoadError, match="ZeroDivisionError: on purpose"):
        remote.call("fail")
    with pytest.raises(LoadError, match="AttributeError"):
        remote.call("nothing")
    with pytest.raises(LimitExceededError, match="max_sandbox_memory"):
        remote.call("grow", 1 << 32)
    with pytest.raises(LimitExceededError, match="max_sandbox_result"):
        remote.call("many", 1 << 27)
    with pytest.raises(LoadError) as caught:
        remote.call("myself")
    assert caught.value.code == "sandbox.not-plain"
    assert remote.call("counted") == 2
    assert remote.restarts == 0


DEATHS = {
    "exit": SandboxError, "crash": SandboxError, "fork": SandboxViolationError, "close": SandboxViolationError,
    "lie": SandboxViolationError, "noise": SandboxViolationError, "other": SandboxViolationError,
}  # fmt: skip


@pytest.mark.parametrize("how", DEATHS)
def test_a_process_that_dies_or_lies_is_replaced(remote, how) -> None:
    """One question ends with an error, the next is answered by a new process that knows nothing of the old one."""
    assert remote.call("counted") == 1
    with pytest.raises(DEATHS[how]):
        remote.call("die", how)
    assert remote.call("counted") == 1
    assert remote.restarts == 1


def test_deadlines_hold_and_the_next_question_is_answered(remote) -> None:
    """A model that never answers costs its caller the deadline and no more."""
    before = time.monotonic()
    with pytest.raises(SandboxTimeoutError):
        remote.call("wait", 1000, timeout=0.3)
    assert time.monotonic() - before < 10
    assert remote.call("add", 1, timeout=20) == 1
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            remote.call("add", timeout=wrong)


def test_it_computes_only_when_asked(remote) -> None:
    """Between questions the process is stopped: a miner in a model earns nothing."""
    (session,) = remote._sessions
    remote.call("add")
    end = time.monotonic() + 5
    status = ""
    while time.monotonic() < end and status != "T":
        status = Path(f"/proc/{session._child.pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert status == "T"


def test_many_threads_ask_and_each_gets_its_own_answer(data) -> None:
    """Answers of one must never reach another; with several processes they work side by side."""
    with open_remote(io.BytesIO(data), limits=FAST, processes=2) as remote, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: remote.call("add", number), range(100))) == list(range(100))


def test_asyncio_callers(data) -> None:
    """By ``asyncio.to_thread``, as the documentation says."""

    async def ask() -> list:
        with open_remote(io.BytesIO(data), limits=FAST) as remote:
            return await asyncio.gather(*(asyncio.to_thread(remote.call, "add", number) for number in range(10)))

    assert asyncio.run(ask()) == list(range(10))


def test_a_busy_object_is_an_error_of_its_own(remote) -> None:
    """The waiting caller gives up; the one that is being answered is not disturbed."""
    answers: list = []
    thread = threading.Thread(target=lambda: answers.append(remote.call("wait", 1.5)))
    thread.start()
    time.sleep(0.3)
    with pytest.raises(SandboxTimeoutError) as caught:
        remote.call("add", timeout=0.2)
    assert caught.value.code == "sandbox.busy"
    thread.join()
    assert answers == [1.5]


def test_arguments_must_be_plain_data(remote) -> None:
    """The mistake is the caller's, and the object is not asked."""
    with pytest.raises(TypeError, match="no plain data"):
        remote.call("add", Served())
    with pytest.raises(TypeError):
        remote.call(5)


def test_results_can_be_described(data) -> None:
    """With ``on_other="describe"`` what stays inside is told."""
    with open_remote(io.BytesIO(data), limits=FAST, on_other="describe") as remote:
        found = remote.call("myself")
    assert isinstance(found, Described)
    assert found.attributes["count"] == 0


def test_a_closed_object_is_closed(data) -> None:
    """No process and no descriptor is left, however often it died."""
    with open_remote(io.BytesIO(data), limits=FAST) as remote:
        remote.call("add")
    before = open_descriptors()
    with open_remote(io.BytesIO(data), limits=FAST) as remote:
        for how in ("exit", "fork"):
            with pytest.raises(SandboxError):
                remote.call("die", how)
        remote.call("add")
    assert open_descriptors() == before
    with pytest.raises(SandboxError, match="closed"):
        remote.call("add")
    remote.close()


def test_hostile_artifacts_are_refused_at_opening() -> None:
    """Like a load: evidence of harm, bytes that are no artifact, wrong choices."""
    with pytest.raises(PolicyError):
        open_remote(io.BytesIO(b"cposix\nsystem\n(S'true'\ntR."))
    with pytest.raises(LoadError, match="libraries"):
        open_remote(io.BytesIO(b"cno_such_library\nModel\n)R."), limits=FAST)
    for options in ({"processes": 0}, {"processes": True}, {"on_other": "x"}, {"require": "x"}):
        with pytest.raises(ValueError):
            open_remote(io.BytesIO(b"N."), **options)


def test_it_works_on_after_a_fork(data) -> None:
    """Gunicorn and Celery open a model and fork: parent and child each have processes of their own."""
    with open_remote(io.BytesIO(data), limits=FAST) as remote:
        assert remote.call("counted") == 1
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, str(remote.call("counted")).encode())
                from safeload.sandbox.zygotes import close_all

                close_all()
            finally:
                os._exit(0)
        os.close(writer)
        assert os.read(reader, 10) == b"1"
        os.close(reader)
        os.waitpid(pid, 0)
        assert remote.call("counted") == 2


def test_models_of_scikit_learn_are_served() -> None:
    """Their answers are those of the model in this process, for arrays and frames."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    pd = pytest.importorskip("pandas")
    rows = np.random.default_rng(0).random((300, 4))
    target = (rows[:, 0] > 0.5).astype(int)
    frame = pd.DataFrame(rows, columns=list("abcd"))
    model = ensemble.RandomForestClassifier(5, random_state=0).fit(frame, target)
    with open_remote(io.BytesIO(pickle.dumps(model)), limits=FAST) as remote:
        assert remote.get("classes_").tolist() == [0, 1]
        assert (remote.call("predict", frame) == model.predict(frame)).all()
        assert (remote.call("predict_proba", frame) == model.predict_proba(frame)).all()
        assert "predict" in remote.describe()["methods"]


def test_models_of_xgboost_are_served() -> None:
    """A reader and predictor in C++, which hostile files have crashed, in a process that may crash."""
    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(0).random((200, 4))
    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(rows, rows[:, 0])
    with open_remote(io.BytesIO(pickle.dumps(model)), limits=FAST) as remote:
        assert np.allclose(remote.call("predict", rows), model.predict(rows))


def test_a_torch_model_is_served() -> None:
    """On the CPU, with code that a policy would not let in."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(torch.nn.Linear(3, 2), file)
    with open_remote(io.BytesIO(file.getvalue()), limits=safeload.Limits(max_sandbox_memory=1 << 33)) as remote:
        assert "forward" in remote.describe()["methods"]
