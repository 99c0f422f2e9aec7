"""Seal payloads: make the prelude, decide the layout, write body and tags in one pass.

The order of bytes is SPEC.md's. Rules: the salt is fresh for every envelope; what a caller may get wrong is a
``TypeError`` or ``ValueError`` before the first byte is written; a payload in memory is never joined before it is
written.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeAlias, TypedDict

from safeload.envelope import claims as canonical
from safeload.envelope import wire
from safeload.envelope.cosignatures import add_claim, check_cosigners, make_slots
from safeload.envelope.opened import RESERVED, check_codec_claim
from safeload.envelope.parts import Payload, Piece, Source, as_source
from safeload.envelope.primitives import Context, context_digest, message
from safeload.envelope.wire import Layout, Prelude
from safeload.errors import EnvelopeError
from safeload.facts.suites import Suite

__all__ = ["Draft", "Emit", "SealOptions", "draft", "seal", "write_envelope"]

INLINE_MAX: Final = 1 << 20  # above, chunks are hashed in parallel (INDEXED)
_INLINE_SUITES: Final = frozenset({Suite.HS256, Suite.ED25519})
Emit: TypeAlias = Callable[[Piece], object]


class SealOptions(TypedDict, total=False):
    """The keyword arguments of :func:`seal`, for the functions that pass them on."""

    codec: int
    context: Context
    version: int
    expires_in: float | timedelta | None
    claims: Mapping[str, Any] | None
    layout: Layout | None
    now_us: int | None
    cosigners: Sequence[Any]
    chunk_log2: int


class Draft(NamedTuple):
    """Everything about an envelope that is decided before its body is written."""

    prelude: Prelude
    header: bytes  # the prelude's bytes
    claims: bytes
    context: bytes  # digest
    key: Any
    cosigners: Sequence[Any]

    def message(self, body_digest: bytes) -> bytes:
        """The bytes to sign."""
        return message(self.context, self.header, self.claims, body_digest)


def seal(
    payload: Payload,
    key: Any,
    *,
    codec: int = 1,
    context: Context = None,
    version: int = 0,
    expires_in: float | timedelta | None = None,
    claims: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    now_us: int | None = None,
    cosigners: Sequence[Any] = (),
    chunk_log2: int = wire.DEFAULT_CHUNK_LOG2,
) -> bytes:
    """The envelope of ``payload``, sealed with ``key``.

    Args:
        payload: a bytes-like object or a sequence of them (written one after the other).
        key: a key that can sign; its suite decides whether the payload is encrypted.
        codec: number of the payload's codec; for a private one (0x8000 and up) the claims name it in ``"codec"``.
        context: the place this envelope is for, a binding or (purpose, binding); it opens with the same context only.
        version: version of the payload's schema, the user's own.
        expires_in: seconds or timedelta until it expires; ``None`` for never.
        claims: a small mapping, signed and readable.
        layout: INLINE, INDEXED …; by default what suits size and suite.
        now_us: the time of creation in microseconds UTC, for tests.
        cosigners: ``ed25519`` keys that sign too; a public key leaves a slot to be filled later with ``cosign``.
        chunk_log2: size of chunks, 16 to 24.

    Raises:
        TypeError, ValueError: an argument is wrong or the payload does not fit the suite.
    """
    if (
        type(payload) is bytes
        and len(payload) <= INLINE_MAX
        and key.suite in _INLINE_SUITES
        and claims is None
        and expires_in is None
        and not cosigners
        and (layout is None or layout == Layout.INLINE)
        and 0 < codec < len(wire.CODECS)
    ):
        # The path of small cache entries; the same bytes as below, without the generality.
        _check_key(key)
        created = time.time_ns() // 1000 if now_us is None else now_us
        header = wire.pack_fields(key.suite, codec, version, created, len(payload), key.key_id, os.urandom(32))
        digest = hashlib.sha256(payload).digest()
        return b"".join((header, payload, key.sign(message(context_digest(context), header, b"", digest))))
    source = as_source(payload)
    plan = draft(
        source.size, key, codec=codec, context=context, version=version, expires_in=expires_in, claims=claims,
        layout=layout, now_us=now_us, cosigners=cosigners, chunk_log2=chunk_log2,
    )  # fmt: skip
    out: list[Piece] = []
    lasting = source.stable and key.suite in _INLINE_SUITES  # otherwise pieces are in a buffer that is used again
    write_envelope(plan, source, out.append if lasting else lambda piece: out.append(bytes(piece)))
    return b"".join(out)


def draft(
    size: int,
    key: Any,
    *,
    codec: int = 1,
    context: Context = None,
    version: int = 0,
    expires_in: float | timedelta | None = None,
    expires_us: int | None = None,
    claims: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    now_us: int | None = None,
    cosigners: Sequence[Any] = (),
    chunk_log2: int = wire.DEFAULT_CHUNK_LOG2,
    salt: bytes | None = None,
) -> Draft:
    """Prelude and claims of an envelope for ``size`` bytes of payload; arguments as for :func:`seal`.

    ``expires_us`` is an absolute expiry (0 for never) instead of ``expires_in``; ``salt`` is for test vectors only.

    Raises:
        TypeError, ValueError: an argument is wrong or the payload does not fit the suite.
    """
    _check_key(key)
    check_cosigners(cosigners, key)
    entries = dict(claims or {})
    if reserved := [name for name in entries if isinstance(name, str) and name.startswith(RESERVED)]:
        raise ValueError(f"claims that start with {RESERVED!r} are reserved: {min(reserved)!r}")
    chosen = _layout(key.suite, size, layout, cosigned=bool(cosigners))
    packed = canonical.encode(add_claim(entries, cosigners), required=chosen == Layout.INDEXED)
    created = time.time_ns() // 1000 if now_us is None else now_us
    if expires_us is None:
        expires_us = _expiry(created, expires_in)
    chunked = chosen in (Layout.INDEXED, Layout.STREAM)
    prelude = Prelude(
        int(key.suite), int(chosen), codec, chunk_log2 if chunked else 0, len(cosigners), len(packed), version,
        created, expires_us, size, key.key_id, os.urandom(32) if salt is None else salt,
    )  # fmt: skip
    _check_ranges(prelude, entries)
    return Draft(prelude, wire.pack(prelude), packed, context_digest(context), key, cosigners)


def _check_key(key: Any) -> None:
    if isinstance(key, str | bytes | bytearray):
        raise TypeError("seal with a Key, never with text or raw bytes; use Key.parse(text)")
    if not getattr(key, "can_sign", False):
        raise ValueError("this key cannot sign; seal with a secret key or the private half of the pair")


def _layout(suite: Suite, size: int, layout: Layout | None, *, cosigned: bool) -> Layout:
    if layout is not None:
        return Layout(layout)
    if suite is Suite.HS256_FERNET:
        return Layout.INLINE
    if suite is Suite.HS256_GCM:
        return Layout.STREAM
    if suite is Suite.ED25519_GCM or cosigned or size > INLINE_MAX:
        return Layout.INDEXED
    return Layout.INLINE


def _expiry(created: int, expires_in: float | timedelta | None) -> int:
    if expires_in is None:
        return 0
    delta = expires_in if isinstance(expires_in, timedelta) else timedelta(seconds=expires_in)
    if delta <= timedelta(0):
        raise ValueError("expires_in must be in the future")
    return created + delta // timedelta(microseconds=1)


def _check_ranges(prelude: Prelude, claims: dict[str, Any]) -> None:
    """The reader's checks, as mistakes of the caller."""
    for name, bits in (
        ("codec", 16),
        ("schema_version", 32),
        ("created_us", 64),
        ("expires_us", 64),
        ("payload_size", 64),
    ):
        value = getattr(prelude, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} is an int, not {type(value).__name__}")
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} is {value}, outside 0 to 2**{bits} - 1")
    try:
        wire.check(prelude)
        if prelude.codec >= wire.PRIVATE_CODECS:
            check_codec_claim(claims)
    except EnvelopeError as error:
        raise ValueError(f"cannot seal this: {error}") from None


