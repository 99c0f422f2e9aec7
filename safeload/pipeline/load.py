"""From the bytes of an artifact to its object: envelope or not, which container, which streams.

The order inside one stream is :mod:`safeload.pipeline.stream`'s; this module keeps the order around it. Rule: an envelope is
recognised by its magic and authenticated before anything else looks at it; with keys given, an artifact
without an envelope is refused before a byte of it is parsed.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError
from safeload.formats.detect import HEAD, is_pickle_head, known_container
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline.known_clean import MAX_BYTES
from safeload.pipeline.request import check_size, no_parts, require_signed
from safeload.pipeline.signer import (
    ENVELOPE,
    decrypts_of,
    envelope_bytes,
    is_pickled,
    open_envelope,
    opened_stream,
    payload_format,
    planned,
    signer_options,
)
from safeload.pipeline.stream import has_arrays, is_short, rebuild, rebuild_bytes, rebuild_short
from safeload.source.blob import FileBlob, MemoryBlob
from safeload.source.flow import FlowBlob
from safeload.source.sources import FileSource, FlowSource, source_for_file

if TYPE_CHECKING:
    from safeload.audit import Operation
    from safeload.envelope import Opened
    from safeload.formats.base import Format
    from safeload.pipeline.request import JudgeOptions, ReadRequest
    from safeload.source.blob import Blob
    from safeload.validate.versions import Plan

__all__ = ["load_bytes", "load_file", "load_path", "open_artifact", "refuse_container", "validated"]


def load_bytes(data: bytes, request: ReadRequest, operation: Operation) -> Any:
    """Load an artifact that is in memory, all of it."""
    options = request.judging
    if operation.recording:
        operation.set(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    if data[:1] == ENVELOPE:
        opened = open_envelope(data, request, operation)
        return _load_opened(opened, request, options, operation)
    require_signed(request)
    check_size(len(data), options.limits)
    if not is_pickle_head(data[:HEAD]) and not is_short(data, options):
        blob = MemoryBlob(data)
        form = detect_container(blob)
        if form is not None:
            return _load_container(blob, request, options, operation, form)[0]
    no_parts(request.part)
    if operation.recording:
        operation.set(container="pickle")
    try:
        loaded = rebuild_bytes(data, options, operation, buffers=request.buffers)
    except FormatError as error:
        if has_arrays(error):
            return _load_arrays(MemoryBlob(data), request, options, operation)[0]
        refuse_container(data[:HEAD], error)
        raise
    return _finished(loaded, request, operation)


def load_path(path: str | os.PathLike[str], request: ReadRequest, operation: Operation) -> Any:
    """Load the artifact in the file at ``path``, which is opened once."""
    with open_artifact(path, request.limits.max_artifact_bytes) as file:
        return load_file(file, request, operation, whole=True)


def load_file(file: Any, request: ReadRequest, operation: Operation, *, whole: bool = False) -> Any:
    """Load the artifact at the position of an open binary file, and leave the position right behind it."""
    options = request.judging
    if type(file) is io.BytesIO and not file.tell() and _asks_for_nothing(request):
        data = file.getvalue()
        if is_short(data, options):  # a cache entry: what follows would take longer than all of its load
            file.seek(len(data))
            loaded = rebuild_short(data, options, operation)
            return _finished(loaded, request, operation)
    source = source_for_file(file)
    source.more(1)
    if source.data[:1] == ENVELOPE:
        if isinstance(source, FileSource) and not operation.recording:
            file.seek(source.origin)
            opened = open_envelope(file, request, operation, whole=whole, decrypts=decrypts_of(source.data))
            return _load_opened(opened, request, options, operation)
        return load_bytes(envelope_bytes(source, options.limits, whole=whole), request, operation)
    require_signed(request)
    if isinstance(source, FileSource):
        source.more(HEAD)
        blob = FileBlob(file, source.origin)
        if not is_pickle_head(source.data[:HEAD]):
            form = detect_container(blob)
            if form is not None:
                return _load_container_file(blob, file, request, options, operation, form, whole=whole)
        elif request.part.mmap:  # of pickles only those with array bytes between their opcodes have something to map
            return _load_array_stream(source, request, options, operation, whole=whole)
    if whole and (operation.recording or _is_small(file)) and request.buffers is None:
        # In one piece: the trail names the digest of exactly these bytes, and a judgement of them can be known already.
        return load_bytes(source.rest(options.limits.max_artifact_bytes), request, operation)
    head = bytes(source.data[:HEAD])
    return _load_stream(source, head, request, options, operation, whole=whole)


def detect_container(blob: Blob) -> Format | None:
    """The container format of an artifact that does not begin like a pickle."""
    from safeload.formats.containers import detect

    return detect(blob)


def _load_container(
    blob: Blob,
    request: ReadRequest,
    options: JudgeOptions,
    operation: Operation,
    known: Format | None = None,
    *,
    whole: bool = True,
    spills: bool = True,
    plan: Plan | None = None,
) -> tuple[Any, int]:
    """Take a container apart, judge all of it, rebuild the object; returns where it ends as well."""
    from safeload.pipeline.container import ContainerWalk

    walk = ContainerWalk(request.part, options, operation, whole=whole, spills=spills)
    with operation.child("analyse") as stage:
        examined = walk.examine(blob, known=known)
        if stage.recording:
            operation.set(container=examined.container)
        examined.refuse()
    loaded = examined.rebuild(operation)
    before = getattr(examined.split, "before_streams", None)
    end = blob.size if before is None else before + sum(judgement.census.size for judgement in examined.judgements)
    return _finished(loaded, request, operation, plan), end


def _load_arrays(
    blob: Blob, request: ReadRequest, options: JudgeOptions, operation: Operation, *, whole: bool = True
) -> tuple[Any, int]:
    """Load a stream with array bytes in it, as joblib writes it; returns the object and the stream's length."""
    from safeload.formats.containers import formats
    from safeload.pipeline.container import ContainerWalk

    walk = ContainerWalk(request.part, options, operation, whole=whole)
    examined = walk.examine(blob, known=formats()["joblib"])
    examined.refuse()
    loaded = _finished(examined.rebuild(operation), request, operation)
    return loaded, examined.judgements[0].census.size if examined.judgements else blob.size


