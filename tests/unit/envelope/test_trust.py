"""The order of trust: keys, states, suites, limits, times, cosignatures; nothing is parsed or decrypted early."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from safeload.envelope import cosign, open_bytes, seal
from safeload.envelope.keys import Key, KeyEntry, KeyRing
from safeload.errors import EnvelopeError, LimitExceededError, MissingKeyError, VerificationError
from safeload.facts.suites import Suite
from safeload.limits import Limits

DAY = 86_400_000_000


def code_of(data: Any, ring: Any, **options: Any) -> str:
    with pytest.raises((EnvelopeError, LimitExceededError)) as caught:
        open_bytes(data, ring, **options)
    return caught.value.code


def test_missing_key(kind: Any) -> None:
    """No key, another key: the id is named, so that the right one can be found."""
    key, layout = kind
    data = seal(b"x", key, layout=layout)
    for ring in (KeyRing(), KeyRing([Key.generate(key.suite)]), Key.generate()):
        with pytest.raises(MissingKeyError, match=key.key_id_hex):
            open_bytes(data, ring)


def test_states(kind: Any) -> None:
    """Verify-only keys open, revoked ones do not, whatever date the envelope claims."""
    key, layout = kind
    data = seal(b"x", key, layout=layout, now_us=1)
    ring = KeyRing([key])
    assert open_bytes(data, ring.retire(key)).payload == b"x"
    assert code_of(data, ring.revoke(key)) == "envelope.key-revoked"


def test_time_in_use(kind: Any) -> None:
    """An envelope created outside its key's time is refused, and only after the time was authenticated."""
    key, layout = kind
    start = datetime(2027, 1, 1, tzinfo=UTC)
    start_us = int(start.timestamp()) * 1_000_000
    ring = KeyRing([KeyEntry(key, not_before=start, not_after=start + timedelta(days=1))])
    for created, accepted in (
        (start_us - 1, False),
        (start_us, True),
        (start_us + DAY, True),
        (start_us + DAY + 1, False),
    ):
        data = seal(b"x", key, layout=layout, now_us=created)
        if accepted:
            assert open_bytes(data, ring).created_us == created
        else:
            assert code_of(data, ring) == "envelope.key-not-valid"
            altered = data[:24] + start_us.to_bytes(8, "big") + data[32:]
            assert code_of(altered, ring) == "envelope.verification"


def test_suites_admitted(kind: Any) -> None:
    """The reader's configuration admits suites by name or number; one name alone is a mistake."""
    key, layout = kind
    data = seal(b"x", key, layout=layout)
    for suites in ({key.suite}, [key.suite.label], (key.suite.label, "other")):
        assert open_bytes(data, key, suites=suites).payload == b"x"
    others = [suite for suite in Suite if suite is not key.suite]
    for suites in ((), others, [suite.label for suite in others]):
        assert code_of(data, key, suites=suites) == "envelope.suite-not-admitted"
    with pytest.raises(TypeError):
        open_bytes(data, key, suites=key.suite.label)


def test_limits_before_anything_is_allocated(kind: Any) -> None:
    """An announced size beyond the limit is refused on the header alone, naming the limit."""
    key, layout = kind
    data = seal(bytes(1000), key, layout=layout, claims={"a": "b" * 200})
    with pytest.raises(LimitExceededError, match="max_artifact_bytes") as caught:
        open_bytes(data, key, limits=Limits(max_artifact_bytes=1000))
    assert caught.value.code == "limit.max-artifact-bytes"
    with pytest.raises(LimitExceededError, match="max_claims_bytes"):
        open_bytes(data, key, limits=Limits(max_claims_bytes=100))
    for size in (2**40, 2**63 - 1, 2**63, 2**64 - 1):
        huge = data[:40] + size.to_bytes(8, "big") + data[48:]
        with pytest.raises((LimitExceededError, EnvelopeError)):
            open_bytes(huge, key)
        with pytest.raises(EnvelopeError):
            open_bytes(huge, key, limits=Limits(max_artifact_bytes=2**70))


def test_replay_of_an_old_one(kind: Any) -> None:
    """`min_created` refuses what is older, after authentication."""
    key, layout = kind
    data = seal(b"x", key, layout=layout, now_us=1000)
    assert open_bytes(data, key, min_created=1000).payload == b"x"
    assert code_of(data, key, min_created=1001) == "envelope.too-old"
    assert code_of(data[:24] + (5000).to_bytes(8, "big") + data[32:], key, min_created=1001) == "envelope.verification"


def test_expiry_is_authenticated(kind: Any) -> None:
    """Neither prolonging nor removing the expiry works."""
    key, layout = kind
    data = seal(b"x", key, layout=layout, now_us=1000, expires_in=1)
    assert code_of(data, key) == "envelope.expired"
    for expires in (0, 2**64 - 1):
        assert code_of(data[:32] + expires.to_bytes(8, "big") + data[40:], key) == "envelope.verification"


