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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.envelope.keys.entry import KeyEntry

__all__ = ["Provider", "providers"]


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
