"""Zygotes: one per process, reaped, recycled, gone with their program, deaf to its environment and signals."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sandbox_parts import FAST, jailed, needs_level, open_descriptors, running

from safeload.errors import SandboxError, SandboxTimeoutError, SandboxUnavailableError
from safeload.sandbox import zygotes
from safeload.sandbox.deadline import Deadline

pytestmark = needs_level("full")


def current() -> zygotes.ZygoteHandle:
    return zygotes.zygote(frozenset(), Deadline(30))


def children(pid: int) -> list[int]:
    """The children of a process, dead ones that nobody reaped included."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def states(pid: int) -> list[str]:
    found = []
    for child in children(pid):
        try:
            found.append(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return found


def gone(pid: int, within: float = 10) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_it_is_a_program_of_its_own(monkeypatch) -> None:
    """Started by exec, isolated, with an environment that is written here, in a session of its own."""
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nonexistent")
    monkeypatch.setenv("SECRET_OF_THE_PROGRAM", "x")
    handle = zygotes.ZygoteHandle(Deadline(30))
    try:
        pid = handle._process.pid
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"SECRET" not in environment
        assert b"LD_LIBRARY_PATH" not in environment
        assert b"-I" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert os.getsid(pid) == pid
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
        assert str(Path(f"/proc/{pid}/cwd").readlink()) == "/"
    finally:
        handle.close()


def test_children_are_reaped_and_spares_are_kept() -> None:
    """A zombie per artifact would fill the table of processes of a service."""
    for _ in range(5):
        jailed(running("result = 1"))
    handle = current()
    end = time.monotonic() + 10
    while time.monotonic() < end and (len(children(handle._process.pid)) != 2 or "Z" in states(handle._process.pid)):
        time.sleep(0.02)
    assert len(children(handle._process.pid)) == 2
    assert "Z" not in states(handle._process.pid)


def test_a_burst_is_served(monkeypatch) -> None:
    """More at a time than there are spares: the others are forked when they are asked for."""
    results: list = []

    def ask(number: int) -> None:
        results.append(jailed(running(f"result = {number}")))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(12))


def test_it_is_recycled(monkeypatch) -> None:
    """All children of a zygote share the layout of its memory: after some of them it is replaced, and ends."""
    jailed(running("result = 1"))
    first = current()
    monkeypatch.setattr(zygotes, "_MAX_CHILDREN", 1)
    jailed(running("result = 1"))
    assert not first.usable
    assert first._process.returncode is not None
    assert jailed(running("result = 2")) == 2
    assert current() is not first


def test_a_dead_zygote_is_replaced() -> None:
    """Killed by an operator or the kernel: the question that meets it fails, the next one is answered."""
    jailed(running("result = 1"))
    handle = current()
    os.kill(handle._process.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match=r"gone|ended"):
        jailed(running("result = 1"))
    assert jailed(running("result = 3")) == 3
    assert handle._process.returncode == -signal.SIGKILL


def test_a_zygote_that_does_not_answer_is_given_up() -> None:
    """Stopped, or starved: the caller's deadline holds, and nobody gets a late answer."""
    jailed(running("result = 1"))
    handle = current()
    os.kill(handle._process.pid, signal.SIGSTOP)
    with pytest.raises(SandboxTimeoutError):
        handle.child(Deadline(0.3))
    assert not handle.usable
    assert jailed(running("result = 4")) == 4


def test_no_descriptor_is_left_by_what_fails() -> None:
    """A service meets every failure many times."""
    jailed(running("result = 1"))
    before = open_descriptors()
    for _ in range(3):
        handle = current()
        os.kill(handle._process.pid, signal.SIGKILL)
        with pytest.raises(SandboxError):
            jailed(running("result = 1"))
        jailed(running("result = 1"))
    assert open_descriptors() == before


PARENT = """
import io, os, sys, time, threading, signal
import safeload
from safeload.sandbox import zygotes
from safeload.sandbox.deadline import Deadline
def start():
    global remote
    remote = safeload.sandbox.open(io.BytesIO(b"\\x80\\x04]."))
if sys.argv[1] == "thread":  # a thread that ends must not take the zygote along
    thread = threading.Thread(target=start); thread.start(); thread.join()
else:
    start()
handle = zygotes.zygote(frozenset(), Deadline(30))
(session,) = remote._sessions
if sys.argv[1] == "thread":
    assert remote.call("__len__") == 0
if sys.argv[1] == "child":  # a program that the dead one started keeps nothing alive
    import subprocess
    subprocess.Popen(["sleep", "20"], close_fds=False, stdout=subprocess.DEVNULL)
print(handle._process.pid, session._child.pid, flush=True)
if sys.argv[1] == "exit":
    os._exit(1)
if sys.argv[1] == "end":
    sys.exit()
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["kill", "exit", "end", "thread", "child"])
def test_it_dies_with_its_program(how) -> None:
    """However the program ends, nothing of the sandbox is left; and not before it ends."""
    with subprocess.Popen([sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        zygote, child = map(int, program.stdout.readline().split())
        if how in ("kill", "thread", "child"):
            assert Path(f"/proc/{zygote}").exists()
            program.send_signal(signal.SIGKILL)
    assert gone(zygote)
    assert gone(child)


def test_an_interrupt_is_for_the_program() -> None:
    """Ctrl-C in a terminal goes to the whole group; the sandbox is in another."""
    handle = current()
    assert os.getpgid(handle._process.pid) != os.getpgid(0)
    os.kill(handle._process.pid, signal.SIGINT)
    assert jailed(running("result = 5")) == 5


def test_after_a_fork_the_child_has_its_own() -> None:
    """Two processes on one control socket would get each other's children."""
    jailed(running("result = 1"))
    mine = current()._process.pid
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = (jailed(running("result = 6")), current()._process.pid)
            zygotes.close_all()
            os.write(writer, pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        result, other = pickle.load(file)
    os.waitpid(pid, 0)
    assert result == 6
    assert other != mine
    assert jailed(running("result = 7")) == 7
    assert current()._process.pid == mine


def test_an_interpreter_that_cannot_be_started_is_said(monkeypatch, tmp_path) -> None:
    """A program that embeds Python, a chroot without it: a clear error, and no descriptor left."""
    before = open_descriptors()
    monkeypatch.setattr(zygotes.sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(SandboxUnavailableError, match="could not start"):
        zygotes.ZygoteHandle(Deadline(5))
    assert open_descriptors() == before


def test_limits_of_the_caller_are_no_hang() -> None:
    """With no memory left for a process the error comes, in time."""
    with pytest.raises(SandboxTimeoutError):
        zygotes.ZygoteHandle(Deadline(0.001))
    assert jailed(running("result = 8"), FAST) == 8
