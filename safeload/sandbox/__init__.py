"""The sandbox: artifacts that nobody can judge are loaded where they can do nothing.

A policy answers what an artifact *may* do. Where it has no answer (a library that nobody reviewed, code by design, a reader
in C), the sandbox lets it do what it likes in a process that holds nothing and reaches nothing, and takes back plain data.
What each level promises and what not: ``threat-model.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safeload.sandbox.attestation import Attestation, attest
    from safeload.sandbox.data.layout import Described
    from safeload.sandbox.loading import load
    from safeload.sandbox.remote import Remote
    from safeload.sandbox.remote import open_remote as open  # noqa: A004 - safeload.sandbox.open, as its name is fixed
    from safeload.sandbox.watch.detonation import Detonation, detonate

__all__ = ["Attestation", "Described", "Detonation", "Remote", "attest", "detonate", "load", "open"]

_HOME = {
    "Attestation": "safeload.sandbox.attestation",
    "Described": "safeload.sandbox.data.layout",
    "attest": "safeload.sandbox.attestation",
    "Detonation": "safeload.sandbox.watch.detonation",
    "detonate": "safeload.sandbox.watch.detonation",
    "load": "safeload.sandbox.loading",
    "open": "safeload.sandbox.remote",
    "Remote": "safeload.sandbox.remote",
}
_OTHER_NAMES = {"open": "open_remote"}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'safeload.sandbox' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), _OTHER_NAMES.get(name, name))
    return value
