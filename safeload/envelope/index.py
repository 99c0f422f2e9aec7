"""INDEXED: a digest per chunk, so that chunks are hashed and verified in parallel, lazily, and in any order.

Rule: the list of digests is authenticated first (it is what is signed); after that, a chunk is verified by comparing
its digest, which is public.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from safeload.envelope.failures import unverified
from safeload.envelope.parts import MemorySource, Piece, Source
from safeload.envelope.primitives import index_digest
from safeload.envelope.wire import DIGEST_SIZE
from safeload.facts.suites import Suite
from safeload.source.parallel import Workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.envelope.sealing import Draft, Emit

__all__ = ["ChunkIndex", "write_indexed"]


def write_indexed(plan: Draft, source: Source, emit: Emit) -> bytes:
    """Write body and digests; returns the body digest that is to be signed."""
    size = 1 << plan.prelude.chunk_log2
    head = b""
    if plan.key.suite == Suite.ED25519_GCM:
        from safeload.envelope.stream import encrypted_chunks

        pieces = encrypted_chunks(plan, source)
        head = bytes(next(pieces))
        emit(head)
        digests = _hash_and_emit(([piece] for piece in pieces), emit)
    elif isinstance(source, MemorySource) and source.size > 2 * size:
        digests = _hash_while_writing(source, size, emit)
    else:
        digests = _hash_and_emit(source.chunks(size), emit) or hashlib.sha256(b"").digest()
    emit(digests)
    return index_digest(plan.prelude.chunk_log2, source.size, head + digests)


def _hash_and_emit(chunks: Iterable[list[Piece]], emit: Emit) -> bytes:
    digests = []
    for pieces in chunks:
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
            emit(piece)
        digests.append(digest.digest())
    return b"".join(digests)


def _hash_while_writing(source: MemorySource, size: int, emit: Emit) -> bytes:
    """Other threads hash while this one writes; both release the GIL."""
    chunks = list(source.chunks(size))
    digests = [b""] * len(chunks)

    def work(number: int) -> None:
        digest = hashlib.sha256()
        for piece in chunks[number]:
            digest.update(piece)
        digests[number] = digest.digest()

    workers = Workers(work, len(chunks), source.size)
    try:
        for part in source.parts:
            emit(part)
        workers.finish()
    finally:
        workers.cancel()
    return b"".join(digests)


class ChunkIndex:
    """The authenticated digests of an INDEXED envelope."""

    __slots__ = ("_digests",)

    def __init__(self, digests: bytes) -> None:
        self._digests = digests

    def check(self, number: int, chunk: memoryview | bytes) -> None:
        """Verify chunk ``number`` (for an encrypted body, its ciphertext and tag).

        Raises:
            VerificationError: it is not the chunk that was signed.
        """
        at = number * DIGEST_SIZE
        if hashlib.sha256(chunk).digest() != self._digests[at : at + DIGEST_SIZE]:
            unverified(f"chunk {number}")
