"""Keys from the operating system's key store, through the optional package ``keyring``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.envelope.keys.lines import parse_lines
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from safeload.envelope.keys.entry import KeyEntry

__all__ = ["SCHEME", "fetch", "read_entries"]

SCHEME = "keyring"


def fetch(locator: str) -> list[KeyEntry]:
    """The keys at ``service/username`` (``service`` alone means the user ``safeload``)."""
    service, _, username = locator.rpartition("/") if "/" in locator else (locator, "", "safeload")
    return read_entries(service, username)


def read_entries(service: str, username: str = "safeload") -> list[KeyEntry]:
    """The entries that the key store holds as the password of ``username`` at ``service``.

    Raises:
        KeyProviderError: the package is missing (code ``keys.keyring-missing``), the store failed
            (``keys.keyring-failed``) or holds nothing there (``keys.keyring-empty``).
    """
    if not service or not username:
        raise KeyProviderError("name the entry as keyring:SERVICE/USERNAME", code="keys.syntax")
    try:
        import keyring
    except ImportError:
        raise KeyProviderError(
            "the package `keyring` is not installed; run `pip install safeload[keyring]`", code="keys.keyring-missing"
        ) from None
    try:
        text = keyring.get_password(service, username)
    except Exception as error:  # noqa: BLE001 - backends raise anything
        raise KeyProviderError(
            f"the OS key store failed with {type(error).__name__}; unlock it, or see `keyring diagnose`",
            code="keys.keyring-failed",
        ) from None
    if text is None:
        raise KeyProviderError(
            f"the OS key store has no entry {service!r} / {username!r}; add it with `keyring set {service} {username}`",
            code="keys.keyring-empty",
        )
    return parse_lines(text, source="the OS key store")
