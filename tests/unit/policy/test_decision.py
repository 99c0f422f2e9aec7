"""The decision: deny by default, four permissions, all or nothing, and never an import."""

from __future__ import annotations

import sys

import pytest

from safeload.policy import Policy, Rule, resolve_policy
from safeload.policy.packs import load_pack, pack_names
from safeload.program import Kind, Program, Standin, StandinType, Use


def uses(*pairs: tuple[Kind, str]) -> Program:
    """A program of uses without arguments."""
    return Program.of(Use(kind, name, ({},) if kind is Kind.STATE else ()) for kind, name in pairs)


def made(name: str) -> Standin:
    """The stand-in of something that ``name`` made."""
    return type("result", (Standin,), {"safeload_producer": name})()


def rules(policy: Policy, program: Program, **options: object) -> list[str]:
    """The rule ids of the findings."""
    return [finding.rule_id for finding in policy.decide(program, **options)]  # type: ignore[arg-type]


ALL = (Kind.REFERENCE, Kind.CONSTRUCT, Kind.STATE, Kind.ITEMS, Kind.CALL)


def test_nothing_is_allowed_that_is_not_named() -> None:
    """An empty policy refuses every kind of use of every name, and pure data passes."""
    policy = Policy()
    assert not policy.decide(Program())
    for kind in ALL:
        assert rules(policy, uses((kind, "m.C"))) == ["policy.not-allowed"]


def test_allow_grants_what_the_interface_promises() -> None:
    """``allow(name)`` is reference, construction and state; a call needs ``call=True``."""
    policy = Policy().allow("m.C")
    assert not policy.decide(uses(*((kind, "m.C") for kind in ALL if kind is not Kind.CALL)))
    assert rules(policy, uses((Kind.CALL, "m.C"))) == ["policy.call-not-allowed"]
    assert not policy.allow("m.C", call=True).decide(uses((Kind.CALL, "m.C")))


@pytest.mark.parametrize(
    ("permission", "kind", "rule_id"),
    [
        ("construct", Kind.CONSTRUCT, "policy.construct-not-allowed"),
        ("state", Kind.STATE, "policy.state-not-allowed"),
        ("state", Kind.ITEMS, "policy.state-not-allowed"),
    ],
)
def test_permissions_are_separate(permission: str, kind: Kind, rule_id: str) -> None:
    """Each permission can be withheld by itself, and has a rule id of its own."""
    policy = Policy().allow("m.C", **{permission: False})  # type: ignore[arg-type]
    assert rules(policy, uses((kind, "m.C"))) == [rule_id]
    assert not policy.decide(uses((Kind.REFERENCE, "m.C")))


def test_every_refused_operation_is_one_finding() -> None:
    """A thousand equal operations make one finding; all different ones are reported at once."""
    program = uses(*[(Kind.CALL, "os.system")] * 1000, (Kind.REFERENCE, "os.system"), (Kind.CALL, "m.f"))
    findings = Policy().decide(program)
    assert len(findings) == 3
    assert {finding.evidence for finding in findings} == {"os.system", "m.f"}


@pytest.mark.parametrize("kind", [Kind.CLASS_STATE, Kind.COMPUTED])
def test_class_state_and_computed_calls_are_never_allowed(kind: Kind) -> None:
    """Whatever a policy says about the name."""
    policy = Policy().allow("m.C", call=True)
    assert rules(policy, uses((kind, "m.C"))) == [f"policy.{kind.value.replace('computed', 'computed-call')}"]


def test_persistent_ids_need_somebody_who_resolves_them() -> None:
    """They are allowed when the application passed a persistent_load."""
    program = uses((Kind.PERSISTENT, ""))
    assert rules(Policy(), program) == ["policy.persistent-id"]
    assert not Policy().decide(program, persistent=True)


def test_a_manifest_narrows_the_policy() -> None:
    """What the writer did not sign for is refused, even if the policy allows it."""
    policy = Policy().allow("m.C").allow("m.D")
    program = uses((Kind.REFERENCE, "m.C"), (Kind.CONSTRUCT, "m.C"))
    assert not policy.decide(program, ["reference m.C", "construct m.C", "reference m.D"])
    assert rules(policy, program, manifest=["reference m.C"]) == ["policy.not-in-manifest"]
    assert rules(policy, program, manifest=[]) == ["policy.not-in-manifest"] * 2


def test_the_grant_code_refuses_nothing() -> None:
    """Payloads of a signer who may ship code are not judged by name."""
    policy = Policy().with_code()
    assert policy.grants_code
    assert not policy.decide(uses((Kind.CALL, "os.system"), (Kind.COMPUTED, "m.f")))
    assert policy != Policy()


def test_one_object_gets_its_state_once() -> None:
    """A second state changes what others have already taken over."""
    policy = Policy().allow("m.C")
    target = made("m.C")
    once = Use(Kind.STATE, "m.C", ({"a": 1},), target)
    assert not policy.decide(Program.of([once, Use(Kind.STATE, "m.C", ({"a": 1},), made("m.C"))]))
    assert rules(policy, Program.of([once, once])) == ["policy.argument"]


