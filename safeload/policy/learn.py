"""Policies as text, and policies learned from artifacts that are known to be good.

A learned policy is a proposal. It names each global once, with the permissions that were seen and nothing else;
where a shipped pack has an argument rule for a name, the rule is kept. Rule: what no policy can allow (a changed
class, a computed callable) is left out, so that checking the artifact against the learned policy still shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.policy.model import Permission, Policy, Rule
from safeload.program import Kind, global_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safeload.program import Program, Use

__all__ = [
    "array_classes",
    "entry_lines",
    "learn_from_programs",
    "learned_rule",
    "policy_of_names",
    "to_toml",
    "toml_string",
]

_MET = "met by the guard, which sees names only"
_REASON = "seen in an artifact that was given as known to be good"


def learn_from_programs(programs: Iterable[Program]) -> Policy:
    """The smallest policy that allows every operation of ``programs`` that can be allowed at all."""
    seen: dict[str, set[Kind]] = {}
    for program in programs:
        for kind, name in program.operations:
            if name and kind not in (Kind.CLASS_STATE, Kind.COMPUTED, Kind.PERSISTENT):
                seen.setdefault(name, set()).add(kind)
        for use in program.uses:
            for name in array_classes(use):
                seen.setdefault(name, set()).add(Kind.CONSTRUCT)
            for name in later_calls(use):
                seen.setdefault(name, set()).add(Kind.CALL)
    return Policy([learned_rule(name, kinds) for name, kinds in seen.items()])


def array_classes(use: Use) -> Iterator[str]:
    """The class of which NumPy's ``_reconstruct`` makes an empty array: it is constructed, and no opcode says so."""
    if use.kind is Kind.CALL and use.name.endswith("._reconstruct") and use.name.startswith("numpy.") and use.args:
        name = global_name(use.args[0])
        if name is not None:
            yield name


def later_calls(use: Use) -> Iterator[str]:
    """What the object will call for whoever uses it: the factory of a defaultdict, the function of a partial. Built-in types need no word."""
    called: object = None
    if use.kind is Kind.CALL and use.name == "collections.defaultdict" and use.args:
        called = use.args[0]
    elif use.kind is Kind.STATE and use.name == "functools.partial" and type(use.args[0]) is tuple and use.args[0]:
        called = use.args[0][0]
    name = global_name(called)
    if name is not None and not name.startswith(("builtins.", "collections.")):
        yield name


def policy_of_names(names: Iterable[str]) -> Policy:
    """A policy of what a guard met, which knows the names of globals and not what was done with them.

    Whoever calls this leaves out what is evidence of harm. A name of a shipped pack stands for the pack. What else there is may be called, made
    and given a state: a proposal that is wider than one learned from artifacts, to be narrowed by whoever reviews it.
    """
    from safeload.policy.packs import packs_naming

    packs: dict[str, None] = {}
    rules = []
    for name in sorted(names):
        shipped = packs_naming(name)
        if shipped:
            packs[shipped[0]] = None
        elif _is_proposable(name):
            rules.append(Rule(name, True, True, True, True, items=True, reason=_MET))
    return Policy(rules, packs=packs)


def _is_proposable(name: str) -> bool:
    from safeload.policy.model import check_rule

    try:
        check_rule(Rule(name))
    except ValueError:
        return False
    return True


def learned_rule(name: str, kinds: set[Kind]) -> Rule:
    """The least permissions for these uses of a name, with the argument rules of the packs where they know it."""
    shipped = _shipped(name)
    return Rule(
        name,
        reference=True,
        construct=_permission(Kind.CONSTRUCT, kinds, shipped),
        call=_permission(Kind.CALL, kinds, shipped),
        state=_permission(Kind.STATE, kinds, shipped),
        items=_permission(Kind.ITEMS, kinds, shipped),
        resolve=shipped.resolve if shipped else "",
        shadows=shipped.shadows if shipped else (),
        reason=shipped.reason if shipped else _REASON,
    )


def _shipped(name: str) -> Rule | None:
    from safeload.policy.packs import load_pack, packs_naming

    rule: Rule | None = None
    for pack in packs_naming(name):
        more = load_pack(pack).rules[name]
        rule = rule | more if rule else more
    return rule


def _permission(kind: Kind, kinds: set[Kind], shipped: Rule | None) -> Permission:
    if kind not in kinds:
        return False
    return (shipped.permission(kind) if shipped else True) or True


def to_toml(policy: Policy) -> str:
    """The text of a ``safeload.toml``; names that no shipped pack knows are marked for review."""
    lines = ["# The policy of safeload: which operations a pickle may contain. Everything else is refused."]
    packs = ", ".join(toml_string(name) for name in policy.pack_names)
    lines.append(f"packs = [{packs}]")
    if policy.grants_code:
        lines.append(
            '# The grant "code" is not part of a policy file; give it to a signer: [signers."..."] grants = ["code"]'
        )
    for _, rule in sorted(policy.extra.items()):
        lines += ["", *_entry(rule)]
    return "\n".join(lines) + "\n"


def _entry(rule: Rule) -> list[str]:
    """An entry with remarks for a review."""
    lines = []
    if rule.call is True and _shipped(rule.name) is None:
        lines.append("# Review: the pickle calls this with arguments of its own choice.")
    if rule.state is True and _shipped(rule.name) is None:
        lines.append("# Review: does its __setstate__, if it has one, run anything that the state names?")
    return lines + entry_lines(rule)


def entry_lines(rule: Rule) -> list[str]:
    """The ``[[allow]]`` of a rule, as :mod:`safeload.policy.config` reads it."""
    lines = ["[[allow]]", f"name = {toml_string(rule.name)}"]
    lines += [
        f"{key} = {_value(value)}"
        for key, value, default in (
            ("construct", rule.construct, True),
            ("call", rule.call, False),
            ("state", rule.state, True),
            ("items", rule.items, bool(rule.state)),
        )
        if value != default
    ]
    if rule.resolve:
        lines.append(f"resolve = {toml_string(rule.resolve)}")
    if rule.shadows:
        lines.append(f"shadows = [{', '.join(map(toml_string, rule.shadows))}]")
    return lines


def _value(value: Permission) -> str:
    return toml_string(value) if isinstance(value, str) else str(value).lower()


def toml_string(text: str) -> str:
    """A TOML basic string, in ASCII: a name comes from an artifact and could steer a terminal."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            out.append(f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}")
    return f'"{"".join(out)}"'
