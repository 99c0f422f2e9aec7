"""Cosignatures: further Ed25519 signatures of the same 200 bytes, of which a reader may require k.

Who may cosign is fixed when the envelope is sealed: the claim ``sle.cosigners`` lists their key ids in the order of
the slots, so that nobody can put another signer into a slot. A slot is key id ‖ signature; a signature of zeros is
one not yet given. Rules: a cosignature whose key the reader holds must be right or absent; one whose key the reader
does not hold is never counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from safeload.envelope.failures import refused, unverified
from safeload.envelope.wire import COSIGNATURE_SIZE, MAX_COSIGNATURES, Prelude
from safeload.facts.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.envelope.keying import Keys
    from safeload.envelope.keys import Key, KeyEntry

__all__ = ["CLAIM", "add_claim", "check_cosigners", "make_slots", "verify_slots"]

CLAIM: Final = "sle.cosigners"
EMPTY: Final = bytes(64)


def check_cosigners(cosigners: Sequence[Key], main: Key) -> None:
    """Refuse a list of cosigners that makes no sense.

    Raises:
        ValueError: too many, twice the same, the main signer among them, or a key of another suite than ``ed25519``.
    """
    if len(cosigners) > MAX_COSIGNATURES:
        raise ValueError(f"an envelope has at most {MAX_COSIGNATURES} cosigners, not {len(cosigners)}")
    ids = [key.key_id for key in cosigners]
    if len(set(ids)) != len(ids) or main.key_id in ids:
        raise ValueError("cosigners are distinct keys other than the signer's")
    if any(key.suite != Suite.ED25519 for key in cosigners):
        raise ValueError("cosigners have ed25519 keys: with a shared secret, every reader could cosign")


def add_claim(claims: dict[str, Any], cosigners: Sequence[Key]) -> dict[str, Any]:
    """``claims`` with the list of cosigners."""
    return {**claims, CLAIM: [key.key_id.hex() for key in cosigners]} if cosigners else claims


def make_slots(cosigners: Sequence[Any], message: bytes) -> bytes:
    """The cosignature slots; a cosigner given as a public key gets an empty one, to be filled with ``cosign``."""
    return b"".join(key.key_id + (key.sign(message) if key.can_sign else EMPTY) for key in cosigners)


def verify_slots(
    prelude: Prelude, claims: dict[str, Any], slots: bytes, message: bytes, keys: Keys, require: int
) -> tuple[KeyEntry, ...]:
    """Check the cosignatures and take their list out of ``claims``; returns the entries whose signatures hold.

    Raises:
        VerificationError: a signature by a known key does not hold, or the slots are not those that were signed.
        EnvelopeError: fewer than ``require`` hold (code ``envelope.cosignatures``).
    """
    listed = claims.pop(CLAIM, [])
    ids = [slots[at : at + 16] for at in range(0, len(slots), COSIGNATURE_SIZE)]
    if listed != [key_id.hex() for key_id in ids] or len(set(ids)) != len(ids) or prelude.key_id in ids:
        unverified("cosigners are not those in the claims")
    valid = []
    for number, key_id in enumerate(ids):
        at = number * COSIGNATURE_SIZE + 16
        signature = slots[at : at + 64]
        entry = keys.find(key_id)
        if entry is None or signature == EMPTY:
            continue
        if entry.key.suite != Suite.ED25519 or not entry.key.verify(message, signature):
            unverified("cosignature")
        if entry.state != "revoked" and entry.covers(prelude.created_us):
            valid.append(entry)
    if len(valid) < require:
        refused(
            "cosignatures",
            f"the envelope has {len(valid)} valid cosignatures by known keys, {require} are required; "
            "have it cosigned, or add the cosigners' public keys to the ring",
        )
    return tuple(valid)
