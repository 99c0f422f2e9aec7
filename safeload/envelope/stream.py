"""The encrypted body of suites ``hs256-gcm`` and ``ed25519-gcm``: header tag, then chunks of ciphertext ‖ tag.

Rule: the header tag is checked before anything is decrypted, and each chunk before its plaintext is used; writing
needs one buffer of a chunk, whatever the size of the payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from safeload.envelope.failures import undecryptable
from safeload.envelope.keying import check_header_tag, header_tag
from safeload.envelope.primitives import NO_BODY, ChunkCipher
from safeload.envelope.wire import Prelude, chunk_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.envelope.parts import Piece, Source
    from safeload.envelope.sealing import Draft, Emit

__all__ = ["BodyOpener", "encrypted_chunks", "write_stream"]

_TAG: Final = 16


def write_stream(plan: Draft, source: Source, emit: Emit) -> None:
    """Write header tag and chunks."""
    for piece in encrypted_chunks(plan, source):
        emit(piece)


def encrypted_chunks(plan: Draft, source: Source) -> Iterator[Piece]:
    """The header tag, then every chunk; each is valid until the next is asked for."""
    header_key, chunk_key = plan.key.message_keys(plan.prelude.salt)
    tag = header_tag(header_key, plan.message(NO_BODY))
    yield tag
    cipher = ChunkCipher(chunk_key, tag)
    size = 1 << plan.prelude.chunk_log2
    last = chunk_count(source.size, plan.prelude.chunk_log2) - 1
    buffer = memoryview(bytearray(min(size, source.size) + _TAG))
    staging = bytearray()
    written = -1
    for number, pieces in enumerate(source.chunks(size)):
        chunk: Piece
        if len(pieces) == 1:
            chunk = pieces[0]
        else:  # a chunk that spans parts is the only thing that is ever joined
            staging[:] = b"".join(pieces)
            chunk = memoryview(staging).toreadonly()
        out = buffer[: len(chunk) + _TAG]
        cipher.encrypt_into(number, chunk, out, final=number == last)
        yield out
        written = number
        if len(pieces) != 1:
            chunk.release()  # type: ignore[union-attr]  # so that the staging buffer may change its size
    if written != last:  # the empty payload: one empty final chunk
        cipher.encrypt_into(0, b"", buffer[:_TAG], final=True)
        yield buffer[:_TAG]


class BodyOpener:
    """Decrypts the chunks of one body, after its header tag has been verified.

    Args:
        key: the key of the envelope.
        prelude: its prelude.
        message: what the header tag signs (the body digest is zero).
        tag: the header tag in the envelope.
    """

    def __init__(self, key: Any, prelude: Prelude, message: bytes, tag: bytes) -> None:
        header_key, chunk_key = key.message_keys(prelude.salt)
        check_header_tag(header_key, message, tag)
        self._cipher = ChunkCipher(chunk_key, tag)
        self._last = chunk_count(prelude.payload_size, prelude.chunk_log2) - 1

    def decrypt(self, number: int, sealed: memoryview, out: memoryview) -> None:
        """Decrypt chunk ``number`` into ``out``.

        Raises:
            DecryptionError: it is not authentic; ``out`` holds nothing usable.
        """
        if not self._cipher.decrypt_into(number, sealed, out, final=number == self._last):
            undecryptable(f"chunk {number}")
