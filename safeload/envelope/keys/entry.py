"""One key as a ring knows it: its state, when it was in use, and what its signer is trusted with.

Rule: trust belongs to the signer, so policy and grants stand beside the key and nowhere in an artifact. What a policy
means is the pipeline's business; here it is an opaque value.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from safeload.envelope.keys.model import Key

__all__ = ["GRANTS", "KeyEntry", "KeyState"]

GRANTS: Final = frozenset({"code"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class KeyState(enum.StrEnum):
    """What a key may be used for."""

    ACTIVE = "active"
    VERIFY_ONLY = "verify-only"  # rotated out: old artifacts still open, nothing new is sealed
    REVOKED = "revoked"  # compromised: nothing sealed with it opens, whatever date it claims


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key with its state and trust.

    Attributes:
        key: the key.
        state: ``"active"``, ``"verify-only"`` or ``"revoked"``.
        label: a name for people and audit events.
        policy: the policy for payloads of this signer (a Policy or pack names), ``None`` for the default one.
        grants: extra permissions; ``"code"`` admits codecs whose payload carries code.
        not_before: envelopes created earlier are refused, and nothing is sealed earlier.
        not_after: the same at the other end. The time is the one the signer wrote: this limits an honest signer;
            against a stolen key use ``revoked``.
    """

    key: Key
    state: KeyState = KeyState.ACTIVE
    label: str = ""
    policy: Any = None
    grants: frozenset[str] = frozenset()
    not_before: datetime | None = None
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.key, "key_id"):
            raise TypeError(f"KeyEntry needs a Key, not {type(self.key).__name__}; parse text with Key.parse(text)")
        try:
            state = KeyState(self.state)
        except ValueError:
            known = ", ".join(KeyState)
            raise ValueError(f"unknown key state {str(self.state)!r}; use one of {known}") from None
        object.__setattr__(self, "state", state)
        if isinstance(self.grants, str):
            raise TypeError('grants is a set of names such as {"code"}, not a str')
        grants = frozenset(self.grants)
        if unknown := grants - GRANTS:
            raise ValueError(f"unknown grant {min(unknown)!r}; the only grant is 'code'")
        object.__setattr__(self, "grants", grants)
        for moment in (self.not_before, self.not_after):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("not_before and not_after need a time zone; add tzinfo=datetime.UTC")

    @property
    def key_id(self) -> bytes:
        """The id of the key (16 bytes)."""
        return self.key.key_id

    def covers(self, moment_us: int) -> bool:
        """Whether ``moment_us`` (microseconds UTC) lies in the time this key was in use."""
        if self.not_before is not None and moment_us < (self.not_before - _EPOCH) // _MICROSECOND:
            return False
        return self.not_after is None or moment_us <= (self.not_after - _EPOCH) // _MICROSECOND

    def may_sign(self, moment_us: int) -> bool:
        """Whether new envelopes may be sealed with this key at ``moment_us``."""
        return self.state is KeyState.ACTIVE and self.key.can_sign and self.covers(moment_us)
