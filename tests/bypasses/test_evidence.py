"""What is called malicious: names are judged one by one, and what runs code is malicious however it is spelled.

A verdict that is wrong in either direction is not believed the next time: cookies and results of task queues that are "a way to run code", and a
plain ``os.system`` that is only "malformed" or "unknown".
"""

from __future__ import annotations

import asyncio
import ctypes
import http.cookiejar
import http.cookies
import os
import pickle
import signal
import subprocess
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest
from pickle_parts import SPELLINGS, STOP, Raw, call, glob, proto, put

import safeload
from safeload.cli import main
from safeload.engine.harmful import is_harmful
from safeload.findings import Verdict

if TYPE_CHECKING:
    from pathlib import Path

DATA = {
    "cookies": http.cookies.SimpleCookie("a=1"),
    "a cookie": http.cookiejar.Cookie(
        0, "a", "b", None, False, "x.y", True, False, "/", True, False, None, False, None, None, {}
    ),
    "a union of types": int | str,
    "a failed process": subprocess.CalledProcessError(1, ["ls"], b"out"),
    "a process": subprocess.CompletedProcess(["ls"], 0),
    "a cancelled task": asyncio.CancelledError(),
    "a URL's error": urllib.error.URLError("x"),
    "a C integer": ctypes.c_int(3),
    "a file's status": os.stat("/"),  # noqa: PTH116
    "a signal": signal.SIGTERM,
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_data_of_dangerous_modules_is_not_malicious(name: str, protocol: int) -> None:
    """At most unknown: the module opens sockets or starts processes, this class of it does not."""
    assert safeload.scan(pickle.dumps(DATA[name], protocol)).verdict in (Verdict.UNKNOWN, Verdict.CLEAN)


@pytest.mark.parametrize(
    "name",
    [
        "requests.exceptions.ConnectionError", "requests.structures.CaseInsensitiveDict", "requests.models.Response", "urllib3.util.retry.Retry",
        "torch.distributed.tensor.DTensor", "torch.distributed._tensor.placement_types.Shard", "torch.distributed.checkpoint.metadata.Metadata",
        "test.Model", "trace.Tracing", "profile.models.User", "code.Code", "shutil.SameFileError", "socket.timeout",
        "aiohttp.client_exceptions.ClientConnectorError",
    ],
)  # fmt: skip
def test_names_without_harm(name: str) -> None:
    """Of libraries, and of modules of an application that are called like one of Python's."""
    assert not is_harmful(name)


@pytest.mark.parametrize(
    "name",
    [
        "requests.get", "requests.sessions:Session.get", "http.cookiejar:MozillaCookieJar.load", "http.client.HTTPConnection", "subprocess.run",
        "numpy.__builtins__", "logging.os", "torch:os.system", "mymod:Thing.__globals__", "torch.distributed.rpc.rpc_sync", "trace:Trace.run",
        "profile:Profile.runctx", "os.remove", "signal.raise_signal", "torch.distributed.TCPStore", "urllib.request.urlopen",
    ],
)  # fmt: skip
def test_names_of_harm(name: str) -> None:
    """What the same modules have that acts, methods of their data classes, and namespaces reached through another module."""
    assert is_harmful(name)


RUNS = {
    **{name: spell("posix", "system", "true") for name, spell in SPELLINGS.items()},
    "behind a large memo index": proto(2) + glob("posix", "system") + put(70_000) + b"X\x04\0\0\0true\x85R.",
    "getattr of a namespace": proto(2) + call(glob("builtins", "getattr"), Raw(glob("numpy", "__builtins__")), "eval") + STOP,
    "getattr to globals": proto(2) + call(glob("builtins", "getattr"), Raw(glob("mymod", "f")), "__globals__") + STOP,
    "attrgetter": proto(2) + call(glob("operator", "attrgetter"), "__init__.__globals__") + STOP,
    "reduce with a function": proto(2) + call(glob("functools", "reduce"), Raw(glob("mymod", "f")), [1, 2]) + STOP,
    "reduce of values": proto(2) + call(glob("functools", "reduce"), Raw(glob("_operator", "or_")), [1, 2]) + STOP,
    "a function of dill, called": proto(2)
    + call(call(glob("dill._dill", "_create_function"), Raw(call(glob("dill._dill", "_create_code"), b"")), {}))
    + STOP,
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_what_runs_is_malicious(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the report, in text, in JSON and by the exit code: a stream that breaks behind the call has made it."""
    path = tmp_path / "a.pkl"
    path.write_bytes(RUNS[name])
    assert safeload.scan(path).verdict is Verdict.MALICIOUS
    assert main(["scan", "--fail-on", "malicious", str(path)]) == 1
    assert "malicious" in capsys.readouterr().out.lower()
    assert main(["scan", "--format", "json", str(path)]) == 1
    assert '"verdict": "malicious"' in capsys.readouterr().out


def test_getattr_of_a_nested_class_is_no_evidence() -> None:
    """Below protocol 4 every nested class is written so."""
    data: Any = proto(2) + call(glob("builtins", "getattr"), Raw(glob("mymod", "Outer")), "Inner") + STOP
    assert safeload.scan(data).verdict is Verdict.UNKNOWN
