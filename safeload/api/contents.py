"""What commands ask about files as they stand: how they would be sealed, and what the one file in a compressed one is called.

Rule: a command takes what it knows from here or from a loader. One that read a format by itself would show a person something else than
what a program loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.formats.archives import some_names
from safeload.formats.compressed import CONTENT
from safeload.formats.detect import HEAD, known_container

if TYPE_CHECKING:
    from safeload.findings import Report
    from safeload.limits import Limits
    from safeload.policy import Policy

__all__ = ["CONTENT", "HEAD", "RAW", "Sealable", "is_lfs_pointer", "prepare_scans", "sealable", "some_names"]

_PICKLE, RAW = 1, 4


class Sealable(NamedTuple):
    """How bytes go into an envelope: the number of their codec, and what is claimed of them."""

    codec: int
    claims: dict[str, Any] | None = None


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a Git LFS pointer in place of the file itself."""
    return known_container(head) == "git-lfs-pointer"


def sealable(data: bytes, report: Report, limits: Limits) -> Sealable | None:
    """The codec under which a reader of the envelope would load ``data``; ``None`` if it would not.

    Args:
        data: the file.
        report: what a scan of it says.
        limits: bounds of the trace that lists what a pickle does.
    """
    if report.verdict == "skipped":
        return None
    if report.container != "pickle":
        from safeload.formats.containers import codecs

        found = next((codec.number for codec in codecs().values() if codec.reads == report.container), None)
        return None if found is None else Sealable(found)
    if len(report.streams) != 1:
        return None
    from safeload.pipeline.dump import manifest_claims

    return Sealable(_PICKLE, manifest_claims(data, limits) or None)


def prepare_scans(policy: Policy) -> None:
    """Import and make what every scan under ``policy`` needs: a worker that is forked afterwards has it already."""
    import importlib

    from safeload.formats.containers import formats

    importlib.import_module("safeload.pipeline.scan")
    formats()
    _ = policy.name_set, policy.conditions