def write_envelope(plan: Draft, source: Source, emit: Emit) -> None:
    """Write the whole envelope through ``emit``, front to back, in one pass and bounded memory.

    ``emit`` may keep a piece only if the source is stable and the suite does not encrypt: buffers are used again.
    """
    emit(plan.header)
    emit(plan.claims)
    suite, layout = plan.key.suite, plan.prelude.layout
    if suite == Suite.HS256_FERNET:
        from safeload.envelope.fernet import encrypt_body

        body = encrypt_body(plan.key.fernet_key(), source, plan.prelude.created_us)
        emit(body)
        emit(plan.key.sign(plan.message(hashlib.sha256(body).digest())))
    elif layout == Layout.STREAM:
        from safeload.envelope.stream import write_stream

        write_stream(plan, source, emit)
    elif layout == Layout.INDEXED:
        from safeload.envelope.index import write_indexed

        signed = plan.message(write_indexed(plan, source, emit))
        emit(plan.key.sign(signed))
        emit(make_slots(plan.cosigners, signed))
    else:
        _write_hashed(plan, source, emit)


def _write_hashed(plan: Draft, source: Source, emit: Emit) -> None:
    """INLINE and DETACHED: one hash over the body, which for DETACHED stays where it is."""
    digest = hashlib.sha256()
    for pieces in source.chunks(1 << wire.DEFAULT_CHUNK_LOG2):
        for piece in pieces:
            digest.update(piece)
            if plan.prelude.layout == Layout.INLINE:
                emit(piece)
    signed = plan.message(digest.digest())
    emit(plan.key.sign(signed))
    emit(make_slots(plan.cosigners, signed))
