"""From the bytes of an artifact to its object: envelope or not, which container, which streams.

The order inside one stream is :mod:`safeload.pipeline`'s; this module keeps the order around it. Rule: an envelope is
recognised by its magic and authenticated before anything else looks at it; with keys given, an artifact
without an envelope is refused before a byte of it is parsed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, LimitExceededError, MissingKeyError, PolicyError, TruncatedError, VersionError
from safeload.formats.blob import FileBlob, MemoryBlob
from safeload.formats.detect import HEAD, is_pickle_head, known_container
from safeload.formats.flow_blob import FlowBlob
from safeload.formats.sources import FileSource, FlowSource, source_for_file
from safeload.judgements import MAX_BYTES
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline import has_arrays, is_short, rebuild, rebuild_bytes, rebuild_short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeload.audit import Operation
    from safeload.envelope import Opened
    from safeload.formats.base import Format, Request
    from safeload.formats.blob import Blob
    from safeload.formats.containers import Codec
    from safeload.keys import KeyRing
    from safeload.policy import Policy
    from safeload.validate.versions import Plan
    from safeload.verdict import Options

__all__ = ["ENVELOPE", "Demands", "check_size", "envelope_bytes", "is_pickled", "load_bytes", "load_file", "load_path",
           "open_envelope", "opened_stream", "payload_format", "refuse_container", "request_of", "require_signed",
           "signer_options"]  # fmt: skip

# First byte of the envelope's magic: no pickle opcode and no UTF-8.
ENVELOPE = b"\xf5"
_SUITE_AT = 9
_ENCRYPTING = frozenset({2, 3, 5})
_PICKLE, _PICKLE_WITH_BUFFERS = 1, 2


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


def load_bytes(data: bytes, demands: Demands, options: Options, operation: Operation) -> Any:
    """Load an artifact that is in memory, all of it."""
    if operation.recording:
        operation.set(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    if data[:1] == ENVELOPE:
        opened = open_envelope(data, demands, operation)
        return _load_opened(opened, demands, options, operation)
    require_signed(demands)
    check_size(len(data), options)
    if not is_pickle_head(data[:HEAD]) and not is_short(data, options):
        blob = MemoryBlob(data)
        form = detect_container(blob)
        if form is not None:
            return _load_container(blob, demands, options, operation, form)[0]
    _no_parts(demands)
    if operation.recording:
        operation.set(container="pickle")
    try:
        loaded = rebuild_bytes(data, options, operation, buffers=demands.buffers)
    except FormatError as error:
        if has_arrays(error):
            return _load_arrays(MemoryBlob(data), demands, options, operation)[0]
        refuse_container(data[:HEAD], error)
        raise
    return _finished(loaded, demands, operation)


def load_path(path: str | os.PathLike[str], demands: Demands, options: Options, operation: Operation) -> Any:
    """Load the artifact in the file at ``path``, which is opened once."""
    with open_artifact(path, options.limits.max_artifact_bytes) as file:
        return load_file(file, demands, options, operation, whole=True)


def load_file(file: Any, demands: Demands, options: Options, operation: Operation, *, whole: bool = False) -> Any:
    """Load the artifact at the position of an open binary file, and leave the position right behind it."""
    if type(file) is io.BytesIO and demands.keys is None is demands.wanted is demands.buffers and not file.tell():
        data = file.getvalue()
        if is_short(data, options):  # a cache entry: what follows would take longer than all of its load
            file.seek(len(data))
            loaded = rebuild_short(data, options, operation)
            return _finished(loaded, demands, operation)
    source = source_for_file(file)
    source.more(1)
    if source.data[:1] == ENVELOPE:
        if isinstance(source, FileSource) and not operation.recording:
            file.seek(source.origin)
            opened = open_envelope(file, demands, operation, whole=whole, decrypts=_decrypts(source.data))
            return _load_opened(opened, demands, options, operation)
        return load_bytes(envelope_bytes(source, options, whole=whole), demands, options, operation)
    require_signed(demands)
    if isinstance(source, FileSource):
        source.more(HEAD)
        blob = FileBlob(file, source.origin)
        if not is_pickle_head(source.data[:HEAD]):
            form = detect_container(blob)
            if form is not None:
                return _load_container_file(blob, file, demands, options, operation, form, whole=whole)
        elif demands.mmap:  # of pickles only those with array bytes between their opcodes have something to map
            return _load_array_stream(source, demands, options, operation, whole=whole)
    if whole and (operation.recording or _is_small(file)) and demands.buffers is None:
        # In one piece: the trail names the digest of exactly these bytes, and a judgement of them can be known already.
        return load_bytes(source.rest(options.limits.max_artifact_bytes), demands, options, operation)
    head = bytes(source.data[:HEAD])
    return _load_stream(source, head, demands, options, operation, whole=whole)


def _no_parts(demands: Demands) -> None:
    """A pickle is loaded whole, into memory.

    Raises:
        ValueError: the caller asked for a part of it, or for a mapping.
    """
    if demands.mmap:
        raise ValueError("mmap=True maps arrays of a file; a pickle in memory is loaded without it")
    if demands.member is not None or demands.index is not None:
        raise ValueError("member= and index= read a part of a container; a pickle is loaded whole")


def detect_container(blob: Blob) -> Format | None:
    """The container format of an artifact that does not begin like a pickle."""
    from safeload.formats.containers import detect

    return detect(blob)


def request_of(demands: Demands, options: Options, *, path: str = "", loading: bool = True) -> Request:
    """How the artifact is to be read, for its format."""
    from safeload.formats.base import Request

    policy = options.policy

    def permits(name: str) -> bool:
        rule = policy.rule(name)
        return policy.grants_code or (rule is not None and rule.reference)

    return Request(options.limits, demands.arrays, demands.member, demands.index, demands.mmap, loading, permits, path)


def _load_container(
    blob: Blob,
    demands: Demands,
    options: Options,
    operation: Operation,
    known: Format | None = None,
    *,
    whole: bool = True,
) -> tuple[Any, int]:
    """Take a container apart, judge all of it, rebuild the object; returns where it ends as well."""
    from safeload.examine import Examiner

    request = request_of(demands, options)._replace(whole=whole)
    with operation.child("analyse") as stage:
        examined = Examiner(request, options, operation).examine(blob, known=known)
        if stage.recording:
            operation.set(container=examined.container)
        examined.refuse()
    loaded = examined.rebuild(operation)
    before = getattr(examined.split, "before_streams", None)
    end = blob.size if before is None else before + sum(judgement.census.size for judgement in examined.judgements)
    return _finished(loaded, demands, operation), end


def _load_arrays(
    blob: Blob, demands: Demands, options: Options, operation: Operation, *, whole: bool = True
) -> tuple[Any, int]:
    """Load a stream with array bytes in it, as joblib writes it; returns the object and the stream's length."""
    from safeload.examine import Examiner
    from safeload.formats.containers import formats

    request = request_of(demands, options)._replace(whole=whole)
    examined = Examiner(request, options, operation).examine(blob, known=formats()["joblib"])
    examined.refuse()
    loaded = _finished(examined.rebuild(operation), demands, operation)
    return loaded, examined.judgements[0].census.size if examined.judgements else blob.size


