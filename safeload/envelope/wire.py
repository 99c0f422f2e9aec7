"""The bytes of an envelope: the 96-byte prelude and the arithmetic of sizes. No cryptography, no keys, no I/O.

Everything here is unauthenticated input. Rules: every field outside its registry is refused (nothing is "ignored for
the future"); the size of the whole envelope follows from the prelude and must match exactly, so that nothing can be
cut off or appended. SPEC.md is the reference.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

from safeload.envelope.failures import refused
from safeload.facts.suites import Suite

__all__ = [
    "CODECS",
    "COSIGNATURE_SIZE",
    "DEFAULT_CHUNK_LOG2",
    "FERNET_MAX",
    "HEADER_TAG_SIZE",
    "MAGIC",
    "MAX_CLAIMS",
    "MAX_COSIGNATURES",
    "PLAIN_HEADS",
    "PRELUDE_SIZE",
    "PRIVATE_CODECS",
    "Layout",
    "Plan",
    "Prelude",
    "chunk_count",
    "fernet_size",
    "is_envelope",
    "pack",
    "pack_fields",
    "plan_of",
    "tag_size",
    "unpack",
    "unpack_plain",
]  # fmt: skip

# F5 is no pickle opcode and no first byte of UTF-8; CR, ^Z and LF show a transfer that mangles text (as in PNG's
# signature).
MAGIC: Final = b"\xf5SLE\r\n\x1a\n"
PRELUDE_SIZE: Final = 96
VERSION: Final = 1
MAX_CLAIMS: Final = 65_536
MAX_COSIGNATURES: Final = 8
HEADER_TAG_SIZE: Final = 32
DIGEST_SIZE: Final = 32
CHUNK_TAG_SIZE: Final = 16
COSIGNATURE_SIZE: Final = 80  # key id 16, Ed25519 signature 64
MIN_CHUNK_LOG2: Final = 16
MAX_CHUNK_LOG2: Final = 24
DEFAULT_CHUNK_LOG2: Final = 18
FERNET_MAX: Final = 16 << 20  # Fernet needs the whole payload several times over in memory
PRIVATE_CODECS: Final = 0x8000
_PRELUDE: Final = struct.Struct(">8sBBBBHBBIIQQQ16s32s")

CODECS: Final = {
    1: "pickle",
    2: "pickle+buffers",
    3: "json",
    4: "raw",
    5: "joblib",
    6: "dill",
    7: "cloudpickle",
    8: "npy",
    9: "npz",
    10: "torch",
    11: "safetensors",
    12: "skops",
}


class Layout(enum.IntEnum):
    """How the body lies in the file."""

    INLINE = 0
    INDEXED = 1
    STREAM = 2
    DETACHED = 3


_ALLOWED: Final = frozenset({
    (Suite.HS256, Layout.INLINE), (Suite.HS256, Layout.INDEXED), (Suite.HS256, Layout.DETACHED),
    (Suite.HS256_FERNET, Layout.INLINE),
    (Suite.HS256_GCM, Layout.STREAM),
    (Suite.ED25519, Layout.INLINE), (Suite.ED25519, Layout.INDEXED), (Suite.ED25519, Layout.DETACHED),
    (Suite.ED25519_GCM, Layout.INDEXED),
})  # fmt: skip
_CHUNKED: Final = frozenset({Layout.INDEXED, Layout.STREAM})
_COSIGNED: Final = frozenset({Layout.INDEXED, Layout.DETACHED})


# The first 20 bytes of the most frequent envelopes, small cache entries: everything up to the size of the (absent)
# claims is known to be in order, so that it need not be checked field by field.
PLAIN_HEADS: Final = frozenset(
    MAGIC + bytes((VERSION, suite, 0, 0, 0, codec, 0, 0, 0, 0, 0, 0)) for suite in (1, 4) for codec in CODECS
)


class Prelude(NamedTuple):
    """The fields of a prelude, in the order of the bytes (magic, version and flags have one value and are left out)."""

    suite: int
    layout: int
    codec: int
    chunk_log2: int
    cosignatures: int
    claims_size: int
    schema_version: int
    created_us: int
    expires_us: int
    payload_size: int
    key_id: bytes
    salt: bytes


class Plan(NamedTuple):
    """Where everything is: offsets and sizes in bytes, all computed from the prelude."""

    body_at: int
    body_size: int
    index_at: int
    index_size: int
    tag_at: int
    tag_size: int
    cosign_at: int
    total: int
    chunks: int


def is_envelope(head: bytes) -> bool:
    """Whether ``head`` (at least the first 8 bytes of an artifact) starts like an envelope."""
    return bytes(head[:8]) == MAGIC


def pack(prelude: Prelude) -> bytes:
    """The 96 bytes of ``prelude``. The caller vouches for the fields; :func:`check` refuses what is out of range."""
    suite, layout, *rest = prelude
    return _PRELUDE.pack(MAGIC, VERSION, suite, layout, 0, *rest)


def pack_fields(suite: int, codec: int, version: int, created_us: int, size: int, key_id: bytes, salt: bytes) -> bytes:
    """The prelude of a plain INLINE envelope without claims and expiry.

    Raises:
        ValueError: a field is out of range.
    """
    try:
        return _PRELUDE.pack(MAGIC, VERSION, suite, 0, 0, codec, 0, 0, 0, version, created_us, 0, size, key_id, salt)
    except struct.error as error:
        raise ValueError(f"version or time is out of range: {error}") from None


def unpack(data: bytes) -> Prelude:
    """The fields of the prelude that ``data`` starts with.

    Raises:
        EnvelopeError: it is not a prelude of a version, suite, layout and codec known here, each with its own code.
    """
    if data[:8] != MAGIC:
        refused(
            "not-an-envelope", "the bytes are no safeload envelope; seal them first, or load without requiring keys"
        )
    if len(data) < PRELUDE_SIZE:
        refused("truncated", f"the envelope ends after {len(data)} bytes, inside its header; fetch it again")
    fields = _PRELUDE.unpack_from(data)
    version, flags = fields[1], fields[4]
    if version != VERSION:
        refused(
            "unknown-version",
            f"the envelope has format version {version}, this safeload reads {VERSION}; upgrade safeload",
        )
    if flags:
        refused(
            "unknown-flags", f"the envelope has flags {flags:#04x} that this safeload does not know; upgrade safeload"
        )
    prelude = tuple.__new__(Prelude, fields[2:4] + fields[5:])
    check(prelude)
    return prelude


def unpack_plain(data: bytes) -> Prelude:
    """The fields of a prelude whose first 20 bytes are in :data:`PLAIN_HEADS`: nothing is left to check but sizes."""
    fields = _PRELUDE.unpack_from(data)
    return tuple.__new__(Prelude, fields[2:4] + fields[5:])


def check(prelude: Prelude) -> None:
    """Refuse field values outside their registry.

    Raises:
        EnvelopeError: with the code of the field.
    """
    suite, layout, codec, chunk_log2, cosignatures, claims_size = prelude[:6]
    if (suite, layout) not in _ALLOWED:
        _refuse_combination(suite, layout)
    if codec not in CODECS and codec < PRIVATE_CODECS:
        refused(
            "unknown-codec", f"the envelope's payload has codec {codec}, which this safeload does not know; upgrade it"
        )
    if layout in _CHUNKED:
        if not MIN_CHUNK_LOG2 <= chunk_log2 <= MAX_CHUNK_LOG2:
            refused(
                "chunk-size", f"the envelope's chunk_log2 is {chunk_log2}, not {MIN_CHUNK_LOG2} to {MAX_CHUNK_LOG2}"
            )
    elif chunk_log2:
        refused("chunk-size", f"the envelope has chunk_log2 {chunk_log2} in a layout without chunks")
    if cosignatures and (layout not in _COSIGNED or cosignatures > MAX_COSIGNATURES):
        refused(
            "cosignature-count", f"the envelope announces {cosignatures} cosignatures, more than its layout can have"
        )
    # The claims are padded so that the payload starts at a multiple of 64; an aligned layout cannot do without them.
    if claims_size % 64 != 32 and (claims_size or layout == Layout.INDEXED):
        refused("claims-size", f"the envelope's claims have {claims_size} bytes, which does not align its payload")
    if claims_size > MAX_CLAIMS:
        refused("claims-size", f"the envelope announces {claims_size} bytes of claims, more than {MAX_CLAIMS}")
    if suite == Suite.HS256_FERNET and prelude.payload_size > FERNET_MAX:
        refused("payload-size", f"a Fernet envelope holds at most {FERNET_MAX} bytes; seal with an hs256-gcm key")


def _refuse_combination(suite: int, layout: int) -> None:
    try:
        name = Suite(suite).label
    except ValueError:
        refused("unknown-suite", f"the envelope has suite {suite}, which this safeload does not know; upgrade safeload")
    if layout not in list(Layout):
        refused(
            "unknown-layout", f"the envelope has layout {layout}, which this safeload does not know; upgrade safeload"
        )
    refused("unknown-layout", f"the envelope has layout {Layout(layout).name}, which suite {name} does not have")


def tag_size(suite: int) -> int:
    """Bytes of the tag or signature of ``suite``."""
    return 64 if suite >= 4 else 32  # ed25519 and ed25519-gcm sign, the others have an HMAC


def chunk_count(payload_size: int, chunk_log2: int) -> int:
    """Number of chunks; an empty payload is one empty chunk, so that it too is authenticated."""
    return (payload_size + (1 << chunk_log2) - 1 >> chunk_log2) or 1


def fernet_size(payload_size: int) -> int:
    """Bytes of a Fernet token: version, time, IV, PKCS#7-padded ciphertext and HMAC, in padded base64."""
    return 4 * ((1 + 8 + 16 + 16 * (payload_size // 16 + 1) + 32 + 2) // 3)


def plan_of(prelude: Prelude) -> Plan:
    """Where everything is in the envelope with this (checked) prelude; for DETACHED, in the sidecar."""
    suite, layout = prelude[:2]
    body_at = PRELUDE_SIZE + prelude.claims_size
    body = prelude.payload_size
    chunks = index = 0
    tag = tag_size(suite)
    if layout == 0:  # INLINE
        if suite == Suite.HS256_FERNET:
            body = fernet_size(body)
        tag_at = body_at + body
        total = tag_at + tag
        return tuple.__new__(Plan, (body_at, body, tag_at, 0, tag_at, tag, total, total, 0))
    if layout == Layout.DETACHED:
        body = 0
    else:
        chunks = chunk_count(body, prelude.chunk_log2)
        if suite in (Suite.HS256_GCM, Suite.ED25519_GCM):
            body += HEADER_TAG_SIZE + CHUNK_TAG_SIZE * chunks
        if layout == Layout.INDEXED:
            index = DIGEST_SIZE * chunks
        else:
            tag = 0  # STREAM: the header tag in front is the tag
    index_at = body_at + body
    tag_at = index_at + index
    cosign_at = tag_at + tag
    total = cosign_at + COSIGNATURE_SIZE * prelude.cosignatures
    return Plan(body_at, body, index_at, index, tag_at, tag, cosign_at, total, chunks)
