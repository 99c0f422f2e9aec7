"""Key rings that are read again: rotation without a restart, atomically, and never silently old."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from safeload.envelope.keys import Key, KeyRing
from safeload.envelope.keys.providers.file import write_entries
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """The time as the ring sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("safeload.envelope.keys.ring.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def rewritten(path: Path, ring: KeyRing) -> None:
    path.unlink(missing_ok=True)
    write_entries(path, ring.entries)


def test_a_rotated_file_is_seen_by_whoever_holds_the_ring(tmp_path: Path, clock: Clock) -> None:
    """A service holds one ring for months; after a rotation it signs with the new key and still reads the old one's."""
    old, new = Key.generate(), Key.generate()
    path = tmp_path / "keys"
    rewritten(path, KeyRing([old]))
    ring = KeyRing.from_file(path, refresh=60)
    changes: list[str] = []
    ring.watch(lambda what, _: changes.append(what))  # type: ignore[attr-defined]
    rewritten(path, KeyRing([old]).rotate(new))
    clock.now += 59
    assert ring.primary == old
    assert ring.find(new.key_id) is None
    clock.now += 2
    assert ring.primary == new
    assert ring.find(old.key_id) is not None
    assert [entry.key for entry in ring] == [new, old]
    assert (len(ring), new in ring, changes) == (2, True, ["rotate"])
    clock.now += 61
    assert ring.primary == new
    assert changes == ["rotate"]  # nothing has changed, so nothing is told


def test_a_source_that_fails_is_believed_for_a_while_only(clock: Clock) -> None:
    """A broken source must not stop a service at once, nor keep a key alive that was revoked long ago."""
    key = Key.generate()
    answers: list[Any] = [[key]]

    def provider() -> Any:
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    ring = KeyRing.from_provider(provider, refresh=10)
    changes: list[str] = []
    ring.watch(lambda what, _: changes.append(what))  # type: ignore[attr-defined]
    answers[0] = RuntimeError(f"secret {key.export()}")
    clock.now += 11
    assert ring.primary == key
    assert changes == ["unreadable"]
    clock.now += 101
    with pytest.raises(KeyProviderError) as caught:
        _ = ring.primary
    assert caught.value.code == "keys.stale"
    answers[0] = Key.generate().export()
    clock.now += 11
    assert ring.primary.export() == answers[0]


def test_threads_see_whole_rings(tmp_path: Path) -> None:
    """While keys rotate all the time, no lookup ever finds a ring without a key that signs."""
    path = tmp_path / "keys"
    rings = [KeyRing([Key.generate(), Key.generate()]) for _ in range(2)]
    turn = iter(range(10**9))
    ring = KeyRing.from_provider(lambda: rings[next(turn) % 2], refresh=0.0001)
    wrong: list[object] = []

    def look() -> None:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            keys = [entry.key for entry in ring]
            if keys not in ([entry.key for entry in each] for each in rings):
                wrong.append(keys)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not path.exists()


@pytest.mark.parametrize("refresh", [0, -1, True, float("nan"), "60"])
def test_a_period_is_a_number_of_seconds(refresh: Any) -> None:
    """A period that means nothing would be a ring that is never, or always, read."""
    with pytest.raises(ValueError, match="refresh is a number"):
        KeyRing.from_provider(lambda: [Key.generate()], refresh=refresh)


def test_a_provider_that_returns_nonsense_fails_at_once() -> None:
    """And its error quotes nothing."""
    with pytest.raises(KeyProviderError, match="TypeError"):
        KeyRing.from_provider(lambda: 5)
