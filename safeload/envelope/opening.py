"""Open envelopes that are in memory. Files are :mod:`safeload.envelope.files`.

The order of trust, the same for every layout and nowhere changed:

1. the prelude is unpacked, its sizes are compared with what is there, limits are applied;
2. the key is looked up by id, its suite compared, its state checked;
3. the signature (for STREAM the header tag) over context, prelude, claims and body digest is verified;
4. expiry, the key's time, the age, the claims and the cosignatures are checked;
5. only then is anything decrypted, and only then does anybody look at the payload.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from safeload.envelope import wire
from safeload.envelope.cosignatures import verify_slots
from safeload.envelope.failures import refused, unverified
from safeload.envelope.index import ChunkIndex
from safeload.envelope.keying import Keys, check_limits, select_key
from safeload.envelope.opened import Opened, settle
from safeload.envelope.primitives import NO_BODY, Context, context_digest, index_digest, message
from safeload.envelope.stream import BodyOpener
from safeload.envelope.views import payload_memory
from safeload.envelope.wire import HEADER_TAG_SIZE, Layout, Plan, Prelude
from safeload.facts.suites import Suite
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.source.parallel import Workers

if TYPE_CHECKING:
    from collections.abc import Collection

    from safeload.envelope.keys import KeyEntry

__all__ = [
    "Demand", "Head", "OpenOptions", "accept", "accept_header", "check_size", "fernet_payload", "header_opener",
    "make_demand", "open_bytes", "open_head", "open_memory", "private_bytes",
]  # fmt: skip


class OpenOptions(TypedDict, total=False):
    """The keyword arguments of :func:`open_bytes`, for the functions that pass them on."""

    context: Context
    suites: Collection[Suite | str] | None
    limits: Limits
    now_us: int | None
    min_created: int | None
    require: int


class Demand(NamedTuple):
    """What a reader demands of an envelope: the arguments of :func:`open_bytes`, checked."""

    keys: Keys
    context: bytes
    suites: Collection[Suite | str] | None
    limits: Limits
    now_us: int | None
    min_created: int | None
    require: int


class Head(NamedTuple):
    """An envelope whose prelude is well-formed and whose key is known; nothing is authenticated yet."""

    prelude: Prelude
    plan: Plan
    entry: KeyEntry
    header: bytes


def open_bytes(
    data: Any,
    keys: Keys,
    *,
    context: Context = None,
    suites: Collection[Suite | str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    now_us: int | None = None,
    min_created: int | None = None,
    require: int = 0,
) -> Opened:
    """Verify, and decrypt, an envelope in memory.

    Args:
        data: the envelope, whole and alone. ``bytes`` are used in place; anything that could change is copied first.
        keys: a key ring or a key: whatever has ``find(key_id)``.
        context: the context it was sealed with.
        suites: admit only these.
        limits: bounds on sizes.
        now_us: the time in microseconds UTC, for tests.
        min_created: refuse envelopes created earlier (microseconds UTC), against replays of old ones.
        require: how many cosignatures by keys of the ring must hold.

    Raises:
        EnvelopeError: in its several kinds; see :mod:`safeload.envelope.failures`.
        LimitExceededError: it is larger than ``limits``.
    """
    if type(data) is not bytes:
        data = private_bytes(data)
    if data[:20] in wire.PLAIN_HEADS and len(data) > 96 and not require and not isinstance(suites, str):
        opened = _open_plain(data, keys, context, suites, limits, now_us, min_created)
        if opened is not None:
            return opened
    demand = make_demand(
        keys, context=context, suites=suites, limits=limits, now_us=now_us, min_created=min_created, require=require
    )
    return open_memory(data, demand)


def _open_plain(
    data: bytes,
    keys: Keys,
    context: Context,
    suites: Collection[Suite | str] | None,
    limits: Limits,
    now_us: int | None,
    min_created: int | None,
) -> Opened | None:
    """The path of small cache entries: the steps of :func:`open_memory` in the same order, for a known header.

    ``None`` if a size is wrong: the general path says what.
    """
    prelude = wire.unpack_plain(data)
    size = len(data)
    tag_at = 96 + prelude.payload_size
    if size != tag_at + (32 if prelude.suite == 1 else 64) or size > limits.max_artifact_bytes:
        return None
    entry = select_key(prelude, keys, suites)
    body = memoryview(data)[96:tag_at]
    signed = message(context_digest(context), data[:96], b"", hashlib.sha256(body).digest())
    if not entry.key.verify(signed, data[tag_at:]):
        unverified("tag")
    return Opened(body, prelude, settle(prelude, entry, b"", now_us, min_created), entry)


def make_demand(
    keys: Keys,
    *,
    context: Context = None,
    suites: Collection[Suite | str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    now_us: int | None = None,
    min_created: int | None = None,
    require: int = 0,
) -> Demand:
    """The reader's arguments, checked where a mistake would go unnoticed.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """
    if isinstance(suites, str):
        raise TypeError("suites is a collection of names, not one name")
    if require < 0:
        raise ValueError("require is a number of cosignatures, at least 0")
    return tuple.__new__(Demand, (keys, context_digest(context), suites, limits, now_us, min_created, require))


