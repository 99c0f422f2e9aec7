"""Open envelopes in files: by path, by open file, chunk by chunk into another file.

Rules: the descriptor is opened once; the payload that is handed out lies in private memory; a file that
``decrypt_to`` writes appears under its name only after the last chunk has been verified.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, Unpack

from safeload.envelope import wire
from safeload.envelope.body import Prepared, prepare
from safeload.envelope.failures import refused
from safeload.envelope.opened import Opened
from safeload.envelope.opening import Demand, OpenOptions, make_demand, open_memory
from safeload.envelope.views import FileView, View, open_descriptor, payload_memory, view_of
from safeload.source.atomic import AtomicFile
from safeload.source.parallel import Workers

if TYPE_CHECKING:
    from safeload.envelope.keying import Keys

__all__ = ["decrypt_to", "open_file", "open_path", "verify_path"]

_SMALL: Final = 1 << 20
PathLike: TypeAlias = "str | os.PathLike[str]"


def open_path(
    path: PathLike,
    keys: Keys,
    **options: Unpack[OpenOptions],
) -> Opened:
    """Open the envelope in the file at ``path``; options as for :func:`~safeload.envelope.opening.open_bytes`.

    Raises:
        OSError: the file cannot be opened or read.
        EnvelopeError, LimitExceededError: it is refused.
    """
    demand = make_demand(keys, **options)
    descriptor = open_descriptor(path)
    try:
        return _open_view(FileView(descriptor), demand, exact=True)
    finally:
        os.close(descriptor)


def open_file(
    file: Any,
    keys: Keys,
    *,
    exact: bool = True,
    **options: Unpack[OpenOptions],
) -> Opened:
    """Open the envelope that starts where the binary ``file`` stands; afterwards the file stands right behind it.

    Args:
        file: a binary file, pipe or socket file.
        keys: a key ring or a key.
        exact: nothing may follow. With False exactly one envelope is read, for a stream that carries several.
        options: those of :func:`~safeload.envelope.opening.open_bytes`.

    Raises:
        EnvelopeError, LimitExceededError: it is refused.
    """
    demand = make_demand(keys, **options)
    view = view_of(file)
    start = file.tell() if view.seekable else 0
    opened = _open_view(view, demand, exact=exact)
    if view.seekable:
        file.seek(start + wire.plan_of(opened.prelude).total)
    return opened


def _open_view(view: View, demand: Demand, *, exact: bool) -> Opened:
    if view.size is not None and view.size <= _SMALL and exact:
        return open_memory(view.read_bytes(0, view.size), demand)
    prepared = prepare(view, demand, exact=exact)
    payload = _fill(prepared)
    _check_end(view, prepared, exact=exact)
    return _opened(prepared, payload)


def _fill(prepared: Prepared) -> memoryview:
    body = prepared.body
    payload = payload_memory(body.size)

    def read(number: int) -> None:
        body.read(number, payload[body.extent(number)])

    if body.parallel:
        Workers(read, body.count, body.size).finish()
    else:
        for number in range(body.count):
            read(number)
    return payload


def _check_end(view: View, prepared: Prepared, *, exact: bool) -> None:
    """What a file's size tells in advance, a pipe tells at its end."""
    if exact and not view.seekable and not view.ends_at(prepared.head.plan.total):
        refused("trailing-bytes", "more bytes follow the envelope; remove them, or read with exact=False")


def _opened(prepared: Prepared, payload: memoryview) -> Opened:
    return Opened(payload, prepared.head.prelude, prepared.claims, prepared.head.entry, prepared.cosigners)


def decrypt_to(
    source: Any,
    target_path: PathLike,
    keys: Keys,
    **options: Unpack[OpenOptions],
) -> Opened:
    """Write the payload of an envelope of any size to a file, in bounded memory.

    Args:
        source: the envelope's path, or a binary file.
        target_path: the file to write. It has mode 0600 if it is new (it may have been encrypted for a reason), and
            appears only when the whole payload has been verified; otherwise the old file, if any, stays.
        keys: a key ring or a key.
        options: those of :func:`~safeload.envelope.opening.open_bytes`.

    Returns:
        what is known about the envelope, with an empty ``payload``.
    """
    demand = make_demand(keys, **options)
    with _Source(source) as view:
        prepared = prepare(view, demand)
        with AtomicFile(target_path, mode=0o600) as target:
            for chunk in prepared.body.chunks():
                target.write(chunk)
            _check_end(view, prepared, exact=True)
            target.commit()
    return _opened(prepared, memoryview(b""))


def verify_path(
    path: PathLike | IO[bytes],
    keys: Keys,
    **options: Unpack[OpenOptions],
) -> Opened:
    """Verify every byte of the envelope at ``path``, or in an open file, in bounded memory and keep nothing.

    A key that cannot decrypt is enough. Options as for :func:`~safeload.envelope.opening.open_bytes`.

    Returns:
        what is known about the envelope, with an empty ``payload``.
    """
    demand = make_demand(keys, **options)
    with _Source(path) as view:
        prepared = prepare(view, demand, ciphertext=True)
        for _ in prepared.body.chunks():
            pass
    return _opened(prepared, memoryview(b""))


class _Source:
    """A view of a path (opened here, once) or of an open file."""

    def __init__(self, source: Any) -> None:
        self._descriptor = -1
        if isinstance(source, str | os.PathLike):
            self._descriptor = open_descriptor(source)
            self.view: View = FileView(self._descriptor)
        else:
            self.view = view_of(source)

    def __enter__(self) -> View:
        return self.view

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
