"""Loading: an artifact takes all eight stages of :mod:`safeload.pipeline.stages`, in their order. This module parses nothing itself.

    (1) read         the bytes, once
    (2) open         an envelope is authenticated, and decrypted; what is none is refused where keys were given
    (3) signer       whose policy, grants and manifest judge from here on
    (4) detect       the container, by the bytes, or by what the envelope says
    (5) judge        every stream and every member
    (6) rebuild      the object, if all of it is clean
    (7) migrate      an old payload to the version that is wanted
    (8) validate     the object against the schema

The numbers stand at the steps below. A path, an open file, bytes and the payload of an envelope differ in (1) to (4); from (5) on there
is one way, so that no way in can forget a check.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LimitExceededError
from safeload.formats.detect import HEAD, is_pickle_head
from safeload.pipeline.known_clean import MAX_BYTES
from safeload.pipeline.request import check_size, no_parts
from safeload.pipeline.signer import (
    decrypts_of,
    envelope_bytes,
    is_pickled,
    open_envelope,
    opened_stream,
    payload_format,
    planned,
    signer_options,
)
from safeload.pipeline.stages import is_envelope, open_artifact, recognised, record_digest, refuse_container
from safeload.pipeline.stream import has_arrays, is_short, rebuild, rebuild_bytes, rebuild_short
from safeload.source.blob import FileBlob, MemoryBlob
from safeload.source.flow import FlowBlob
from safeload.source.sources import FileSource, FlowSource, source_for_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.audit import Operation
    from safeload.envelope import Opened
    from safeload.formats.base import Format, Part
    from safeload.limits import Limits
    from safeload.pipeline.request import JudgeOptions, ReadRequest
    from safeload.pipeline.tree import JudgedArtifact
    from safeload.source.blob import Blob
    from safeload.validate.versions import Plan

__all__ = ["load_bytes", "load_file", "load_path", "validated"]


def load_bytes(data: bytes, request: ReadRequest, operation: Operation) -> Any:
    """Load an artifact that is in memory, all of it."""
    # (1) The bytes are here; the trail names exactly these.
    if operation.recording:
        operation.set(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    # (2) Nothing of an envelope is looked at before it is authentic.
    if is_envelope(data, request):
        return _load_opened(open_envelope(data, request, operation), request, operation)
    check_size(len(data), request.limits)
    # (3) Nobody has signed it: the caller's policy decides.
    artifact = _Artifact(request.judging, data=data, buffers=request.buffers)
    # (4) What begins as a pickle, or is proven to be plain data, is in no container.
    if not is_pickle_head(data[:HEAD]) and not is_short(data, request.judging):
        artifact.form = recognised(MemoryBlob(data))
    return _finished(_loaded(artifact, request, operation), request, operation)


def load_path(path: str | os.PathLike[str], request: ReadRequest, operation: Operation) -> Any:
    """Load the artifact in the file at ``path``, which is opened once."""
    with open_artifact(path, request.limits.max_artifact_bytes) as file:
        return load_file(file, request, operation, whole=True)


def load_file(file: Any, request: ReadRequest, operation: Operation, *, whole: bool = False) -> Any:
    """Load the artifact at the position of an open binary file, and leave the position right behind it."""
    if type(file) is io.BytesIO and not file.tell() and _asks_for_nothing(request):
        data = file.getvalue()
        if is_short(data, request.judging):  # a cache entry: what follows would take longer than all of its load
            file.seek(len(data))
            return _finished(rebuild_short(data, request.judging, operation), request, operation)
    # (1) One byte tells an envelope; a flow may not have a second one yet.
    source = source_for_file(file)
    source.more(1)
    # (2) From a file it is decrypted as it is read, unless the trail has to name the digest of all of it first.
    if is_envelope(source.data, request):
        if isinstance(source, FileSource) and not operation.recording:
            file.seek(source.origin)
            opened = open_envelope(file, request, operation, whole=whole, decrypts=decrypts_of(source.data))
            return _load_opened(opened, request, operation)
        return load_bytes(envelope_bytes(source, request.limits, whole=whole), request, operation)
    if whole and isinstance(source, FlowSource) and request.buffers is None:
        return load_bytes(source.rest(request.limits.max_artifact_bytes), request, operation)
    # (3) Nobody has signed it: the caller's policy decides.
    artifact = _Artifact(request.judging, source=source, whole=whole, buffers=request.buffers)
    # (4) A container needs random access; what only flows is a pickle.
    if isinstance(source, FileSource):
        artifact.form = _form_in_file(source, request.part)
    return _finished(_loaded(artifact, request, operation), request, operation)


def _load_opened(opened: Opened, request: ReadRequest, operation: Operation) -> Any:
    """The stages behind an envelope's authentication."""
    # (3) What the signer may do is what its key's entry says, and its manifest.
    judging = signer_options(opened, request)
    plan = planned(opened, request)
    # (4) The envelope says what its payload is: the signer vouches for that too, so the bytes are not asked.
    if is_pickled(opened):
        data, buffers = opened_stream(opened, request, judging)
        artifact = _Artifact(judging, data=data, buffers=buffers)
    else:
        form = payload_format(opened, judging)
        artifact = _Artifact(judging, data=opened.payload, form=form, spills=not opened.suite.encrypts)
    return _finished(_loaded(artifact, request, operation), request, operation, plan)