@pytest.mark.parametrize(
    "state",
    [
        {"__setstate__": 1},
        {"a": 1, "__class__": 2},
        (None, {"__class__": 1}),
        ({"__reduce__": 1}, None),
        {"append": StandinType("g", (), {"safeload_name": "m.f"})},
    ],
)
def test_states_that_the_unpickler_would_call_are_refused(state: object) -> None:
    """Special attributes, and callables under the names that it looks up on instances."""
    policy = Policy().allow("m.C")
    assert rules(policy, Program.of([Use(Kind.STATE, "m.C", (state,), made("m.C"))])) == ["policy.argument"]


@pytest.mark.parametrize("state", [{"a": 1}, {"append": 5}, None, [1], (1, 2, 3), {"__notes__": ["x"]}, {"__x": 1}])
def test_other_states_of_an_allowed_class_pass(state: object) -> None:
    """The general check is about those names only."""
    assert not Policy().allow("m.C").decide(Program.of([Use(Kind.STATE, "m.C", (state,), made("m.C"))]))


def test_deciding_imports_nothing() -> None:
    """Neither allowed nor refused names are imported to judge them."""
    before = set(sys.modules)
    policy = Policy.packs(*pack_names()).allow("antigravity.x").allow("this.x")
    policy.decide(uses((Kind.REFERENCE, "antigravity.x"), (Kind.CALL, "this.y"), (Kind.CALL, "turtledemo.main")))
    assert not {"antigravity", "this", "turtledemo"} & (set(sys.modules) - before)


def test_digests_do_not_depend_on_the_way() -> None:
    """Equal policies are equal, hash equal and have equal digests; a changed permission changes the digest."""
    one = Policy.packs("data").allow("a.B").allow("c.d", call=True)
    other = (
        Policy().allow("c.d", call=True) | Policy.packs("data") | Policy([Rule("a.B", True, True, False, True, True)])
    )
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest
    assert len({one, other, Policy(), one.allow("a.B", call=True), Policy().allow("a.B", state=False)}) == 4


def test_a_union_keeps_the_wider_permission() -> None:
    """Without a rule beats a rule, a rule beats nothing, and two rules are alternatives."""
    rule = Policy([Rule("a.b", call="none")]) | Policy([Rule("a.b", call="text")])
    assert rule.rule("a.b") == Rule("a.b", call="none|text")
    for args, allowed in (((), True), (("x",), True), ((1,), False)):
        program = Program.of([Use(Kind.CALL, "a.b", args)])
        assert bool(rule.decide(program)) is not allowed
    assert (rule | Policy([Rule("a.b", call=True)])).rule("a.b") == Rule("a.b", call=True)


def test_policies_are_immutable() -> None:
    """A cached decision is keyed by the digest, so nothing behind it may change."""
    policy = Policy().allow("a.b")
    with pytest.raises(AttributeError, match="immutable"):
        policy.grants_code = True
    with pytest.raises(TypeError):
        policy.rules["x.y"] = Rule("x.y")  # type: ignore[index]


@pytest.mark.parametrize("name", ["", "a", "a.", ".b", "a.*", "a b.c", "a:b:c", "os.system()"])
def test_malformed_names_are_the_callers_mistake(name: str) -> None:
    """There are no patterns, and a name without a module means nothing."""
    with pytest.raises(ValueError, match="not the name of a global"):
        Policy().allow(name)


def test_messages_say_how_to_go_on() -> None:
    """The pack that allows the name, or the TOML that would."""
    (finding, *_) = Policy().decide(uses((Kind.REFERENCE, "decimal.Decimal")))
    assert "packs = [" in finding.message
    assert "data" in finding.message
    (finding,) = Policy().decide(uses((Kind.CALL, "m.f")))
    assert '[[allow]]\nname = "m.f"\ncall = true' in finding.message


def test_resolve_policy() -> None:
    """Everything that an argument ``policy=`` may be."""
    assert resolve_policy(None) == Policy.packs("data", "numpy")
    assert resolve_policy("data") == resolve_policy(["data"]) == Policy.packs("data")
    assert resolve_policy(Policy()) == Policy()
    with pytest.raises(ValueError, match="did you mean 'sklearn'"):
        resolve_policy("sklern")
    with pytest.raises(TypeError, match="not int"):
        resolve_policy(5)  # type: ignore[arg-type]


def test_packs_bring_what_they_require() -> None:
    """A model holds arrays: the sklearn pack alone is enough."""
    assert Policy.packs("sklearn").pack_names == ("data", "numpy", "scipy", "sklearn")
    assert load_pack("pandas").requires == ("data", "numpy")


def test_rules_survive_arguments_of_any_type() -> None:
    """Whatever a stream passes to a callable that has a rule is judged; a rule that stumbles over it refuses."""
    from itertools import product

    odd = (
        [],
        {},
        [[]],
        {"a": []},
        (),
        ([],) * 9,
        ({},) * 8,
        (3, {}, None, None, None, -1, -1, 0),
        -1,
        1 << 70,
        "",
        "\ud800",
        b"",
        None,
        1.5,
        {1},
        bytearray(),
    )
    policy = Policy.packs(*pack_names())
    for (kind, name), _ in policy.conditions.items():
        for args in [(one,) for one in odd] + [tuple(pair) for pair in product(odd, repeat=2)]:
            program = Program.of([Use(kind, name, args, None)])
            assert policy.decide(program) is not None