def open_memory(data: Any, demand: Demand) -> Opened:
    """Open the envelope ``data`` (bytes or a memoryview), which nobody else can change."""
    head = bytes(data[:96])
    prelude = wire.unpack(head)
    plan = wire.plan_of(prelude)
    check_limits(prelude, plan, demand.limits)
    check_size(prelude, plan, len(data))
    entry = select_key(prelude, demand.keys, demand.suites)
    if prelude.layout != 0:  # INLINE
        return _open_chunked(memoryview(data), Head(prelude, plan, entry, head), demand)
    body = memoryview(data)[plan.body_at : plan.tag_at]
    claims = bytes(data[96 : plan.body_at]) if prelude.claims_size else b""
    signed = message(demand.context, head, claims, hashlib.sha256(body).digest())
    if not entry.key.verify(signed, data[plan.tag_at :]):
        unverified("tag")
    found = settle(prelude, entry, claims, demand.now_us, demand.min_created)
    if found or demand.require:
        verify_slots(prelude, found, b"", signed, demand.keys, demand.require)
    if prelude.suite == Suite.HS256_FERNET:
        body = fernet_payload(prelude, entry, bytes(body))
    return Opened(body, prelude, found, entry)


def private_bytes(data: Any) -> bytes:
    """``data`` as bytes that nobody else can change between verification and use."""
    if isinstance(data, memoryview) and type(data.obj) is bytes and len(data.obj) == data.nbytes and data.c_contiguous:
        return data.obj
    if isinstance(data, str) or not hasattr(type(data), "__len__"):
        raise TypeError(f"an envelope is a bytes-like object, not {type(data).__name__}")
    return bytes(memoryview(data))


def check_size(prelude: Prelude, plan: Plan, size: int) -> None:
    """Refuse what was cut off and what was appended.

    Raises:
        EnvelopeError: ``envelope.truncated``, ``envelope.trailing-bytes`` or ``envelope.detached``.
    """
    if prelude.layout == Layout.DETACHED:
        refused("detached", "this is a detached signature; open it together with the file it belongs to")
    if size < plan.total:
        refused("truncated", f"the envelope should have {plan.total} bytes and ends after {size}; fetch it again")
    if size > plan.total:
        refused(
            "trailing-bytes",
            f"the envelope should have {plan.total} bytes, {size - plan.total} more follow; remove them",
        )


def open_head(header: bytes, demand: Demand, size: int | None, *, exact: bool) -> Head:
    """Steps 1 and 2 for an envelope of which the first 96 bytes are read.

    Args:
        header: the bytes.
        demand: what the reader demands.
        size: how many bytes there are, if that is known.
        exact: whether more bytes than the envelope has are an error.
    """
    prelude = wire.unpack(header)
    plan = wire.plan_of(prelude)
    check_limits(prelude, plan, demand.limits)
    if size is not None or prelude.layout == Layout.DETACHED:
        there = plan.total if size is None else size
        check_size(prelude, plan, there if exact else min(there, plan.total))
    entry = select_key(prelude, demand.keys, demand.suites)
    return Head(prelude, plan, entry, header)


