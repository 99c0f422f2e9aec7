"""What every attack shares: the builder of streams, a warm library, and the assertion that nothing happened."""

from __future__ import annotations

import gc
import io
import math
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parent))

import safeload


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """Everything that safeload imports lazily is imported before an attack counts modules."""
    for data in (b"cno_such_module\nname\n.", b"\x80\x04cno_such_module\nname\n)R."):
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(data)
        safeload.scan(data)


class Refusal:
    """Feeds a stream to every way in and asserts that it is refused without an effect."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(
        self, data: bytes, *, module: str = "", policy: object = None, stream: int = 0
    ) -> safeload.SafeloadError:
        """``stream`` is the pickle of the artifact that has to be refused; those before it are harmless."""
        before = set(sys.modules)
        with pytest.raises(safeload.SafeloadError) as caught:
            safeload.loads(data, policy=policy)
        file = io.BytesIO(data)
        for _ in range(stream):
            safeload.load(file, policy=policy)
        with pytest.raises(safeload.SafeloadError):
            safeload.load(file, policy=policy)
        unpickler = safeload.Unpickler(io.BytesIO(data), policy=policy)
        for _ in range(stream):
            unpickler.load()
        with pytest.raises(safeload.SafeloadError):
            unpickler.load()
        report = safeload.scan(data, policy=policy)
        assert report.verdict != "clean"
        assert not safeload.is_safe(data, policy=policy)
        self.harmless(before, module)
        return caught.value

    def harmless(self, before: set[str], module: str = "") -> None:
        """Nothing was imported that the stream names, and no payload ran."""
        assert not self.marker.exists(), "the payload ran"
        if module:
            assert (module in sys.modules) <= (module in before), f"{module} was imported"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that a payload would create."""
    return tmp_path / "marker"


@pytest.fixture
def refused(marker: Path) -> Refusal:
    """Asserts that a stream is refused everywhere and has no effect."""
    return Refusal(marker)


class Outcome(NamedTuple):
    """How an attack in a process of its own ended: ``"loaded"``, ``"refused"``, ``"escaped"``, ``"crash"`` or ``"hang"``."""

    kind: str
    code: str = ""
    detail: str = ""


@pytest.fixture
def isolated() -> Callable[..., Outcome]:
    """Runs an attack in a fork with bounded memory and processor time; the fork has to live and say what happened."""
    if not hasattr(os, "fork"):  # pragma: no cover
        pytest.skip("needs fork")
    return _isolated


def _isolated(
    data: bytes, *, scan: bool = False, guard: float = 30.0, memory: int = 1 << 31, **options: Any
) -> Outcome:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        os.close(reader)
        try:
            _limit_memory(memory)
            _limit_processor(guard)
            answer = _attack(data, scan=scan, options=options)
        except BaseException as error:
            answer = f"escaped\t{type(error).__name__}\t{str(error)[:200]!r}"
        os.write(writer, answer.encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], _PATIENCE)
        text = os.read(reader, 4096).decode("utf-8", "replace") if ready else ""
        if not ready:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reader)
        _, status = os.waitpid(child, 0)
    if not ready or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome("hang")
    return Outcome(*text.split("\t")) if text else Outcome("crash", str(status))


# Seconds for a process that waits for something: on a loaded machine the work of a guard's seconds takes many times as long.
_PATIENCE = 600


def _limit_processor(guard: float) -> None:
    """A hang is processor time: what else the machine does must not count."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(guard), math.ceil(guard) + 5))


def _limit_memory(memory: int) -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 1 << 18
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _attack(data: bytes, *, scan: bool, options: dict[str, Any]) -> str:
    if scan:
        report = safeload.scan(data, **options)
        return f"scanned\t{report.verdict}\t{','.join(finding.rule_id for finding in report.findings[:5])}"
    try:
        loaded = safeload.loads(data, **options)
    except safeload.SafeloadError as error:
        return f"refused\t{error.code}\t{type(error).__name__}"
    kind = type(loaded).__name__
    del loaded  # freeing it must not crash either
    gc.collect()
    return f"loaded\t\t{kind}"
