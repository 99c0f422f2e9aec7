"""``sandbox.load``: an artifact's data, by way of the jail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.audit import SILENT
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.pipeline.request import JudgeOptions, ReadRequest
from safeload.policy import Policy
from safeload.sandbox.artifact import prepare
from safeload.sandbox.attestation import check_level, require_level
from safeload.sandbox.deadline import Deadline
from safeload.sandbox.libraries import check_libraries, importable_path
from safeload.sandbox.session import Session
from safeload.sandbox.zygotes import zygote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.sandbox.artifact import Artifact
    from safeload.sandbox.zygotes import ZygoteHandle

__all__ = ["load", "prepared", "ready_zygote"]

_OTHER = ("refuse", "describe")


def load(
    source: Any,
    *,
    keys: Any = None,
    context: Any = None,
    require: str = "full",
    limits: Limits | None = None,
    on_other: str = "refuse",
    libraries: Iterable[str] | None = None,
) -> Any:
    """Load an artifact in the sandbox and return what it holds, as plain data.

    Plain data: Python's own values and containers, dates, decimals, NumPy arrays, pandas frames. What the artifact does while
    it is loaded, it does in a process that can do nothing; what comes back is a copy. It may still be wrong: an artifact can
    say anything about itself.

    Args:
        source: path or binary file (read to its end).
        keys, context: as for :func:`safeload.load`; they stay outside.
        require: ``"full"``, or ``"seccomp-only"`` for a kernel without Landlock.
        limits: :class:`~safeload.Limits`; those named ``max_sandbox_...`` are about this.
        on_other: ``"refuse"`` what is no plain data, or ``"describe"`` it by a :class:`Described`.
        libraries: names of modules that the artifact may use besides the well-known ones; they are imported with the rights of
            this program's user.

    Raises:
        SandboxUnavailableError: this machine cannot give what ``require`` says.
        SandboxViolationError, SandboxTimeoutError, SandboxError, LoadError, LimitExceededError: there is no result.
        PolicyError: there is evidence of harm in the artifact.
        SafeloadError: it could not be read, verified or decrypted.
        OSError, TypeError, ValueError: the file, or an argument, is wrong.
    """
    check_other(on_other)
    chosen = limits_of(limits)
    check_level(require)
    trusted = check_libraries(libraries)
    deadline = Deadline(chosen.max_sandbox_seconds)
    artifact = prepared(source, keys, context, chosen, trusted)
    try:
        return load_artifact(artifact, require, chosen, trusted, deadline, describe=on_other == "describe")
    finally:
        artifact.close()


def load_artifact(
    artifact: Artifact, require: str, limits: Limits, trusted: frozenset[str], deadline: Deadline, *, describe: bool
) -> Any:
    """Load what was prepared."""
    session = Session(ready_zygote(artifact, require, trusted, deadline), limits, deadline)
    try:
        return session.start(artifact, deadline, serves=False, describe=describe)
    finally:
        session.close()


def ready_zygote(artifact: Artifact, require: str, trusted: frozenset[str], deadline: Deadline) -> ZygoteHandle:
    """A zygote of the required level that has the libraries of the artifact."""
    found = zygote(trusted, deadline)
    require_level(found, require)
    found.load_libraries(list(artifact.modules.shared), importable_path() if trusted else [], deadline)
    return found


def prepared(
    source: Any,
    keys: Any,
    context: Any,
    limits: Limits,
    trusted: frozenset[str],
    needs: Iterable[str] = (),
    *,
    refuse: bool = True,
) -> Artifact:
    """See :func:`safeload.sandbox.artifact.prepare`; ``needs``: libraries that the object will be called with."""
    request = ReadRequest(JudgeOptions(Policy.packs("data", "numpy"), limits), _ring(keys), context)
    with SILENT.operation("load") as operation:
        return prepare(source, request, operation, libraries=trusted, needs=needs, refuse=refuse)


def check_other(on_other: str) -> None:
    """``ValueError`` for what is no choice."""
    if on_other not in _OTHER:
        raise ValueError(f"on_other must be one of {', '.join(_OTHER)}, not {on_other!r}")


def limits_of(limits: Limits | None) -> Limits:
    """The limits, or the default.

    Raises:
        TypeError: they are none.
    """
    if limits is None:
        return DEFAULT_LIMITS
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a safeload.Limits, not {type(limits).__name__}")
    return limits


def _ring(keys: Any) -> Any:
    if keys is None:
        return None
    from safeload.envelope.keys import as_ring

    return as_ring(keys)
