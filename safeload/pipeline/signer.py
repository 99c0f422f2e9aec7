"""Artifacts in envelopes: verified, and from then on judged under what their signer may do.

Rule: nothing of a payload is looked at before the envelope is authentic; the signer's policy and manifest only narrow what
its codec and its bytes say.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, MissingKeyError, PolicyError, TruncatedError
from safeload.pipeline.request import check_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.audit import Operation
    from safeload.envelope import Opened
    from safeload.formats.base import Format
    from safeload.formats.containers import Codec
    from safeload.limits import Limits
    from safeload.pipeline.request import JudgeOptions, ReadRequest
    from safeload.policy import Policy
    from safeload.source.sources import FileSource, FlowSource
    from safeload.validate.versions import Plan

__all__ = ["decrypts_of", "envelope_bytes", "is_pickled", "open_envelope", "opened_stream", "payload_format", "planned",
           "signer_options"]  # fmt: skip

_SUITE_AT = 9
_ENCRYPTING = frozenset({2, 3, 5})
_PICKLE, _PICKLE_WITH_BUFFERS = 1, 2


def decrypts_of(head: bytes) -> bool:
    """Whether the envelope that begins with ``head`` is of a suite that encrypts, for the trail."""
    return len(head) > _SUITE_AT and head[_SUITE_AT] in _ENCRYPTING


def open_envelope(
    source: Any, request: ReadRequest, operation: Operation, *, whole: bool = True, decrypts: bool | None = None
) -> Opened:
    """Verify, and decrypt, an envelope (stage 2): in memory (bytes), or in a file that stands at its start."""
    if request.keys is None:
        raise MissingKeyError(
            "this is a signed envelope and no keys were given; pass keys=KeyRing.from_env(...) or another key ring",
            code="envelope.no-keys",
        )
    if decrypts is None:
        decrypts = decrypts_of(source)
    with (
        operation.child("verify") as stage,
        operation.child("decrypt") if decrypts else contextlib.nullcontext(),
        operation.child("key", action="verify") as use,
    ):
        if type(source) is bytes:
            from safeload.envelope import open_bytes

            opened = open_bytes(source, request.keys, context=request.context)
        else:
            from safeload.envelope import open_file

            opened = open_file(source, request.keys, exact=whole, context=request.context)
        if stage.recording:
            use.set(key_id=opened.key_id, suite=opened.suite)
            stage.set(key_id=opened.key_id, suite=opened.suite, codec=opened.codec_name, payload_size=opened.size)
    if operation.recording:
        operation.set(key_id=opened.key_id, suite=opened.suite, container="envelope")
    return opened


def envelope_bytes(source: FileSource | FlowSource, limits: Limits, *, whole: bool) -> bytes:
    """An envelope from a file; in a file of several, or a flow, the prelude tells where this one ends."""
    from safeload.envelope import wire

    limit = limits.max_artifact_bytes
    if whole:
        return source.rest(limit)
    if not source.more(wire.PRELUDE_SIZE):
        raise TruncatedError("the envelope ends inside its prelude; the file is incomplete", code="envelope.truncated")
    size = wire.plan_of(wire.unpack(bytes(source.data[: wire.PRELUDE_SIZE]))).total
    check_size(size, limits)
    taken = source.take(0, size)
    if taken is None:
        raise TruncatedError("the envelope is incomplete; fetch it again", code="envelope.truncated")
    source.finish(size)
    return taken[0]


def signer_options(opened: Opened, request: ReadRequest) -> JudgeOptions:
    """The options for a verified signer (stage 3): its own policy, its grants, and what its manifest admits."""
    policy = _signer_policy(opened, request, request.judging.policy)
    manifest = opened.claims.get("manifest")
    if manifest is not None:
        if not isinstance(manifest, list) or not all(isinstance(line, str) for line in manifest):
            raise FormatError("the envelope's manifest is not a list of operations", code="envelope.manifest")
        manifest = tuple(manifest)
    return request.judging.signed_by(policy, manifest)


def _signer_policy(opened: Opened, request: ReadRequest, policy: Policy) -> Policy:
    """What the key ring's entry says of the signer, else what the configuration says, else the default."""
    entry = opened.entry
    configured = request.signers.get(opened.key_id.hex()) if request.signers else None
    if entry.policy is not None:
        from safeload.policy import resolve_policy

        policy = resolve_policy(entry.policy)
    elif configured is not None:
        policy = configured.policy
    grants = entry.grants if configured is None else entry.grants | configured.grants
    return policy.with_code() if "code" in grants else policy


def is_pickled(opened: Opened) -> bool:
    """Whether the payload is a pickle stream, with or without buffers or code."""
    if opened.codec in (_PICKLE, _PICKLE_WITH_BUFFERS):
        return True
    codec = _codec(opened)
    return codec is not None and codec.reads is None


def _codec(opened: Opened) -> Codec | None:
    from safeload.formats.containers import codecs

    codec = codecs().get(opened.codec_name)
    return codec if codec is not None and codec.number == opened.codec else None


def payload_format(opened: Opened, options: JudgeOptions) -> Format:
    """The format that the envelope's codec says the payload has.

    Raises:
        FormatError: this version of safeload does not read the codec.
        PolicyError: it carries code, and the signer's grant does not say so.
    """
    from safeload.formats.containers import formats

    codec = _codec(opened)
    if codec is None or codec.reads is None:
        raise FormatError(
            f"the payload's codec is {opened.codec_name!r}, which this version of safeload does not load",
            code="envelope.codec",
        )
    _require_grant(codec, options)
    return formats()[codec.reads]


def _require_grant(codec: Codec, options: JudgeOptions) -> None:
    if codec.code and not options.policy.grants_code:
        from safeload.facts.code_makers import why_refused

        raise PolicyError(why_refused(codec.name, signed=True), code="policy.code")


def opened_stream(opened: Opened, request: ReadRequest, options: JudgeOptions) -> tuple[bytes, Iterable[Any] | None]:
    """The pickle stream of a verified envelope, and its buffers.

    Raises:
        FormatError: the payload is no pickle.
        PolicyError: it carries code, and the signer's grant, which ``options`` have, does not say so.
    """
    if opened.codec == _PICKLE:
        return bytes(opened.payload), request.buffers
    if opened.codec == _PICKLE_WITH_BUFFERS:
        from safeload.formats.oob import split_buffers

        return split_buffers(opened.payload)
    codec = _codec(opened)
    if codec is None or codec.reads is not None:
        raise FormatError(f"the payload is no pickle but {opened.codec_name!r}", code="envelope.codec")
    _require_grant(codec, options)
    return bytes(opened.payload), None


def planned(opened: Opened, request: ReadRequest) -> Plan | None:
    """The steps that the payload needs to become what the request wants; ``None`` if neither says what it is.

    Raises:
        VersionError: its kind or version is none that can be read.
    """
    claimed = opened.claims.get("payload")
    if claimed is None and request.kind is None and request.version is None:
        return None
    from safeload.validate.versions import plan

    return plan(claimed, opened.version, kind=request.kind, current=request.version)
