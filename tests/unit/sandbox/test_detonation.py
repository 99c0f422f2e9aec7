"""Detonation: what an artifact tries is seen, with its arguments, and nothing of it happens."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sandbox_parts import Runs, needs_level, open_descriptors, running

import safeload
from safeload.cli import main
from safeload.findings import Report, Verdict
from safeload.sandbox import detonate
from safeload.sandbox.watch.detonation import with_detonation

pytestmark = needs_level("full")

MARK = f"/tmp/safeload-detonation-{os.getpid()}"


def seen(data: bytes, timeout: float = 10):
    return detonate(io.BytesIO(data), timeout=timeout)


TRIES = {
    "system": (pickle.dumps(Runs(os.system, f"touch {MARK}")), "execute", f"touch {MARK}"),
    "popen": (pickle.dumps(Runs(subprocess.Popen, ["/bin/sh", "-c", f"touch {MARK}"])), "execute", f"touch {MARK}"),
    "exec": (running(f"import os; os.execv('/usr/bin/touch', ['touch', {MARK!r}])"), "execute", "/usr/bin/touch"),
    "read": (running("open('/etc/passwd').read()"), "read", "/etc/passwd"),
    "write": (running(f"open({MARK!r}, 'w').write('x')"), "write", MARK),
    "mkdir": (running(f"import os; os.mkdir({MARK!r})"), "file", MARK),
    "unlink": (running("import os; os.unlink('/tmp/none')"), "file", "unlink"),
    "tcp": (running("import socket; s = socket.socket(); s.connect(('127.0.0.1', 4444)); s.sendall(b'hello')"), "connect", "127.0.0.1:4444"),
    "sent": (running("import socket; s = socket.socket(); s.connect(('127.0.0.1', 4444)); s.sendall(b'hello')"), "send", "hello"),
    "udp": (running("import socket; socket.socket(2, 2).sendto(b'abc', ('127.0.0.1', 53))"), "send", "127.0.0.1:53"),
    "unix": (running("import socket; socket.socket(1).connect('/run/docker.sock')"), "connect", "/run/docker.sock"),
    "url": (running("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/x', timeout=1)"), "connect", "127.0.0.1:9"),
    "raw": (running(f"import ctypes; ctypes.CDLL(None).mkdir({MARK.encode()!r}, 511)"), "file", MARK),
    "kill": (running("import os; os.kill(1, 9)"), "signal", "1, 9"),
    "code": (running("import mmap; mmap.mmap(-1, 4096, prot=7)"), "call", "executable memory"),
    "later": (running("import atexit, os\nclass Late:\n    def __del__(self, run=os.system): run('true')\nresult = Late()"), "execute", "true"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIES)
def test_what_it_tries_is_seen_and_not_done(name) -> None:
    """Programs with their arguments, files with their paths, connections with their addresses and bytes."""
    data, kind, detail = TRIES[name]
    found = seen(data)
    assert [attempt for attempt in found.evidence if attempt.kind == kind and detail in attempt.detail], found.attempts
    assert found.verdict is Verdict.MALICIOUS
    assert found.level == "full"
    assert not Path(MARK).exists()


def test_no_connection_is_made() -> None:
    """The listener on loopback hears nothing, though the artifact believes that it was connected."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.2)
        port = server.getsockname()[1]
        found = seen(running(f"import socket; socket.create_connection(('127.0.0.1', {port}))"))
        assert found.outcome == "finished"
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_quiet_run_is_never_clean() -> None:
    """Data tries nothing; an artifact that only waits neither, and nobody can tell them apart."""
    for value in ({"a": 1}, np.arange(5)):
        found = seen(pickle.dumps(value))
        assert found.outcome == "finished"
        assert found.attempts == ()
        assert found.report.verdict in (Verdict.CLEAN, Verdict.UNKNOWN)
        assert found.verdict is Verdict.UNKNOWN


