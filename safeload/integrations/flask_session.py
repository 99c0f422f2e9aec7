"""Flask-Session: sessions that are judged, and signed and bound to their session id if the loader has keys.

``protect(app)`` after ``Session(app)``. The session of somebody else, copied to another id in the store, does not open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_session.base import Serializer as _Serializer

from safeload.integrations.values import MISS, OnRefused, Values, stored_under

if TYPE_CHECKING:
    from flask import Flask

    from safeload.api.loader import Loader

__all__ = ["Serializer", "protect"]


class Serializer(_Serializer):  # type: ignore[misc]
    """For ``app.session_interface.serializer``.

    Args:
        loader: what judges and verifies; by default the default loader.
        on_refused: ``"miss"``: the visitor gets a new session; ``"raise"``: the request fails.
    """

    def __init__(self, loader: Loader | None = None, *, on_refused: OnRefused = "miss") -> None:
        self.values = Values(loader, on_refused=on_refused, purpose="flask-session")

    def encode(self, session: Any) -> bytes:
        """The session as bytes."""
        return self.values.dumps(dict(session))

    def decode(self, serialized_data: bytes) -> Any:
        """The session in ``serialized_data``; ``None`` for none."""
        loaded = self.values.loads(serialized_data)
        return None if loaded is MISS or type(loaded) is not dict else loaded


class _Keyed:
    def _retrieve_session_data(self, store_id: str) -> Any:
        with stored_under(store_id):
            return super()._retrieve_session_data(store_id)  # type: ignore[misc]

    def _upsert_session(self, session_lifetime: Any, session: Any, store_id: str) -> None:
        with stored_under(store_id):
            super()._upsert_session(session_lifetime, session, store_id)  # type: ignore[misc]


def protect(app: Flask, loader: Loader | None = None, *, on_refused: OnRefused = "miss") -> None:
    """Make the session interface of ``app`` judge sessions, whatever it stores them in."""
    interface: Any = app.session_interface
    cache = getattr(interface, "cache", None)
    if cache is not None and hasattr(cache, "serializer"):  # files and cachelib: the cache pickles, not the interface
        from safeload.integrations.cachelib import protect as protect_cache

        protect_cache(cache, loader, on_refused=on_refused)
        return
    interface.serializer = Serializer(loader, on_refused=on_refused)
    interface.__class__ = type(type(interface).__name__, (_Keyed, type(interface)), {})
