"""The cryptography of the envelope: what is signed, the chunk cipher, digests of contexts. No layouts, no files.

Each constant is a domain separator of SPEC.md. Tags are made and checked by the keys; this module decides only *what*
they see: always 200 bytes, so that no two layouts can produce the same message by accident of length.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, TypeAlias

__all__ = ["EMPTY_CLAIMS", "NO_BODY", "ChunkCipher", "Context", "context_digest", "index_digest", "message"]

Context: TypeAlias = "str | bytes | tuple[str | bytes, str | bytes] | None"

_TBS: Final = b"SLE1 tbs"
_INDEX: Final = b"SLE1 idx"
EMPTY_CLAIMS: Final = hashlib.sha256(b"").digest()
NO_BODY: Final = bytes(32)
_NO_CONTEXT: Final = hashlib.sha256(b"\0").digest()
CHUNK_TAG: Final = 16


def context_digest(context: Context) -> bytes:
    """SHA-256 of ``purpose ‖ 0x00 ‖ binding``.

    Args:
        context: a binding (purpose empty), a pair (purpose, binding), or ``None`` for both empty. Text is UTF-8.

    Raises:
        TypeError: another type.
        ValueError: the purpose holds a NUL (two contexts could then be the same bytes), or text is not encodable.
    """
    if context is None:
        return _NO_CONTEXT
    purpose: str | bytes = b""
    binding = context
    if isinstance(context, tuple):
        if len(context) != 2:
            raise TypeError("a context is a binding or a pair (purpose, binding)")
        purpose, binding = context
    purpose, binding = _octets(purpose), _octets(binding)
    if b"\0" in purpose:
        raise ValueError("the purpose of a context cannot hold a NUL")
    return hashlib.sha256(purpose + b"\0" + binding).digest()


def _octets(part: object) -> bytes:
    if isinstance(part, str):
        return part.encode("utf-8")
    if isinstance(part, bytes):
        return part
    raise TypeError(f"a context is made of str or bytes, not {type(part).__name__}")


def message(context: bytes, prelude: bytes, claims: bytes, body_digest: bytes) -> bytes:
    """The 200 bytes that are signed; ``context`` is the digest, ``claims`` the padded bytes."""
    claims_digest = hashlib.sha256(claims).digest() if claims else EMPTY_CLAIMS
    return b"".join((_TBS, context, prelude, claims_digest, body_digest))


def index_digest(chunk_log2: int, payload_size: int, digests: bytes) -> bytes:
    """The body digest of an INDEXED envelope, over its chunk digests."""
    return hashlib.sha256(_INDEX + bytes((chunk_log2,)) + payload_size.to_bytes(8, "big") + digests).digest()


class ChunkCipher:
    """AES-256-GCM over numbered chunks under a key that is used for one message only.

    The nonce is an 11-byte counter and a final flag (the STREAM construction, https://eprint.iacr.org/2015/189):
    chunks cannot be reordered, doubled, dropped or cut off at the end. The header tag is the associated data of each:
    a chunk of another message, or of a message under another context, does not fit.
    """

    __slots__ = ("_aead", "_header_tag", "_into")

    def __init__(self, key: bytes, header_tag: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead: Any = AESGCM(key)
        self._header_tag = header_tag
        self._into = hasattr(self._aead, "encrypt_into")  # cryptography 47; before, each chunk is one more copy

    @staticmethod
    def _nonce(number: int, *, final: bool) -> bytes:
        return number.to_bytes(11, "big") + (b"\1" if final else b"\0")

    def encrypt_into(self, number: int, chunk: memoryview | bytes, out: memoryview, *, final: bool) -> None:
        """Write ciphertext and tag of ``chunk`` to ``out``, which is 16 bytes longer."""
        nonce = self._nonce(number, final=final)
        if self._into:
            self._aead.encrypt_into(nonce, chunk, self._header_tag, out)
        else:
            out[:] = self._aead.encrypt(nonce, bytes(chunk), self._header_tag)

    def decrypt_into(self, number: int, sealed: memoryview | bytes, out: memoryview, *, final: bool) -> bool:
        """Write the plaintext of ``sealed`` to ``out``, which is 16 bytes shorter; False if it is not authentic."""
        from cryptography.exceptions import InvalidTag

        nonce = self._nonce(number, final=final)
        try:
            if self._into:
                self._aead.decrypt_into(nonce, sealed, self._header_tag, out)
            else:
                out[:] = self._aead.decrypt(nonce, bytes(sealed), self._header_tag)
        except InvalidTag:
            return False
        return True
