"""HKDF-SHA256 (RFC 5869) and a prepared HMAC-SHA256: the only cryptography that a shared-secret key needs.

Written on ``hashlib`` so that a program which reads ``hs256`` envelopes never imports the ``cryptography`` package
(it costs more than opening a thousand envelopes). Checked against the RFC's test vectors.
"""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["Mac", "hkdf"]

_BLOCK = 64  # SHA-256 works on 64-byte blocks; HMAC pads its key to one (RFC 2104)
_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))


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


class Mac:
    """HMAC-SHA256 under one key, with the key already absorbed.

    Copying two hash states is half the price of ``hmac.digest``, which sets up the key anew for every message; for
    a 1 KB artifact that is a quarter of the whole envelope.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(key.translate(_IPAD))
        self._outer = hashlib.sha256(key.translate(_OPAD))

    def digest(self, message: bytes) -> bytes:
        """The 32-byte tag of ``message``."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()
