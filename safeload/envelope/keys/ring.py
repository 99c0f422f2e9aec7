"""The key ring: which keys a reader accepts, and which one a writer uses.

Rules: a key is looked up by the id in the envelope and never tried in turn (a ring of n keys must not be an oracle
that tests n keys, and the id binds the suite); rings are immutable, so that a change cannot leak into a load that is
under way; every change returns a new ring.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.envelope.keys.entry import KeyEntry, KeyState
from safeload.envelope.keys.model import Key
from safeload.errors import MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

__all__ = ["KeyRing", "as_ring"]


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
    def from_file(cls, path: str | PathLike[str]) -> KeyRing:
        """The keys of a key file (:mod:`safeload.envelope.keys.lines`); it must be readable by its owner alone."""
        from safeload.envelope.keys.providers import file

        return cls(file.read_entries(path), label=f"file:{path}")

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
