"""``safeload encrypt``: put an artifact into a signed and encrypted envelope."""

from __future__ import annotations

from safeload.cli import sealing
from safeload.cli.base import command as make_command

__all__ = ["command"]

_EXAMPLES = """
safeload keygen --suite hs256-gcm --output vault.key
safeload encrypt model.pkl --key-file vault.key
safeload encrypt backup.tar --key-file vault.key --output backup.sle
"""


@make_command("encrypt", "Put a file into a signed and encrypted envelope.", examples=_EXAMPLES)
@sealing.sealing_options
def command(request: sealing.Request) -> int:
    """Encrypt and sign FILE: write it in an envelope, by default to FILE.sle. FILE itself stays as it is.

    A pickle is judged first; one that is malicious or damaged is not sealed. Needs a key that encrypts (hs256-fernet up
    to 16 MiB; hs256-gcm, ed25519-gcm).
    """
    return sealing.run(request, encrypts=True)
