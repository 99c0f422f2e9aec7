"""Key rings: look-up by id, states, rotation, trust per signer, and immutability."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from safeload.envelope.keys import Key, KeyEntry, KeyRing, KeyState, as_ring
from safeload.errors import MissingKeyError


def test_lookup_by_id_only() -> None:
    """A ring finds exactly the key with the id, in whatever state, and nothing else."""
    keys = [Key.generate() for _ in range(3)]
    ring = KeyRing(keys)
    assert ring.find(keys[1].key_id) is ring.entries[1]
    assert ring.find(bytes(16)) is None
    assert keys[0] in ring
    assert Key.generate() not in ring
    assert len(ring) == 3
    assert [entry.key for entry in ring] == keys


def test_primary_is_the_first_that_may_sign() -> None:
    """Public halves, retired and revoked keys, and keys out of their time never seal."""
    past = datetime.now(UTC) - timedelta(days=1)
    active = Key.generate()
    ring = KeyRing(
        [
            Key.generate("ed25519").public,
            KeyEntry(Key.generate(), state="verify-only"),  # type: ignore[arg-type]
            KeyEntry(Key.generate(), state=KeyState.REVOKED),
            KeyEntry(Key.generate(), not_after=past),
            KeyEntry(Key.generate(), not_before=datetime.now(UTC) + timedelta(days=1)),
            active,
        ]
    )
    assert ring.primary == active
    with pytest.raises(MissingKeyError, match="can sign") as caught:
        _ = KeyRing([Key.generate("ed25519").public]).primary
    assert caught.value.code == "keys.no-signing-key"


def test_rotation() -> None:
    """After a rotation the new key seals and the old one still verifies; the old ring is unchanged."""
    old, new = Key.generate(), Key.generate()
    before = KeyRing([old], label="cache")
    after = before.rotate(new, label="2027")
    assert before.primary == old
    assert after.primary == new
    assert after.label == "cache"
    entry = after.find(old.key_id)
    assert entry is not None
    assert entry.state is KeyState.VERIFY_ONLY
    with pytest.raises(ValueError, match="can sign"):
        before.rotate(Key.generate("ed25519").public)


def test_retire_and_revoke() -> None:
    """A key is named by itself, its id, its id in hex or its label; revocation is final."""
    one, two = Key.generate(), Key.generate()
    ring = KeyRing([KeyEntry(one, label="one"), two])
    for name in (one, one.key_id, one.key_id_hex, "one"):
        assert ring.retire(name).find(one.key_id).state == "verify-only"  # type: ignore[union-attr]
    revoked = ring.revoke("one")
    assert revoked.find(one.key_id).state == "revoked"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="final"):
        revoked.retire(one)
    assert revoked.revoke(one).find(one.key_id).state == "revoked"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no such key"):
        ring.revoke("three")
    with pytest.raises(ValueError, match="several"):
        KeyRing([KeyEntry(one, label="x"), KeyEntry(two, label="x")]).revoke("x")


def test_add_with_trust() -> None:
    """Policy and grants stand beside the key and are handed through untouched."""
    policy = object()
    key = Key.generate()
    ring = KeyRing().add(key, policy=policy, grants={"code"}, label="trainer")
    entry = ring.find(key.key_id)
    assert entry is not None
    assert entry.policy is policy
    assert entry.grants == frozenset({"code"})
    assert entry.key_id == key.key_id


def test_twice_the_same_key() -> None:
    """Two entries for one id would make its trust depend on their order."""
    pair = Key.generate("ed25519")
    with pytest.raises(ValueError, match="twice"):
        KeyRing([pair, pair.public])


@pytest.mark.parametrize("wrong", [b"x" * 32, "slk1.x", 5, None])
def test_raw_material_is_refused(wrong: object) -> None:
    """Neither a ring nor an entry nor `as_ring` takes bytes or text for a key."""
    with pytest.raises(TypeError):
        KeyRing([wrong])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        KeyEntry(wrong)  # type: ignore[arg-type]
    if wrong is not None:
        with pytest.raises(TypeError):
            as_ring(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        KeyRing(wrong or b"")  # type: ignore[arg-type]


def test_as_ring() -> None:
    """Whatever a caller may reasonably give as keys becomes a ring."""
    key = Key.generate()
    ring = KeyRing([key])
    assert as_ring(ring) is ring
    assert len(as_ring(None)) == 0
    for given in (key, KeyEntry(key), [key], (KeyEntry(key),), iter([key])):
        assert key in as_ring(given)
    assert key.find(key.key_id).key is key, "a key is a ring of one"  # type: ignore[union-attr]
    assert key.find(bytes(16)) is None


def test_entry_mistakes() -> None:
    """States and grants are closed sets; times need a zone."""
    key = Key.generate()
    with pytest.raises(ValueError, match="verify-only"):
        KeyEntry(key, state="retired")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'code'"):
        KeyEntry(key, grants=frozenset({"everything"}))
    with pytest.raises(TypeError):
        KeyEntry(key, grants="code")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time zone"):
        KeyEntry(key, not_before=datetime(2027, 1, 1))  # noqa: DTZ001


def test_time_in_use() -> None:
    """Both ends are inclusive, to the microsecond."""
    start = datetime(2027, 1, 1, tzinfo=UTC)
    start_us = int(start.timestamp()) * 1_000_000
    entry = KeyEntry(Key.generate(), not_before=start, not_after=start + timedelta(seconds=1))
    assert not entry.covers(start_us - 1)
    assert entry.covers(start_us)
    assert entry.covers(start_us + 1_000_000)
    assert not entry.covers(start_us + 1_000_001)
    assert entry.may_sign(start_us)
    assert not entry.may_sign(0)


def test_rings_do_not_change_and_do_not_leak() -> None:
    """A ring cannot be altered under a running load, and no repr or pickle shows a key."""
    key = Key.generate()
    ring = KeyRing([key])
    with pytest.raises(AttributeError):
        ring.entries = ()
    with pytest.raises(AttributeError):
        del ring.label
    with pytest.raises(TypeError):
        pickle.dumps(ring)
    assert key.export().split(".")[2] not in repr(ring)
