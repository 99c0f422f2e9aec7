"""HKDF-SHA256 (RFC 5869): with HMAC the only cryptography that a shared-secret key needs.

Written on ``hmac`` so that a program which reads ``hs256`` envelopes never imports the ``cryptography`` package
(it costs more than opening a thousand envelopes). Checked against the RFC's test vectors.
"""

from __future__ import annotations

import hmac

__all__ = ["hkdf"]


def hkdf(secret: bytes, *, info: bytes, length: int = 32, salt: bytes = b"") -> bytes:
    """Derive ``length`` bytes (at most 8160) from ``secret``.

    Args:
        secret: the input keying material.
        info: what the output is for; different labels give independent keys.
        length: number of bytes to return.
        salt: a public random value, or empty.
    """
    if not 0 < length <= 255 * 32:
        raise ValueError("HKDF-SHA256 yields 1 to 8160 bytes")
    pseudo_random_key = hmac.digest(salt or bytes(32), secret, "sha256")
    output = block = b""
    counter = 1
    while len(output) < length:
        block = hmac.digest(pseudo_random_key, block + info + bytes((counter,)), "sha256")
        output += block
        counter += 1
    return output[:length]
