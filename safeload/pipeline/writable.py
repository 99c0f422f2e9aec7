"""Can this object be written, by which codec, and what would it take to load it again?

``safeload.check(obj)`` answers before anything is written: each codec is tried on its real encoder, the policy that the object
would need is learned from the pickle it would be, and what pickle cannot write is named by its path. Rule: nothing is loaded,
and nothing of the object runs but the reduce methods that pickling it needs. (dill's own diagnostics load what they wrote
and read every attribute, so they are not used.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safeload.audit import SILENT
from safeload.errors import SafeloadError
from safeload.facts.code_makers import family_of
from safeload.facts.expansion import expanded
from safeload.facts.printable import printable
from safeload.formats.base import WHOLE, EncodeOptions
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.pipeline.object_graph import TooLargeError, bounded_pickle, type_name, unpicklable, walk
from safeload.pipeline.request import JudgeOptions
from safeload.pipeline.stream import judge
from safeload.pipeline.verdict import COMPUTED_CLASS
from safeload.policy import Policy
from safeload.policy.model import DEFAULT_PACKS
from safeload.source.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.formats.containers import Codec
    from safeload.pipeline.object_graph import Unpicklable
    from safeload.program import Program

__all__ = ["BadPart", "CheckReport", "CodecCheck", "Needs", "check"]

_MOST_OBJECTS = 200_000
_MOST_TYPES = 12  # on the screen
_REASON = 200


@dataclass(frozen=True, slots=True)
class CodecCheck:
    """Whether one codec can write the object.

    Attributes:
        name: the value of ``dump(codec=...)``.
        ok: it can.
        size: bytes of what it would write, 0 if it cannot.
        reason: why not.
        code: what it writes carries code, so only a signer's grant lets it be loaded.
    """

    name: str
    ok: bool
    size: int = 0
    reason: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class BadPart:
    """A part that pickle cannot write.

    Attributes:
        path: how to get to it from the object (``"obj.hooks[0]"``), ``""`` if it exists only while its owner is pickled.
        type: its type.
        reason: what pickle says.
        codecs: the codecs that can write this part.
    """

    path: str
    type: str
    reason: str
    codecs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a reader's policy has to allow for the object's pickle.

    Attributes:
        packs: the shipped packs that it takes.
        names: every global that the pickle names, with what it does with it (``"reference"``, ``"call"`` ...).
        toml: the policy as the text of a ``safeload.toml``.
        default: the default policy is enough.
        never: why no policy can let it in; empty if one can.
    """

    packs: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    toml: str
    default: bool
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What :func:`check` found out; ``str()`` of it is a screen for a person.

    Attributes:
        type: the object's type.
        codecs: one entry per codec.
        types: how many objects of each type it holds, by the type's name.
        complete: all of it was walked for that.
        needs: what loading its pickle needs; ``None`` if pickle cannot write it.
        bad: the parts that pickle cannot write.
    """

    type: str
    codecs: tuple[CodecCheck, ...]
    types: dict[str, int]
    complete: bool
    needs: Needs | None
    bad: tuple[BadPart, ...]

    @property
    def ok(self) -> bool:
        """Whether pickle can write it, and some policy can let it in again."""
        return self.needs is not None and not self.needs.never

    def codec(self, name: str) -> CodecCheck:
        """The entry of one codec.

        Raises:
            KeyError: there is no such codec.
        """
        for each in self.codecs:
            if each.name == name:
                return each
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        from dataclasses import asdict

        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_screen(self))


def check(obj: Any, *, limits: Limits | None = None, max_bytes: int = 1 << 26) -> CheckReport:
    """Whether and why not ``obj`` can be written by each codec, what it holds, and which policy it needs to come back.

    Nothing is written to disk and nothing is loaded, so it does not say whether what comes back is equal.

    Args:
        obj: any object.
        limits: bounds of the analysis.
        max_bytes: do not try to write more than this.

    Returns:
        A :class:`CheckReport`: print it.
    """
    limits = DEFAULT_LIMITS if limits is None else limits
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a safeload.Limits, not {type(limits).__name__}")
    graph = walk(obj, _MOST_OBJECTS)
    needs: Needs | None = None
    bad: list[Unpicklable] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dill and joblib warn about what the report says
        try:
            data = b"" if graph.size > max_bytes else bounded_pickle(obj, max_bytes)
            first = _too_large("pickle", max_bytes) if not data else CodecCheck("pickle", ok=True, size=len(data))
            needs = _needs(data, limits) if data else None
        except TooLargeError:
            first = _too_large("pickle", max_bytes)
        except Exception as error:  # noqa: BLE001 - any error of the object's own is the answer
            first = CodecCheck("pickle", ok=False, reason=_reason(error))
            bad = unpicklable(obj, graph, max_bytes)
        large = not first.ok and not bad and first.reason.startswith(_LARGE)
        request = EncodeOptions(limits)
        plain = needs is not None and not needs.never
        endless = expanded(obj) > max_bytes
        others = [
            _too_large(codec.name, max_bytes, codec)
            if large or (endless and not _shares(codec))
            else _tried(codec, obj, request, max_bytes, plain=plain)
            for codec in _codecs()
        ]
        parts = tuple(_bad_part(part, request, max_bytes) for part in bad)
    return CheckReport(type_name(type(obj)), (first, *others), graph.types, graph.complete, needs, parts)


def _codecs() -> list[Codec]:
    from safeload.formats.containers import codecs

    return [codec for _, codec in sorted(codecs().items()) if codec.name != "pickle"]


# Formats that are pickles inside.
_PICKLES = frozenset({None, "joblib", "torch"})


def _shares(codec: Codec) -> bool:
    """Whether a part that stands in several places is written once, as pickle does."""
    return codec.code or codec.reads in _PICKLES


_LARGE = "larger than"


def _too_large(name: str, most: int, codec: Codec | None = None) -> CodecCheck:
    code = codec is not None and codec.code
    return CodecCheck(name, ok=False, reason=f"{_LARGE} max_bytes={most:,}, so it was not tried", code=code)


def _tried(codec: Codec, obj: Any, request: EncodeOptions, most: int, *, plain: bool = True) -> CodecCheck:
    """One codec on its real encoder; ``plain`` says that what pickle writes carries no code."""
    try:
        parts = codec.encode(obj, request)
        size = sum(memoryview(part).nbytes for part in parts)
    except Exception as error:  # noqa: BLE001 - any error of the object's own is the answer
        return CodecCheck(codec.name, ok=False, reason=_reason(error), code=codec.code)
    if size > most:
        return _too_large(codec.name, most, codec)
    code = codec.code or (
        not plain and codec.reads is not None and _carries_code(b"".join(parts), codec, request.limits)
    )
    return CodecCheck(codec.name, ok=True, size=size, code=code)


def _carries_code(data: bytes, codec: Codec, limits: Limits) -> bool:
    """Whether there is code in what a codec wrote: a program that has imported dill makes joblib write it."""
    from safeload.formats.containers import formats
    from safeload.pipeline.container import ContainerWalk
    from safeload.source.blob import MemoryBlob

    examiner = ContainerWalk(WHOLE, JudgeOptions(Policy(), limits), SILENT.operation("scan"), loading=False)
    examined = examiner.examine(MemoryBlob(data), known=formats()[codec.reads or codec.name])
    found = {finding.rule_id for report in examined.report().every() for finding in report.findings}
    return bool(found & {"policy.code", COMPUTED_CLASS})


def _bad_part(part: Unpicklable, request: EncodeOptions, most: int) -> BadPart:
    able = tuple(codec.name for codec in _codecs() if codec.code and _tried(codec, part.part, request, most).ok)
    kind = type(part.part)  # isinstance() would ask the object for its __class__
    kind = part.part if issubclass(kind, type) else kind
    return BadPart(part.path, type_name(kind), _reason(part.error), able)


def _reason(error: Exception) -> str:
    """The first line of an error's message; an error's own ``__str__`` may fail like anything else."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001
        text = ""
    first = text.strip().partition("\n")[0]
    name = type(error).__name__
    first = first if len(first) <= _REASON else first[: _REASON - 3] + "..."
    return f"{name}: {first}" if first else name


