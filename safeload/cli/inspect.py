"""``safeload inspect``: everything about one artifact, for the person who has to decide about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeload.api.contents import CONTENT, some_names
from safeload.cli.base import command as make_command
from safeload.cli.base import raw_path, show, write_text
from safeload.cli.context import Context, context_options
from safeload.cli.failure import Failure
from safeload.cli.files import open_regular
from safeload.cli.key_options import KeySource, key_options
from safeload.cli.policies import audit_option, policy_option
from safeload.cli.scan import exit_code

if TYPE_CHECKING:
    from safeload.findings import Report

__all__ = ["command"]

_EXAMPLES = """
safeload inspect model.pkl
safeload inspect model.pkl --policy sklearn
# One file of an archive:
safeload inspect models.zip --member model.pkl
# An envelope: without a key only what it says about itself, unverified:
safeload inspect model.pkl.sle --key-file readers.key
"""


@make_command("inspect", "What is this file, and what would it do?", examples=_EXAMPLES)
@click.argument("file", type=raw_path())
@policy_option
@click.option("--member", metavar="NAME", help="Only this file of an archive, as `load(member=...)` reads it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@context_options
@key_options
@audit_option
def command(
    *,
    file: str,
    policies: tuple[str, ...],
    member: str | None,
    as_json: bool,
    context: Context,
    keys: KeySource,
    audit: str | None,
) -> int:
    """Show what FILE is and what it would do, without doing it.

    Container, streams, every global and operation, the decompiled program, findings, envelope and verdict. Exit codes
    as for scan: 0 only if the verdict is clean.
    """
    from safeload.cli.reports.inspection import inspection
    from safeload.cli.workers import Job, scan_files
    from safeload.facts.printable import json_text

    open_regular(file).close()  # its errors are about the command line, not about an artifact
    (report,) = scan_files([file], Job(policies, keys, audit, context), 1, lambda: None)
    if member is not None:
        report = _member(report, file, member)
    if as_json:
        write_text(json_text(report.to_dict()))
    else:
        show(inspection(report))
    return exit_code([report], "unknown")


def _member(report: Report, file: str, name: str) -> Report:
    """The report of one file in an archive, which may be compressed as a whole.

    Raises:
        Failure: there is none of this name.
    """
    while len(report.members) == 1 and not report.streams and report.members[0].path == CONTENT != name:
        report = report.members[0]
    found = [member for member in report.members if member.path == name]
    if len(found) != 1:
        names = [member.path for member in report.members]
        held = f"it holds {some_names(names)}" if names else "it holds none"
        raise Failure(f"{file} holds no artifact of the name {name!a}", held)
    return found[0]
