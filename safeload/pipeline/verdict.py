"""From a traced stream to a verdict: what the policy, the manifest and fickling say of its program.

Rule: only an empty list of findings is clean. Evidence of harm changes what a refusal is called, never whether it is one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from safeload.engine.collector import pause
from safeload.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from safeload.engine.census import Census
    from safeload.engine.trace import Tracer
    from safeload.findings import Finding, Report, Suggestion
    from safeload.pipeline.request import JudgeOptions
    from safeload.policy import Policy
    from safeload.program import Kind, Program

__all__ = ["COMPUTED_CLASS", "Judgement", "decide", "refusal", "refuse", "report_of", "with_evidence"]

COMPUTED_CLASS = "policy.computed-call"


class Judgement(NamedTuple):
    """What is known about a stream before anything of it is loaded; ``program`` is ``None`` for pure data."""

    census: Census
    program: Program | None = None
    spellings: Mapping[tuple[str, str], str] | None = None
    constructed: frozenset[str] = frozenset()  # names that instances are made of without a call
    findings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    source_code: str = ""
    wanted: tuple[tuple[Kind, str], ...] = ()  # operations that the policy says nothing about
    policy: Policy | None = None  # the one that refused them
    probes: bool = False  # whether the probes of its keys are counted while it is loaded

    def settled(self) -> Judgement:
        """What a report needs of it: without the bytes."""
        if not self.census.code and not self.census.buffers and not self.census.unread:
            return self
        return self._replace(census=self.census._replace(code=b"", buffers=[], unread={}))


def decide(census: Census, tracer: Tracer, options: JudgeOptions, *, arguments: bool = True) -> Judgement:
    """The judgement of a traced stream; it is clean if it has no findings.

    ``arguments``: whether what is handed to calls may be looked at; without, it is refused.
    """
    with pause:  # what was traced lives on: a collection would walk all of it for nothing
        return _decided(census, tracer, options, arguments=arguments)


def _decided(census: Census, tracer: Tracer, options: JudgeOptions, *, arguments: bool) -> Judgement:
    from safeload.engine.fickling import fickling_gate
    from safeload.program import Kind, Program

    program = Program.of(tracer.uses)
    inexact = tracer.makes_classes and not options.policy.grants_code  # its arguments cannot be judged: it is refused
    refused: Sequence[Finding] = options.policy.decide(
        program,
        manifest=options.manifest,
        persistent=options.persistent_load is not None,
        arguments=arguments and not inexact,
        unread=census.unread,
        budget=None if options.spending is None else options.spending.calls,
    )
    gate = fickling_gate(program)
    notes = gate.by_name
    findings = list(gate.structural)
    carried, about_code = _carried_code(program, options)
    if carried:
        findings += carried
        refused = [finding for finding in refused if not _is_about_code(finding)]
    elif inexact:
        findings.append(_computed_class())
    if refused:
        # Where the policy names an import or a call, fickling's view of that name is kept as information; what it says
        # of the refused ones counts.
        named = {finding.evidence for finding in refused}
        rest = Program.of(use for use in program.uses if use.name in named or use.name.replace(":", ".") in named)
        counted = fickling_gate(rest).by_name
        told = frozenset(counted)
        notes = tuple(note for note in notes if note not in told)
        findings += [*_with_evidence(refused, program), *counted]
    findings = sorted(dict.fromkeys(findings), key=_order)
    constructed = frozenset(name for kind, name in program.operations if kind is Kind.CONSTRUCT)
    notes = tuple(dict.fromkeys((*about_code, *notes)))
    judgement = Judgement(
        census,
        program,
        tracer.spellings,
        constructed,
        tuple(findings),
        notes,
        gate.source_code,
        probes=tracer.scales.keys.probes,
    )
    return _with_wishes(judgement, options.policy) if refused and not carried else judgement


def _with_wishes(judgement: Judgement, policy: Policy) -> Judgement:
    """The judgement with what a policy could allow; never what is a way to run code."""
    from safeload.engine.harmful import is_harmful
    from safeload.policy.suggest import wanted

    operations = judgement.program.operations if judgement.program is not None else ()
    kept = tuple(each for each in wanted(policy, operations) if not is_harmful(each[1]))
    return judgement._replace(wanted=kept, policy=policy)


def _computed_class() -> Finding:
    from safeload.findings import Finding, Severity

    message = "the pickle makes an instance of a class that another call returns; a class has to be named, so this is never allowed"
    return Finding(COMPUTED_CLASS, Severity.HIGH, message)


def _carried_code(program: Program, options: JudgeOptions) -> tuple[list[Finding], list[Finding]]:
    """Findings and notes about code in the program: it is let in only for a signer with the grant, by no policy."""
    from safeload.facts.code_makers import family_of, why_refused

    kind = family_of(program.globals)
    if kind is None:
        return [], []
    from safeload.engine.code_objects import code_findings
    from safeload.findings import Finding, Severity

    evidence, notes = code_findings(program, kind)
    if options.signed and options.policy.grants_code:
        return [], notes
    return [
        Finding("policy.code", Severity.HIGH, why_refused(kind, signed=options.signed), evidence=kind),
        *evidence,
    ], notes


def _is_about_code(finding: Finding) -> bool:
    """Whether the finding that the program carries code says all that this one does, and with better advice."""
    from safeload.facts.code_makers import family

    if finding.rule_id == "policy.not-in-manifest":
        return False
    return family(finding.evidence) is not None or finding.evidence in ("__builtin__.__main__", "builtins.__main__")


def _with_evidence(refused: Iterable[Finding], program: Program) -> Iterator[Finding]:
    """Refusals of globals that no data needs say so: evidence of harm, not just an unknown name."""
    from safeload.engine.code_objects import sets_own_attributes
    from safeload.engine.harm_in_use import joins_types_only, reaches_harm

    for finding in refused:
        name = finding.evidence
        if reaches_harm(program, name):
            yield _as_evidence(finding)
        elif joins_types_only(program, name) or (name == "builtins.setattr" and sets_own_attributes(program)):
            yield finding
        else:
            yield with_evidence(finding)


def with_evidence(finding: Finding) -> Finding:
    """The refusal of a global, ``finding.evidence``, as evidence of harm if no data needs that global."""
    from safeload.engine.harmful import is_harmful

    return _as_evidence(finding) if finding.evidence and is_harmful(finding.evidence) else finding


def _as_evidence(finding: Finding) -> Finding:
    from safeload.findings import Severity, Verdict

    message = finding.message.partition(". ")[0] + "; this is a way to run code, and no data needs it"
    return dataclasses.replace(finding, severity=Severity.CRITICAL, verdict=Verdict.MALICIOUS, message=message)


def _order(finding: Finding) -> tuple[int, int, str, str, str]:
    """Most serious first, the policy's before fickling's (they say what to do); the same order in every run."""
    rank = 0 if finding.rule_id == "policy.code" else 2 if finding.rule_id.startswith("fickling.") else 1
    return -finding.severity, rank, finding.rule_id, finding.evidence, finding.message


def refuse(judgement: Judgement) -> NoReturn:
    """Raise what the findings of ``judgement`` amount to.

    Raises:
        PolicyError: always; its ``report`` has all findings.
    """
    raise refusal(report_of([judgement]))


def refusal(report: Report) -> PolicyError:
    """The error for an artifact that is not clean.

    Its message is the policy's where the policy has something to say: that tells what to do. fickling's opinion of the same
    global, however grave, is in the report.
    """
    from safeload.findings import Verdict

    against = [finding for finding in _all(report) if finding.verdict is not Verdict.CLEAN]
    first = next((finding for finding in against if not finding.rule_id.startswith("fickling.")), against[0])
    more = len(against) - 1
    others = f" (and {more} more finding{'s' if more > 1 else ''}, see .report)" if more else ""
    message = f"refused as {report.verdict}: {first.message}{others}"
    suggestion = next((each.suggestion for each in (report, *report.members) if each.suggestion is not None), None)
    if suggestion is not None and more:  # of a single finding, the message itself has the entry
        said = first.message.partition(". If you know")[0].partition("; the shipped pack")[0]
        message = f"refused as {report.verdict}: {said}{others}\n{_advice(suggestion)}"
    return PolicyError(message, code=first.rule_id, report=report)


def _advice(suggestion: Suggestion) -> str:
    """What to do about an artifact that the policy does not know."""
    if suggestion.obstacles:
        return f"No policy allows all that it does: {suggestion.obstacles[0]}"
    if not suggestion.names:
        return f"Shipped packs allow it; put this into safeload.toml:\n\n{suggestion.toml}"
    return f"Only if you know where the file comes from, put this into safeload.toml:\n\n{suggestion.toml}"


def _all(report: Report) -> Iterator[Finding]:
    yield from report.findings
    for member in report.members:
        yield from _all(member)


def report_of(judgements: Sequence[Judgement], **fields: Any) -> Report:
    """The report of an artifact with these streams; ``fields`` are further attributes of :class:`Report`."""
    from safeload.findings import Report, StreamInfo, Verdict, worst_verdict

    streams, offset = [], 0
    names: dict[str, None] = {}
    findings: list[Finding] = [*fields.pop("findings", ())]
    for index, judgement in enumerate(judgements):
        census, program = judgement.census, judgement.program
        lines = () if program is None else tuple(f"{kind} {name}" for kind, name in program.operations)
        digest = "" if program is None else program.digest
        streams.append(StreamInfo(offset, census.size, census.protocol, lines, digest))
        offset += census.size
        if program is not None:
            names.update((name.replace(":", "."), None) for name in program.globals)
        findings.extend(_located(judgement, index))
    findings.sort(key=_order)
    verdict = worst_verdict(*(finding.verdict for finding in findings))
    if verdict is Verdict.UNKNOWN:
        fields.setdefault("suggestion", _suggestion(judgements, findings))
    source_code = "\n\n".join(judgement.source_code for judgement in judgements if judgement.source_code)
    return Report(
        verdict,
        tuple(findings),
        globals=tuple(names),
        streams=tuple(streams),
        source_code=source_code,
        **{"container": "pickle", **fields},
    )


def _suggestion(judgements: Sequence[Judgement], findings: Iterable[Finding]) -> Suggestion | None:
    """What would have to be allowed, for all streams together."""
    policy = next((judgement.policy for judgement in judgements if judgement.policy is not None), None)
    if policy is None:
        return None
    from safeload.policy.suggest import suggest

    return suggest(policy, dict.fromkeys(each for judgement in judgements for each in judgement.wanted), findings)


def _located(judgement: Judgement, index: int) -> Iterator[Finding]:
    from safeload.findings import Severity, Verdict

    where = f"stream {index}"
    for finding in judgement.findings:
        yield dataclasses.replace(finding, location=finding.location or where)
    for note in judgement.notes:
        yield dataclasses.replace(note, location=where, severity=Severity.INFO, verdict=Verdict.CLEAN)