def accept(
    head: Head, demand: Demand, claims: bytes, body_digest: bytes, tag: bytes, slots: bytes = b""
) -> tuple[dict[str, Any], tuple[KeyEntry, ...]]:
    """Steps 3 and 4 for a layout whose signature stands at the end; returns claims and cosigners.

    Raises:
        VerificationError, EnvelopeError: a check failed.
    """
    signed = message(demand.context, head.header, claims, body_digest)
    if not head.entry.key.verify(signed, tag):
        unverified("tag")
    found = settle(head.prelude, head.entry, claims, demand.now_us, demand.min_created)
    return found, verify_slots(head.prelude, found, slots, signed, demand.keys, demand.require)


def accept_header(head: Head, demand: Demand, claims: bytes, tag: bytes) -> tuple[dict[str, Any], BodyOpener]:
    """Steps 3 and 4 for STREAM, whose header tag stands in front; returns claims and what decrypts the chunks."""
    opener = header_opener(head, demand, claims, tag)
    found = settle(head.prelude, head.entry, claims, demand.now_us, demand.min_created)
    verify_slots(head.prelude, found, b"", b"", demand.keys, demand.require)
    return found, opener


def header_opener(head: Head, demand: Demand, claims: bytes, tag: bytes) -> BodyOpener:
    """What decrypts the chunks of an encrypted body.

    Raises:
        EnvelopeError: the key verifies but cannot decrypt (code ``envelope.verify-only-key``).
        VerificationError: the header tag does not hold.
    """
    if not head.entry.key.can_decrypt:
        refused("verify-only-key", "this key verifies but cannot decrypt; use the signer's reader key (slr1...)")
    return BodyOpener(head.entry.key, head.prelude, message(demand.context, head.header, claims, NO_BODY), tag)


def fernet_payload(prelude: Prelude, entry: Any, token: bytes) -> memoryview:
    """Step 5 for suite ``hs256-fernet``.

    Raises:
        DecryptionError: the authenticated body is no token of this key, or not of the announced size.
    """
    from safeload.envelope.failures import undecryptable
    from safeload.envelope.fernet import decrypt_body

    payload = decrypt_body(entry.key.fernet_key(), token)
    if len(payload) != prelude.payload_size:
        undecryptable("payload size")
    return memoryview(payload)


def _open_chunked(view: memoryview, head: Head, demand: Demand) -> Opened:
    prelude, plan = head.prelude, head.plan
    claims = bytes(view[wire.PRELUDE_SIZE : plan.body_at])
    body = view[plan.body_at : plan.index_at]
    if prelude.layout == Layout.STREAM:
        found, opener = accept_header(head, demand, claims, bytes(body[:HEADER_TAG_SIZE]))
        return Opened(_decrypted(prelude, body, opener, None), prelude, found, head.entry)
    digests = bytes(view[plan.index_at : plan.tag_at])
    sealed_head = bytes(body[:HEADER_TAG_SIZE]) if prelude.suite == Suite.ED25519_GCM else b""
    digest = index_digest(prelude.chunk_log2, prelude.payload_size, sealed_head + digests)
    tag, slots = bytes(view[plan.tag_at : plan.cosign_at]), bytes(view[plan.cosign_at :])
    found, cosigners = accept(head, demand, claims, digest, tag, slots)
    index = ChunkIndex(digests)
    if sealed_head:
        payload = _decrypted(prelude, body, header_opener(head, demand, claims, sealed_head), index)
    else:
        size = 1 << prelude.chunk_log2

        def verify(number: int) -> None:
            index.check(number, body[number * size : (number + 1) * size])

        Workers(verify, plan.chunks, len(body)).finish()
        payload = body
    return Opened(payload, prelude, found, head.entry, cosigners)


def _decrypted(prelude: Prelude, body: memoryview, opener: BodyOpener, index: ChunkIndex | None) -> memoryview:
    size = 1 << prelude.chunk_log2
    payload = payload_memory(prelude.payload_size)
    body = body[HEADER_TAG_SIZE:]
    for number in range(wire.chunk_count(prelude.payload_size, prelude.chunk_log2)):
        sealed = body[number * (size + 16) : (number + 1) * (size + 16)]
        if index is not None:
            index.check(number, sealed)
        opener.decrypt(number, sealed, payload[number * size : (number + 1) * size])
    return payload
