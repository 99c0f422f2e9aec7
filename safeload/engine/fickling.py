"""fickling's opinion of a program, cached.

fickling judges imports and calls by name, on its own AST. Given a whole artifact it needs longer than loading does and
calls plain arrays unsafe, so it is given the *program* instead: every distinct operation once, data left out, encoded
as a small pickle. Programs are few, so the verdict is cached by the program's digest.

Rule: an error inside fickling is a finding that refuses; no program passes unjudged.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.facts import forks
from safeload.findings import Finding, Severity, Verdict
from safeload.program import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.program import Program

__all__ = ["GateResult", "fickling_gate"]

_CACHE_SIZE = 512
# A program larger than this is judged, but fickling's source code of it is of no use to a person.
_MAX_OPERATIONS = 2_000

# fickling's severities, by name (fickling.analysis.Severity), as ours, and what each would make of an artifact.
_SEVERITY = {
    "LIKELY_SAFE": (Severity.INFO, Verdict.CLEAN),
    "POSSIBLY_UNSAFE": (Severity.LOW, Verdict.UNKNOWN),
    "SUSPICIOUS": (Severity.MEDIUM, Verdict.UNKNOWN),
    "LIKELY_UNSAFE": (Severity.MEDIUM, Verdict.UNKNOWN),
    # What fickling says of dill, joblib and numpy.random too, so it is no evidence by itself (see harmful.py).
    "LIKELY_OVERTLY_MALICIOUS": (Severity.HIGH, Verdict.UNKNOWN),
    "OVERTLY_MALICIOUS": (Severity.CRITICAL, Verdict.MALICIOUS),
}
# Analyses that judge an import or a call by its name. Where the policy names that import or call, its word counts.
_BY_NAME = frozenset(
    {
        "BadCalls",
        "NonStandardImports",
        "OvertlyBadEval",
        "OvertlyBadEvals",
        "UnsafeImports",
        "UnsafeImportsML",
        "UnusedVariables",
        "UnusedVariable",
    }
)


class GateResult(NamedTuple):
    """fickling's findings about a program.

    ``by_name`` are judgements of a named import or call, ``structural`` all others. ``source_code`` is the decompiled program.
    """

    by_name: tuple[Finding, ...]
    structural: tuple[Finding, ...]
    source_code: str


_EMPTY = GateResult((), (), "")
_cache: OrderedDict[str, GateResult] = OrderedDict()
_lock = forks.lock()


def fickling_gate(program: Program) -> GateResult:
    """What fickling says about ``program``; nothing for pure data, whose program is empty."""
    if not program.operations:
        return _EMPTY
    digest = program.digest
    with _lock:
        known = _cache.get(digest)
        if known is not None:
            _cache.move_to_end(digest)
            return known
    try:
        result = _ask_fickling(encode(program.operations[:_MAX_OPERATIONS]))
    except Exception as error:  # noqa: BLE001 - whatever fickling stumbles over is unknown, and unknown refuses
        return _failed(error)  # not remembered: memory may have been short, or the stack deep
    with _lock:
        _cache[digest] = result
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return result


def encode(operations: Iterable[tuple[Kind, str]]) -> bytes:
    """The operations as a pickle of protocol 2 that does them once each, on no data."""
    parts = [b"\x80\x02]"]
    for kind, name in operations:
        if not name:
            continue
        module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
        parts.append(_load(module, attribute) + _SUFFIX[kind] + b"a")
    parts.append(b".")
    return b"".join(parts)


def _load(module: str, attribute: str) -> bytes:
    """GLOBAL, or for a name that it cannot spell for fickling, which reads it as ASCII, STACK_GLOBAL."""
    if (module + attribute).isascii():
        return f"c{module}\n{attribute}\n".encode()
    texts = [text.encode("utf-8", "replace") for text in (module, attribute)]
    return b"".join(b"X" + len(text).to_bytes(4, "little") + text for text in texts) + b"\x93"


_SUFFIX = {
    Kind.REFERENCE: b"",
    Kind.CALL: b")R",
    Kind.CONSTRUCT: b")\x81",
    Kind.STATE: b")R}b",
    Kind.ITEMS: b")R",
    Kind.CLASS_STATE: b"}b",
    Kind.COMPUTED: b")R)R",
    Kind.PERSISTENT: b"",
}


def _failed(error: Exception) -> GateResult:
    finding = Finding(
        "fickling.error",
        Severity.MEDIUM,
        f"fickling could not analyse the program ({type(error).__name__}), so it counts as unsafe",
    )
    return GateResult((), (finding,), "")


def _ask_fickling(encoded: bytes) -> GateResult:
    import ast

    fickle, analysis = _fickling()
    pickled = fickle.Pickled.load(encoded)  # parses opcodes; loads nothing
    results = analysis.check_safety(pickled).results
    by_name: list[Finding] = []
    structural: list[Finding] = []
    for result in results:
        severity, verdict = _SEVERITY.get(result.severity.name, (Severity.MEDIUM, Verdict.UNKNOWN))
        if verdict is Verdict.CLEAN:
            continue
        analysis_name = result.analysis_name or "Unknown"
        finding = Finding(
            f"fickling.{analysis_name}",
            severity,
            f"fickling: {result.message or analysis_name}"[:400],
            evidence=str(result.trigger or "")[:200],
            verdict=verdict,
        )
        (by_name if analysis_name in _BY_NAME else structural).append(finding)
    return GateResult(tuple(by_name), tuple(structural), ast.unparse(pickled.ast))


@functools.cache
def _fickling() -> tuple[Any, Any]:
    import fickling.analysis
    import fickling.fickle

    return fickling.fickle, fickling.analysis
