"""Every change of every byte is noticed, for each suite and layout, and one message covers them all."""

from __future__ import annotations

import os
from typing import Any

import pytest

from safeload.envelope import PUBLIC_MESSAGE, Layout, open_bytes, open_detached, seal, seal_detached
from safeload.envelope.keys import Key, KeyRing
from safeload.errors import DecryptionError, EnvelopeError, LimitExceededError, VerificationError

REFUSALS = (EnvelopeError, LimitExceededError)


def small_envelope(key: Any, layout: Layout) -> bytes:
    return seal(b"payload", key, layout=layout, context="c", claims={"a": 1}, expires_in=1000, version=3)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_byte_flipped(kind: Any, mask: int) -> None:
    """No byte can be changed."""
    key, layout = kind
    data = bytearray(small_envelope(key, layout))
    for at in range(len(data)):
        data[at] ^= mask
        with pytest.raises(REFUSALS):
            open_bytes(bytes(data), key, context="c")
        data[at] ^= mask
    assert open_bytes(bytes(data), key, context="c").payload == b"payload"


def test_every_truncation(kind: Any) -> None:
    """No end can be cut off."""
    key, layout = kind
    data = small_envelope(key, layout)
    for size in range(len(data)):
        with pytest.raises(EnvelopeError) as caught:
            open_bytes(data[:size], key, context="c")
        assert caught.value.code in ("envelope.truncated", "envelope.not-an-envelope")


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"x" * 32, b"PK\x05\x06" + bytes(18), bytes(16)])
def test_every_append(kind: Any, tail: bytes) -> None:
    """Nothing can be appended or put in front: no polyglots."""
    key, layout = kind
    data = small_envelope(key, layout)
    with pytest.raises(EnvelopeError) as caught:
        open_bytes(data + tail, key, context="c")
    assert caught.value.code == "envelope.trailing-bytes"
    with pytest.raises(EnvelopeError):
        open_bytes(tail + data, key, context="c")


def test_every_byte_of_cosigned_and_detached(keys: dict[str, Any]) -> None:
    """Cosignatures by known keys and sidecars are as rigid."""
    cosigners = [Key.generate("ed25519") for _ in range(2)]
    ring = KeyRing([keys["hs256"], *(key.public for key in cosigners)])
    data = bytearray(seal(b"payload", keys["hs256"], cosigners=cosigners))
    sidecar = bytearray(seal_detached(b"payload", keys["ed25519"], claims={"a": 1}))
    for envelope, read in (
        (data, lambda changed: open_bytes(changed, ring)),
        (sidecar, lambda changed: open_detached(changed, b"payload", keys["ed25519"])),
    ):
        read(bytes(envelope))
        for at in range(len(envelope)):
            envelope[at] ^= 1
            with pytest.raises(REFUSALS):
                read(bytes(envelope))
            envelope[at] ^= 1
        for size in range(len(envelope)):
            with pytest.raises(REFUSALS):
                read(bytes(envelope[:size]))
        with pytest.raises(REFUSALS):
            read(bytes(envelope) + b"\0")
    for payload in (b"", b"Payload", b"payload\0", b"payloa"):
        with pytest.raises(EnvelopeError):
            open_detached(bytes(sidecar), payload, keys["ed25519"])


def test_pieces_of_two_envelopes(kind: Any) -> None:
    """Two envelopes of one key, size and context cannot be mixed at any border."""
    key, layout = kind
    one, two = small_envelope(key, layout), small_envelope(key, layout)
    for at in range(24, len(one) - 1):
        mixed = one[:at] + two[at:]
        if mixed not in (one, two):
            with pytest.raises(REFUSALS):
                open_bytes(mixed, key, context="c", now_us=0)


def test_chunks_cannot_be_moved(keys: dict[str, Any]) -> None:
    """Chunks of equal size cannot be swapped or doubled within an encrypted or indexed body."""
    chunk = 1 << 16
    payload = os.urandom(3 * chunk)
    for suite, start, step in (("hs256-gcm", 128, chunk + 16), ("ed25519-gcm", 160, chunk + 16), ("hs256", 128, chunk)):
        data = seal(payload, keys[suite], chunk_log2=16, layout=Layout.INDEXED if suite == "hs256" else None)
        chunks = [data[start + n * step : start + (n + 1) * step] for n in range(3)]
        rest = data[start + 3 * step :]
        for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 1, 1), (2, 2, 2)):
            moved = data[:start] + b"".join(chunks[n] for n in order) + rest
            with pytest.raises((VerificationError, DecryptionError)):
                open_bytes(moved, keys[suite])
        assert open_bytes(data, keys[suite]).payload == payload


def test_one_public_message(kind: Any) -> None:
    """Whatever failed (tag, context, header tag, chunk, digest), the message is the same; the reason is in `reason`."""
    key, layout = kind
    data = bytearray(seal(bytes(100), key, layout=layout))
    messages = set()
    for at in (64, len(data) - 1, len(data) // 2, 130):
        data[at] ^= 1
        with pytest.raises((VerificationError, DecryptionError)) as caught:
            open_bytes(bytes(data), key)
        messages.add(str(caught.value))
        assert caught.value.reason  # type: ignore[attr-defined]
        data[at] ^= 1
    with pytest.raises(VerificationError) as caught:
        open_bytes(bytes(data), key, context="other")
    messages.add(str(caught.value))
    assert messages == {PUBLIC_MESSAGE}


def test_other_key_with_the_same_id(keys: dict[str, Any]) -> None:
    """A ring that gives a wrong key for an id does not make the tag hold."""

    class Confused:
        def __init__(self, entry: Any) -> None:
            self.entry = entry

        def find(self, _: bytes) -> Any:
            return self.entry

    for suite, key in keys.items():
        data = seal(b"x", key)
        other = Key.generate(suite)
        with pytest.raises(VerificationError):
            open_bytes(data, Confused(other.find(other.key_id)))
        stranger = Key.generate("hs256" if suite != "hs256" else "ed25519")
        with pytest.raises(VerificationError) as caught:
            open_bytes(data, Confused(stranger.find(stranger.key_id)))
        assert "suite" in caught.value.reason  # type: ignore[attr-defined]
