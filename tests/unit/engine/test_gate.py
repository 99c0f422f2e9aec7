"""fickling's opinion of a program, and the list that names what was refused."""

from __future__ import annotations

import pickletools
from typing import Any

import pytest

from safeload.engine import fickling as gate
from safeload.engine.harmful import is_harmful
from safeload.findings import Severity, Verdict
from safeload.program import Kind, Program, Use


def program(*operations: tuple[Kind, str]) -> Program:
    return Program.of([Use(kind, name) for kind, name in operations])


def test_pure_data_is_not_asked_about() -> None:
    """An empty program has nothing to judge."""
    assert gate.fickling_gate(program()) == gate.GateResult((), (), "")


def test_evil_program() -> None:
    """Fickling knows os.system by name, and its source code is there to read."""
    result = gate.fickling_gate(program((Kind.REFERENCE, "os.system"), (Kind.CALL, "os.system")))
    assert "system" in result.source_code
    assert any(finding.severity >= Severity.MEDIUM for finding in (*result.by_name, *result.structural))
    assert all(finding.rule_id.startswith("fickling.") for finding in (*result.by_name, *result.structural))


def test_judgements_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same operations are judged once, whatever their order and their arguments; the cache is bounded."""
    asked: list[bytes] = []

    def ask(encoded: bytes) -> gate.GateResult:
        asked.append(encoded)
        return gate.GateResult((), (), "source")

    monkeypatch.setattr(gate, "_ask_fickling", ask)
    one = program((Kind.REFERENCE, "cached.a"), (Kind.CALL, "cached.a"))
    assert gate.fickling_gate(one).source_code == "source"
    assert gate.fickling_gate(program((Kind.CALL, "cached.a"), (Kind.REFERENCE, "cached.a"))).source_code == "source"
    assert len(asked) == 1
    for index in range(gate._CACHE_SIZE + 1):
        gate.fickling_gate(program((Kind.REFERENCE, f"cached.b{index}")))
    assert len(gate._cache) <= gate._CACHE_SIZE
    gate.fickling_gate(one)
    assert len(asked) == gate._CACHE_SIZE + 3


def test_an_error_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fickling stumbles over is a finding that refuses, and is asked again the next time."""

    def fail(_encoded: bytes) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(gate, "_ask_fickling", fail)
    [finding] = gate.fickling_gate(program((Kind.REFERENCE, "failing.name"))).structural
    assert finding.rule_id == "fickling.error"
    assert finding.verdict is Verdict.UNKNOWN
    monkeypatch.undo()
    again = gate.fickling_gate(program((Kind.REFERENCE, "failing.name")))
    assert all(finding.rule_id != "fickling.error" for finding in (*again.by_name, *again.structural))


@pytest.mark.parametrize("kind", Kind)
def test_encoding(kind: Kind) -> None:
    """Every kind of operation is written as a pickle that another reader can parse, and says the same."""
    encoded = gate.encode([(kind, "m.n"), (kind, "m:a.b"), (kind, "")])
    ops = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(encoded)]
    assert ("GLOBAL", "m n") in ops
    assert ("GLOBAL", "m a.b") in ops
    assert ops[-1][0] == "STOP"


@pytest.mark.parametrize("operations", [
    [(Kind.REFERENCE, "collections.OrderedDict"), (Kind.CALL, "collections.OrderedDict")],
    [(Kind.REFERENCE, "numpy.dtype"), (Kind.CALL, "numpy.dtype"), (Kind.STATE, "numpy.dtype")],
])  # fmt: skip
def test_harmless_programs(operations: list[tuple[Kind, str]]) -> None:
    """What the shipped packs allow is not refused for its structure."""
    assert gate.fickling_gate(program(*operations)).structural == ()


@pytest.mark.parametrize("name", ["os.system", "posix.system", "subprocess.Popen", "builtins.eval", "builtins.exec", "importlib.import_module", "os.path.join",
                                  "uuid:os.system", "m:C.__init__.__globals__", "m:f.__globals__", "pty.spawn", "idlelib.run.x", "numpy.f2py.crackfortran.getlincoef",
                                  "runpy.run_path", "marshal.loads", "ctypes.CDLL", "asyncio.base_subprocess.X",
                                  "ssl.get_server_certificate", "multiprocessing.util.spawnv_passfds", "joblib.load", "sqlite3.connect"])  # fmt: skip
def test_evidence_of_harm(name: str) -> None:
    """No data needs these."""
    assert is_harmful(name)


@pytest.mark.parametrize(
    "name",
    [
        "collections.OrderedDict",
        "numpy.dtype",
        "myapp.system",
        "osmium.X",
        "builtins.int",
        "m:Outer.Inner",
        "myapp.os.Thing",
        "datetime.date",
    ],
)
def test_no_evidence_of_harm(name: str) -> None:
    """Names of libraries and applications are unknown, not malicious."""
    assert not is_harmful(name)


def test_names_of_many_parts() -> None:
    """A name of a hundred thousand parts is judged by its first ones: with all of them it took minutes."""
    assert not is_harmful("a." * 100_000 + "b")
    assert is_harmful("os." + "a." * 100_000 + "b")


def test_nothing_harmful_is_in_a_pack() -> None:
    """What evidence of harm names, no pack lets be called; the list never contradicts the policy."""
    from safeload.policy.packs import load_pack, pack_names

    for pack in pack_names():
        for name, rule in load_pack(pack).rules.items():
            assert not (is_harmful(name) and (rule.call is True or rule.construct is True)), name
