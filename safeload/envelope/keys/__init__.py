"""Keys, key rings and where keys come from. Knows nothing of envelopes: it offers tags, sub-keys and look-up by id."""

from safeload.envelope.keys.entry import KeyEntry, KeyState
from safeload.envelope.keys.model import Key, SecretKey, SigningKey, VerifyKey
from safeload.envelope.keys.ring import KeyRing, as_ring

__all__ = ["Key", "KeyEntry", "KeyRing", "KeyState", "SecretKey", "SigningKey", "VerifyKey", "as_ring"]
