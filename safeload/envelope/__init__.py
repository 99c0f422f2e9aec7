"""Envelopes: signed, optionally encrypted wrappers around a payload. SPEC.md is the format's reference.

Knows nothing of pickle, of policies or of where keys come from: it is given keys and gives verified bytes.
"""

from safeload.envelope.fernet import open_fernet
from safeload.envelope.open import open_bytes
from safeload.envelope.opened import Opened
from safeload.envelope.seal import seal
from safeload.envelope.wire import CODECS, Layout, is_envelope

__all__ = ["CODECS", "Layout", "Opened", "is_envelope", "open_bytes", "open_fernet", "seal"]
