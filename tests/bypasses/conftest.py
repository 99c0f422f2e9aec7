"""What every attack shares: the builder of streams, a warm library, and the assertion that nothing happened."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

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