def test_extreme_times_do_not_crash(keys: dict[str, Any]) -> None:
    """An expiry or creation in the year 500,000 is a number like any other, also in messages."""
    data = seal(b"x", keys["hs256"], now_us=2**64 - 1)
    assert open_bytes(data, keys["hs256"]).created_us == 2**64 - 1
    assert code_of(data, keys["hs256"], min_created=2**70) == "envelope.too-old"
    ring = KeyRing([KeyEntry(keys["hs256"], not_after=datetime(2027, 1, 1, tzinfo=UTC))])
    assert code_of(data, ring) == "envelope.key-not-valid"


def test_claims_are_not_parsed_before_authentication(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile JSON text never reaches the parser."""
    key, layout = kind
    data = bytearray(seal(b"x", key, layout=layout, claims={"a": 1}))
    data[97] ^= 1

    def parsed(*_: Any, **__: Any) -> None:
        raise AssertionError("parsed before authentication")

    monkeypatch.setattr(json, "loads", parsed)
    assert code_of(bytes(data), key) == "envelope.verification"


@pytest.mark.parametrize("suite", ["hs256-gcm", "hs256-fernet", "ed25519-gcm"])
def test_nothing_is_decrypted_before_authentication(
    keys: dict[str, Any], suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong context, an expired or a foreign envelope is refused before a cipher is set up."""
    from safeload.envelope import fernet, stream

    def set_up(*_: Any) -> None:
        raise AssertionError("decrypting before authentication")

    data = seal(b"x", keys[suite], now_us=0, expires_in=1)
    monkeypatch.setattr(stream, "ChunkCipher", set_up)
    monkeypatch.setattr(fernet, "_cipher", set_up)
    assert code_of(data, keys[suite], context="other") == "envelope.verification"
    if suite != "hs256-gcm":  # STREAM: the cipher is set up (not used) with the header tag, which is the authentication
        assert code_of(data, keys[suite]) == "envelope.expired"


def test_cosignatures(keys: dict[str, Any]) -> None:
    """K of n: given at once or later; only by those named, only counted when the reader holds the key."""
    a, b, c, stranger = (Key.generate("ed25519") for _ in range(4))
    main = keys["hs256"]
    ring = KeyRing([main, a.public, KeyEntry(b.public, label="b"), c.public])
    data = seal(b"x", main, cosigners=[a, b.public, c.public], context="x", claims={"mine": 1})
    opened = open_bytes(data, ring, context="x", require=1)
    assert [entry.key for entry in opened.cosigners] == [a.public]
    assert opened.claims == {"mine": 1}
    assert code_of(data, ring, context="x", require=2) == "envelope.cosignatures"
    data = cosign(data, ring, b, context="x")
    data = cosign(data, ring, c, context="x")
    assert len(open_bytes(data, ring, context="x", require=3).cosigners) == 3
    assert cosign(data, ring, c, context="x") == data
    assert open_bytes(data, KeyRing([main]), context="x").cosigners == ()
    assert code_of(data, KeyRing([main, a.public]), context="x", require=2) == "envelope.cosignatures"
    assert code_of(data, ring.revoke("b"), context="x", require=3) == "envelope.cosignatures"
    with pytest.raises(ValueError, match="no place"):
        cosign(data, ring, stranger, context="x")
    with pytest.raises(VerificationError):
        cosign(data, ring, b, context="another")
    assert code_of(data, ring, context="x", require=4) == "envelope.cosignatures"
    with pytest.raises(ValueError):
        open_bytes(data, ring, require=-1)


def test_cosigner_lists(keys: dict[str, Any]) -> None:
    """Shared secrets, the signer itself, doubles and crowds cannot cosign."""
    pair = Key.generate("ed25519")
    for cosigners in (
        [keys["hs256-gcm"]],
        [pair, pair],
        [pair, pair.public],
        [Key.generate("ed25519") for _ in range(9)],
    ):
        with pytest.raises(ValueError):
            seal(b"x", keys["hs256"], cosigners=cosigners)
    with pytest.raises(ValueError):
        seal(b"x", pair, cosigners=[pair])
    for suite in ("hs256-gcm", "hs256-fernet"):
        with pytest.raises(ValueError):
            seal(b"x", keys[suite], cosigners=[pair])
    for suite in ("ed25519", "ed25519-gcm"):
        data = seal(b"x", keys[suite], cosigners=[pair])
        assert len(open_bytes(data, KeyRing([keys[suite], pair.public]), require=1).cosigners) == 1


def test_none_where_one_is_required(kind: Any) -> None:
    """An envelope without cosignatures never satisfies a reader who requires one."""
    key, layout = kind
    assert code_of(seal(b"x", key, layout=layout), key, require=1) == "envelope.cosignatures"


@pytest.mark.parametrize("data", ["text", 5, None, object(), 10**9])
def test_what_is_no_buffer(keys: dict[str, Any], data: Any) -> None:
    """A wrong type is a mistake of the caller (and an integer is not a size of memory to allocate)."""
    with pytest.raises(TypeError):
        open_bytes(data, keys["hs256"])
