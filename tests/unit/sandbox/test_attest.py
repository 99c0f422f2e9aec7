"""The level is what was measured; with a wall missing, nothing is loaded that was to be behind it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_parts import needs_level

import safeload
from safeload.errors import SandboxError, SandboxUnavailableError
from safeload.sandbox.attestation import Attestation, require_level

TESTS = str(Path(__file__).parents[2])
# A kernel without something, made of this one: a filter of the caller's own, put up before the sandbox starts.
WITHOUT = """
import errno, json, os, sys
from safeload.sandbox.kernel.bpf import ALLOW, Filter, fails
from safeload.sandbox.kernel.jail import give_up_gains, install
from safeload.sandbox.kernel.machine import machine
kernel = Filter(machine(), ALLOW)
kernel.act(fails(errno.{code}), {calls!r})
give_up_gains()
install(kernel.program())
import safeload, io
found = safeload.sandbox.attest()
told = {{"level": found.level, "checks": dict(found.checks), "missing": found.missing}}
for require in ("full", "seccomp-only"):
    try:
        told[require] = safeload.sandbox.load(io.BytesIO(b"\\x80\\x04K\\x01."), require=require)
    except safeload.SandboxUnavailableError as error:
        told[require] = str(error)
print(json.dumps(told))
"""


def without(*calls: str, code: str = "ENOSYS") -> dict:
    program = WITHOUT.format(code=code, calls=list(calls))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@needs_level("full")
def test_this_machine_is_measured() -> None:
    """Every attempt is reported with what came of it."""
    found = safeload.sandbox.attest()
    assert found.level == "full"
    assert set(found.checks) == {"read", "write", "network", "signal", "process", "execute", "memory", "landlock"}
    assert found.checks["network"] == "killed by SIGSYS"
    assert found.missing == ""


@needs_level("full")
def test_a_kernel_without_landlock_is_less_and_says_so() -> None:
    """``require="full"`` is an error there; the filter alone is taken only by whoever asks for it."""
    told = without("landlock_create_ruleset")
    assert told["level"] == "seccomp-only"
    assert told["checks"]["landlock"] == "unavailable: ENOSYS"
    assert "CONFIG_LSM" in told["full"]
    assert "require='seccomp-only'" in told["full"]
    assert told["seccomp-only"] == 1


@needs_level("full")
def test_landlock_that_answers_and_restricts_nothing_does_not_count() -> None:
    """A version number is no wall: gVisor and filters can answer for a kernel that does nothing."""
    told = without("landlock_restrict_self", code="EPERM")
    assert told["level"] == "seccomp-only"
    assert "without effect" in told["checks"]["landlock"]


@needs_level("seccomp-only")
@pytest.mark.parametrize("code", ["ENOSYS", "EPERM", "EINVAL"])
def test_a_kernel_without_filters_is_insufficient(code) -> None:
    """Nothing is loaded there, under no level."""
    told = without("seccomp", code=code)
    assert told["level"] == "insufficient"
    assert "CONFIG_SECCOMP_FILTER" in told["missing"]
    assert "CONFIG_SECCOMP_FILTER" in told["full"]
    assert "insufficient" in told["seccomp-only"]


@needs_level("full")
def test_a_filter_that_is_there_already_does_no_harm() -> None:
    """Containers run everything under a filter; the jail's own comes on top."""
    told = without("mount", "umount2", "keyctl", "bpf", "unshare", code="EPERM")
    assert told["level"] == "full"
    assert told["full"] == 1


def test_other_platforms_get_a_clear_error(monkeypatch) -> None:
    """macOS, Windows and other processors: an attestation, and an error with what to do, never a load."""
    from safeload.sandbox.kernel import machine

    monkeypatch.setattr(machine.sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailableError, match="needs Linux"):
        machine.machine()
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxUnavailableError, match="riscv64"):
        machine.machine()


def test_less_than_required_is_an_error_and_nonsense_a_mistake() -> None:
    """The order of the levels, and the words of the error."""

    class Measured:
        level = "seccomp-only"
        seen = {"read": "denied: EACCES", "landlock": "unavailable: ENOSYS"}

    require_level(Measured, "seccomp-only")
    with pytest.raises(SandboxUnavailableError, match=r"5\.13") as caught:
        require_level(Measured, "full")
    assert caught.value.code == "sandbox.seccomp-only"
    assert isinstance(caught.value, SandboxError)
    for wrong in ("insufficient", "none", "", None):
        with pytest.raises(ValueError, match="require must be"):
            require_level(Measured, wrong)
    assert Attestation("insufficient", {"platform": "no Linux"}).missing == "no Linux"
    assert "network: succeeded" in Attestation("insufficient", {"network": "succeeded"}).missing
