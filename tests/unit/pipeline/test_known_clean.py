"""What is remembered of clean bytes, and for which bytes."""

from __future__ import annotations

import pickle
import threading

import pytest

from safeload.pipeline import known_clean as module
from safeload.pipeline.known_clean import Judgements


@pytest.mark.parametrize("size", [10, module._LARGE])
def test_only_the_same_bytes_under_the_same_rules(size: int) -> None:
    """Equal length is no more than a reason to look; the digest and every circumstance decide."""
    kept: Judgements[str] = Judgements()
    kept.place(b"a" * size, "policy", 5).keep("clean")
    assert kept.place(b"a" * size, "policy", 5).known == "clean"
    assert kept.place(memoryview(b"a" * size), "policy", 5).known == "clean"
    for data, *rest in ((b"b" * size, "policy", 5), (b"a" * size, "other", 5), (b"a" * size, "policy", 6)):
        assert kept.place(data, *rest).known is None
    assert kept.place(b"a" * (size + 1), "policy", 5).known is None


def test_the_oldest_are_forgotten() -> None:
    """The memory is bounded, and what was used last stays."""
    kept: Judgements[int] = Judgements(entries=2)
    for number in range(3):
        kept.place(bytes([number]), "policy").keep(number)
        assert kept.place(b"\x00", "policy").known == 0
    assert kept.place(b"\x01", "policy").known is None
    assert kept.place(b"\x02", "policy").known == 2


def test_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left, the digest is computed where it is asked for."""

    def start(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    kept: Judgements[str] = Judgements()
    kept.place(bytes(module._LARGE), "policy").keep("clean")
    assert kept.place(bytes(module._LARGE), "policy").known == "clean"


def test_digests_are_of_the_bytes() -> None:
    """Whether a thread computes it or not."""
    import hashlib

    for data in (b"", b"x", pickle.dumps(bytearray(module._LARGE + 1))):
        assert module.Digest(data).value() == hashlib.sha256(data).digest()
