"""The key ring: which keys a reader accepts, and which one a writer uses.

Rules: a key is looked up by the id in the envelope and never tried in turn (a ring of n keys must not be an oracle
that tests n keys, and the id binds the suite); rings are immutable, so that a change cannot leak into a load that is
under way; every change returns a new ring.

A ring that is read again on a schedule (:class:`LiveRing`) exchanges one immutable ring for another: no lookup sees half of a rotation. One thread
at a time reads again, while the others go on with what is there. A source that cannot be read leaves the keys as they were, for ten
periods at most: after that nobody knows whether a key was revoked, and every lookup fails.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from safeload.envelope.keys.entry import KeyEntry, KeyState
from safeload.envelope.keys.model import Key
from safeload.errors import KeyProviderError, MissingKeyError, SafeloadError
from safeload.facts import forks

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from os import PathLike

__all__ = ["KeyRing", "LiveRing", "as_ring"]

_PERIODS: Final = 10  # failures in a row after which the keys of a source are too old to be believed


class KeyRing:
    """An immutable set of keys with states, labels and trust per signer.

    Args:
        keys: :class:`Key` or :class:`KeyEntry` objects; ids must differ.
        label: a name for people.
    """

    __slots__ = ("_by_id", "entries", "label")

    _by_id: dict[bytes, KeyEntry]
    entries: tuple[KeyEntry, ...]
    label: str

    def __init__(self, keys: Iterable[Key | KeyEntry] = (), *, label: str = "") -> None:
        if isinstance(keys, Key | KeyEntry | str | bytes):
            raise TypeError("KeyRing takes a list: KeyRing([key])")
        entries = tuple(_as_entry(key) for key in keys)
        by_id: dict[bytes, KeyEntry] = {}
        for entry in entries:
            if by_id.setdefault(entry.key_id, entry) is not entry:
                raise ValueError(f"key {entry.key.key_id_hex} is in the ring twice; keep one entry per key")
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "_by_id", by_id)
        object.__setattr__(self, "label", label)

    def find(self, key_id: bytes) -> KeyEntry | None:
        """The entry of the key with this id, whatever its state, or ``None``."""
        return self._by_id.get(key_id)

    @property
    def primary_entry(self) -> KeyEntry:
        """The entry new envelopes are sealed with: the first active one that can sign and is in its time.

        Raises:
            MissingKeyError: the ring holds none.
        """
        now_us = time.time_ns() // 1000
        for entry in self.entries:
            if entry.may_sign(now_us):
                return entry
        raise MissingKeyError(
            "the key ring holds no active key that can sign; add one with ring.rotate(Key.generate('hs256'))",
            code="keys.no-signing-key",
            stage="keys",
        )

    @property
    def primary(self) -> Key:
        """The key of :attr:`primary_entry`."""
        return self.primary_entry.key

    def add(self, key: Key | KeyEntry, **attributes: Any) -> KeyRing:
        """A ring with ``key`` at the end; ``attributes`` are those of :class:`KeyEntry`."""
        entry = replace(_as_entry(key), **attributes) if attributes else _as_entry(key)
        return KeyRing((*self.entries, entry), label=self.label)

    def rotate(self, key: Key | KeyEntry, **attributes: Any) -> KeyRing:
        """A ring that seals with ``key``; every key that could seal until now still verifies."""
        entry = replace(_as_entry(key), **attributes) if attributes else _as_entry(key)
        if not entry.key.can_sign:
            raise ValueError("rotate needs a key that can sign; add a reader's key with ring.add(key)")
        older = (
            replace(old, state=KeyState.VERIFY_ONLY) if old.state is KeyState.ACTIVE and old.key.can_sign else old
            for old in self.entries
        )
        return KeyRing((entry, *older), label=self.label)

    def retire(self, key: Key | bytes | str) -> KeyRing:
        """A ring in which ``key`` (a key, its id, its id in hex or its label) still verifies but no longer seals."""
        return self._with_state(key, KeyState.VERIFY_ONLY)

    def revoke(self, key: Key | bytes | str) -> KeyRing:
        """A ring in which nothing sealed with ``key`` opens any more. The entry stays, so that errors say why."""
        return self._with_state(key, KeyState.REVOKED)

    def _with_state(self, key: Key | bytes | str, state: KeyState) -> KeyRing:
        target = self._select(key)
        if target.state is KeyState.REVOKED and state is not KeyState.REVOKED:
            raise ValueError(f"key {target.key.key_id_hex} is revoked; revocation is final")
        entries = [replace(entry, state=state) if entry is target else entry for entry in self.entries]
        return KeyRing(entries, label=self.label)

    def _select(self, key: Key | bytes | str) -> KeyEntry:
        if isinstance(key, str):
            found = [entry for entry in self.entries if key in (entry.key.key_id_hex, entry.label)]
        else:
            wanted = key.key_id if isinstance(key, Key) else key
            found = [entry for entry in self.entries if entry.key_id == wanted]
        if len(found) != 1:
            raise ValueError("no such key in the ring" if not found else "several keys of the ring have this label")
        return found[0]

    @classmethod
    def from_env(cls, name: str = "SAFELOAD_KEYS") -> KeyRing:
        """The keys in environment variable ``name``, separated by commas or white space; the first one seals."""
        from safeload.envelope.keys.providers import env

        return cls(env.fetch(name), label=f"env:{name}")

    @classmethod
    def from_file(cls, path: str | PathLike[str], *, refresh: float | None = None) -> KeyRing:
        """The keys of a key file (:mod:`safeload.envelope.keys.lines`); it must be readable by its owner alone.

        Args:
            path: the file.
            refresh: read it again after so many seconds, when a key is next looked up; whoever holds the ring sees the new keys.
        """
        from safeload.envelope.keys.providers import file

        def fetch() -> KeyRing:
            return KeyRing(file.read_entries(path), label=f"file:{path}")

        return fetch() if refresh is None else _live(fetch, refresh)

    @classmethod
    def from_provider(cls, provider: Callable[[], Any], *, refresh: float | None = None) -> KeyRing:
        """The keys that a function returns: a ring, keys, entries, or the text of a key file.

        Args:
            provider: asks a secret manager, for instance. What it raises is told by its type only, for its text may quote a secret.
            refresh: ask it again after so many seconds, as in :meth:`from_file`.

        Raises:
            KeyProviderError: it failed, or returned something else.
        """

        def fetch() -> KeyRing:
            return _provided(provider)

        return fetch() if refresh is None else _live(fetch, refresh)

    @classmethod
    def from_keyring(cls, service: str, username: str = "safeload") -> KeyRing:
        """The keys that the operating system's key store holds for ``service`` (needs the extra ``keyring``)."""
        from safeload.envelope.keys.providers import os_keyring

        return cls(os_keyring.read_entries(service, username), label=f"keyring:{service}/{username}")

    @classmethod
    def from_command(cls, argv: Sequence[str], *, timeout: float = 10.0) -> KeyRing:
        """The keys that a program prints, for instance a secret manager's client. No shell is involved."""
        from safeload.envelope.keys.providers import command

        return cls(command.read_entries(argv, timeout=timeout), label="command")

    def __iter__(self) -> Iterator[KeyEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, Key) and key.key_id in self._by_id

    def __repr__(self) -> str:
        inside = ", ".join(
            f"{entry.key.suite.label} {entry.key.key_id_hex[:8]} {entry.state}" for entry in self.entries
        )
        return f"<KeyRing [{inside}]>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("key rings are immutable; add, rotate, retire and revoke return a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("key rings are immutable")

    def __reduce__(self) -> NoReturn:
        raise TypeError("key rings are never pickled: a pickle of a key leaks it")


