"""What a caller demands of an artifact, whatever it turns out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import LimitExceededError, MissingKeyError, VersionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeload.envelope.keys import KeyRing
    from safeload.formats.base import Request
    from safeload.pipeline.verdict import Options
    from safeload.validate.versions import Plan

__all__ = ["Demands", "check_size", "no_parts", "request_of", "require_signed"]


class Demands(NamedTuple):
    """What a caller demands of an artifact besides the :class:`Options` of its streams."""

    keys: KeyRing | None = None
    context: Any = None
    schema: Any = None
    buffers: Iterable[Any] | None = None
    signers: Mapping[str, Any] | None = None  # by key id in hex: objects with ``policy`` and ``grants``
    arrays: str | None = None  # this and what follows: see formats.base.Request
    member: str | None = None
    index: Any = None
    mmap: bool = False
    wanted: tuple[str | None, int | None] | None = None  # kind and version of the payload
    plan: Plan | None = None  # how an opened envelope's payload becomes the wanted version


def request_of(
    demands: Demands, options: Options, *, path: str = "", loading: bool = True, spills: bool = True
) -> Request:
    """How the artifact is to be read, for its format. ``spills``: what it unpacks to may be put into a temporary file."""
    from safeload.formats.base import Request
    from safeload.source.unpacking import Budget

    policy = options.policy

    def permits(name: str) -> bool:
        rule = policy.rule(name)
        return policy.grants_code or (rule is not None and rule.reference)

    return Request(
        options.limits,
        demands.arrays,
        demands.member,
        demands.index,
        demands.mmap,
        loading,
        permits,
        path,
        budget=Budget(options.limits, spills=spills),
    )


def require_signed(demands: Demands) -> None:
    """Refuse an artifact that is no envelope where one was asked for."""
    if demands.keys is not None:
        raise MissingKeyError(
            "keys were given, so a signed envelope is required, but this artifact is not signed; nothing of it was parsed. "
            "Sign it with 'safeload sign', or load it without keys if you mean to",
            code="envelope.unsigned",
        )
    if demands.wanted is not None:
        raise VersionError(
            "kind= and version= ask what a signed envelope says of its payload, and this artifact is none; load it without them",
            code="version.unsigned",
        )


def check_size(size: int, options: Options) -> None:
    """Raise if an artifact of ``size`` bytes is over the limit."""
    limit = options.limits.max_artifact_bytes
    if size > limit:
        raise LimitExceededError(
            f"the artifact has {size:,} bytes, over the limit max_artifact_bytes={limit:,}; raise Limits(max_artifact_bytes=...)",
            code="limit.artifact-bytes",
            stage="read",
        )


def no_parts(demands: Demands) -> None:
    """A pickle is loaded whole, into memory.

    Raises:
        ValueError: the caller asked for a part of it, or for a mapping.
    """
    if demands.mmap:
        raise ValueError("mmap=True maps arrays of a file; a pickle in memory is loaded without it")
    if demands.member is not None or demands.index is not None:
        raise ValueError("member= and index= read a part of a container; a pickle is loaded whole")
