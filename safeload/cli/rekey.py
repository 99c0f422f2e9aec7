"""``safeload rekey``: seal envelopes anew with another key, each only after all of it was verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeload.cli.base import command as make_command
from safeload.cli.base import note, raw_path, show
from safeload.cli.context import Context, context_options
from safeload.cli.failure import EXIT_NO, EXIT_YES, Failure, os_reason
from safeload.cli.files import refuse_existing
from safeload.cli.key_options import KeySource, key_options
from safeload.cli.opening import head_of, not_opened
from safeload.cli.policies import audit_option
from safeload.cli.reports.document import Line, Span
from safeload.errors import EnvelopeError, LimitExceededError
from safeload.facts.printable import printable, printable_ascii
from safeload.source.locations import is_remote

if TYPE_CHECKING:
    from safeload.audit import Auditor
    from safeload.envelope.keys import Key, KeyRing

__all__ = ["command"]

_EXAMPLES = """
safeload keygen --output new.key
safeload rekey cache/*.sle --key-file old.key --new-key-file new.key
"""


@make_command("rekey", "Seal envelopes anew with another key.", examples=_EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=raw_path(), metavar="FILE...")
@click.option("--new-key-file", type=raw_path(), metavar="FILE", help="The key to seal with: the first active one.")
@click.option("--new-key-env", metavar="NAME", help="The same from an environment variable.")
@click.option("--output", "-o", type=raw_path(), metavar="FILE", help="Write here instead of in place; for one FILE.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@context_options
@key_options
@audit_option
def command(
    *,
    files: tuple[str, ...],
    new_key_file: str | None,
    new_key_env: str | None,
    output: str | None,
    force: bool,
    context: Context,
    keys: KeySource,
    audit: str | None,
) -> int:
    """Seal the envelopes FILE... with a new key, in place. Times, claims, version and context are kept.

    A file that does not verify is left as it is and reported; the others are done. Files that have the new key already
    are verified and left alone, so that an interrupted run can be repeated. Cosignatures are lost: they signed the old
    envelope. Exit code 0 if all were done, 1 if at least one was not.
    """
    from safeload.audit import build

    new_key = _new_key(new_key_file, new_key_env)
    ring = keys.ring()
    if output is not None:
        if len(files) > 1:
            raise Failure("--output goes with one file", "rekey several files in place")
        refuse_existing(output, force=force)
    auditor = build(audit)
    done = 0
    for path in files:
        try:
            what = _rekey(path, ring, new_key, context, output, auditor)
        except Failure as error:
            # One bad file must not keep the others on a key that may be compromised.
            show([Line.of(Span("left as it is", "bad"), "  ", printable_ascii(error.message), hang=15)])
            if error.hint:
                show([Line.of(" " * 15, Span(printable_ascii(error.hint), "dim"), hang=15)])
            continue
        done += 1
        show([Line.of(Span(what.ljust(13), "good"), "  ", printable(path), hang=15)])
    note(f"{done} of {len(files)} envelopes have key {new_key.key_id_hex} ({new_key.suite.label})")
    return EXIT_YES if done == len(files) else EXIT_NO


def _new_key(file: str | None, env: str | None) -> Key:
    if (file is None) == (env is None):
        raise Failure("which new key?", "give either --new-key-file FILE or --new-key-env NAME")
    return KeySource(files=(file,) if file else (), env=env).ring().primary


def _rekey(path: str, ring: KeyRing, new_key: Key, context: Context, output: str | None, auditor: Auditor) -> str:
    from safeload.envelope import rekey_path, verify_path
    from safeload.envelope.keys import KeyRing

    if is_remote(path):
        raise Failure(f"{path} is a URL", "seal it anew with safeload.rekey_many, or copy it here first")
    try:
        head = head_of(path)
        if not head.is_envelope or head.is_detached:
            what = "a detached signature; sign the file again" if head.is_detached else "no envelope"
            raise Failure(f"{path} is {what}", "nothing was changed", exit_code=EXIT_NO)
        with auditor.operation("seal", key_id=new_key.key_id, suite=new_key.suite, action="rekey"):
            if head.key_id == new_key.key_id and output is None:
                verify_path(path, KeyRing([new_key]), context=context)
                return "has it"
            rekey_path(path, ring, new_key, target=output, context=context)
    except (EnvelopeError, LimitExceededError) as error:
        raise not_opened(path, error, ring, context_given=context is not None) from error
    except ValueError as error:
        raise Failure(f"{path}: {error}", "nothing was changed", exit_code=EXIT_NO) from error
    except OSError as error:
        raise Failure(f"{path}: {os_reason(error)}", "nothing was changed", exit_code=EXIT_NO) from error
    return "sealed anew"
