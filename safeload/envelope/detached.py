"""DETACHED: the signature of a file that stays as it is, in a sidecar beside it.

The body digest is SHA-256 of the file, as ``sha256sum`` prints it. Rule: the payload handed out is the very bytes
that were hashed.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Unpack

from safeload.envelope import wire
from safeload.envelope.body import Body, remember_plain
from safeload.envelope.failures import refused
from safeload.envelope.keying import check_limits, select_key
from safeload.envelope.opened import Opened
from safeload.envelope.opening import Demand, Head, OpenOptions, accept, make_demand, private_bytes
from safeload.envelope.parts import Piece, as_source
from safeload.envelope.sealing import SealOptions, draft, write_envelope
from safeload.envelope.views import FileView, open_descriptor
from safeload.envelope.wire import Layout

if TYPE_CHECKING:
    from safeload.envelope.keying import Keys
    from safeload.envelope.keys import KeyEntry

__all__ = ["open_detached", "open_detached_path", "seal_detached", "verify_detached_path"]


def seal_detached(payload: Any, key: Any, *, length: int | None = None, **options: Unpack[SealOptions]) -> bytes:
    """The sidecar for ``payload`` (bytes-like, a sequence of these, or a binary file), which is not changed.

    Options as for :func:`~safeload.envelope.sealing.seal`, without ``layout``.
    """
    source = as_source(payload, length=length)
    options["layout"] = Layout.DETACHED
    out: list[Piece] = []
    write_envelope(draft(source.size, key, **options), source, out.append)
    return b"".join(out)


def open_detached(sidecar: Any, payload: Any, keys: Keys, **options: Unpack[OpenOptions]) -> Opened:
    """Verify ``payload``, a bytes-like object, against its sidecar.

    Options as for :func:`~safeload.envelope.opening.open_bytes`.

    Raises:
        EnvelopeError: it is refused.
    """
    data = payload if type(payload) is bytes else private_bytes(payload)
    demand = make_demand(keys, **options)
    head, sidecar = _head(sidecar, demand, len(data))
    claims, cosigners = _accept(head, demand, sidecar, hashlib.sha256(data).digest())
    return Opened(memoryview(data), head.prelude, claims, head.entry, cosigners)


def open_detached_path(
    sidecar: Any, path: str | os.PathLike[str], keys: Keys, **options: Unpack[OpenOptions]
) -> Opened:
    """Verify the file at ``path`` against its sidecar (bytes); the payload is a private copy of the file.

    Options as for :func:`~safeload.envelope.opening.open_bytes`.
    """
    opened, body, descriptor = _prepare(sidecar, path, make_demand(keys, **options))
    try:
        from safeload.envelope.views import payload_memory

        payload = payload_memory(body.size)
        for number in range(body.count):
            body.read(number, payload[body.extent(number)])
    finally:
        os.close(descriptor)
    return Opened(payload, opened.prelude, opened.claims, opened.entry, opened.cosigners)


def verify_detached_path(
    sidecar: Any, path: str | os.PathLike[str], keys: Keys, **options: Unpack[OpenOptions]
) -> Opened:
    """The same in bounded memory, without the payload."""
    opened, _, descriptor = _prepare(sidecar, path, make_demand(keys, **options))
    os.close(descriptor)
    return opened


def _prepare(sidecar: Any, path: str | os.PathLike[str], demand: Demand) -> tuple[Opened, Body, int]:
    descriptor = open_descriptor(path)
    try:
        view = FileView(descriptor)
        size = view.size or 0
        head, sidecar = _head(sidecar, demand, size)
        digest, body = remember_plain(view, 0, size)
        claims, cosigners = _accept(head, demand, sidecar, digest)
    except BaseException:
        os.close(descriptor)
        raise
    return Opened(memoryview(b""), head.prelude, claims, head.entry, cosigners), body, descriptor


def _head(sidecar: Any, demand: Demand, size: int) -> tuple[Head, bytes]:
    data = sidecar if type(sidecar) is bytes else private_bytes(sidecar)
    prelude = wire.unpack(data)
    if prelude.layout != Layout.DETACHED:
        refused("not-detached", "this is a whole envelope, not a detached signature; open it by itself")
    plan = wire.plan_of(prelude)
    check_limits(prelude, plan, demand.limits)
    if len(data) != plan.total:
        code = "truncated" if len(data) < plan.total else "trailing-bytes"
        refused(code, f"the sidecar has {len(data)} bytes instead of {plan.total}; fetch it again")
    if size != prelude.payload_size:
        refused(
            "payload-size", f"the signed file had {prelude.payload_size} bytes, this one has {size}; fetch it again"
        )
    return Head(prelude, plan, select_key(prelude, demand.keys, demand.suites), data[: wire.PRELUDE_SIZE]), data


def _accept(head: Head, demand: Demand, sidecar: bytes, digest: bytes) -> tuple[dict[str, Any], tuple[KeyEntry, ...]]:
    plan = head.plan
    claims = sidecar[wire.PRELUDE_SIZE : plan.body_at]
    return accept(head, demand, claims, digest, sidecar[plan.tag_at : plan.cosign_at], sidecar[plan.cosign_at :])