def _load_array_stream(
    source: FileSource | FlowSource, demands: Demands, options: Options, operation: Operation, *, whole: bool
) -> Any:
    """:func:`_load_arrays` from an open file or a flow, which is left right behind the stream."""
    if operation.recording:
        operation.set(container="joblib")
    if isinstance(source, FlowSource):
        if source.dropped:
            raise FormatError(
                "a joblib file with large literals cannot be read from a pipe; read it whole: loads(file.read())",
                code="format.flow",
            )
        limit = options.limits.max_artifact_bytes
        if whole:
            return _load_arrays(MemoryBlob(source.rest(limit)), demands, options, operation)[0]
        flow = FlowBlob(source.data, source.file, limit)
        return _load_arrays(flow, demands, options, operation, whole=False)[0]
    blob = FileBlob(source.file, source.origin)
    check_size(blob.size, options)
    loaded, size = _load_arrays(blob, demands, options, operation, whole=whole)
    blob.unchanged()
    source.file.seek(source.origin + size)
    return loaded


def _load_container_file(
    blob: FileBlob, file: Any, demands: Demands, options: Options, operation: Operation, known: Format, *, whole: bool
) -> Any:
    """:func:`_load_container` for an open file, which is left behind what was read: for most containers at its end."""
    check_size(blob.size, options)
    if operation.recording:
        digest = hashlib.sha256()
        for chunk in blob.chunks():
            digest.update(chunk)
        operation.set(sha256=digest.hexdigest(), size=blob.size)
    start = file.seek(0, os.SEEK_END) - blob.size
    loaded, end = _load_container(blob, demands, options, operation, known, whole=whole)
    blob.unchanged()
    file.seek(start + (blob.size if whole else end))
    return loaded


