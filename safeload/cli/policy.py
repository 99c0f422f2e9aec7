"""``safeload policy``: learn one from good artifacts, check artifacts against one, show what packs allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from safeload.cli.base import SETTINGS, note, raw_path, show, write_text
from safeload.cli.base import command as make_command
from safeload.cli.failure import EXIT_NO, EXIT_NOT_SCANNED, EXIT_YES, Failure
from safeload.cli.files import new_file
from safeload.cli.key_options import KeySource
from safeload.cli.policies import policy_option, resolve
from safeload.cli.reports.document import Document, Line, Span
from safeload.cli.reports.wording import count, distinct, headline, verdict_span
from safeload.facts.printable import json_text, printable, printable_ascii
from safeload.findings import Report, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safeload.policy import Policy, Rule

__all__ = ["command"]


@click.group("policy", short_help="Learn, check and show policies.", context_settings=SETTINGS)
def command() -> None:
    """Learn, check and show policies: the rules that say what an artifact may contain."""


_LEARN_EXAMPLES = """
safeload policy learn models/*.pkl --output safeload.toml
# Read what it wrote, then use it:
safeload scan models/ --policy safeload.toml
# Or from what a program unpickled while safeload.guard was recording:
safeload policy learn --from-trail trail.jsonl --output safeload.toml
"""


@make_command("learn", "Write a policy from artifacts known to be good.", examples=_LEARN_EXAMPLES, group=command)
@click.argument("files", nargs=-1, type=raw_path(), metavar="[FILE]...")
@click.option(
    "--from-trail",
    "trails",
    multiple=True,
    type=raw_path(),
    metavar="TRAIL",
    help="Learn what safeload.guard put on record there; may be repeated.",
)
@click.option("--output", "-o", type=raw_path(), metavar="FILE", help="Write the policy here, not to standard output.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def learn(*, files: tuple[str, ...], trails: tuple[str, ...], output: str | None, force: bool) -> int:
    """Write the smallest policy that allows exactly what FILE... do, as TOML to be reviewed.

    Give it only artifacts that you know to be good. Nothing is learned from a malicious or damaged one. A trail tells the
    names that the guard met, not what was done with them: what is learned from it is wider. Exit code 0 if a policy was
    written, 1 if not.
    """
    from safeload.api.loader import Policy

    paths = tuple(dict.fromkeys(files))
    if not paths and not trails:
        raise Failure("nothing to learn from", "name artifacts that are known to be good, or give --from-trail TRAIL")
    for report in _scanned(paths, ()) if paths else ():
        _refuse(report)
    policy = (Policy.learn(paths) if paths else Policy()) | _from_trails(trails)
    text = policy.to_toml()
    if output is None:
        write_text(text)
    else:
        with new_file(output, force=force) as stream:
            stream.write(text.encode())
    learned = count(len(policy.extra), "name")
    note(f"learned {learned} from {count(len(paths) + len(trails), 'file')}; read every entry before you use it")
    return EXIT_YES


def _from_trails(trails: tuple[str, ...]) -> Policy:
    """What the guard met and did not take for evidence of harm."""
    from safeload.audit import read_trail
    from safeload.errors import AuditError
    from safeload.policy.learn import policy_of_names

    names: dict[str, None] = {}
    try:
        for trail in trails:
            for event in read_trail(trail):
                found = event.get("globals")
                if (
                    event.get("event") == "safeload.guard"
                    and event.get("verdict") != "malicious"
                    and type(found) is list
                ):
                    names.update(dict.fromkeys(name for name in found if type(name) is str))
    except AuditError as error:
        raise Failure(str(error), "give the path of a JSON lines trail that you may read") from None
    return policy_of_names(names)


def _scanned(paths: tuple[str, ...], policies: tuple[str, ...]) -> list[Report]:
    from safeload.cli.files import open_regular
    from safeload.cli.workers import Job, scan_files

    for path in paths:
        open_regular(path).close()  # a path that is wrong is a mistake on the command line
    return scan_files(paths, Job(policies, KeySource(unsigned=True)), 1, lambda: None)


def _refuse(report: Report) -> None:
    """Stop if nothing may be learned from an artifact.

    Raises:
        Failure: it is malicious, damaged, or could not be judged.
    """
    if report.is_no_artifact or not report.was_scanned:
        state = "could not be judged"
    elif report.verdict in (Verdict.MALICIOUS, Verdict.MALFORMED):
        state = str(report.verdict)
    else:
        return
    why = f": {headline(report.findings[0].message)}" if report.findings else ""
    raise Failure(
        f"nothing was learned: {report.path} is {state}{why}"
        if state != "could not be judged"
        else f"nothing was learned: {report.path} {state}{why}",
        f"see `safeload inspect {report.path}`, and leave it out if it is not known to be good",
        exit_code=EXIT_NO,
    )


_CHECK_EXAMPLES = """
safeload policy check models/*.pkl --policy safeload.toml

Exit codes:
0  the policy allows all that the files do
1  drift: a file does something that it does not allow
2  usage or internal error
3  something could not be judged, and nothing worse was found
"""


@make_command("check", "Report drift between artifacts and a policy.", examples=_CHECK_EXAMPLES, group=command)
@click.argument("files", nargs=-1, required=True, type=raw_path(), metavar="FILE...")
@policy_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(*, files: tuple[str, ...], policies: tuple[str, ...], as_json: bool) -> int:
    """Report drift between artifacts and a policy, in both directions.

    What a file does beyond the policy is an error; a name of a policy file that no file uses any more is remarked.
    """
    policy = resolve(policies)
    reports = _scanned(tuple(dict.fromkeys(files)), policies)
    used = {name for report in reports for name in report.globals}
    unused = sorted(name for name in policy.extra if name not in used)
    if as_json:
        write_text(
            json_text(
                {
                    "policy": policy.digest,
                    "files": [
                        {
                            "path": report.path,
                            "verdict": str(report.verdict),
                            "drift": [finding.to_dict() for finding in _drift(report)],
                        }
                        for report in reports
                    ],
                    "unused": unused,
                }
            )
        )
    else:
        show(_check_document(reports, unused))
    if any(report.was_scanned and report.verdict not in (Verdict.CLEAN, Verdict.SKIPPED) for report in reports):
        return EXIT_NO
    return EXIT_YES if all(report.verdict is Verdict.CLEAN for report in reports) else EXIT_NOT_SCANNED


def _drift(report: Report) -> list[Any]:
    return [finding for finding in distinct(report.findings) if finding.severity > 0]


def _check_document(reports: Iterable[Report], unused: list[str]) -> Document:
    lines: Document = []
    for report in reports:
        if report.verdict is Verdict.CLEAN:
            word = Span("allowed      ", "good")
        elif report.was_scanned and report.verdict is not Verdict.SKIPPED:
            word = Span("drift        ", "bad")
        else:
            word = verdict_span(Verdict.ERROR, 13)
        lines.append(Line.of(word, Span(printable(report.path), "title"), hang=13))
        reasons = _drift(report) or ([] if report.verdict is Verdict.CLEAN else report.findings)
        lines += [Line.of(" " * 13, headline(finding.message), hang=15) for finding in reasons]
    if unused:
        lines += [Line(), Line.of(Span("in the policy, but not used by these files:", "warn"))]
        lines += [Line.of("  ", printable_ascii(name)) for name in unused]
    return lines


_SHOW_EXAMPLES = """
safeload policy show
safeload policy show numpy
safeload policy show safeload.toml
"""


@make_command("show", "Show what packs and policy files allow.", examples=_SHOW_EXAMPLES, group=command)
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_policy(*, names: tuple[str, ...], as_json: bool) -> int:
    """List the shipped packs, or every entry of the packs and policy files that are named, with its reason."""
    if not names:
        packs = list(_packs())
        if as_json:
            write_text(json_text(packs))
        else:
            show(_pack_list(packs))
        return EXIT_YES
    policies = {name: resolve((name,), option="") for name in names}
    if as_json:
        write_text(json_text({name: _policy_facts(policy) for name, policy in policies.items()}))
        return EXIT_YES
    for number, (name, policy) in enumerate(policies.items()):
        show([*([Line()] if number else []), *_policy_document(name, policy)])
    return EXIT_YES


def _packs() -> Iterator[dict[str, Any]]:
    from safeload.policy import pack_names
    from safeload.policy.model import DEFAULT_PACKS
    from safeload.policy.packs import load_pack

    for name in pack_names():
        pack = load_pack(name)
        yield {
            "name": name,
            "title": pack.title,
            "library": pack.library,
            "requires": list(pack.requires),
            "entries": len(pack.rules),
            "default": name in DEFAULT_PACKS,
        }


def _pack_list(packs: list[dict[str, Any]]) -> Document:
    width = max(len(pack["name"]) for pack in packs) + 2
    lines = []
    for pack in packs:
        remarks = [f"{count(pack['entries'], 'name')}"]
        if pack["requires"]:
            remarks.append(f"requires {', '.join(pack['requires'])}")
        if pack["default"]:
            remarks.append("used by default")
        remark = Span(f"  ({'; '.join(remarks)})", "dim")
        lines.append(Line.of(Span(pack["name"].ljust(width), "title"), pack["title"], remark, hang=width))
    return lines


def _policy_facts(policy: Policy) -> dict[str, Any]:
    return {
        "digest": policy.digest,
        "packs": list(policy.pack_names),
        "entries": [
            {"name": rule.name, "allows": _permissions(rule), "reason": rule.reason}
            for _, rule in sorted(policy.rules.items())
        ],
    }


def _permissions(rule: Rule) -> list[str]:
    """What a rule allows, with the argument rule where there is one: ``call(array)``."""
    allowed = []
    for word in ("reference", "construct", "call", "state", "items"):
        permission = getattr(rule, word)
        if permission:
            allowed.append(f"{word}({permission})" if isinstance(permission, str) else word)
    return allowed


def _policy_document(name: str, policy: Policy) -> Iterator[Line]:
    packs = f"; packs: {', '.join(policy.pack_names)}" if policy.pack_names else ""
    yield Line.of(Span(printable(name), "title"), f"  {count(len(policy.rules), 'name')}{packs}", hang=2)
    yield Line.of("  ", Span(f"digest {policy.digest}", "dim"))
    for _, rule in sorted(policy.rules.items()):
        yield Line.of("  ", printable_ascii(rule.name), Span(f"  {', '.join(_permissions(rule))}", "good"), hang=6)
        if rule.reason:
            yield Line.of("      ", Span(printable_ascii(" ".join(rule.reason.split())), "dim"), hang=6)