def _needs(data: bytes, limits: Limits) -> Needs:
    """What the pickle needs, by the analysis that a reader would make."""
    try:
        judgement = judge(BytesSource(data), JudgeOptions(Policy(), limits), SILENT.operation("scan"), will_load=True)
    except SafeloadError as error:
        return Needs((), {}, "", default=False, never=(str(error),))
    program = judgement.program
    if program is None:
        return Needs((), {}, "", default=True)
    names: dict[str, list[str]] = {}
    for kind, name in program.operations:
        names.setdefault(name, []).append(kind.value)
    policy = _policy_for(program)
    never = [finding.message.partition("\n")[0] for finding in policy.decide(program)]
    kind_of_code = family_of(program.globals)
    if kind_of_code is not None:
        never.insert(
            0,
            f"its pickle carries code, as {kind_of_code} writes it: it loads only from a signer whose grant says code",
        )
    default = not Policy.packs(*DEFAULT_PACKS).decide(program)
    allowed = {name: tuple(kinds) for name, kinds in names.items()}
    return Needs(policy.pack_names, allowed, policy.to_toml(), default, tuple(never))


def _policy_for(program: Program) -> Policy:
    """The smallest set of shipped packs that helps, with entries for what no pack allows."""
    from safeload.policy.learn import learn_from_programs
    from safeload.policy.packs import packs_naming

    policy = Policy()
    for name in program.globals:
        if not policy.decide(program):
            return policy
        packs = packs_naming(name)
        if packs and not set(packs) & set(policy.pack_names):
            policy = Policy.packs(*policy.pack_names, packs[0])
    refused = {finding.evidence for finding in policy.decide(program)}
    learned = learn_from_programs([program])
    rules = [rule for name, rule in learned.rules.items() if name in refused and family_of([name]) is None]
    return Policy(rules, packs=policy.pack_names)


