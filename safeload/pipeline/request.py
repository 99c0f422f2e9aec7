"""What one call asks for: built once from its arguments, and read by every stage as it is.

A :class:`ReadRequest` holds what the caller said, and never changes on the way: a stage that learns more (the signer's policy, the
encoding that a format prescribes) hands on another :class:`JudgeOptions` beside it. Without that rule each stage would
repack the choices of the one before, and a choice that is forgotten there is a check that does not take place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safeload.errors import LimitExceededError, MissingKeyError, VersionError
from safeload.formats.base import WHOLE, EncodeOptions, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta

    from safeload.envelope.keys import Key, KeyRing
    from safeload.limits import Limits, Spending
    from safeload.policy import Policy

__all__ = ["JudgeOptions", "ReadRequest", "WriteRequest", "check_size", "no_parts", "require_signed"]


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How streams are judged and rebuilt; the keyword arguments of ``pickle.load`` are among them.

    Attributes:
        policy: what a stream may contain. limits: what it may cost.
        manifest: the operations that its signer has listed; ``None`` if there is no such list.
        fix_imports, encoding, errors: as for ``pickle.load``.
        signed: somebody whose key is in the ring vouches for the bytes, and ``policy`` is that signer's.
        persistent_load: answers persistent ids, where the format has them.
        named: see :class:`safeload.formats.base.Stream`.
        spending: what judging the artifact that the streams belong to has cost so far; ``None`` for a stream that is all of it.
    """

    policy: Policy
    limits: Limits
    manifest: tuple[str, ...] | None = None
    fix_imports: bool = True
    encoding: str = "ASCII"
    errors: str = "strict"
    signed: bool = False
    persistent_load: Callable[[Any], Any] | None = None
    named: Callable[[Any], Any] | None = None
    spending: Spending | None = field(default=None, compare=False)

    def signed_by(self, policy: Policy, manifest: tuple[str, ...] | None) -> JudgeOptions:
        """The options for what a verified signer vouches for: its policy, and the operations that it has listed."""
        return JudgeOptions(
            policy,
            self.limits,
            manifest,
            self.fix_imports,
            self.encoding,
            self.errors,
            True,
            self.persistent_load,
            self.named,
            self.spending,
        )

    def cache_key(self) -> tuple[object, ...]:
        """Everything that a judgement depends on besides the bytes.

        Each part is taken by its name. A key that misses one would let bytes that were judged under a lenient choice
        pass as clean under a strict one.
        """
        return (
            self.policy.digest,
            self.limits,
            self.manifest,
            self.fix_imports,
            self.encoding,
            self.errors,
            self.signed,
            self.persistent_load is None,
            self.named,
        )

    def permits(self, name: str) -> bool:
        """Whether the policy lets an artifact refer to a global (``"module.name"``)."""
        rule = self.policy.rule(name)
        return self.policy.grants_code or (rule is not None and rule.reference)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What a load or a scan asks for.

    Attributes:
        judging: how streams are judged, as long as no signer is known.
        keys: the key ring; with one, an artifact without an envelope is refused.
        context: what the envelope must have been sealed for.
        signers: by key id in hex, objects with ``policy`` and ``grants``.
        kind, version: what the payload must be, and what it is upgraded to; see :mod:`safeload.validate.versions`.
        schema: what the object must match.
        buffers: out-of-band buffers of a pickle.
        part: which part of a container is read, and as what.
    """

    judging: JudgeOptions
    keys: KeyRing | None = None
    context: Any = None
    signers: Mapping[str, Any] | None = None
    kind: str | None = None
    version: int | None = None
    schema: Any = None
    buffers: Iterable[Any] | None = None
    part: Part = WHOLE

    @property
    def limits(self) -> Limits:
        """The bounds of this call; a signer does not widen them."""
        return self.judging.limits


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What a dump asks for.

    Attributes:
        encode: what concerns the codec.
        codec: its name.
        key: what the envelope is sealed with; ``None`` for no envelope.
        context, version, kind, expires_in: what the envelope says.
        schema: what the object must match.
        buffer_callback: as for ``pickle.dump``.
    """

    encode: EncodeOptions
    codec: str = "pickle"
    key: Key | None = None
    context: Any = None
    version: int = 0
    kind: str | None = None
    expires_in: float | timedelta | None = None
    schema: Any = None
    buffer_callback: Callable[[Any], Any] | None = None


def require_signed(request: ReadRequest) -> None:
    """Refuse an artifact that is no envelope where one was asked for."""
    if request.keys is not None:
        raise MissingKeyError(
            "keys were given, so a signed envelope is required, but this artifact is not signed; nothing of it was parsed. "
            "Sign it with 'safeload sign', or load it without keys if you mean to",
            code="envelope.unsigned",
        )
    if request.kind is not None or request.version is not None:
        raise VersionError(
            "kind= and version= ask what a signed envelope says of its payload, and this artifact is none; load it without them",
            code="version.unsigned",
        )


def check_size(size: int, limits: Limits) -> None:
    """Raise if an artifact of ``size`` bytes is over the limit."""
    limit = limits.max_artifact_bytes
    if size > limit:
        raise LimitExceededError(
            f"the artifact has {size:,} bytes, over the limit max_artifact_bytes={limit:,}; raise Limits(max_artifact_bytes=...)",
            code="limit.artifact-bytes",
            stage="read",
        )


def no_parts(part: Part) -> None:
    """A pickle is loaded whole, into memory.

    Raises:
        ValueError: the caller asked for a part of it, or for a mapping.
    """
    if part.mmap:
        raise ValueError("mmap=True maps arrays of a file; a pickle in memory is loaded without it")
    if part.member is not None or part.index is not None:
        raise ValueError("member= and index= read a part of a container; a pickle is loaded whole")