def test_models_try_nothing() -> None:
    """A false alarm would teach people to ignore the true ones."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    model = ensemble.RandomForestClassifier(2).fit(np.eye(4), [0, 1, 0, 1])
    found = seen(pickle.dumps(model))
    assert found.said.endswith("RandomForestClassifier")
    assert found.evidence == ()


def test_time_and_calls_are_bounded() -> None:
    """It can wait, compute, fork and call as long as it likes: the caller gets an answer, with what was seen."""
    for code in (
        "while True: pass",
        "import time; time.sleep(100)",
        "import os, time\nfor n in range(4):\n  if os.fork() == 0: time.sleep(100)\ntime.sleep(100)",
    ):
        before = time.monotonic()
        found = seen(running(code), timeout=0.5)
        assert found.outcome == "timeout"
        assert time.monotonic() - before < 30
    found = seen(running("import os\nwhile True: os.fork()"))
    assert sum(times for attempt, times in found.attempts if attempt.kind == "process") < 100
    looks = "import os\nfor n in range(300):\n  try: os.stat(f'/x{n}')\n  except OSError: pass\nos.system('true')"
    found = seen(running(looks))
    assert [attempt.kind for attempt in found.evidence][-1] == "execute"
    assert len(found.attempts) < 200


def test_processes_that_it_forked_are_gone() -> None:
    """Not only the first one is killed."""
    mark = f"forked-{os.getpid()}-{time.monotonic_ns()}"
    code = f"import os, time\nif os.fork() == 0:\n  name = {mark!r}\n  while True: time.sleep(1)"
    zygotes_before = processes()
    seen(running(code), timeout=1)
    end = time.monotonic() + 10
    while time.monotonic() < end and len(processes()) > len(zygotes_before) + 3:
        time.sleep(0.05)
    assert len(processes()) <= len(zygotes_before) + 3  # the zygote of detonations, and its spares


def processes() -> set[str]:
    """Processes of zygotes that this process started."""
    mine = set()
    for folder in Path("/proc").iterdir():
        try:
            if b"zygote" in (folder / "cmdline").read_bytes() and ancestor(folder.name):
                mine.add(folder.name)
        except OSError:
            continue
    return mine


def ancestor(pid: str) -> bool:
    while pid not in ("0", "1"):
        if int(pid) == os.getpid():
            return True
        pid = (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[1]
    return False


def test_hints_are_told_apart_from_evidence() -> None:
    """An audit event can be forged; it never makes a verdict."""
    code = "import sys; sys.audit('socket.connect', 'forged', ('10.0.0.1', 1)); result = 1"
    found = seen(running(code))
    assert any("forged" in hint for hint in found.hints)
    assert found.evidence == ()


def test_hostile_words_are_escaped() -> None:
    """Paths and arguments are the artifact's own text."""
    found = seen(running("open('/tmp/\\x1b[31mred\\n', 'w')"))
    assert all("\x1b" not in attempt.detail and "\n" not in attempt.detail for attempt, _ in found.attempts)


def test_nothing_is_left_open() -> None:
    """Sockets that it got, memory, the listener."""
    code = "import socket\nall = [socket.socket() for _ in range(30)]\nf = open('/tmp/x', 'w')\nresult = 1"
    seen(running(code))
    before = open_descriptors()
    seen(running(code))
    seen(running("import os; os._exit(0)"))
    assert open_descriptors() == before


def test_reports_only_get_worse() -> None:
    """What was seen makes a report malicious; what was not seen leaves it as it was."""
    report = Report(Verdict.UNKNOWN)
    worse = with_detonation(report, seen(pickle.dumps(Runs(os.system, "true"))))
    assert worse.verdict is Verdict.MALICIOUS
    assert "detonation.execute" in {finding.rule_id for finding in worse.findings}
    same = with_detonation(report, seen(pickle.dumps(1)))
    assert same.verdict is Verdict.UNKNOWN
    assert [finding.rule_id for finding in same.findings] == ["detonation.quiet"]