@dataclass(slots=True)
class _Artifact:
    """What the first four stages know, for those that follow.

    Attributes:
        judging: how its streams are judged.
        data: all of it, if it is in memory. source: where it comes from otherwise.
        form: the container that it is in; ``None`` for a pickle.
        whole: nothing may follow it.
        buffers: out-of-band buffers of a pickle.
        spills: what it unpacks to may lie in a temporary file; not so if it was encrypted.
    """

    judging: JudgeOptions
    data: Any = None
    source: FileSource | FlowSource | None = None
    form: Format | None = None
    whole: bool = True
    buffers: Iterable[Any] | None = None
    spills: bool = True

    def at_rest(self, limits: Limits) -> Blob:
        """Its bytes at random access."""
        source = self.source
        if source is None:
            return MemoryBlob(self.data)
        if isinstance(source, FileSource):
            blob = FileBlob(source.file, source.origin)
            check_size(blob.size, limits)
            return blob
        if source.dropped:
            raise FormatError(
                "a joblib file with large literals cannot be read from a pipe; read it whole: loads(file.read())",
                code="format.flow",
            )
        if self.whole:
            return MemoryBlob(source.rest(limits.max_artifact_bytes))
        return FlowBlob(source.data, source.file, limits.max_artifact_bytes)

    def leave(self, blob: Blob, judged: JudgedArtifact) -> None:
        """Leave the file that it came from right behind it.

        Raises:
            FormatError: the file was changed meanwhile, so what was loaded may not be what was judged.
        """
        if isinstance(self.source, FileSource):
            blob.unchanged()
            self.source.file.seek(self.source.origin + (blob.size if self.whole else judged.end))


def _form_in_file(source: FileSource, part: Part) -> Format | None:
    """The container that a file is in, if it is no plain pickle."""
    source.more(HEAD)
    if not is_pickle_head(source.data[:HEAD]):
        return recognised(FileBlob(source.file, source.origin))
    # Of pickles only those with array bytes between their opcodes have something to map.
    return _joblib() if part.mmap else None


def _joblib() -> Format:
    from safeload.formats.containers import formats

    return formats()["joblib"]


def _loaded(artifact: _Artifact, request: ReadRequest, operation: Operation) -> Any:
    """Stages 5 and 6."""
    signed = artifact.judging.signed
    if artifact.form is None:
        if not signed:
            no_parts(request.part)
            if operation.recording:
                operation.set(container="pickle")
        _take_whole(artifact, request.limits, operation)
        head = bytes((artifact.source.data if artifact.source is not None else artifact.data)[:HEAD])
        try:
            return _load_pickle(artifact, operation)
        except (FormatError, LimitExceededError) as error:
            if signed:  # its envelope says that it is a pickle
                raise
            if not has_arrays(error):
                refuse_container(head, error)
                raise
        artifact.form = _joblib()
    return _load_container(artifact, artifact.form, request, operation)


def _take_whole(artifact: _Artifact, limits: Limits, operation: Operation) -> None:
    """Read a pickle that is all of its file in one piece, where that pays.

    The trail names the digest of exactly these bytes, and a judgement of them can be known already.
    """
    source = artifact.source
    if source is None or not artifact.whole or artifact.buffers is not None:
        return
    if operation.recording or os.fstat(source.file.fileno()).st_size <= MAX_BYTES:
        data = artifact.data = source.rest(limits.max_artifact_bytes)
        artifact.source = None
        if operation.recording:
            operation.set(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _load_pickle(artifact: _Artifact, operation: Operation) -> Any:
    """Stages 5 and 6 of one stream, in which :mod:`safeload.pipeline.stream` keeps their order."""
    source, judging = artifact.source, artifact.judging
    if source is None:
        return rebuild_bytes(artifact.data, judging, operation, buffers=artifact.buffers)
    return rebuild(source, judging, operation, buffers=artifact.buffers, whole=artifact.whole)[0]


def _load_container(artifact: _Artifact, form: Format, request: ReadRequest, operation: Operation) -> Any:
    from safeload.pipeline.assemble import assemble
    from safeload.pipeline.container import ContainerWalk

    blob = artifact.at_rest(request.limits)
    if operation.recording and artifact.source is not None and form.name != "joblib":
        record_digest(blob, operation)
    # (5) Streams and members are all judged before anything of them is rebuilt.
    walk = ContainerWalk(request.part, artifact.judging, operation, whole=artifact.whole, spills=artifact.spills)
    with operation.child("analyse") as stage:
        judged = walk.examine(blob, known=form)
        if stage.recording:
            operation.set(container=judged.container)
        judged.refuse()
    # (6) Out of the bytes that were judged.
    loaded = assemble(judged, operation)
    artifact.leave(blob, judged)
    return loaded


def _asks_for_nothing(request: ReadRequest) -> bool:
    """Whether the request is met by any plain pickle: no envelope is asked for, and no buffers are given."""
    return request.keys is None and request.kind is None and request.version is None and request.buffers is None


def _finished(loaded: Any, request: ReadRequest, operation: Operation, plan: Plan | None = None) -> Any:
    """Stages 7 and 8: brought up to the wanted version, and checked against the schema."""
    # (7) By the migrations that the program has registered.
    if plan is not None and plan.steps:
        with operation.child("migrate", action=plan.kind, operations=len(plan.steps)):
            loaded = plan.upgrade(loaded)
    # (8) The object leaves this module only as what the caller said it must be.
    return validated(loaded, request.schema, operation)


def validated(loaded: Any, schema: Any, operation: Operation) -> Any:
    """``loaded``, after it was checked against ``schema`` if there is one."""
    if schema is not None:
        from safeload.validate import check

        with operation.child("validate"):
            check(loaded, schema)
    return loaded
