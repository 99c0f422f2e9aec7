"""Envelopes: signed, optionally encrypted wrappers around a payload. SPEC.md is the format's reference.

Knows nothing of pickle, of policies or of where keys come from: it is given keys and gives verified bytes. What small
cache entries need is imported at once, everything else when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from safeload.envelope.opened import Opened
from safeload.envelope.opening import open_bytes
from safeload.envelope.sealing import seal
from safeload.envelope.wire import CODECS, Layout, is_envelope

if TYPE_CHECKING:
    from safeload.envelope.detached import open_detached, open_detached_path, seal_detached, verify_detached_path
    from safeload.envelope.failures import PUBLIC_MESSAGE
    from safeload.envelope.fernet import open_fernet
    from safeload.envelope.files import decrypt_to, open_file, open_path, verify_path
    from safeload.envelope.inspect import inspect_prelude
    from safeload.envelope.mapped import open_snapshot, unsafe_open_mapped
    from safeload.envelope.reseal import cosign, rekey, rekey_path, rekey_to
    from safeload.envelope.write import seal_path, seal_to

__all__ = [
    "CODECS", "PUBLIC_MESSAGE", "Layout", "Opened", "cosign", "decrypt_to", "inspect_prelude",
    "is_envelope", "open_bytes", "open_detached", "open_detached_path", "open_fernet", "open_file", "open_path",
    "open_snapshot", "rekey", "rekey_path", "rekey_to", "seal", "seal_detached", "seal_path", "seal_to", "unsafe_open_mapped",
    "verify_detached_path", "verify_path",
]  # fmt: skip

_LATER = {
    "detached": ["open_detached", "open_detached_path", "seal_detached", "verify_detached_path"],
    "failures": ["PUBLIC_MESSAGE"],
    "fernet": ["open_fernet"],
    "files": ["decrypt_to", "open_file", "open_path", "verify_path"],
    "inspect": ["inspect_prelude"],
    "mapped": ["open_snapshot", "unsafe_open_mapped"],
    "reseal": ["cosign", "rekey", "rekey_path", "rekey_to"],
    "write": ["seal_path", "seal_to"],
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
