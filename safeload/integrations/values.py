"""What all integrations do with a value: seal it, open it, and say what a refusal is.

Rule: only a refusal of the value can be a miss. A trail that cannot be written and a key that cannot be fetched are failures of
the service, and raise whatever ``on_refused`` says.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal

from safeload.errors import AuditError, KeyProviderError, SafeloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.api.loader import Loader

__all__ = ["MISS", "OnRefused", "Values", "stored_under"]

OnRefused = Literal["raise", "miss"]

MISS: Final = object()
_log = logging.getLogger("safeload")

# The key that a value is being read from or written to, for serializers that are not told.
_key: ContextVar[str | bytes | None] = ContextVar("safeload.integrations.key", default=None)


@contextmanager
def stored_under(key: object) -> Iterator[None]:
    """Bind the values that are read and written inside to ``key``."""
    token = _key.set(_octets(key))
    try:
        yield
    finally:
        _key.reset(token)


def _octets(key: object) -> str | bytes:
    if isinstance(key, (str, bytes)):
        return key
    if isinstance(key, int | float):
        return f"{type(key).__name__}:{key!r}"
    raise TypeError(f"a value is bound to a key that is text, bytes or a number, not {type(key).__name__}")


class Values:
    """Seals and opens the values of one store.

    Args:
        loader: what judges and verifies; by default the default loader, as it is when a value is read or written. With keys, values
            are signed with the primary one, and must be signed.
        on_refused: ``"raise"``: a refused value raises; ``"miss"``: it is as if it were not there.
        purpose: what kind of store it is: a signed value of another kind does not open here.
    """

    def __init__(self, loader: Loader | None = None, *, on_refused: OnRefused = "raise", purpose: str) -> None:
        if on_refused not in ("raise", "miss"):
            raise ValueError(f"on_refused is 'raise' or 'miss', not {on_refused!r}")
        self._loader = loader
        self.on_refused = on_refused
        self.purpose = purpose

    @property
    def loader(self) -> Loader:
        """The loader that is in use now."""
        if self._loader is not None:
            return self._loader
        from safeload.api.defaults import current

        return current()

    @property
    def signs(self) -> bool:
        """Whether values are signed. Then nothing is stored as it is: a number in place of an envelope is a forgery."""
        return self.loader.keys is not None

    def context(self, key: object = None) -> tuple[str, str | bytes]:
        """What a value under ``key`` is bound to; without one, what :func:`stored_under` says."""
        bound = _key.get() if key is None else _octets(key)
        return self.purpose, b"" if bound is None else bound

    def dumps(self, value: Any, key: object = None, **options: Any) -> bytes:
        """``value`` as bytes: an envelope if the loader has keys, or else a pickle."""
        loader = self.loader
        if loader.keys is None:
            return loader.dumps(value, **options)
        return loader.dumps(value, key=loader.keys.primary, context=self.context(key), **options)

    def loads(self, data: Any, key: object = None, **options: Any) -> Any:
        """The value in ``data``, or :data:`MISS` where a refusal is one.

        Raises:
            SafeloadError: it was refused, and a refusal is no miss.
        """
        loader = self.loader
        if loader.keys is not None:
            options["context"] = self.context(key)
        try:
            return loader.loads(data, **options)
        except SafeloadError as error:
            return self.refused(error)

    def refused(self, error: SafeloadError) -> Any:
        """:data:`MISS`, if the refusal is one.

        Raises:
            SafeloadError: it is not.
        """
        if self.on_refused == "raise" or isinstance(error, AuditError | KeyProviderError):
            raise error
        _log.warning("a stored value of %s was refused (%s) and is taken for a miss", self.purpose, error.code)
        return MISS