class LiveRing(KeyRing):
    """What ``KeyRing.from_file(path, refresh=60)`` returns: a :class:`KeyRing` whose keys are those of its source.

    Args:
        fetch: gets the ring as it is now.
        refresh: seconds until it is fetched again, when the next key is looked up.
    """

    __slots__ = ("_due", "_failing_since", "_fetch", "_listeners", "_lock", "_refresh", "_ring")

    _ring: KeyRing
    _fetch: Callable[[], KeyRing]
    _refresh: float
    _due: float
    _failing_since: float | None
    _listeners: list[Callable[[str, KeyRing], None]]
    _lock: threading.Lock

    def __init__(self, fetch: Callable[[], KeyRing], refresh: float) -> None:
        if not isinstance(refresh, int | float) or isinstance(refresh, bool) or not refresh > 0:
            raise ValueError(f"refresh is a number of seconds above 0, not {refresh!r}")
        put = object.__setattr__
        put(self, "_fetch", fetch)
        put(self, "_refresh", float(refresh))
        put(self, "_ring", fetch())
        put(self, "_due", time.monotonic() + refresh)
        put(self, "_failing_since", None)
        put(self, "_listeners", [])
        put(self, "_lock", forks.lock())

    @property
    def entries(self) -> tuple[KeyEntry, ...]:  # type: ignore[override]
        """The entries as they are now."""
        return self.current().entries

    @property
    def _by_id(self) -> dict[bytes, KeyEntry]:  # type: ignore[override]
        return self.current()._by_id  # noqa: SLF001 - of the same kind

    @property
    def label(self) -> str:  # type: ignore[override]
        """The name of the source."""
        return self._ring.label

    def current(self) -> KeyRing:
        """The immutable ring of this moment.

        Raises:
            KeyProviderError: the source could not be read for ten periods (``keys.stale``).
        """
        if time.monotonic() >= self._due and self._lock.acquire(blocking=False):
            try:
                self._read_again()
            finally:
                self._lock.release()
        since = self._failing_since
        if since is not None and time.monotonic() - since > _PERIODS * self._refresh:
            raise KeyProviderError(
                f"the keys of {self.label} could not be read again for {_PERIODS} periods, and may have been revoked",
                code="keys.stale",
            )
        return self._ring

    def watch(self, listener: Callable[[str, KeyRing], None]) -> None:
        """Have ``listener`` called with ``"rotate"`` or ``"unreadable"`` and the ring that is in use from then on."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def _read_again(self) -> None:
        put = object.__setattr__
        put(self, "_due", time.monotonic() + self._refresh)
        try:
            ring = self._fetch()
        except KeyProviderError:
            if self._failing_since is None:
                put(self, "_failing_since", time.monotonic())
            self._tell("unreadable")
            return
        put(self, "_failing_since", None)
        if _identity(ring) != _identity(self._ring):
            put(self, "_ring", ring)
            self._tell("rotate")

    def _tell(self, what: str) -> None:
        for listener in tuple(self._listeners):
            listener(what, self._ring)

    def __reduce__(self) -> NoReturn:
        raise TypeError("key rings are never pickled: a pickle of a key leaks it")


def _identity(ring: KeyRing) -> list[Any]:
    """What a change of keys, of their order or of anything that is said about one changes."""
    return [(entry.key_id, repr(entry)) for entry in ring.entries]


def _live(fetch: Callable[[], KeyRing], refresh: float) -> KeyRing:
    return LiveRing(fetch, refresh)


def _provided(provider: Callable[[], Any]) -> KeyRing:
    from safeload.envelope.keys.lines import parse_lines

    try:
        given = provider()
        if isinstance(given, str):
            return KeyRing(parse_lines(given, source="the key provider"), label="provider")
        ring = as_ring(given)
        return ring if ring.label else KeyRing(ring.entries, label="provider")
    except SafeloadError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary to the application, as for providers
        raise KeyProviderError(f"the key provider failed with {type(error).__name__}") from None


def _as_entry(key: Key | KeyEntry) -> KeyEntry:
    if isinstance(key, KeyEntry):
        return key
    if isinstance(key, Key):
        return KeyEntry(key)
    raise TypeError(f"a key ring holds keys, not {type(key).__name__}; parse text with Key.parse(text)")


def as_ring(keys: Key | KeyEntry | KeyRing | Iterable[Key | KeyEntry] | None) -> KeyRing:
    """A ring of whatever a caller may give as ``keys``: nothing, one key, an entry, several, or a ring.

    Raises:
        TypeError: it is something else; text and raw bytes are refused.
    """
    if isinstance(keys, KeyRing):
        return keys
    if keys is None:
        return KeyRing()
    if isinstance(keys, Key | KeyEntry):
        return KeyRing([keys])
    if isinstance(keys, str | bytes | bytearray):
        raise TypeError("keys are Key objects, never text or raw bytes; use Key.parse(text) or KeyRing.from_env(…)")
    return KeyRing(keys)