def _screen(report: CheckReport) -> Iterator[str]:
    yield f"{printable(report.type)}: {_total(report)}"
    yield ""
    yield "codecs"
    width = max(len(each.name) for each in report.codecs) + 2
    for each in report.codecs:
        note = f"{each.size:,} bytes" if each.ok else printable(each.reason)
        grant = "; carries code: loads only from a signer whose grant says code" if each.ok and each.code else ""
        yield f"  {each.name.ljust(width)}{'yes' if each.ok else 'no '}  {note}{grant}"
    if report.bad:
        yield ""
        yield f"pickle cannot write ({len(report.bad)})"
        for part in report.bad:
            able = f" ({', '.join(part.codecs)} can)" if part.codecs else ""
            yield f"  {printable(part.path) or 'made while it is pickled'}  {printable(part.type)}{able}"
            yield f"      {printable(part.reason)}"
    yield ""
    yield f"types ({len(report.types)})"
    for name, count in list(report.types.items())[:_MOST_TYPES]:
        yield f"  {count:>9,}  {printable(name)}"
    if len(report.types) > _MOST_TYPES:
        yield f"             ... {len(report.types) - _MOST_TYPES} more types"
    if report.needs is not None:
        yield ""
        yield from _needed(report.needs)


def _total(report: CheckReport) -> str:
    total = sum(report.types.values())
    return f"{total:,} object{'' if total == 1 else 's'}" + (
        "" if report.complete else ", and more that were not counted"
    )


def _needed(needs: Needs) -> Iterator[str]:
    yield "to load its pickle"
    for reason in needs.never:
        yield f"  no policy allows it: {printable(reason)}"
    if needs.never:
        return
    if not needs.names:
        yield "  nothing: it is plain data"
    elif needs.default:
        yield "  the default policy is enough"
    else:
        yield "  this policy (safeload.toml); look at each name before you allow it:"
        for line in needs.toml.splitlines():
            yield f"    {printable(line)}"
