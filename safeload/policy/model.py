"""What may a pickle do with a global? Rules for single names, and policies made of them.

A policy is immutable, denies by default and is compared by its digest, so that a cached decision can be keyed by it.
Rule: a permission is only ever given to one name; there are no patterns, and nothing here imports what it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from safeload.errors import PolicyError
from safeload.program import Kind

if TYPE_CHECKING:
    from safeload.findings import Finding
    from safeload.limits import ArtifactBudget
    from safeload.program import Program

__all__ = ["DEFAULT_PACKS", "Permission", "Policy", "Rule", "check_rule", "resolve_policy"]

DEFAULT_PACKS = ("data", "numpy")

# False: no. True: with any arguments. A string: if an argument rule of that name accepts ("a|b": if one of them does).
Permission = bool | str


@dataclass(frozen=True, slots=True)
class Rule:
    """The permissions of one global.

    Attributes:
        name: ``module.attr``, or ``module:outer.inner`` for a nested class or a method.
        reference: it may be imported and passed around as data.
        construct: ``cls.__new__(cls, *args)`` may run (NEWOBJ, ``copyreg._reconstructor``).
        call: it may be called (REDUCE).
        state: its instances may have their state set (BUILD), which runs ``__setstate__`` where there is one.
        items: its instances may be appended to, updated or have items set (which calls their methods of that name).
        resolve: load this other name in its place (a class that must not exist in the process, such as
            ``numpy.memmap``, or one that has moved). ``""``: load the name itself.
        shadows: methods that a state may replace, as ``"name"``, or as ``"name=module.attr"`` by this global or by an instance of it
            only (:mod:`safeload.policy.states`).
        reason: why it is harmless.
        versions: the library versions that have the name, ``""`` for the current ones.
    """

    name: str
    reference: bool = False
    construct: Permission = False
    call: Permission = False
    state: Permission = False
    items: Permission = False
    resolve: str = ""
    reason: str = ""
    versions: str = ""
    shadows: tuple[str, ...] = ()

    def permission(self, kind: Kind) -> Permission:
        """What the rule says about one kind of use."""
        if kind is Kind.REFERENCE:
            return bool(self.reference or self.construct or self.call or self.state)
        if kind is Kind.CALL:
            return self.call
        if kind is Kind.CONSTRUCT:
            return self.construct
        if kind is Kind.STATE:
            return self.state
        return self.items if kind is Kind.ITEMS else False

    def __or__(self, other: Rule) -> Rule:
        return replace(
            self,
            reference=self.reference or other.reference,
            construct=_either(self.construct, other.construct),
            call=_either(self.call, other.call),
            state=_either(self.state, other.state),
            items=_either(self.items, other.items),
            resolve=self.resolve or other.resolve,
            reason=self.reason or other.reason,
            shadows=tuple(sorted({*self.shadows, *other.shadows})),
        )

    def line(self) -> str:
        """The canonical form that the policy's digest covers."""
        return "\t".join(
            str(part)
            for part in (
                self.name,
                self.permission(Kind.REFERENCE),
                self.construct,
                self.call,
                self.state,
                self.items,
                self.resolve,
                *self.shadows,
            )
        )

    def may_shadow(self, attribute: str, value: str) -> bool:
        """Whether a state may put ``value``, or what it made (a policy name; ``""`` for none), where the class has a method."""
        return attribute in self.shadows or (value != "" and f"{attribute}={value}" in self.shadows)


def _either(one: Permission, other: Permission) -> Permission:
    if one is True or other is True:
        return True
    if isinstance(one, str) and isinstance(other, str):
        return "|".join(sorted({*one.split("|"), *other.split("|")}))
    return one or other


