"""Fernet: the body of ``hs256-fernet`` envelopes, and plain tokens made by ``cryptography.fernet``.

Rule: a token must be canonical base64. ``cryptography`` decodes leniently (junk characters and text after the padding
are skipped), so that many texts are the same token: a store that knows tokens by their text could be fooled.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING, Any

from safeload.envelope.failures import undecryptable

if TYPE_CHECKING:
    from safeload.envelope.parts import Source

__all__ = ["decrypt_body", "encrypt_body", "open_fernet"]


def _cipher(key: bytes) -> Any:
    from cryptography.fernet import Fernet

    return Fernet(base64.urlsafe_b64encode(key))


def encrypt_body(key: bytes, source: Source, created_us: int) -> bytes:
    """The token of the whole payload; its time is the envelope's."""
    payload = b"".join(bytes(piece) for pieces in source.chunks(1 << 20) for piece in pieces)  # buffers are used again
    token: bytes = _cipher(key).encrypt_at_time(payload, created_us // 1_000_000)
    return token


def decrypt_body(key: bytes, token: bytes) -> bytes:
    """The payload of an (already authenticated) token.

    Raises:
        DecryptionError: it is no canonical token of this key.
    """
    return _decrypt(_cipher(key), token)


def open_fernet(
    token: bytes | str, key: Any, *, ttl: int | None = None, max_age_skew: int = 60, now: int | None = None
) -> bytes:
    """The payload of a plain Fernet token.

    Args:
        token: what ``Fernet.encrypt`` returned.
        key: a Fernet key (url-safe base64 of 32 bytes, as from ``Fernet.generate_key``), or a ``Fernet`` or
            ``MultiFernet``.
        ttl: refuse tokens older than this many seconds; Fernet itself has no expiry.
        max_age_skew: seconds that the writer's clock may be ahead, when ``ttl`` is given.
        now: the time in seconds, for tests.

    Raises:
        DecryptionError: the token is not canonical, not of this key, altered, or too old.
        ValueError, TypeError: ``key`` is not a Fernet key.
    """
    from cryptography.fernet import Fernet, MultiFernet

    if isinstance(token, str):
        try:
            token = token.encode("ascii")
        except UnicodeEncodeError:
            undecryptable("token is not ASCII")
    if not isinstance(token, bytes):
        token = bytes(memoryview(token))
    if isinstance(key, Fernet | MultiFernet):
        cipher: Any = key
    elif isinstance(key, str | bytes):
        cipher = Fernet(key)
    else:
        raise TypeError(f"a Fernet key is base64 text or a Fernet object, not {type(key).__name__}")
    payload = _decrypt(cipher, token)
    if ttl is not None:
        written = cipher.extract_timestamp(token)
        moment = int(time.time()) if now is None else now
        if written + ttl < moment or written > moment + max_age_skew:
            undecryptable("token is too old, or from the future")
    return payload


def _decrypt(cipher: Any, token: bytes) -> bytes:
    from cryptography.fernet import InvalidToken

    try:
        decoded = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        undecryptable("token is not base64")
    if base64.urlsafe_b64encode(decoded) != token:
        undecryptable("token is not canonical base64")
    try:
        payload: bytes = cipher.decrypt(token)
    except InvalidToken:
        undecryptable("Fernet token")
    return payload
