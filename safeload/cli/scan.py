"""``safeload scan``: judge files and whole trees, for people and for gates."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from safeload import __version__
from safeload.cli.base import command as make_command
from safeload.cli.base import note, raw_path, show, write_text
from safeload.cli.context import Context, context_options
from safeload.cli.failure import EXIT_NO, EXIT_NOT_SCANNED, EXIT_USAGE, EXIT_YES, Failure
from safeload.cli.key_options import KeySource, key_options
from safeload.cli.policies import audit_option, policy_option
from safeload.cli.reports.renderers import renderers
from safeload.cli.reports.result import ScanResult
from safeload.findings import Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.cli.discover import Discovery
    from safeload.cli.workers import Job

__all__ = ["command", "exit_code"]

_EXAMPLES = """
safeload scan model.pkl
# A whole tree, with the policy for scikit-learn models:
safeload scan models/ --policy sklearn
# In a pipeline; the report is written also when the exit code is 1:
safeload scan . --exclude tests --format json --output scan.json
# Stop only for evidence of harm:
safeload scan downloads/ --fail-on malicious

Exit codes:
0  every artifact is clean
1  findings at or above --fail-on
2  usage or internal error
3  something was not scanned, and nothing worse was found
"""
_MANY: Final = 16  # files, from which on progress is shown


@make_command("scan", "Are these files and trees safe to load?", examples=_EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=raw_path(), metavar="PATH...")
@policy_option
@click.option("--format", "format_name", type=click.Choice(list(renderers())), default="text", show_default=True)
@click.option("--output", "-o", type=raw_path(), metavar="FILE", help="Write the report here, not to standard output.")
@click.option(
    "--fail-on",
    type=click.Choice(["unknown", "malicious"]),
    default="unknown",
    show_default=True,
    help="Exit with 1 from this verdict on.",
)
@click.option("--include", multiple=True, metavar="GLOB", help="In directories, only what matches. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="In directories, nothing that matches. May be repeated.")
@click.option("--hidden", is_flag=True, help="Enter directories whose name starts with a dot.")
@click.option(
    "--jobs", "-j", type=click.IntRange(min=1), metavar="N", help="Files scanned at a time.  [default: processors]"
)
@click.option(
    "--detonate",
    is_flag=True,
    help="Load what is unknown in the sandbox: what tries something is malicious. Linux only.",
)
@click.option("--quiet", "-q", is_flag=True, help="In text, leave clean artifacts out.")
@context_options
@key_options
@audit_option
def command(
    *,
    paths: tuple[str, ...],
    policies: tuple[str, ...],
    format_name: str,
    output: str | None,
    fail_on: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hidden: bool,
    jobs: int | None,
    detonate: bool,
    quiet: bool,
    context: Context,
    keys: KeySource,
    audit: str | None,
) -> int:
    """Judge artifacts without executing anything in them, but in a sandbox if you say --detonate.

    Directories are searched for files of known formats, by content and not by name; files that are named are always
    listed. Symlinks that lead out of a directory are not followed. Without keys the payload of an envelope is not
    looked at.
    """
    from safeload.cli.discover import Globs, discover
    from safeload.cli.files import refuse_link
    from safeload.cli.workers import Job, loader_of

    if output is not None:
        refuse_link(output)
    found = discover(paths, include=Globs(include), exclude=Globs(exclude), hidden=hidden)
    job = Job(policies, keys, audit, context)
    reports = _scan(found, job, jobs)
    if detonate:
        from safeload.cli.detonating import detonated

        reports = [detonated(report, job) for report in reports]
    result = ScanResult(
        tuple(sorted([*reports, *found.missed.values()], key=lambda report: report.path)),
        __version__,
        str(loader_of(job).policy.digest),
        tuple(sorted(found.not_entered)),
    )
    _write(result, format_name, output, quiet=quiet)
    return exit_code(result.artifacts, fail_on)


def _scan(found: Discovery, job: Job, jobs: int | None) -> list[Report]:
    from safeload.cli import styled
    from safeload.cli.workers import scan_files
    from safeload.source.parallel import cpu_count

    names = sorted(found.files)
    if jobs is None:
        jobs = cpu_count()
    bar = styled.progress(sys.stderr) if len(names) > _MANY else None
    if bar is None:
        reports = scan_files(names, job, jobs, lambda: None)
    else:
        with bar:
            task = bar.add_task("", total=len(names))
            reports = scan_files(names, job, jobs, lambda: bar.advance(task))
    # A file in a directory that is no artifact is not worth a line; one that somebody named is.
    return [_settled(report) for report in reports if found.files[report.path] or not report.is_no_artifact]


def _settled(report: Report) -> Report:
    """What is no artifact is ``skipped``, also when it was named and is empty."""
    return replace(report, verdict=Verdict.SKIPPED) if report.is_no_artifact else report


def _write(result: ScanResult, format_name: str, output: str | None, *, quiet: bool) -> None:
    from safeload.cli.reports.renderers import text

    renderer = renderers()[format_name]
    if output is None:
        if format_name == "text":
            show(text.document(result, quiet=quiet))
        else:
            write_text(renderer.render(result))
        return
    from safeload.cli.files import replace_text

    try:
        replace_text(output, renderer.render(result))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise Failure(f"the report was not written: {output}: {reason}", "choose another --output") from error
    counts = ", ".join(f"{number} {verdict}" for verdict, number in result.summary.items() if number)
    note(f"wrote {output}: {counts or 'no artifacts'}")


def exit_code(reports: Iterable[Report], fail_on: str) -> int:
    """The exit code of a scan: findings first, then internal errors, then what was not scanned.

    A malformed artifact is a finding for ``--fail-on unknown``; for ``--fail-on malicious`` it is one that could not be
    judged to its end.
    """
    code = EXIT_YES
    for report in reports:
        scanned = report.was_scanned
        if report.verdict is Verdict.MALICIOUS:
            return EXIT_NO
        if fail_on == "unknown" and scanned and report.verdict in (Verdict.UNKNOWN, Verdict.MALFORMED):
            return EXIT_NO
        if any(finding.rule_id == "internal.error" for finding in report.findings):
            code = EXIT_USAGE
        elif code == EXIT_YES and (not scanned or report.verdict is Verdict.MALFORMED):
            code = EXIT_NOT_SCANNED
    return code
