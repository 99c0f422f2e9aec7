"""From the place of keys (``"env:SAFELOAD_KEYS"``) to the ring: what crosses into other processes is the place, never a key."""

from __future__ import annotations

from safeload.envelope.keys.providers import providers
from safeload.envelope.keys.ring import KeyRing
from safeload.errors import KeyProviderError, SafeloadError

__all__ = ["fetch_ring"]


def fetch_ring(location: str) -> KeyRing:
    """The ring at ``location``, such as ``env:SAFELOAD_KEYS``, ``file:keys.txt`` or ``keyring:service/user``.

    Raises:
        ValueError: no provider has this scheme; the message lists them.
        KeyProviderError: the keys could not be fetched.
    """
    scheme, colon, locator = location.partition(":")
    provider = providers().get(scheme) if colon else None
    if provider is None:
        known = ", ".join(f"{name}:…" for name in sorted(providers()))
        raise ValueError(f"a key location is one of {known}")
    try:
        return KeyRing(provider.fetch(locator), label=location if scheme != "command" else scheme)
    except SafeloadError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary to plug-ins
        # A plug-in's exception may carry a secret in its text: only its type is named, and nothing is chained.
        raise KeyProviderError(f"the key provider {scheme!r} failed with {type(error).__name__}") from None
