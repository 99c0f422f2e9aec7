"""The errors of reading an envelope, made in one place so that their codes and their silence are consistent.

Rule: everything that depends on a key, a context or authenticated bytes fails with *one* public message (no oracle
about which check failed); the exact reason travels in the attribute ``reason`` for the audit trail. What can be read
off the public header (version, suite, size, missing key) says plainly what to do next.
"""

from __future__ import annotations

from typing import NoReturn

from safeload.errors import DecryptionError, EnvelopeError, LimitExceededError, VerificationError

__all__ = ["PUBLIC_MESSAGE", "exceeded", "refused", "undecryptable", "unverified"]

PUBLIC_MESSAGE = (
    "the envelope could not be verified: use the key and the context it was sealed with, or fetch an unaltered copy"
)


def unverified(reason: str) -> NoReturn:
    """Raise the error of a failed verification.

    Raises:
        VerificationError: always, with the public message; ``reason`` is its attribute.
    """
    error = VerificationError(PUBLIC_MESSAGE)
    error.__dict__["reason"] = reason
    raise error


def undecryptable(reason: str) -> NoReturn:
    """Raise the error of a body that does not decrypt, with the same public message.

    Raises:
        DecryptionError: always.
    """
    error = DecryptionError(PUBLIC_MESSAGE)
    error.__dict__["reason"] = reason
    raise error


def refused(code: str, message: str) -> NoReturn:
    """Raise the error of an envelope that is refused for a reason anybody can see.

    Raises:
        EnvelopeError: always, with ``code`` = ``envelope.<code>``.
    """
    error = EnvelopeError(message, code=f"envelope.{code}")
    error.__dict__["reason"] = code
    raise error


def exceeded(field: str, value: int, bound: int) -> NoReturn:
    """Raise the error of an envelope larger than a limit.

    Raises:
        LimitExceededError: always; the message names the field of ``Limits`` to raise.
    """
    raise LimitExceededError(
        f"the envelope announces {value} bytes, more than Limits.{field} = {bound}; raise that limit if you expect it",
        code=f"limit.{field.replace('_', '-')}",
        stage="verify",
    )
