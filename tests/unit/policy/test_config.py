"""Configuration files: nothing is ignored, and a mistake is shown with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safeload.policy import ConfigError, Policy, Rule, learn_from_programs, load_config
from safeload.program import Kind, Program, Use

if TYPE_CHECKING:
    from pathlib import Path

KEY_ID = "0123456789abcdef0123456789abcdef"

GOOD = f"""\
packs = ["data", "pandas"]

[[allow]]
name = "app.Thing"

[[allow]]
name = "app.make"
call = true
construct = false
state = false

[signers.{KEY_ID}]
label = "training"
packs = ["sklearn"]
grants = ["code"]

[limits]
max_globals = 50

[audit]
trail = "audit.jsonl"
"""


def write(directory: Path, text: str, name: str = "safeload.toml") -> Path:
    """A configuration file."""
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_in_one_file(tmp_path: Path) -> None:
    """Policy, signers, limits and audit."""
    config = load_config(write(tmp_path, GOOD))
    assert config.policy.pack_names == ("data", "numpy", "pandas")
    assert config.policy.rule("app.make") == Rule(
        "app.make", reference=True, call=True, reason="allowed by the application"
    )
    signer = config.signers[KEY_ID]
    assert signer.policy.grants_code
    assert signer.policy.pack_names == ("data", "numpy", "scipy", "sklearn")
    assert signer.policy.rule("app.Thing") is None
    assert config.limits is not None
    assert config.limits.max_globals == 50
    assert config.audit == (str(tmp_path / "audit.jsonl"),)


def test_a_pyproject_has_it_in_its_table(tmp_path: Path) -> None:
    """The same under [tool.safeload]; without ``packs`` the default ones."""
    text = '[project]\nname = "x"\n\n[tool.safeload]\n\n[[tool.safeload.allow]]\nname = "a.B"\n'
    config = load_config(write(tmp_path, text, "pyproject.toml"))
    assert config.policy == Policy.packs("data", "numpy").allow("a.B")
    with pytest.raises(ConfigError, match=r"no table \[tool.safeload\]"):
        load_config(write(tmp_path, "[project]\n", "pyproject.toml"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('pack = ["data"]\n', 1, "did you mean 'packs'"),
        ('\npacks = ["dta"]\n', 2, "did you mean 'data'"),
        ('packs = "data"\n', 1, "packs should be a list"),
        ('[[allow]]\nname = "a.b"\n\n[[allow]]\nname = "a.c"\ncal = true\n', 6, "did you mean 'call'"),
        ('[[allow]]\nname = "a.b"\ncall = 1\n', 3, "true, false, or the name of an argument rule"),
        ('[[allow]]\nname = "a.b"\ncall = "nope"\n', 3, "unknown argument rule 'nope'"),
        ('[[allow]]\nname = "a.*"\n', 2, "not the name of a global"),
        ("[[allow]]\ncall = true\n", 1, "has no name"),
        ("[limits]\nmax_globls = 5\n", 2, "did you mean 'max_globals'"),
        ("[limits]\nmax_globals = 0\n", 2, "an integer of at least 1"),
        ('[signers.abc]\npacks = ["data"]\n', 1, "not a key id"),
        (f'[signers.{KEY_ID}]\ngrants = ["root"]\n', 2, 'one of "code"'),
        (f'[signers.{KEY_ID}]\n[[signers.{KEY_ID}.allow]]\nname = "x"\n', 3, "should be"),
        ('grants = ["code"]\n', 1, "unknown key 'grants'"),
        ("[audit]\nfile = 'x'\n", 2, "unknown key"),
        ("packs = [\n", 2, "not valid TOML"),
    ],
)
def test_mistakes_name_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    """An error without a line costs the reader the search."""
    with pytest.raises(ConfigError, match=message if "(" not in message else None) as caught:
        load_config(write(tmp_path, text))
    assert "safeload.toml" in str(caught.value)
    assert f"line {line}" in str(caught.value) or "at end" in str(caught.value)


def test_to_toml_round_trips(tmp_path: Path) -> None:
    """What a policy writes, it reads back as an equal policy."""
    policy = Policy.packs("data").allow("a.B", state=False).allow("a:C.make", call="text", construct=False)
    text = policy.to_toml()
    again = Policy.from_file(write(tmp_path, text))
    assert again == policy
    assert again.to_toml() == text


def test_learned_policies_are_minimal_and_reviewable(tmp_path: Path) -> None:
    """Each global once, with what was seen; a shipped rule is kept, and calls are marked for review."""
    program = Program.of(
        [
            Use(Kind.REFERENCE, "app.Thing"),
            Use(Kind.CONSTRUCT, "app.Thing"),
            Use(Kind.REFERENCE, "app.make"),
            Use(Kind.CALL, "app.make"),
            Use(Kind.REFERENCE, "fractions.Fraction"),
            Use(Kind.CALL, "fractions.Fraction", (1, 2)),
            Use(Kind.CLASS_STATE, "app.Thing"),
        ]
    )
    policy = learn_from_programs([program, program])
    assert [finding.rule_id for finding in policy.decide(program)] == ["policy.class-state"]
    thing, fraction = policy.rule("app.Thing"), policy.rule("fractions.Fraction")
    assert thing is not None
    assert (thing.construct, thing.call, thing.state, thing.items) == (True, False, False, False)
    assert fraction is not None
    assert fraction.call == "fraction"
    text = policy.to_toml()
    assert text.count("# Review") == 1
    assert Policy.from_file(write(tmp_path, text)) == policy


def test_hostile_names_stay_ascii() -> None:
    """A learned policy quotes names of an artifact: they must not steer a terminal or leave their string."""
    program = Program.of([Use(Kind.REFERENCE, "móðule.näme\u202e")])
    text = learn_from_programs([program]).to_toml()
    assert text.isascii()
    assert "\\u202e" in text