def test_a_kernel_without_notifications_is_said() -> None:
    """Linux before 5.0, or a container that forbids it: an error, and no quiet run."""
    program = """
import errno, io, sys
from safeload.sandbox.kernel.bpf import ALLOW, Filter, fails
from safeload.sandbox.kernel.jail import give_up_gains, install
from safeload.sandbox.kernel.machine import machine
kernel = Filter(machine(), ALLOW)
kernel.only("seccomp", 1, (0, 1), fails(errno.EINVAL))
give_up_gains()
install(kernel.program())
import safeload
assert safeload.sandbox.attest().level == "full"
try:
    safeload.sandbox.detonate(io.BytesIO(b"N."))
except safeload.SandboxUnavailableError as error:
    print(error.code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "sandbox.no-notifications"


@pytest.fixture
def files(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    (tmp_path / "quiet.pkl").write_bytes(cloudpickle.dumps(lambda: 1))
    (tmp_path / "data.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "loud.pkl").write_bytes(cloudpickle.dumps(loud()))
    return tmp_path


def loud():
    """Code that no rule calls harmful: it is only seen when it runs."""

    class Loud:
        def __setstate__(self, state) -> None:
            with open("/etc/passwd") as file:  # noqa: PTH123 - what the code of a stranger does
                file.read()

        def __getstate__(self):
            return {"a": 1}

    return Loud()


def test_the_command_tells_what_was_tried(files, capsys) -> None:
    """As text and as JSON; the exit code is never that of "clean"."""
    assert main(["detonate", str(files / "loud.pkl")]) == 1
    text = capsys.readouterr().out
    assert "judged      unknown" in text
    assert "/etc/passwd" in text
    assert main(["detonate", str(files / "data.pkl")]) == 3
    assert "does not make it clean" in capsys.readouterr().out
    assert main(["detonate", str(files / "loud.pkl"), "--format", "json", "--timeout", "5"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "malicious"
    assert {"kind": "read", "evidence": True} in [
        {key: each[key] for key in ("kind", "evidence")} for each in told["attempts"]
    ]
    assert main(["detonate", str(files / "missing")]) == 2


def test_a_scan_with_detonation(files, capsys) -> None:
    """An unknown that tries something is malicious, the quiet one stays unknown, what is clean is not run."""
    assert main(["scan", str(files), "--detonate", "--jobs", "1", "--format", "json"]) == 1
    found = {Path(each["path"]).name: each for each in json.loads(capsys.readouterr().out)["artifacts"]}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "data.pkl": "clean",
        "loud.pkl": "malicious",
        "quiet.pkl": "unknown",
    }
    assert "detonation.read" in {each["rule_id"] for each in found["loud.pkl"]["findings"]}
    assert "detonation.quiet" in {each["rule_id"] for each in found["quiet.pkl"]["findings"]}
    assert not any(each["rule_id"].startswith("detonation") for each in found["data.pkl"]["findings"])


def test_the_command_measures_the_sandbox(capsys, monkeypatch) -> None:
    """Its exit code is the answer for a container's test."""
    assert main(["sandbox", "attest"]) == 0
    assert "landlock" in capsys.readouterr().out
    assert main(["sandbox", "attest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["level"] == "full"
    import safeload.sandbox
    from safeload.sandbox import Attestation

    monkeypatch.setattr(
        safeload.sandbox, "attest", lambda: Attestation("seccomp-only", {"landlock": "unavailable: ENOSYS"})
    )
    assert main(["sandbox", "attest"]) == 1
    assert "CONFIG_LSM" in capsys.readouterr().out
    assert main(["sandbox", "attest", "--require", "seccomp-only"]) == 0


def test_wrong_choices_are_mistakes() -> None:
    """Before anything runs."""
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            detonate(io.BytesIO(b"N."), timeout=timeout)
    with pytest.raises(safeload.SafeloadError):
        detonate(io.BytesIO(b"\x7fELF" + bytes(100)))
