"""An authenticated envelope whose payload is read chunk by chunk, each verified (and decrypted) before anybody sees it.

``prepare`` does steps 1 to 4 of the order of trust (see :mod:`safeload.envelope.opening`) on any view; what it returns
reads chunks. Rule: no chunk leaves ``read`` unless it is part of what was signed; memory is one chunk, whatever the
payload's size.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.envelope import wire
from safeload.envelope.index import ChunkIndex
from safeload.envelope.opening import (
    Demand,
    Head,
    accept,
    accept_header,
    check_size,
    fernet_payload,
    header_opener,
    open_head,
)
from safeload.envelope.primitives import index_digest
from safeload.envelope.views import FileView, MemoryView, View
from safeload.envelope.wire import HEADER_TAG_SIZE, Layout
from safeload.facts.suites import Suite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.envelope.keys import KeyEntry
    from safeload.envelope.stream import BodyOpener

__all__ = ["Body", "Prepared", "prepare", "remember_plain"]


class Body:
    """The payload of an authenticated envelope, by chunks.

    Args:
        view: where the stored bytes are.
        start: offset of the first stored chunk.
        size: bytes of the payload.
        chunk_size: bytes of the payload per chunk.
        index: digests of the stored chunks, or ``None`` where the cipher authenticates.
        opener: decrypts, or ``None`` where nothing is encrypted.
    """

    def __init__(
        self, view: View, start: int, size: int, chunk_size: int, index: ChunkIndex | None, opener: BodyOpener | None
    ) -> None:
        self._view = view
        self._start = start
        self._index = index
        self._opener = opener
        self.size = size
        self.chunk_size = chunk_size
        self.count = (size + chunk_size - 1) // chunk_size or 1
        self._scratch = memoryview(bytearray(min(chunk_size, size) + 16)) if opener else memoryview(b"")

    @property
    def parallel(self) -> bool:
        """Whether chunks may be read from several threads."""
        return self._opener is None and self._view.seekable

    def extent(self, number: int) -> slice:
        """Where chunk ``number`` is in the payload."""
        return slice(number * self.chunk_size, min((number + 1) * self.chunk_size, self.size))

    def read(self, number: int, out: memoryview) -> None:
        """Read chunk ``number`` into ``out``, which has exactly its size.

        Raises:
            EnvelopeError: the chunk is not what was signed; ``out`` holds nothing usable then.
        """
        if self._opener is None:
            self._view.read_into(self._start + number * self.chunk_size, out)
            if self._index is not None:
                self._index.check(number, out)
            return
        at = self._start + number * (self.chunk_size + 16)
        sealed = self._view.piece(at, len(out) + 16, self._scratch)
        if self._index is not None:
            self._index.check(number, sealed)
        self._opener.decrypt(number, sealed, out)

    def chunks(self) -> Iterator[memoryview]:
        """The payload in order. Each chunk is authentic, and valid until the next is asked for.

        A later chunk can still fail: what is done with the earlier ones must be undone then.
        """
        buffer = memoryview(bytearray(min(self.chunk_size, self.size)))
        for number in range(self.count):
            extent = self.extent(number)
            out = buffer[: extent.stop - extent.start]
            self.read(number, out)
            yield out


class Prepared(NamedTuple):
    """An authenticated envelope."""

    head: Head
    claims: dict[str, Any]
    cosigners: tuple[KeyEntry, ...]
    body: Body


def prepare(view: View, demand: Demand, *, exact: bool = True, ciphertext: bool = False) -> Prepared:
    """Authenticate the envelope in ``view``.

    Args:
        view: where to read it.
        demand: what the reader demands.
        exact: nothing may follow the envelope. (For a sequential view, whoever reads the chunks checks the end.)
        ciphertext: a signed body whose key cannot decrypt is read as it is stored.

    Raises:
        EnvelopeError, LimitExceededError: it is refused.
    """
    header = view.read_bytes(0, wire.PRELUDE_SIZE)
    head = open_head(header, demand, None if view.size is None else view.size, exact=exact)
    if not view.seekable and head.prelude.layout != Layout.STREAM:
        data = header + view.read_bytes(wire.PRELUDE_SIZE, head.plan.total - wire.PRELUDE_SIZE)
        check_size(head.prelude, head.plan, len(data))
        view = MemoryView(data)
    claims = view.read_bytes(wire.PRELUDE_SIZE, head.prelude.claims_size)
    if head.prelude.layout == Layout.STREAM:
        return _prepare_stream(view, head, demand, claims)
    if head.prelude.layout == Layout.INLINE:
        return _prepare_inline(view, head, demand, claims)
    return _prepare_indexed(view, head, demand, claims, ciphertext=ciphertext)


def _prepare_stream(view: View, head: Head, demand: Demand, claims: bytes) -> Prepared:
    prelude, plan = head.prelude, head.plan
    tag = view.read_bytes(plan.body_at, HEADER_TAG_SIZE)
    found, opener = accept_header(head, demand, claims, tag)
    body = Body(view, plan.body_at + HEADER_TAG_SIZE, prelude.payload_size, 1 << prelude.chunk_log2, None, opener)
    return Prepared(head, found, (), body)


def _prepare_indexed(view: View, head: Head, demand: Demand, claims: bytes, *, ciphertext: bool) -> Prepared:
    prelude, plan = head.prelude, head.plan
    encrypted = prelude.suite == Suite.ED25519_GCM
    sealed_head = view.read_bytes(plan.body_at, HEADER_TAG_SIZE) if encrypted else b""
    tail = view.read_bytes(plan.index_at, plan.total - plan.index_at)
    digests, tag = tail[: plan.index_size], tail[plan.index_size : plan.index_size + plan.tag_size]
    slots = tail[plan.index_size + plan.tag_size :]
    digest = index_digest(prelude.chunk_log2, prelude.payload_size, sealed_head + digests)
    found, cosigners = accept(head, demand, claims, digest, tag, slots)
    start, size, chunk_size = plan.body_at + len(sealed_head), prelude.payload_size, 1 << prelude.chunk_log2
    opener = None
    if encrypted and ciphertext and not head.entry.key.can_decrypt:
        size, chunk_size = plan.body_size - HEADER_TAG_SIZE, chunk_size + wire.CHUNK_TAG_SIZE
    elif encrypted:
        opener = header_opener(head, demand, claims, sealed_head)
    body = Body(view, start, size, chunk_size, ChunkIndex(digests), opener)
    return Prepared(head, found, cosigners, body)


def _prepare_inline(view: View, head: Head, demand: Demand, claims: bytes) -> Prepared:
    prelude, plan = head.prelude, head.plan
    if prelude.suite == Suite.HS256_FERNET:  # at most 16 MiB
        token = view.read_bytes(plan.body_at, plan.body_size)
        tag = view.read_bytes(plan.tag_at, plan.tag_size)
        found, cosigners = accept(head, demand, claims, hashlib.sha256(token).digest(), tag)
        payload = fernet_payload(prelude, head.entry, token)
        size = 1 << wire.DEFAULT_CHUNK_LOG2
        return Prepared(head, found, cosigners, Body(MemoryView(payload), 0, len(payload), size, None, None))
    digest, body = remember_plain(view, plan.body_at, plan.body_size)
    found, cosigners = accept(head, demand, claims, digest, view.read_bytes(plan.tag_at, plan.tag_size))
    return Prepared(head, found, cosigners, body)


def remember_plain(view: MemoryView | FileView | Any, start: int, size: int) -> tuple[bytes, Body]:
    """The digest of ``size`` bytes from ``start``, and a body that gives exactly the bytes that were hashed.

    One digest over everything says nothing about a part, and the file may change between hashing and use. So the
    digests of the chunks seen on the first pass are kept, and the second pass accepts nothing else.
    """
    chunk_size = 1 << wire.DEFAULT_CHUNK_LOG2
    whole = hashlib.sha256()
    digests = []
    buffer = memoryview(bytearray(min(chunk_size, size)))
    for at in range(0, size or 1, chunk_size):
        piece = view.piece(start + at, min(chunk_size, size - at), buffer)
        whole.update(piece)
        digests.append(hashlib.sha256(piece).digest())
    return whole.digest(), Body(view, start, size, chunk_size, ChunkIndex(b"".join(digests)), None)
