"""What a trail hears of keys that are read again while a loader is in use (:class:`safeload.envelope.keys.ring.LiveRing`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeload.audit import Auditor
    from safeload.envelope.keys import KeyRing

__all__ = ["Rotations"]


class Rotations:
    """Tells a trail when the keys of a loader changed. Equal for one trail, however many loaders have it."""

    def __init__(self, audit: Auditor) -> None:
        self._audit = audit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rotations) and other._audit is self._audit

    def __hash__(self) -> int:
        return id(self._audit)

    def __call__(self, what: str, ring: KeyRing) -> None:
        """Record that keys were exchanged (``"rotate"``), or that their source could not be read (``"unreadable"``)."""
        with self._audit.operation("key", action=what, outcome="ok" if what == "rotate" else "error") as operation:
            for entry in ring.entries[:1]:
                operation.set(key_id=entry.key_id)