def _is_small(file: Any) -> bool:
    return os.fstat(file.fileno()).st_size <= MAX_BYTES


def _load_stream(
    source: FileSource | FlowSource,
    head: bytes,
    demands: Demands,
    options: Options,
    operation: Operation,
    *,
    whole: bool,
) -> Any:
    if operation.recording:
        operation.set(container="pickle")
    try:
        loaded, _ = rebuild(source, options, operation, buffers=demands.buffers, whole=whole)
    except FormatError as error:
        if has_arrays(error):
            return _load_array_stream(source, demands, options, operation, whole=whole)
        refuse_container(head, error)
        raise
    return _finished(loaded, demands, operation)


def refuse_container(head: bytes, error: Exception) -> None:
    """If ``head`` begins another format, say so instead of calling it a broken pickle."""
    container = known_container(head)
    if container == "git-lfs-pointer":
        raise FormatError(
            "this is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'", code="format.lfs-pointer"
        ) from error
    if container is not None:
        raise FormatError(
            f"this is a {container} file, not a pickle; load it with safeload.load(path) or safeload.loads(data)",
            code="format.unsupported",
        ) from error


def _decrypts(head: bytes) -> bool:
    """Whether the envelope that begins with ``head`` is of a suite that encrypts, for the trail."""
    return len(head) > _SUITE_AT and head[_SUITE_AT] in _ENCRYPTING


def open_envelope(
    source: Any, demands: Demands, operation: Operation, *, whole: bool = True, decrypts: bool | None = None
) -> Opened:
    """Verify, and decrypt, an envelope: in memory (bytes), or in a file that stands at its start."""
    if demands.keys is None:
        raise MissingKeyError(
            "this is a signed envelope and no keys were given; pass keys=KeyRing.from_env(...) or another key ring",
            code="envelope.no-keys",
        )
    if decrypts is None:
        decrypts = _decrypts(source)
    with (
        operation.child("verify") as stage,
        operation.child("decrypt") if decrypts else contextlib.nullcontext(),
        operation.child("key", action="verify") as use,
    ):
        if type(source) is bytes:
            from safeload.envelope import open_bytes

            opened = open_bytes(source, demands.keys, context=demands.context)
        else:
            from safeload.envelope import open_file

            opened = open_file(source, demands.keys, exact=whole, context=demands.context)
        if stage.recording:
            use.set(key_id=opened.key_id, suite=opened.suite)
            stage.set(key_id=opened.key_id, suite=opened.suite, codec=opened.codec_name, payload_size=opened.size)
    if operation.recording:
        operation.set(key_id=opened.key_id, suite=opened.suite, container="envelope")
    return opened


def signer_options(opened: Opened, demands: Demands, options: Options) -> Options:
    """The options for a verified signer: its own policy, its grants, and what its manifest admits."""
    policy = _signer_policy(opened, demands, options.policy)
    manifest = opened.claims.get("manifest")
    if manifest is not None:
        if not isinstance(manifest, list) or not all(isinstance(line, str) for line in manifest):
            raise FormatError("the envelope's manifest is not a list of operations", code="envelope.manifest")
        manifest = tuple(manifest)
    return options._replace(policy=policy, manifest=manifest, signed=True)


def _signer_policy(opened: Opened, demands: Demands, policy: Policy) -> Policy:
    """What the key ring's entry says of the signer, else what the configuration says, else the default."""
    entry = opened.entry
    configured = demands.signers.get(opened.key_id.hex()) if demands.signers else None
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


def payload_format(opened: Opened, options: Options) -> Format:
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


