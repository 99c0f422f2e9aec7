"""Change who vouches for an envelope: ``rekey`` seals its payload anew, ``cosign`` adds a signature to it.

Rule: nothing is signed that was not fully verified first. ``rekey_path`` verifies every byte, then reads the file a
second time and verifies every byte again while it is being sealed: the two passes protect against a file that changes
between them, and the new file appears only when both have held.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from safeload.envelope import wire
from safeload.envelope.body import Body, prepare
from safeload.envelope.cosignatures import EMPTY
from safeload.envelope.opening import Demand, OpenOptions, make_demand, open_memory, private_bytes
from safeload.envelope.parts import MemorySource, Piece
from safeload.envelope.primitives import Context, context_digest, index_digest, message
from safeload.envelope.sealing import Draft, draft, write_envelope
from safeload.envelope.views import FileView, View, open_descriptor, view_of
from safeload.envelope.write import emit_to
from safeload.source.atomic import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safeload.envelope.keying import Keys
    from safeload.envelope.opened import Opened

__all__ = ["cosign", "rekey", "rekey_path", "rekey_to"]

_SAME = "same"


def rekey(
    data: Any,
    keys: Keys,
    new_key: Any,
    *,
    new_context: Context | object = _SAME,
    cosigners: Sequence[Any] = (),
    **options: Unpack[OpenOptions],
) -> bytes:
    """The envelope ``data`` sealed with ``new_key``; creation, expiry, codec, version and claims are kept.

    Args:
        data: the envelope.
        keys: a ring that opens it.
        new_key: a key that can sign; the suite may be another one.
        new_context: the context of the new envelope, by default the old one's.
        cosigners: of the new envelope; old cosignatures do not hold for it.
        options: those of :func:`~safeload.envelope.opening.open_bytes`.
    """
    opened = open_memory(data if type(data) is bytes else private_bytes(data), make_demand(keys, **options))
    context = options.get("context") if new_context is _SAME else new_context
    plan = _redraft(opened, new_key, context, cosigners)
    out: list[bytes] = []
    write_envelope(plan, MemorySource([opened.payload]), lambda piece: out.append(bytes(piece)))
    return b"".join(out)


def rekey_path(
    path: str | os.PathLike[str],
    keys: Keys,
    new_key: Any,
    *,
    target: str | os.PathLike[str] | None = None,
    new_context: Context | object = _SAME,
    cosigners: Sequence[Any] = (),
    **options: Unpack[OpenOptions],
) -> None:
    """The same for a file of any size, in bounded memory; ``target`` is the same file if it is not given."""
    context = options.get("context") if new_context is _SAME else new_context
    demand = make_demand(keys, **options)
    descriptor = open_descriptor(path)
    try:
        plan, body = _verified_plan(FileView(descriptor), demand, new_key, context, cosigners)
        with AtomicFile(path if target is None else target) as file:
            write_envelope(plan, body, file.write)
            file.commit()
    finally:
        os.close(descriptor)


def rekey_to(file: Any, source: Any, keys: Keys, new_key: Any, **options: Unpack[OpenOptions]) -> None:
    """The same from one open binary file (a regular one, which is read twice) to another, with the same context."""
    view = view_of(source)
    if not view.seekable:
        raise TypeError("an envelope is sealed anew from a regular file: it is read twice")
    plan, body = _verified_plan(view, make_demand(keys, **options), new_key, options.get("context"), ())
    write_envelope(plan, body, emit_to(file.write))


def _verified_plan(
    view: View, demand: Demand, key: Any, context: Any, cosigners: Sequence[Any]
) -> tuple[Draft, _BodySource]:
    """What is to be written, after every byte was verified."""
    from safeload.envelope.opened import Opened

    prepared = prepare(view, demand)
    for _ in prepared.body.chunks():
        pass
    opened = Opened(memoryview(b""), prepared.head.prelude, prepared.claims, prepared.head.entry)
    return _redraft(opened, key, context, cosigners), _BodySource(prepared.body)


def _redraft(opened: Opened, key: Any, context: Any, cosigners: Sequence[Any]) -> Draft:
    return draft(
        opened.size,
        key,
        codec=opened.codec,
        context=context,
        version=opened.version,
        expires_us=opened.expires_us,
        claims=opened.claims,
        now_us=opened.created_us,
        cosigners=cosigners,
    )


class _BodySource:
    """Verified chunks of one envelope as the payload of the next."""

    stable = False

    def __init__(self, body: Body) -> None:
        self._body = body
        self.size = body.size

    def chunks(self, chunk_size: int) -> Iterator[list[Piece]]:
        """The payload in chunks of another size."""
        if not self.size:
            return
        buffer = memoryview(bytearray(min(chunk_size, self.size)))
        filled = 0
        for chunk in self._body.chunks():
            while chunk:
                taken = chunk[: len(buffer) - filled]
                buffer[filled : filled + len(taken)] = taken
                filled += len(taken)
                chunk = chunk[len(taken) :]  # noqa: PLW2901 - what is left of it
                if filled == len(buffer):
                    yield [buffer]
                    filled = 0
        if filled:
            yield [buffer[:filled]]


def cosign(data: Any, keys: Keys, key: Any, **options: Unpack[OpenOptions]) -> bytes:
    """The envelope ``data`` with the cosignature of ``key`` in the slot that was reserved for it.

    Args:
        data: an INDEXED envelope whose ``cosigners`` named this key.
        keys: a ring that opens it: nobody signs what does not verify.
        key: an ``ed25519`` key that can sign.
        options: those of :func:`~safeload.envelope.opening.open_bytes`.

    Raises:
        ValueError: the envelope has no slot for this key.
        EnvelopeError: the envelope does not open.
    """
    envelope: bytes = data if type(data) is bytes else private_bytes(data)
    opened = open_memory(envelope, make_demand(keys, **options))
    plan = wire.plan_of(opened.prelude)
    for at in range(plan.cosign_at, plan.total, wire.COSIGNATURE_SIZE):
        if envelope[at : at + 16] == key.key_id:
            break
    else:
        raise ValueError(
            f"this envelope has no place for a cosignature by key {key.key_id.hex()}; seal it with cosigners="
        )
    if envelope[at + 16 : at + 80] != EMPTY and any(entry.key.key_id == key.key_id for entry in opened.cosigners):
        return envelope
    body = index_digest(opened.prelude.chunk_log2, opened.size, envelope[plan.index_at : plan.tag_at])
    signed = message(context_digest(options.get("context")), envelope[:96], envelope[96 : plan.body_at], body)
    signature: bytes = key.sign(signed)
    return envelope[: at + 16] + signature + envelope[at + 80 :]
