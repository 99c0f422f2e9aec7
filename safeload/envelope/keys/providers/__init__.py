"""Where keys come from: one module per provider, found by its file; no list to keep.

A provider module has ``SCHEME`` (as in ``env:SAFELOAD_KEYS``) and ``fetch(locator) -> list[KeyEntry]``. Rule:
whatever goes wrong inside a provider leaves it as a ``KeyProviderError`` that says what to do and quotes no key.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from safeload.envelope.keys.ring import KeyRing
from safeload.errors import KeyProviderError, SafeloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.envelope.keys.entry import KeyEntry

__all__ = ["Provider", "fetch_ring", "providers"]


class Provider(Protocol):
    """What a provider module offers."""

    SCHEME: str

    def fetch(self, locator: str) -> list[KeyEntry]:
        """The keys at ``locator``."""
        ...


@functools.cache
def providers() -> Mapping[str, Provider]:
    """Every provider by scheme."""
    found: dict[str, Provider] = {}
    for info in pkgutil.iter_modules(__path__):
        module = cast("Provider", importlib.import_module(f"{__name__}.{info.name}"))
        found[module.SCHEME] = module
    return MappingProxyType(found)


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
