"""The envelope's cipher suites: names and numbers, shared by keys and envelope. No cryptography here."""

from __future__ import annotations

import enum

__all__ = ["Suite"]


class Suite(enum.IntEnum):
    """Algorithms of an envelope, fixed by the key and never negotiated (SPEC.md, "Suites")."""

    HS256 = 1
    HS256_FERNET = 2
    HS256_GCM = 3
    ED25519 = 4
    ED25519_GCM = 5

    @property
    def label(self) -> str:
        """The public name, as in ``Key.generate("hs256-gcm")``."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def parse(cls, name: str) -> Suite:
        """The suite called ``name``.

        Raises:
            ValueError: no such suite; the message lists them.
        """
        for suite in cls:
            if suite.label == name:
                return suite
        raise ValueError(f"unknown suite {name!r}; use one of {', '.join(s.label for s in cls)}")

    @property
    def encrypts(self) -> bool:
        """Whether the payload is encrypted."""
        return self in (Suite.HS256_FERNET, Suite.HS256_GCM, Suite.ED25519_GCM)

    @property
    def is_signature(self) -> bool:
        """Whether readers hold only a public key."""
        return self in (Suite.ED25519, Suite.ED25519_GCM)