def _load_array_stream(
    source: FileSource | FlowSource, request: ReadRequest, options: JudgeOptions, operation: Operation, *, whole: bool
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
            return _load_arrays(MemoryBlob(source.rest(limit)), request, options, operation)[0]
        flow = FlowBlob(source.data, source.file, limit)
        return _load_arrays(flow, request, options, operation, whole=False)[0]
    blob = FileBlob(source.file, source.origin)
    check_size(blob.size, options.limits)
    loaded, size = _load_arrays(blob, request, options, operation, whole=whole)
    blob.unchanged()
    source.file.seek(source.origin + size)
    return loaded


def _load_container_file(
    blob: FileBlob,
    file: Any,
    request: ReadRequest,
    options: JudgeOptions,
    operation: Operation,
    known: Format,
    *,
    whole: bool,
) -> Any:
    """:func:`_load_container` for an open file, which is left behind what was read: for most containers at its end."""
    check_size(blob.size, options.limits)
    if operation.recording:
        digest = hashlib.sha256()
        for chunk in blob.chunks():
            digest.update(chunk)
        operation.set(sha256=digest.hexdigest(), size=blob.size)
    start = file.seek(0, os.SEEK_END) - blob.size
    loaded, end = _load_container(blob, request, options, operation, known, whole=whole)
    blob.unchanged()
    file.seek(start + (blob.size if whole else end))
    return loaded


def _is_small(file: Any) -> bool:
    return os.fstat(file.fileno()).st_size <= MAX_BYTES


def _load_stream(
    source: FileSource | FlowSource,
    head: bytes,
    request: ReadRequest,
    options: JudgeOptions,
    operation: Operation,
    *,
    whole: bool,
) -> Any:
    if operation.recording:
        operation.set(container="pickle")
    try:
        loaded, _ = rebuild(source, options, operation, buffers=request.buffers, whole=whole)
    except FormatError as error:
        if has_arrays(error):
            return _load_array_stream(source, request, options, operation, whole=whole)
        refuse_container(head, error)
        raise
    return _finished(loaded, request, operation)


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


def _load_opened(opened: Opened, request: ReadRequest, options: JudgeOptions, operation: Operation) -> Any:
    options = signer_options(opened, request, options)
    plan = planned(opened, request)
    if not is_pickled(opened):
        known = payload_format(opened, options)
        spills = not opened.suite.encrypts
        payload = MemoryBlob(opened.payload)
        return _load_container(payload, request, options, operation, known, spills=spills, plan=plan)[0]
    stream, buffers = opened_stream(opened, request, options)
    loaded = rebuild_bytes(stream, options, operation, buffers=buffers)
    return _finished(loaded, request, operation, plan)


def _asks_for_nothing(request: ReadRequest) -> bool:
    """Whether the request is met by any plain pickle: no envelope is asked for, and no buffers are given."""
    return request.keys is None and request.kind is None and request.version is None and request.buffers is None


def _finished(loaded: Any, request: ReadRequest, operation: Operation, plan: Plan | None = None) -> Any:
    """``loaded``, brought up to the wanted version and checked against the schema."""
    if plan is not None and plan.steps:
        with operation.child("migrate", action=plan.kind, operations=len(plan.steps)):
            loaded = plan.upgrade(loaded)
    return validated(loaded, request.schema, operation)


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
        from safeload.source.locations import fetch, is_remote, local_path

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
