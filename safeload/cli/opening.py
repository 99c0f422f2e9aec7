"""What ``verify``, ``decrypt`` and ``rekey`` share: look at what a file is, and say why it does not open."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from safeload.cli.failure import EXIT_NO, Failure
from safeload.cli.files import open_regular
from safeload.errors import MissingKeyError, SafeloadError, VerificationError

if TYPE_CHECKING:
    from safeload.envelope.keys import KeyRing

__all__ = ["Head", "head_of", "not_opened"]


class Head(NamedTuple):
    """What a file says it is. Nothing of this is verified."""

    is_envelope: bool
    is_detached: bool
    key_id: bytes


def head_of(path: str) -> Head:
    """Look at the first bytes of ``path``.

    Raises:
        Failure: it cannot be read.
        EnvelopeError: it is an envelope of an unknown kind.
    """
    from safeload.envelope import Layout, is_envelope
    from safeload.envelope.wire import PRELUDE_SIZE, unpack

    with open_regular(path) as stream:
        start = stream.read(PRELUDE_SIZE)
    if not is_envelope(start):
        return Head(is_envelope=False, is_detached=False, key_id=b"")
    prelude = unpack(start)
    return Head(is_envelope=True, is_detached=prelude.layout == Layout.DETACHED, key_id=prelude.key_id)


def not_opened(path: str, error: SafeloadError, ring: KeyRing, *, context_given: bool) -> Failure:
    """Why ``path`` did not open, as an error with exit code 1."""
    hint = "nothing of it was used"
    if isinstance(error, MissingKeyError):
        known = ", ".join(f"{entry.key.key_id_hex[:8]}... ({entry.key.suite.label})" for entry in ring)
        hint = f"the keys given here: {known or 'none'}"
    elif isinstance(error, VerificationError):
        place = "the --context is another one" if context_given else "it needs a --context"
        hint = f"either the file was changed, or {place}; both look the same from here"
    elif error.code == "envelope.unsigned":
        hint = "it was never signed, or its signature is elsewhere: sign it, or name the file with --signature"
    elif error.code == "envelope.expired":
        hint = "an expired envelope does not open; ask its signer for a new one"
    return Failure(f"{path}: not verified: {error}", hint, exit_code=EXIT_NO)
