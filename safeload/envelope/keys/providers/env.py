"""Keys from an environment variable. It must be set and hold at least one key: an empty one is a deployment mistake."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeload.envelope.keys.lines import parse_words
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from safeload.envelope.keys.entry import KeyEntry

__all__ = ["SCHEME", "fetch"]

SCHEME = "env"


def fetch(locator: str) -> list[KeyEntry]:
    """The keys in environment variable ``locator`` (``SAFELOAD_KEYS`` if empty), separated by commas or white space."""
    name = locator or "SAFELOAD_KEYS"
    text = os.environ.get(name, "")
    if not text.strip(", \t\r\n"):
        state = "is empty" if name in os.environ else "is not set"
        raise KeyProviderError(
            f"environment variable {name} {state}; set it to a key made by `safeload keygen`", code="keys.env-unset"
        )
    return parse_words(text, source=f"environment variable {name}")
