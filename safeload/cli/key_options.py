"""The options that say where keys come from, the same for every command.

Rule: a key never stands on the command line itself, where every user of the machine can read it.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from safeload.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.envelope.keys import Key, KeyEntry, KeyRing

__all__ = ["KeySource", "key_options", "private_key"]

DEFAULT_ENV = "SAFELOAD_KEYS"
_HINT = f"give --key-file FILE, or set {DEFAULT_ENV}; `safeload keygen --output FILE` makes a key"


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the person said the keys are; nothing is read before :meth:`ring`."""

    files: tuple[str, ...] = ()
    env: str | None = None
    keyring: str | None = None
    command: str | None = None
    unsigned: bool = False  # no keys whatever the environment says

    @property
    def named(self) -> bool:
        """Whether a place was given, on the command line or through the default variable."""
        if self.unsigned:
            return False
        return bool(self.files or self.env or self.keyring or self.command or os.environ.get(DEFAULT_ENV))

    def ring(self) -> KeyRing:
        """The keys of every place that was given, in the order files, environment, key store, command.

        Raises:
            Failure: no place was given.
            KeyProviderError: one of them gives no keys.
        """
        from safeload.envelope.keys import KeyRing

        if not self.named:
            raise Failure("no key was given", _HINT)
        rings = [KeyRing.from_file(path) for path in self.files]
        if self.env:
            rings.append(KeyRing.from_env(self.env))
        if self.keyring:
            service, _, user = self.keyring.partition("/")
            rings.append(KeyRing.from_keyring(service, user or "safeload"))
        if self.command:
            rings.append(KeyRing.from_command(_words(self.command)))
        if not rings:
            rings.append(KeyRing.from_env(DEFAULT_ENV))
        return KeyRing(_merged(entry for ring in rings for entry in ring))

    def ring_if_named(self) -> KeyRing | None:
        """The ring, or ``None`` where no place was given."""
        return self.ring() if self.named else None


def _words(command: str) -> list[str]:
    import shlex

    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise Failure(
            "--key-command needs a program and its arguments", "for instance --key-command 'pass show safeload'"
        )
    return words


def _merged(entries: Iterable[KeyEntry]) -> list[KeyEntry]:
    """One entry per key: what is revoked in one place stays revoked, and a private half wins over its public one."""
    merged: dict[bytes, KeyEntry] = {}
    for entry in entries:
        known = merged.get(entry.key_id)
        if known is None or entry.state == "revoked" or (known.state != "revoked" and _rank(entry) > _rank(known)):
            merged[entry.key_id] = entry
    return list(merged.values())


def _rank(entry: KeyEntry) -> int:
    return 2 * entry.key.can_sign + entry.key.can_decrypt


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the key options to a command; it gets them as ``keys``, a :class:`KeySource`."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        key_file: tuple[str, ...],
        key_env: str | None,
        key_keyring: str | None,
        key_command: str | None,
        **kwargs: Any,
    ) -> Any:
        return function(*args, keys=KeySource(key_file, key_env, key_keyring, key_command), **kwargs)

    for option in (
        click.option("--key-command", metavar="COMMAND", help="Keys from what a program prints (no shell)."),
        click.option("--key-keyring", metavar="SERVICE[/USER]", help="Keys from the key store of the system."),
        click.option("--key-env", metavar="NAME", help=f"Keys from an environment variable.  [default: {DEFAULT_ENV}]"),
        click.option(
            "--key-file", metavar="FILE", multiple=True, help="Keys from a file with mode 0600. May be repeated."
        ),
    ):
        wrapper = option(wrapper)
    return wrapper


def private_key(keys: KeySource, *, encrypts: bool, key_id: str | None) -> Key:
    """The key to seal with: the first active one that does what the command does, or the one that was named.

    Raises:
        Failure: the ring holds none; the message says what it does hold.
    """
    import time

    now_us = time.time_ns() // 1000
    ring = keys.ring()
    usable = [entry for entry in ring if entry.may_sign(now_us)]
    if key_id is not None:
        usable = [entry for entry in usable if entry.label == key_id or entry.key.key_id_hex.startswith(key_id.lower())]
        if len(usable) != 1:
            known = ", ".join(entry.label or entry.key.key_id_hex[:8] for entry in ring if entry.may_sign(now_us))
            found = "several keys that can seal match" if usable else "no key that can seal matches"
            raise Failure(f"{found} --key-id {key_id}", f"those that can seal: {known or 'none'}")
    if not usable:
        raise Failure(
            "none of the given keys can seal: they are public halves, retired, revoked or out of their time",
            "give the signer's own key (its text starts with slk1)",
        )
    fitting = [entry for entry in usable if entry.key.suite.encrypts == encrypts]
    if not fitting:
        suites = ", ".join(sorted({entry.key.suite.label for entry in usable}))
        other, wanted = ("sign", "hs256-gcm") if encrypts else ("encrypt", "ed25519")
        raise Failure(
            f"the key's suite ({suites}) {'does not encrypt' if encrypts else 'encrypts'}, and the key fixes the suite",
            f"use `safeload {other}`, or make a key with `safeload keygen --suite {wanted} --output FILE`",
        )
    return fitting[0].key
