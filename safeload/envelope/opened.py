"""What an opened envelope is, and the checks between its authentication and its payload.

Rule (order of trust): limits, key, suite and signature come before; here follow times and claims; only then may
anybody look at the payload.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from safeload.envelope import claims as canonical
from safeload.envelope.failures import refused
from safeload.envelope.wire import CODECS, PRIVATE_CODECS, Layout, Prelude
from safeload.facts.suites import Suite

if TYPE_CHECKING:
    from safeload.envelope.keys import KeyEntry

__all__ = ["RESERVED", "Opened", "settle"]

RESERVED = "sle."  # claims with this prefix belong to the format


class Opened:
    """A verified (and decrypted) envelope.

    Attributes:
        payload: the payload in private memory: nobody else can change it. Writable where it was read from a file.
            Empty where it went to another place (:func:`~safeload.envelope.decrypt_to`).
        prelude: the authenticated fields of the prelude.
        claims: what the signer stated, without the format's own entries.
        entry: the key ring's entry of the signer, with its policy and grants.
        cosigners: entries of the further signers whose signatures hold.
    """

    __slots__ = ("claims", "cosigners", "entry", "payload", "prelude")

    def __init__(
        self,
        payload: memoryview,
        prelude: Prelude,
        claims: dict[str, Any],
        entry: KeyEntry,
        cosigners: tuple[KeyEntry, ...] = (),
    ) -> None:
        self.payload = payload
        self.prelude = prelude
        self.claims = claims
        self.entry: Any = entry
        self.cosigners: tuple[Any, ...] = cosigners

    @property
    def codec(self) -> int:
        """Number of the payload's codec (registry in SPEC.md)."""
        return self.prelude.codec

    @property
    def codec_name(self) -> str:
        """Name of the payload's codec; for a private one, the name in the claims."""
        return CODECS.get(self.prelude.codec) or str(self.claims["codec"])

    @property
    def version(self) -> int:
        """The user's version of the payload's schema."""
        return self.prelude.schema_version

    @property
    def created_us(self) -> int:
        """When the signer says it was sealed, in microseconds UTC."""
        return self.prelude.created_us

    @property
    def expires_us(self) -> int:
        """When it expires, in microseconds UTC; 0 for never."""
        return self.prelude.expires_us

    @property
    def key_id(self) -> bytes:
        """Id of the key that sealed it."""
        return self.prelude.key_id

    @property
    def suite(self) -> Suite:
        """The suite of that key."""
        return Suite(self.prelude.suite)

    @property
    def layout(self) -> Layout:
        """How the body lies in the file."""
        return Layout(self.prelude.layout)

    @property
    def message_id(self) -> bytes:
        """32 random bytes that no other envelope has; for a store that refuses replays."""
        return self.prelude.salt

    @property
    def size(self) -> int:
        """Bytes of the payload, also where ``payload`` is empty because it went elsewhere."""
        return self.prelude.payload_size

    def __repr__(self) -> str:
        return f"<Opened {self.suite.label} {self.codec_name} {self.size} bytes by {self.key_id.hex()}>"


def settle(
    prelude: Prelude, entry: KeyEntry, claims: bytes, now_us: int | None, min_created: int | None
) -> dict[str, Any]:
    """Check what is now authentic: expiry, the signer's time in use, rollback, claims. Returns the claims.

    Raises:
        EnvelopeError: ``envelope.expired``, ``envelope.key-not-valid``, ``envelope.too-old`` or ``envelope.claims``.
    """
    if prelude.expires_us:
        now = time.time_ns() // 1000 if now_us is None else now_us
        if now >= prelude.expires_us:
            refused("expired", f"the envelope expired at {_iso(prelude.expires_us)}; fetch or seal a newer one")
    if not entry.covers(prelude.created_us):
        refused("key-not-valid", f"the envelope was sealed at {_iso(prelude.created_us)}, when its key was not in use")
    if min_created is not None and prelude.created_us < min_created:
        moment = _iso(prelude.created_us)
        refused("too-old", f"the envelope was sealed at {moment}, earlier than this reader accepts; fetch a newer one")
    found = canonical.decode(claims) if claims else {}
    if prelude.codec >= PRIVATE_CODECS:
        check_codec_claim(found)
    return found


def check_codec_claim(claims: dict[str, Any]) -> None:
    """Refuse claims that do not name a private codec.

    Raises:
        EnvelopeError: code ``envelope.claims``.
    """
    name = claims.get("codec")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        refused("claims", "the envelope's codec is a private one, but its claims do not name it in 'codec'")


def _iso(moment_us: int) -> str:
    from datetime import UTC, datetime, timedelta

    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{moment_us} microseconds"
