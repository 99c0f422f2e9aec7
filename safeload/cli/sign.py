"""``safeload sign``: put an artifact into a signed envelope, or its signature beside it."""

from __future__ import annotations

import click

from safeload.cli import sealing
from safeload.cli.base import command as make_command

__all__ = ["command"]

_EXAMPLES = """
safeload sign model.pkl --key-file signer.key
# Bound to a place and for a month:
safeload sign model.pkl --key-file signer.key --context fraud-model --expires-in 30d
# Say what it is, and in which version of your own schema:
safeload sign users.json --key-file signer.key --kind users --version 2
# Leave the file as it is, and put the signature into model.pkl.slsig:
safeload sign model.pkl --key-file signer.key --detached
"""


@make_command("sign", "Put a file into a signed envelope.", examples=_EXAMPLES)
@sealing.sealing_options
@click.option("--detached", is_flag=True, help="Write only the signature, into FILE.slsig.")
def command(request: sealing.Request, *, detached: bool) -> int:
    """Sign FILE: write it in an envelope, by default to FILE.sle.

    A pickle is judged first; one that is malicious or damaged is not signed. What it does is recorded in the signature,
    and readers load nothing beyond that. Needs a key that signs without encrypting (hs256, ed25519).
    """
    return sealing.run(request, encrypts=False, detached=detached)
