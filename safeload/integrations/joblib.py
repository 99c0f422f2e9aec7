"""``joblib.Memory`` with a store that is judged: ``Memory(location, backend="safeload")``.

An entry that is refused is computed again, by joblib's own rule for entries that cannot be read. Signed entries are bound to the
function and the arguments that they are the result of, so that the result of another call in its place is refused.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Final

from joblib import register_store_backend
from joblib._store_backends import FileSystemStoreBackend

from safeload.integrations.values import Values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.api.loader import Loader

__all__ = ["StoreBackend", "register"]

_FILE: Final = "output.pkl"


class StoreBackend(FileSystemStoreBackend):  # type: ignore[misc]
    """joblib's own store of files, with safeload for what is in them; ``mmap_mode`` maps arrays where entries are not signed."""

    values: ClassVar[Values] = Values(purpose="joblib.Memory")

    def load_item(self, call_id: Sequence[str], *_reporting: Any, **_more: Any) -> Any:
        """The result of a call.

        Raises:
            KeyError: there is none.
            SafeloadError: it was refused; joblib computes it again.
        """
        path = os.path.join(self.location, *call_id, _FILE)  # noqa: PTH118 - joblib's paths are text
        if not self._item_exists(path):
            raise KeyError(f"there is no result at {path}")
        loader = self.values.loader
        if loader.keys is None:
            return loader.load(path, mmap=True) if getattr(self, "mmap_mode", None) else loader.load(path)
        return loader.load(path, context=self.values.context("/".join(call_id)))

    def dump_item(self, call_id: Sequence[str], item: Any, *_reporting: Any, **_more: Any) -> None:
        """Keep the result of a call; what cannot be written is not kept, which joblib warns of."""
        import warnings

        from joblib._store_backends import CacheWarning

        folder = os.path.join(self.location, *call_id)  # noqa: PTH118
        loader = self.values.loader
        sealing: dict[str, Any] = {}
        if loader.keys is not None:
            sealing = {"key": loader.keys.primary, "context": self.values.context("/".join(call_id))}
        try:
            self.create_location(folder)
            loader.dump(
                item, os.path.join(folder, _FILE), codec="joblib", compress=self.compress or None, **sealing  # noqa: PTH118
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - as joblib: a cache that cannot be written is none
            warnings.warn(f"Unable to cache to disk: {type(error).__name__}: {error}", CacheWarning, stacklevel=2)


def register(loader: Loader | None = None, *, name: str = "safeload") -> None:
    """Make ``Memory(location, backend=name)`` known to joblib, judged by ``loader`` (the default one if none is given)."""
    values = Values(loader, purpose="joblib.Memory")
    backend = StoreBackend if loader is None else type("StoreBackend", (StoreBackend,), {"values": values})
    register_store_backend(name, backend)