def _require_grant(codec: Codec, options: Options) -> None:
    if codec.code and not options.policy.grants_code:
        from safeload.codemakers import why_refused

        raise PolicyError(why_refused(codec.name, signed=True), code="policy.code")


def opened_stream(opened: Opened, demands: Demands, options: Options) -> tuple[bytes, Iterable[Any] | None]:
    """The pickle stream of a verified envelope, and its buffers.

    Raises:
        FormatError: the payload is no pickle.
        PolicyError: it carries code, and the signer's grant, which ``options`` have, does not say so.
    """
    if opened.codec == _PICKLE:
        return bytes(opened.payload), demands.buffers
    if opened.codec == _PICKLE_WITH_BUFFERS:
        from safeload.formats.oob import split_buffers

        return split_buffers(opened.payload)
    codec = _codec(opened)
    if codec is None or codec.reads is not None:
        raise FormatError(f"the payload is no pickle but {opened.codec_name!r}", code="envelope.codec")
    _require_grant(codec, options)
    return bytes(opened.payload), None


def _load_opened(opened: Opened, demands: Demands, options: Options, operation: Operation) -> Any:
    options = signer_options(opened, demands, options)
    demands = _planned(opened, demands)
    if not is_pickled(opened):
        known = payload_format(opened, options)
        return _load_container(MemoryBlob(opened.payload), demands, options, operation, known)[0]
    stream, buffers = opened_stream(opened, demands, options)
    loaded = rebuild_bytes(stream, options, operation, buffers=buffers)
    return _finished(loaded, demands, operation)


def _planned(opened: Opened, demands: Demands) -> Demands:
    """``demands`` with the steps that the payload needs.

    Raises:
        VersionError: its kind or version is none that can be read.
    """
    claimed = opened.claims.get("payload")
    if claimed is None is demands.wanted:
        return demands
    from safeload.validate.versions import plan

    kind, version = demands.wanted or (None, None)
    return demands._replace(plan=plan(claimed, opened.version, kind=kind, current=version))


def _finished(loaded: Any, demands: Demands, operation: Operation) -> Any:
    """``loaded``, brought up to the wanted version and checked against the schema."""
    if demands.plan is not None and demands.plan.steps:
        with operation.child("migrate", action=demands.plan.kind, operations=len(demands.plan.steps)):
            loaded = demands.plan.upgrade(loaded)
    return validated(loaded, demands.schema, operation)


def validated(loaded: Any, schema: Any, operation: Operation) -> Any:
    """``loaded``, after it was checked against ``schema`` if there is one."""
    if schema is not None:
        from safeload.validate import check

        with operation.child("validate"):
            check(loaded, schema)
    return loaded


def open_artifact(path: str | os.PathLike[str], limit: int = DEFAULT_LIMITS.max_artifact_bytes) -> Any:
    """Open a file, or what a URL names, for reading; what cannot be an artifact is refused with its own message.

    Args:
        path: a path, or a URL as a ``str``. What a URL names is copied into a private file first.
        limit: bytes to take from a URL.

    Raises:
        OSError: as ``open`` does (missing, no permission, a directory).
        FormatError: a device, a socket.
    """
    import stat

    if isinstance(path, str) and "://" in path:
        from safeload.locations import fetch, is_remote, local_path

        if is_remote(path):
            return fetch(path, limit)
        path = local_path(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "this is a directory; name a file in it", os.fspath(path))
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise FormatError("this is neither a regular file nor a pipe; nothing was read", code="format.not-a-file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


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


def envelope_bytes(source: FileSource | FlowSource, options: Options, *, whole: bool) -> bytes:
    """An envelope from a file; in a file of several, or a flow, the prelude tells where this one ends."""
    from safeload.envelope import wire

    limit = options.limits.max_artifact_bytes
    if whole:
        return source.rest(limit)
    if not source.more(wire.PRELUDE_SIZE):
        raise TruncatedError("the envelope ends inside its prelude; the file is incomplete", code="envelope.truncated")
    size = wire.plan_of(wire.unpack(bytes(source.data[: wire.PRELUDE_SIZE]))).total
    check_size(size, options)
    taken = source.take(0, size)
    if taken is None:
        raise TruncatedError("the envelope is incomplete; fetch it again", code="envelope.truncated")
    source.finish(size)
    return taken[0]
