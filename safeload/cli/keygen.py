"""``safeload keygen``: make a key. The secret goes into a file that only its owner can read, not onto the screen."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safeload.cli.base import command as make_command
from safeload.cli.base import note, raw_path, write_text
from safeload.cli.failure import Failure
from safeload.cli.files import new_file, refuse_existing
from safeload.facts.suites import Suite

if TYPE_CHECKING:
    from safeload.envelope.keys import Key, KeyEntry

__all__ = ["command"]

_EXAMPLES = """
# One secret for writer and readers:
safeload keygen --output service.key
# A pair, so that readers cannot forge; readers.key is for them:
safeload keygen --suite ed25519 --output signer.key --public readers.key
# To encrypt files of any size:
safeload keygen --suite hs256-gcm --output vault.key
# No file at all:
export SAFELOAD_KEYS="$(safeload keygen --print)"
"""


@make_command("keygen", "Make a key.", examples=_EXAMPLES)
@click.option(
    "--suite",
    type=click.Choice([suite.label for suite in Suite]),
    default="hs256",
    show_default=True,
    help="What the key is for; it cannot be changed later.",
)
@click.option("--output", "-o", type=raw_path(), metavar="FILE", help="Write the key here, with mode 0600.")
@click.option("--public", type=raw_path(), metavar="FILE", help="Write what readers need here (ed25519, ed25519-gcm).")
@click.option("--existing", type=raw_path(), metavar="FILE", help="Make no key: write the public half of this one.")
@click.option("--label", default="", metavar="NAME", help="A name for people, kept with the key.")
@click.option("--print", "print_secret", is_flag=True, help="Print the secret key to standard output.")
@click.option("--force", is_flag=True, help="Overwrite an existing key file. The old key is lost.")
def command(
    *,
    suite: str,
    output: str | None,
    public: str | None,
    existing: str | None,
    label: str,
    print_secret: bool,
    force: bool,
) -> None:
    """Make a new random key.

    The suite decides what it does: hs256 signs with one shared secret; ed25519 signs with a pair, so that readers
    cannot forge; hs256-fernet, hs256-gcm and ed25519-gcm encrypt too. The secret is shown only with --print.
    """
    from safeload.envelope.keys import Key, KeyEntry

    entry = _existing(existing) if existing else None
    if entry is None:
        _check_request(suite, output, public, print_secret=print_secret)
        entry = KeyEntry(Key.generate(suite), label=label)
    elif public is None or output is not None or print_secret:
        raise Failure(
            "--existing writes the public half of a key", "give it --public FILE and neither --output nor --print"
        )
    for path in filter(None, (output, public)):
        _refuse_overwriting(path, force=force)
    _write(entry, output, public, force=force)
    if print_secret:
        write_text(f"{entry.key.export()}\n")


def _existing(path: str) -> KeyEntry:
    from safeload.envelope.keys import KeyRing

    ring = KeyRing.from_file(path)
    if len(ring) != 1:
        raise Failure(f"{path} holds {len(ring)} keys", "put the one that you mean into a file of its own")
    return ring.entries[0]


def _check_request(suite: str, output: str | None, public: str | None, *, print_secret: bool) -> None:
    if output is None and not print_secret:
        raise Failure("nowhere to put the key", "give --output FILE, or --print to see the secret on standard output")
    if public is not None and not Suite.parse(suite).is_signature:
        raise Failure(
            f"a {suite} key is one shared secret and has no public half",
            "give the readers the key itself, or use --suite ed25519",
        )
    if output is not None and public is not None and os.path.realpath(output) == os.path.realpath(public):
        raise Failure("--output and --public are the same file", "give them different names")


def _refuse_overwriting(path: str, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise Failure(
            f"{path} exists, and a key that is overwritten cannot be made again",
            "choose another name; --force overwrites it, and nothing sealed with the old key opens any more",
        )
    refuse_existing(path, force=force)


def _write(entry: KeyEntry, output: str | None, public: str | None, *, force: bool) -> None:
    """Both files or none: the public one takes its name only after the secret one has."""
    with ExitStack() as stack:
        for path, secret in ((public, False), (output, True)):
            if path is None:
                continue
            stream = stack.enter_context(new_file(path, force=force, mode=0o600))
            stream.write(_line(entry, secret=secret).encode())
    for path, secret in ((output, True), (public, False)):
        if path is not None:
            kind = "secret" if secret else "public" if _may_be_published(entry.key) else "confidential reader's"
            mode = stat.S_IMODE(Path(path).stat().st_mode)
            note(f"wrote {path}: {kind} {entry.key.suite.label} key {entry.key.key_id_hex}, mode {mode:04o}")


def _line(entry: KeyEntry, *, secret: bool) -> str:
    from safeload.envelope.keys import KeyEntry
    from safeload.envelope.keys.lines import format_entry

    try:
        return format_entry(entry if secret else KeyEntry(entry.key.public, label=entry.label)) + "\n"
    except ValueError as error:
        raise Failure(str(error), "choose a plain name for --label, or another --suite") from None


def _may_be_published(key: Key) -> bool:
    return key.public.export().startswith("slp1")
