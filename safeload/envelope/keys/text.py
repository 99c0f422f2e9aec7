"""The text form of a key: ``<prefix>.<suite>.<base64url>.<crc>``, canonical and self-checking.

Prefixes say how to treat the text: ``slk1`` can seal (secret), ``slr1`` can read an encrypted signature suite
(confidential), ``slp1`` is public. Rule: one key has exactly one text; nothing of a text that does not parse is ever
quoted, because a mistyped secret is still a secret.
"""

from __future__ import annotations

import base64
import binascii
import zlib

from safeload.facts.suites import Suite

__all__ = ["PREFIXES", "decode_key", "encode_key"]

PREFIXES = ("slk1", "slr1", "slp1")


def encode_key(prefix: str, suite: Suite, material: bytes) -> str:
    """The text of ``material``.

    The CRC-32 catches a cut or mistyped copy; it is no protection against tampering.
    """
    body = base64.urlsafe_b64encode(material).rstrip(b"=").decode("ascii")
    stem = f"{prefix}.{suite.label}.{body}"
    return f"{stem}.{zlib.crc32(stem.encode('ascii')):08x}"


def decode_key(text: str) -> tuple[str, Suite, bytes]:
    """Split a key's text into prefix, suite and material.

    Raises:
        TypeError: ``text`` is not a ``str``.
        ValueError: it is not the canonical text of a key; the message says which part is wrong.
    """
    if not isinstance(text, str):
        raise TypeError(f"a key's text is a str such as 'slk1.hs256.…', not {type(text).__name__}")
    parts = text.strip().split(".")
    if parts[0] not in PREFIXES:
        raise ValueError(
            f"not a safeload key: its text starts with {', '.join(PREFIXES)}; make one with `safeload keygen`"
        )
    if len(parts) != 4:
        raise ValueError("not a safeload key: four parts separated by dots are expected; was the text cut off?")
    prefix, label, body, crc = parts
    try:
        stem = f"{prefix}.{label}.{body}".encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("not a safeload key: it contains characters outside ASCII") from None
    if f"{zlib.crc32(stem):08x}" != crc:
        raise ValueError("the key's check value does not match: the text was mistyped or cut off; copy it again")
    try:
        suite = Suite.parse(label)
    except ValueError:
        raise ValueError(
            "the key names a suite that this version does not know; upgrade safeload or make a new key"
        ) from None
    return prefix, suite, _decode_body(body)


def _decode_body(body: str) -> bytes:
    try:
        material = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the key's material is not base64url; copy the text again") from None
    if base64.urlsafe_b64encode(material).rstrip(b"=") != body.encode("ascii"):
        raise ValueError("the key's material is not canonical base64url; copy the text again")
    return material
