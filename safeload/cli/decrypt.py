"""``safeload decrypt``: take the payload out of an envelope, after all of it was verified."""

from __future__ import annotations

import click

from safeload.cli.base import command as make_command
from safeload.cli.base import note, raw_path
from safeload.cli.context import Context, context_options
from safeload.cli.failure import EXIT_YES, Failure
from safeload.cli.files import open_regular, refuse_existing
from safeload.cli.key_options import KeySource, key_options
from safeload.cli.opening import head_of, not_opened
from safeload.cli.policies import audit_option
from safeload.cli.reports.wording import moment_text, size_text
from safeload.cli.sealing import ENVELOPE_SUFFIX
from safeload.errors import EnvelopeError, LimitExceededError

__all__ = ["command"]

_EXAMPLES = """
safeload decrypt model.pkl.sle --key-file vault.key
safeload decrypt model.pkl.sle --key-file vault.key --output /run/model.pkl
"""


@make_command("decrypt", "Take the payload out of an envelope.", examples=_EXAMPLES)
@click.argument("source", type=raw_path(), metavar="FILE")
@click.option(
    "--output", "-o", type=raw_path(), metavar="FILE", help="Where to write the payload.  [default: FILE without .sle]"
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@context_options
@key_options
@audit_option
def command(
    *, source: str, output: str | None, force: bool, context: Context, keys: KeySource, audit: str | None
) -> int:
    """Write the payload of the envelope FILE, encrypted or only signed, with mode 0600.

    The output appears only after every byte was verified; a bad envelope writes nothing. The payload is not judged:
    load it with safeload, or `safeload scan` it.
    """
    from safeload.audit import build
    from safeload.envelope import decrypt_to

    ring = keys.ring()
    if output is None and (not source.endswith(ENVELOPE_SUFFIX) or source == ENVELOPE_SUFFIX):
        raise Failure(f"where to? {source} does not end in {ENVELOPE_SUFFIX}", "give the file to write with --output")
    target = output or source.removesuffix(ENVELOPE_SUFFIX)
    try:
        head = head_of(source)
        if not head.is_envelope:
            raise Failure(f"{source} is no envelope, so there is nothing to take out of it", "use the file itself")
        if head.is_detached:
            raise Failure(f"{source} is a detached signature and holds no payload", "check it with `safeload verify`")
        refuse_existing(target, force=force)
        with build(audit).operation("decrypt") as operation, open_regular(source) as stream:
            opened = decrypt_to(stream, target, ring, context=context)
            operation.set(key_id=opened.key_id, suite=opened.suite, payload_size=opened.size)
    except (EnvelopeError, LimitExceededError) as error:
        raise not_opened(source, error, ring, context_given=context is not None) from error
    note(
        f"wrote {target}: {opened.codec_name}, {size_text(opened.size)}, signed by {opened.key_id.hex()} "
        f"at {moment_text(opened.created_us)}"
    )
    return EXIT_YES
