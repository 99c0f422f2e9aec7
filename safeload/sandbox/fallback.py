"""``Loader(sandbox=...)``: which artifacts of a loader go through the jail.

``"unknown"``: those that its policy says nothing about; what the policy allows is loaded in this process as ever. ``"always"``: all of
them, so that no C reader sees hostile bytes here. Rules: what there is evidence of harm in goes nowhere; the jail's level is
``full`` or there is no load; the trail says where an artifact was loaded, and under which level.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from safeload.errors import PolicyError
from safeload.findings import Verdict
from safeload.formats.base import WHOLE
from safeload.pipeline.load import load_bytes, load_file, validated
from safeload.pipeline.stages import open_artifact
from safeload.sandbox.artifact import prepare
from safeload.sandbox.deadline import Deadline
from safeload.sandbox.loading import ready_zygote
from safeload.sandbox.session import Session

if TYPE_CHECKING:
    from safeload.audit import Operation
    from safeload.pipeline.request import ReadRequest

__all__ = ["MODES", "check_mode", "load_by_mode"]

MODES = ("never", "unknown", "always")


def check_mode(mode: str) -> str:
    """The mode; ``ValueError`` for what is none."""
    if mode not in MODES:
        raise ValueError(f"sandbox must be one of {', '.join(MODES)}, not {mode!r}")
    return mode


def load_by_mode(mode: str, source: Any, request: ReadRequest, operation: Operation) -> Any:
    """Load from bytes, a path or an open binary file, in this process or in the sandbox.

    In the sandbox an artifact is all of a file from its position on.

    Raises:
        As a load in this process, and :class:`~safeload.errors.SandboxError`.
        ValueError: the request asks for what a sandbox cannot do.
    """
    if type(source) is bytes:
        return _load(mode, source, request, operation)
    if isinstance(source, (str, bytes, os.PathLike)):
        with open_artifact(os.fsdecode(source), request.limits.max_artifact_bytes) as file:
            return _load(mode, file, request, operation, whole=True)
    return _load(mode, source, request, operation)


def _load(mode: str, source: Any, request: ReadRequest, operation: Operation, *, whole: bool = False) -> Any:
    if mode == "always":
        if not _fits(request):
            raise ValueError("buffers, parts of a container, kind and version cannot be had from the sandbox")
        return _in_sandbox(source, request, operation)
    start = _position(source)
    try:
        if type(source) is bytes:
            return load_bytes(source, request, operation)
        return load_file(source, request, operation, whole=whole)
    except PolicyError as error:
        known = error.report is not None and error.report.verdict is not Verdict.UNKNOWN
        if known or start is None or not _fits(request):
            raise
        if start >= 0:
            source.seek(start)  # what is read now is judged again before it goes anywhere
    return _in_sandbox(source, request, operation)


def _position(source: Any) -> int | None:
    """Where an open file stands; -1 for bytes; ``None`` for what cannot be read twice."""
    if type(source) is bytes:
        return -1
    try:
        return int(source.tell()) if source.seekable() else None
    except (AttributeError, OSError):
        return None


def _fits(request: ReadRequest) -> bool:
    return request.buffers is None and request.part == WHOLE and request.kind is None and request.version is None


def _in_sandbox(source: Any, request: ReadRequest, operation: Operation) -> Any:
    deadline = Deadline(request.limits.max_sandbox_seconds)
    artifact = prepare(source, request, operation)
    try:
        zygote = ready_zygote(artifact, "full", frozenset(), deadline)
        operation.set(sandbox=zygote.level)
        session = Session(zygote, request.limits, deadline)
        try:
            loaded = session.start(artifact, deadline, serves=False, describe=False)
        finally:
            session.close()
    finally:
        artifact.close()
    return validated(loaded, request.schema, operation)