class Policy:
    """Which operations a pickle may contain; immutable.

    ``Policy()`` allows nothing but plain data. Make one from packs and single names::

        Policy.packs("data", "numpy").allow("myapp.shapes.Rectangle")

    Attributes:
        pack_names: the packs it was made of, with those that they require.
        rules: every rule by name.
        grants_code: payloads that carry code (dill, cloudpickle) are allowed: nothing is refused.
    """

    __slots__ = ("_conditions", "_digest", "_extra", "_plain", "grants_code", "pack_names", "rules")

    _tracer: ClassVar[Callable[[Iterable[str | Path]], Iterable[Program]] | None] = None

    pack_names: tuple[str, ...]
    rules: Mapping[str, Rule]
    grants_code: bool
    _extra: Mapping[str, Rule]
    _digest: str
    _plain: frozenset[tuple[Kind, str]] | None
    _conditions: Mapping[tuple[Kind, str], str] | None

    def __init__(self, rules: Iterable[Rule] = (), *, packs: Iterable[str] = (), grants_code: bool = False) -> None:
        from safeload.policy.packs import load_pack, with_requirements

        names = with_requirements(packs)
        extra = _merged(rules)
        merged: dict[str, Rule] = {}
        for pack in names:
            _add(merged, load_pack(pack).rules)
        _add(merged, extra)
        self._init(names, merged, extra, grants_code=grants_code)

    def _init(
        self, names: tuple[str, ...], rules: Mapping[str, Rule], extra: Mapping[str, Rule], *, grants_code: bool
    ) -> None:
        put = object.__setattr__
        put(self, "pack_names", names)
        put(self, "rules", MappingProxyType(dict(rules)))
        put(self, "_extra", extra)
        put(self, "grants_code", grants_code)
        put(self, "_digest", "")
        put(self, "_plain", None)
        put(self, "_conditions", None)

    @classmethod
    def _made(
        cls, names: tuple[str, ...], rules: Mapping[str, Rule], extra: Mapping[str, Rule], *, grants_code: bool
    ) -> Policy:
        policy = cls.__new__(cls)
        policy._init(names, rules, extra, grants_code=grants_code)  # noqa: SLF001
        return policy

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Policy is immutable; make another one instead of setting {name!r}")

    __delattr__ = __setattr__  # type: ignore[assignment]

    @classmethod
    def packs(cls, *names: str) -> Policy:
        """The policy of shipped packs and of the packs that they require.

        Raises:
            ValueError: there is no such pack; the message suggests one.
        """
        from safeload.policy.packs import pack_policy

        return pack_policy(names)

    @classmethod
    def from_file(cls, path: str | Path) -> Policy:
        """The policy of a ``safeload.toml`` or of ``[tool.safeload]`` in a ``pyproject.toml``.

        Raises:
            ValueError: the file has a mistake; the message names the line.
            OSError: the file cannot be read.
        """
        from safeload.policy.config import load_config

        return load_config(path).policy

    @classmethod
    def learn(cls, paths: Iterable[str | Path]) -> Policy:
        """The smallest policy that allows artifacts known to be good. Review it before you use it.

        Raises:
            PolicyError: there is evidence of harm, or something in them is refused whatever a policy says.
        """
        from safeload.policy.learn import learn_from_programs

        if cls._tracer is None:
            raise RuntimeError("Policy.learn needs the analysis: import safeload instead of safeload.policy")
        programs = list(cls._tracer(paths))
        policy = learn_from_programs(programs)
        for program in programs:
            refused = policy.decide(program, persistent=True)
            if refused:
                reason = refused[0].message.partition(". If you know")[0]
                raise PolicyError(
                    f"nothing was learned, because no policy lets all of it in: {reason}", code=refused[0].rule_id
                )
        return policy

    @classmethod
    def set_tracer(cls, tracer: Callable[[Iterable[str | Path]], Iterable[Program]]) -> None:
        """Give :meth:`learn` the analysis, which this package does not know."""
        cls._tracer = staticmethod(tracer)

    def allow(
        self,
        name: str,
        *,
        reference: bool = True,
        construct: Permission = True,
        state: Permission = True,
        call: Permission = False,
        args: str | None = None,
        shadows: Iterable[str] = (),
    ) -> Policy:
        """This policy with more permissions for ``name``.

        Args:
            name: ``module.attr``, or ``module:outer.inner`` for a nested class or a method.
            reference: it may be imported and passed around.
            construct: instances may be made without ``__init__``.
            state: instances may have their state and items set.
            call: it may be called.
            args: an argument rule for calls and constructions, see :mod:`safeload.policy.rules.arguments`.
            shadows: methods in whose place a state may put something that can be called: ``"name"``, or ``"name=module.attr"``.

        Raises:
            ValueError: a malformed name or an unknown argument rule.
        """
        if args is not None:
            construct = args if construct is True else construct
            call = args if call is True else call
        reason = "allowed by the application"
        rule = Rule(name, reference, construct, call, state, bool(state), reason=reason, shadows=tuple(shadows))
        check_rule(rule)
        return self | Policy([rule])

    def with_code(self) -> Policy:
        """This policy with the grant ``code``: only for payloads of a signer who is trusted like the program."""
        return self._made(self.pack_names, self.rules, self._extra, grants_code=True)

    def __or__(self, other: Policy) -> Policy:
        if not isinstance(other, Policy):
            return NotImplemented
        names = tuple(dict.fromkeys((*self.pack_names, *other.pack_names)))
        rules, extra = dict(self.rules), dict(self._extra)
        _add(rules, other.rules)
        _add(extra, other._extra)
        return self._made(names, rules, extra, grants_code=self.grants_code or other.grants_code)

    def rule(self, name: str) -> Rule | None:
        """The rule for a global, or ``None`` if the policy does not name it."""
        return self.rules.get(name)

    def is_own(self, name: str) -> bool:
        """Whether the application has allowed a global itself, and no shipped pack knows it."""
        from safeload.policy.packs import packs_naming

        return name in self.rules and not packs_naming(name)

    @property
    def extra(self) -> Mapping[str, Rule]:
        """The rules that do not come from a pack."""
        return MappingProxyType(dict(self._extra))

    @property
    def name_set(self) -> frozenset[tuple[Kind, str]]:
        """The operations that are allowed whatever their arguments are."""
        return self._plain if self._plain is not None else self._compile()[0]

    @property
    def conditions(self) -> Mapping[tuple[Kind, str], str]:
        """The operations that are allowed if an argument rule accepts, with its name (``""``: any arguments)."""
        return self._conditions if self._conditions is not None else self._compile()[1]

    def _compile(self) -> tuple[frozenset[tuple[Kind, str]], Mapping[tuple[Kind, str], str]]:
        plain: set[tuple[Kind, str]] = set()
        conditions: dict[tuple[Kind, str], str] = {}
        for name, rule in self.rules.items():
            for kind in (Kind.REFERENCE, Kind.CALL, Kind.CONSTRUCT, Kind.STATE, Kind.ITEMS):
                permission = rule.permission(kind)
                if permission is True and kind is not Kind.STATE:
                    plain.add((kind, name))
                elif permission:  # a state is never beyond question: see safeload.policy.states
                    conditions[kind, name] = permission if isinstance(permission, str) else ""
        object.__setattr__(self, "_conditions", conditions)
        object.__setattr__(self, "_plain", frozenset(plain))
        return frozenset(plain), conditions

    def decide(
        self,
        program: Program,
        manifest: Iterable[str] | None = None,
        *,
        persistent: bool = False,
        arguments: bool = True,
        unread: Mapping[int, Callable[[], bytes]] = MappingProxyType({}),
        budget: ArtifactBudget | None = None,
    ) -> tuple[Finding, ...]:
        """Judge a whole program; nothing that it names is imported.

        Args:
            program: what the artifact would do.
            manifest: the operations that the writer signed for, as ``"<kind> <name>"``; ``None`` for no manifest.
            persistent: the application resolves persistent ids.
            arguments: judge arguments too; without, an empty answer allows nothing.
            unread: what reads the long literals for which zeros stand in the program, by the ``id`` of the zeros.
            budget: shared by all streams of one artifact; ``None`` for an artifact of this one.

        Returns:
            What is not allowed, one finding per operation; empty if the artifact may be loaded.
        """
        from safeload.policy.decision import decide

        return decide(
            self,
            program,
            manifest,
            persistent=persistent,
            arguments=arguments,
            unread=unread,
            budget=budget,
        )

    def to_toml(self) -> str:
        """The policy as the text of a ``safeload.toml``; :meth:`from_file` reads it back."""
        from safeload.policy.learn import to_toml

        return to_toml(self)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what the policy allows; equal policies have equal digests however they were made."""
        if not self._digest:
            lines = sorted(rule.line() for rule in self.rules.values())
            text = f"safeload policy 1\ncode {self.grants_code}\n" + "\n".join(lines)
            object.__setattr__(self, "_digest", hashlib.sha256(text.encode()).hexdigest())
        return self._digest

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Policy) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        packs = ", ".join(self.pack_names) or "none"
        return f"<Policy packs: {packs}; names: {len(self.rules)}; digest: {self.digest[:12]}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (tuple(self.rules.values()), self.grants_code)


def _rebuild(rules: tuple[Rule, ...], grants_code: bool) -> Policy:
    return Policy(rules, grants_code=grants_code)


def _merged(rules: Iterable[Rule]) -> dict[str, Rule]:
    merged: dict[str, Rule] = {}
    for rule in rules:
        known = merged.get(rule.name)
        merged[rule.name] = known | rule if known else rule
    return merged


def _add(rules: dict[str, Rule], more: Mapping[str, Rule]) -> None:
    for name, rule in more.items():
        known = rules.get(name)
        rules[name] = known | rule if known else rule


def check_rule(rule: Rule) -> None:
    """Raise ``ValueError`` for a rule that cannot mean anything."""
    from safeload.policy.rules import known_rules

    module, _, attribute = rule.name.partition(":") if ":" in rule.name else rule.name.rpartition(".")
    parts = [*module.split("."), *attribute.split(".")]
    if not module or not attribute or not all(part.isidentifier() for part in parts):
        raise ValueError(f"{rule.name!r} is not the name of a global; write module.attr, or module:Outer.inner")
    for shadow in rule.shadows:
        if not shadow.partition("=")[0].isidentifier() or shadow.startswith("__"):
            raise ValueError(
                f"{shadow!r} is not the name of a method that may be replaced; write name, or name=module.attr"
            )
    for permission in (rule.construct, rule.call, rule.state, rule.items):
        for wanted in permission.split("|") if isinstance(permission, str) else ():
            if wanted not in known_rules():
                raise ValueError(f"unknown argument rule {wanted!r}; there are {', '.join(sorted(known_rules()))}")


def resolve_policy(value: Policy | str | Path | Iterable[str] | None) -> Policy:
    """The policy that an argument ``policy=`` stands for.

    Args:
        value: ``None`` (packs ``data`` and ``numpy``), a pack's name, the path of a TOML file, a list of pack names and
            paths, or a policy.

    Raises:
        ValueError: no such pack, or a mistake in a policy file.
        TypeError: something else.
    """
    if value is None:
        return Policy.packs(*DEFAULT_PACKS)
    if isinstance(value, Policy):
        return value
    if isinstance(value, Path):
        return Policy.from_file(value)
    if isinstance(value, str):
        is_path = value.endswith(".toml") or "/" in value or "\\" in value
        return Policy.from_file(value) if is_path else Policy.packs(value)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        items = list(value)
        if all(isinstance(item, str) and not item.endswith(".toml") for item in items):
            return Policy.packs(*items)
        policy = Policy()
        for item in items:
            policy |= resolve_policy(item)
        return policy
    raise TypeError(f"policy must be a Policy, a pack's name, a path or a list of them, not {type(value).__name__}")
