"""What would have to be allowed? The answer for a refusal that no pack explains: a policy to read, and to paste.

Most refusals are of harmless files that a policy does not know yet, and a message that only says no teaches people to switch the
check off. So it says what was asked for, what it would mean to allow it, and the exact entries. Rule: this grants nothing; what no
policy can allow, and evidence of harm, never become an entry, and names from an artifact are written in ASCII.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.findings import Suggestion
from safeload.policy.learn import entry_lines, learned_rule, toml_string
from safeload.program import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safeload.findings import Finding
    from safeload.policy.model import Policy, Rule

__all__ = ["suggest", "wanted"]

_KINDS = frozenset({Kind.REFERENCE, Kind.CALL, Kind.CONSTRUCT, Kind.STATE, Kind.ITEMS})
_ALLOWABLE = frozenset(
    {
        "policy.call-not-allowed", "policy.construct-not-allowed", "policy.not-allowed", "policy.state-not-allowed",
    }
)  # fmt: skip
_MOST = 8  # entries on a screen
_MEANING = {
    Kind.CALL: "CALLS these, with arguments that stand in the file: they do whatever they do with them.",
    Kind.CONSTRUCT: "MAKES these and SETS THEIR STATE from the file: runs their __new__ and __setstate__, if they have them.",
    Kind.REFERENCE: "IMPORTS these as data: runs their modules, and hands them to whoever uses the object.",
}


def wanted(policy: Policy, operations: Iterable[tuple[Kind, str]]) -> tuple[tuple[Kind, str], ...]:
    """The operations that ``policy`` says nothing about and that a policy could allow."""
    plain, conditions = policy.name_set, policy.conditions
    return tuple(
        each for each in operations if each[0] in _KINDS and each[1] and each not in plain and each not in conditions
    )


def suggest(policy: Policy, operations: Iterable[tuple[Kind, str]], findings: Iterable[Finding]) -> Suggestion | None:
    """The least policy that allows ``operations`` too, or ``None`` if there is nothing that a policy could allow.

    Args:
        policy: the one that refused.
        operations: what it did not allow, see :func:`wanted`.
        findings: everything that was found.
    """
    kinds: dict[str, set[Kind]] = {}
    for kind, name in operations:
        kinds.setdefault(name, set()).add(kind)
    if not kinds:
        return None
    packs = _packs(policy, kinds)
    rules = [
        learned_rule(name, uses)
        for name, uses in sorted(kinds.items())
        if not any(_covers(pack, name, uses) for pack in packs)
    ]
    obstacles = dict.fromkeys(
        finding.message.partition(". ")[0]
        for finding in findings
        if finding.rule_id not in _ALLOWABLE and not finding.rule_id.startswith("fickling.") and finding.severity > 0
    )
    lines = _lines(policy, packs, rules)
    return Suggestion(tuple(packs), tuple(rule.name for rule in rules), "\n".join(lines) + "\n", tuple(obstacles))


def _packs(policy: Policy, kinds: dict[str, set[Kind]]) -> list[str]:
    """Packs that cover names as they are used, the ones that cover most first."""
    from safeload.policy.packs import packs_naming

    left, found = dict(kinds), []
    while left:
        covered: dict[str, list[str]] = {}
        for name, uses in left.items():
            for pack in packs_naming(name):
                if pack not in policy.pack_names and _covers(pack, name, uses):
                    covered.setdefault(pack, []).append(name)
        if not covered:
            break
        best = max(sorted(covered), key=lambda pack: len(covered[pack]))
        found.append(best)
        for name in covered[best]:
            del left[name]
    return found


def _covers(pack: str, name: str, uses: set[Kind]) -> bool:
    """Whether a pack allows all uses of a name, with whatever arguments it admits."""
    from safeload.policy.packs import load_pack

    rule = load_pack(pack).rules.get(name)
    return rule is not None and all(rule.permission(kind) for kind in uses)


def _lines(policy: Policy, packs: list[str], rules: list[Rule]) -> Iterator[str]:
    from safeload.policy.packs import with_requirements

    if packs:
        yield f"# Shipped and reviewed: the pack{'s' if len(packs) > 1 else ''} {', '.join(packs)}."
    names = with_requirements((*policy.pack_names, *packs))
    yield f"packs = [{', '.join(map(toml_string, names))}]"
    shown = rules[:_MOST]
    for kind in (Kind.CALL, Kind.CONSTRUCT, Kind.REFERENCE):
        group = [rule for rule in shown if _kind(rule) is kind]
        if group:
            yield ""
            yield f"# {_MEANING[kind]}"
        for rule in group:
            yield from entry_lines(rule)
    if len(rules) > _MOST:
        yield ""
        yield f"# ... and {len(rules) - _MOST} more names; `safeload policy learn FILE` writes all of them."


def _kind(rule: Rule) -> Kind:
    if rule.call:
        return Kind.CALL
    return Kind.CONSTRUCT if rule.construct or rule.state or rule.items else Kind.REFERENCE
