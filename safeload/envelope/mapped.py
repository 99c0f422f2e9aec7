"""Open envelopes from a mapping: a sealed snapshot, or, unsafely, the file itself.

A mapping of a file that others can write is a race: what was verified can be changed before it is used. The snapshot
is a copy in a ``memfd`` that the kernel seals against writing and resizing before the first byte is looked at; its
pages can be dropped to swap and handed to other processes, but nobody can change them. The unsafe way has a name that
says so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from safeload.envelope import wire
from safeload.envelope.failures import refused
from safeload.envelope.opening import OpenOptions, make_demand, open_memory
from safeload.envelope.views import FileView, open_descriptor

if TYPE_CHECKING:
    from safeload.envelope.keying import Keys
    from safeload.envelope.opened import Opened

__all__ = ["open_snapshot", "unsafe_open_mapped"]


def open_snapshot(path: str | os.PathLike[str], keys: Keys, **options: Unpack[OpenOptions]) -> Opened:
    """Open the envelope at ``path`` from a sealed copy; the payload is a private (copy on write) mapping of it.

    Options as for :func:`~safeload.envelope.opening.open_bytes`.

    Raises:
        NotImplementedError: this system has no sealed memory files (Linux has); use ``open_path``.
        EnvelopeError: it is refused.
    """
    if not hasattr(os, "memfd_create"):
        raise NotImplementedError("mapping needs sealed memory files, which only Linux has; use open_path")
    import fcntl
    import mmap

    demand = make_demand(keys, **options)
    source = open_descriptor(path)
    try:
        size = FileView(source).size or 0
        if size > demand.limits.max_artifact_bytes:
            from safeload.envelope.failures import exceeded

            exceeded("max_artifact_bytes", size, demand.limits.max_artifact_bytes)
        if size < wire.PRELUDE_SIZE:
            return open_memory(os.pread(source, size, 0), demand)
        copy = os.memfd_create("safeload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            _copy(source, copy, size)
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
            mapping = mmap.mmap(copy, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(copy)
    finally:
        os.close(source)
    return open_memory(memoryview(mapping), demand)


def _copy(source: int, target: int, size: int) -> None:
    at = 0
    while at < size:
        count = os.sendfile(target, source, at, size - at)
        if not count:
            refused(
                "changed", "the envelope became shorter while it was read; wait until its writer is done and try again"
            )
        at += count


def unsafe_open_mapped(path: str | os.PathLike[str], keys: Keys, **options: Unpack[OpenOptions]) -> Opened:
    """Open the envelope at ``path`` in a mapping: **whoever can write the file can change the payload afterwards**.

    Only for files that nobody else can write or replace in place, for instance on a read-only mount. Not even a
    private mapping helps: the kernel shows later changes of the file in pages that were not yet written to. Options
    as for :func:`~safeload.envelope.opening.open_bytes`.
    """
    import mmap

    demand = make_demand(keys, **options)
    source = open_descriptor(path)
    try:
        size = FileView(source).size or 0
        if size < wire.PRELUDE_SIZE:
            return open_memory(os.pread(source, size, 0), demand)
        mapping = mmap.mmap(source, size, access=mmap.ACCESS_COPY)
    finally:
        os.close(source)
    return open_memory(memoryview(mapping), demand)
