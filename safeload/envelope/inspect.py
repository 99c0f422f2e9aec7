"""What an envelope says about itself, for people. Nothing here is verified, and every name says so."""

from __future__ import annotations

from typing import Any

from safeload.envelope import wire
from safeload.envelope.wire import CODECS, Layout
from safeload.facts.suites import Suite

__all__ = ["inspect_prelude"]


def inspect_prelude(data: bytes | memoryview) -> dict[str, Any]:
    """The prelude's fields as ``unverified_…`` entries that JSON can hold.

    Claims are not shown: they are parsed only after authentication.

    Args:
        data: at least the first 96 bytes.

    Raises:
        EnvelopeError: they are no prelude of a version known here.
    """
    prelude = wire.unpack(bytes(data[: wire.PRELUDE_SIZE]))
    return {
        "unverified_suite": Suite(prelude.suite).label,
        "unverified_layout": Layout(prelude.layout).name,
        "unverified_codec": CODECS.get(prelude.codec, f"private {prelude.codec:#06x}"),
        "unverified_version": prelude.schema_version,
        "unverified_created_us": prelude.created_us,
        "unverified_expires_us": prelude.expires_us,
        "unverified_payload_size": prelude.payload_size,
        "unverified_claims_size": prelude.claims_size,
        "unverified_cosignatures": prelude.cosignatures,
        "unverified_key_id": prelude.key_id.hex(),
        "unverified_message_id": prelude.salt.hex(),
        "unverified_total_size": wire.plan_of(prelude).total,
    }
