"""Load serialized artifacts safely: verify, judge, then load.

``import safeload as pickle`` works: the functions, classes and constants of ``pickle`` that load and write are here, under
the same names and signatures. See :class:`Loader` for what each argument means.
"""

from __future__ import annotations

import os
from pickle import DEFAULT_PROTOCOL, HIGHEST_PROTOCOL, PickleBuffer, PickleError, PicklingError, UnpicklingError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safeload.api.batch import Batch, Result
    from safeload.api.defaults import (
        configure,
        configure_from_file,
        dump,
        dump_many,
        dumps,
        is_safe,
        load,
        load_many,
        loads,
        open_fernet,
        rekey_many,
        reset,
        scan,
        scan_many,
        verify_many,
    )
    from safeload.api.loader import Loader
    from safeload.api.pickle_classes import Pickler, Unpickler
    from safeload.api.pickle_module import default as pickle
    from safeload.audit.context import audit_context
    from safeload.envelope.keys import Key, KeyEntry, KeyRing
    from safeload.errors import (
        AuditError,
        DecryptionError,
        EnvelopeError,
        FormatError,
        KeyProviderError,
        LimitExceededError,
        LoadError,
        MissingKeyError,
        PolicyError,
        SafeloadError,
        SandboxError,
        SandboxTimeoutError,
        SandboxUnavailableError,
        SandboxViolationError,
        SchemaError,
        VerificationError,
        VersionError,
    )
    from safeload.findings import Finding, Report, Severity, Verdict
    from safeload.formats.jsontext.registry import register_json
    from safeload.limits import Limits
    from safeload.pipeline.writable import check
    from safeload.policy import Policy
    from safeload.validate.versions import migration

__version__ = "0.1.0"

# Name -> module that defines it; imported on first use, because a scan of a directory needs no keys and a writer of
# plain pickles needs no policy.
_HOME = {
    **dict.fromkeys(
        (
            "configure", "configure_from_file", "dump", "dump_many", "dumps", "is_safe", "load", "load_many", "loads",
            "open_fernet", "rekey_many", "reset", "scan", "scan_many", "verify_many",
        ),
        "safeload.api.defaults",
    ),
    **dict.fromkeys(("Batch", "Result"), "safeload.api.batch"),
    **dict.fromkeys(("Pickler", "Unpickler"), "safeload.api.pickle_classes"),
    **dict.fromkeys(
        (
            "AuditError", "DecryptionError", "EnvelopeError", "FormatError", "KeyProviderError", "LimitExceededError",
            "LoadError", "MissingKeyError", "PolicyError", "SafeloadError", "SandboxError", "SandboxTimeoutError",
            "SandboxUnavailableError", "SandboxViolationError", "SchemaError", "VerificationError", "VersionError",
        ),
        "safeload.errors",
    ),
    **dict.fromkeys(("Finding", "Report", "Severity", "Verdict"), "safeload.findings"),
    **dict.fromkeys(("Key", "KeyEntry", "KeyRing"), "safeload.envelope.keys"),
    "check": "safeload.pipeline.writable",
    "Limits": "safeload.limits",
    "migration": "safeload.validate.versions",
    "register_json": "safeload.formats.jsontext.registry",
    "Loader": "safeload.api.loader",
    "Policy": "safeload.api.loader",
}  # fmt: skip

__all__ = [
    "DEFAULT_PROTOCOL",
    "HIGHEST_PROTOCOL",
    "AuditError",
    "Batch",
    "DecryptionError",
    "EnvelopeError",
    "Finding",
    "FormatError",
    "Key",
    "KeyEntry",
    "KeyProviderError",
    "KeyRing",
    "LimitExceededError",
    "Limits",
    "LoadError",
    "Loader",
    "MissingKeyError",
    "PickleBuffer",
    "PickleError",
    "Pickler",
    "PicklingError",
    "Policy",
    "PolicyError",
    "Report",
    "Result",
    "SafeloadError",
    "SandboxError",
    "SandboxTimeoutError",
    "SandboxUnavailableError",
    "SandboxViolationError",
    "SchemaError",
    "Severity",
    "Unpickler",
    "UnpicklingError",
    "Verdict",
    "VerificationError",
    "VersionError",
    "__version__",
    "audit_context",
    "check",
    "configure",
    "configure_from_file",
    "dump",
    "dump_many",
    "dumps",
    "is_safe",
    "load",
    "load_many",
    "loads",
    "migration",
    "open_fernet",
    "pickle",
    "register_json",
    "rekey_many",
    "reset",
    "scan",
    "scan_many",
    "verify_many",
]


_HOME["audit_context"] = "safeload.audit.context"
_HOME["pickle"] = "safeload.api.pickle_module"
_NAMED = {"pickle": "default"}  # where the name in its module is another one

# Rooms that are used by their name: safeload.guard.install().
_ROOMS = frozenset({"guard", "integrations", "sandbox"})


def __getattr__(name: str) -> Any:
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f"safeload.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'safeload' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), _NAMED.get(name, name))
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if "SAFELOAD_GUARD" in os.environ:  # for programs that cannot be changed; an import of safeload is all that it takes
    __getattr__("guard").install_from_environment()
