"""Which key opens an envelope.

Rule: that is decided here and nowhere else: looked up by the id in the prelude, refused when
revoked, when its suite is not the prelude's, or when the reader's configuration does not admit that suite.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, TypeAlias

from safeload.envelope.failures import exceeded, refused, unverified
from safeload.envelope.wire import Layout
from safeload.errors import MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from safeload.envelope.keys import Key, KeyEntry, KeyRing
    from safeload.envelope.wire import Plan, Prelude
    from safeload.facts.suites import Suite
    from safeload.limits import Limits

__all__ = ["Keys", "check_header_tag", "check_limits", "header_tag", "select_key"]


_NO_KEYS = (str, bytes, bytearray)  # these have a method called find
Keys: TypeAlias = "KeyRing | Key"  # whatever finds a key by its id


def select_key(prelude: Prelude, keys: Keys, suites: Collection[Suite | str] | None) -> KeyEntry:
    """The entry of the key that sealed the envelope with this prelude.

    Raises:
        MissingKeyError: the key is not in the ring.
        VerificationError: the prelude's suite is not the key's: somebody relabelled the envelope.
        EnvelopeError: the key is revoked, or the suite is not admitted.
        TypeError: ``keys`` is text, raw bytes or a list.
    """
    if isinstance(keys, _NO_KEYS) or not hasattr(keys, "find"):
        raise TypeError(f"keys is a key or a key ring, not {type(keys).__name__}; text and raw bytes are never keys")
    entry = keys.find(prelude.key_id)
    if entry is None:
        raise MissingKeyError(
            f"no key with id {prelude.key_id.hex()} is in the key ring; add the key of the signer, or its public half"
        )
    suite = entry.key.suite
    if suite != prelude.suite:
        unverified("suite is not the key's")
    if suites is not None and suite not in suites and suite.label not in suites:
        refused(
            "suite-not-admitted", f"this reader does not admit suite {suite.label}; seal with another key, or admit it"
        )
    if entry.state == "revoked":
        refused("key-revoked", f"key {prelude.key_id.hex()} is revoked; seal the payload again with a current key")
    return entry


def check_limits(prelude: Prelude, plan: Plan, limits: Limits) -> None:
    """Refuse an envelope larger than the limits, before anything is allocated.

    Raises:
        LimitExceededError: naming the limit.
    """
    size = plan.total if prelude.layout != Layout.DETACHED else prelude.payload_size
    if size > limits.max_artifact_bytes:
        exceeded("max_artifact_bytes", size, limits.max_artifact_bytes)
    if prelude.claims_size > limits.max_claims_bytes:
        exceeded("max_claims_bytes", prelude.claims_size, limits.max_claims_bytes)


def header_tag(header_key: bytes, message: bytes) -> bytes:
    """The tag in front of an encrypted body."""
    return hmac.digest(header_key, message, "sha256")


def check_header_tag(header_key: bytes, message: bytes, tag: bytes) -> None:
    """Verify before decrypting: key, context, prelude and claims are right, or nothing is decrypted.

    Raises:
        VerificationError: the tag does not hold.
    """
    if not hmac.compare_digest(header_tag(header_key, message), tag):
        unverified("header tag")
