"""What the sandbox is worth on this machine, measured by attempts, and the refusal to work with less than was required.

Levels: ``full``: seccomp and Landlock, two walls that fail independently; ``seccomp-only``: the filter of system calls alone;
``insufficient``: something that must be denied was not. Rule: nothing falls back to a lower level by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeload.errors import SandboxUnavailableError
from safeload.sandbox.deadline import Deadline
from safeload.sandbox.zygotes import zygote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.sandbox.zygotes import ZygoteHandle

__all__ = ["LEVELS", "Attestation", "attest", "require_level"]

LEVELS = ("insufficient", "seccomp-only", "full")
_SECONDS = 30


@dataclass(frozen=True)
class Attestation:
    """What was measured.

    Attributes:
        level: ``"full"``, ``"seccomp-only"`` or ``"insufficient"``.
        checks: what was seen, by name: ``read``, ``write``, ``network``, ``signal``, ``process``, ``execute``, ``memory``
            (each was attempted under the filter alone), ``landlock`` (its version, after reading and writing were
            attempted under Landlock alone), or ``platform``, if nothing could be attempted.
    """

    level: str
    checks: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> str:
        """What keeps the level from being ``full``, and how to get it; ``""`` if nothing does."""
        return _missing(self.checks)


def attest() -> Attestation:
    """Measure what the sandbox can promise here. Never raises for what is missing; nothing of any artifact is touched."""
    try:
        found = zygote(frozenset(), Deadline(_SECONDS))
    except SandboxUnavailableError as error:
        return Attestation("insufficient", {"platform": str(error)})
    return Attestation(found.level, dict(found.seen))


def require_level(found: ZygoteHandle, require: str) -> None:
    """Refuse to go on with less than the caller requires.

    Raises:
        SandboxUnavailableError: it is less; the message says what is missing.
        ValueError: there is no such level.
    """
    check_level(require)
    if LEVELS.index(found.level) >= LEVELS.index(require):
        return
    hint = ""
    if found.level == "seccomp-only":
        hint = "; or accept the filter of system calls alone with require='seccomp-only'"
    raise SandboxUnavailableError(
        f"the sandbox is {found.level!r} here and {require!r} is required: {_missing(found.seen)}{hint}",
        code=f"sandbox.{found.level}",
    )


def check_level(require: str) -> None:
    """``ValueError`` for what is no level that can be required."""
    if require not in LEVELS[1:]:
        raise ValueError(f"require must be 'full' or 'seccomp-only', not {require!r}")


def _missing(checks: Mapping[str, str]) -> str:
    if "platform" in checks:
        return checks["platform"]
    lines = []
    for name, outcome in checks.items():
        if name == "landlock":
            if not outcome.startswith("version "):
                lines.append(
                    f"Landlock is {outcome} (Linux 5.13 or newer with 'landlock' among CONFIG_LSM or the boot parameter lsm=; "
                    "in a container, a seccomp profile that lets landlock_* through)"
                )
        elif outcome.startswith("no wall"):
            lines.append(
                f"{name}: {outcome} (the kernel needs CONFIG_SECCOMP_FILTER, and a container a seccomp profile that lets "
                "seccomp(2) through, as Docker's does)"
            )
        elif not outcome.startswith(("denied", "killed by SIGSYS")):
            lines.append(f"{name}: {outcome}")
    return "; ".join(dict.fromkeys(lines))
