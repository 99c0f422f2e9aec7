"""The only place that knows the order of the stages.

    read -> verify -> decrypt -> analyse (census, key walk, trace) -> decide (fickling, policy, manifest) -> load -> validate

Rules, each enforced here:

1. Where a key is required, no payload byte reaches a parser before it is authenticated.
2. Nothing of a stream is imported or run before the whole stream was judged.
3. What was judged is what is loaded: the same bytes object, the same buffers, never a path opened again.
4. Only a verdict of ``clean`` loads; an error in a check refuses.
5. Every stage is an audit operation: an attempt before it, a result after it, on failure too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from safeload.analysis.census import Census, StreamSource, take_census
from safeload.analysis.shapes import is_harmless, is_plain, plain_code
from safeload.errors import FormatError, LoadError, PolicyError, SafeloadError
from safeload.feed import CodeFeed
from safeload.formats.sources import BytesSource
from safeload.judgements import MAX_BYTES, Judgements
from safeload.loading.collector import CollectorPause
from safeload.loading.unpickler import DataUnpickler, RestrictedUnpickler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from safeload.analysis.hashing import KeyWalk
    from safeload.analysis.trace import Tracer
    from safeload.audit import Operation
    from safeload.findings import Finding, Report
    from safeload.limits import Limits
    from safeload.policy import Policy
    from safeload.program import Program, Use

__all__ = [
    "Judgement",
    "MemoTracer",
    "Options",
    "judge",
    "judge_broken",
    "rebuild",
    "rebuild_bytes",
    "report_of",
    "run",
    "users",
]

_pause = CollectorPause()
judgements = Judgements()
# Streams that an unpickler has loaded are kept up to this size, to judge them again for another one's memo.
_HISTORY_BYTES = 1 << 22


class Source(StreamSource, Protocol):
    """Bytes that are read, and left behind."""

    def finish(self, size: int) -> None:
        """Leave what the bytes come from right behind the first ``size`` bytes."""
        ...

    def abandon(self, at: int | None) -> None:
        """Leave it where a broken stream stopped making sense, or at the end (``None``)."""
        ...


class Options(NamedTuple):
    """How streams are judged and rebuilt; the keyword arguments of ``pickle.load`` among them."""

    policy: Policy
    limits: Limits
    manifest: tuple[str, ...] | None = None
    fix_imports: bool = True
    encoding: str = "ASCII"
    errors: str = "strict"
    persistent_load: Callable[[Any], Any] | None = None
    find_class: Callable[[str, str], Any] | None = None


class Judgement(NamedTuple):
    """What is known about a stream before anything of it is loaded; ``program`` is ``None`` for pure data."""

    census: Census
    program: Program | None = None
    spellings: Mapping[tuple[str, str], str] | None = None
    constructed: frozenset[str] = frozenset()  # names that instances are made of without a call
    findings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    source_code: str = ""


def rebuild(
    source: Source,
    options: Options,
    operation: Operation,
    *,
    buffers: Iterable[Any] | None = None,
    whole: bool = True,
) -> tuple[Any, int]:
    """Judge the first stream of ``source`` and rebuild its object: the whole way for one stream.

    Args:
        source: the bytes.
        options: policy, limits, and the keyword arguments of ``pickle.load``.
        operation: the audit operation that this is part of.
        buffers: out-of-band buffers.
        whole: nothing may follow the stream.

    Returns:
        The object, and the length of the stream in bytes.

    Raises:
        SafeloadError: whatever refused; see :mod:`safeload.errors`.
    """
    judgement = _judged(source, options, operation, buffers, whole=whole)
    with operation.child("load"):
        return _load(judgement, options), judgement.census.size


def rebuild_bytes(data: bytes, options: Options, operation: Operation, *, buffers: Iterable[Any] | None = None) -> Any:
    """:func:`rebuild` for an artifact that is one stream in memory.

    Small plain data takes a shorter way through the same stages, and bytes that this process has judged clean before
    under the same policy, limits and options are not judged again.
    """
    if buffers is not None or len(data) > MAX_BYTES:
        return rebuild(BytesSource(data), options, operation, buffers=buffers)[0]
    with operation.child("analyse"):
        plain = is_plain(data)
    if plain:
        with operation.child("load"):
            return _load_plain(data, options)
    key = (hashlib.sha256(data).digest(), options.policy.digest, *options[1:6])
    known = judgements.get(key)
    if known is None and len(data) <= options.limits.max_stream_bytes:
        with operation.child("analyse"):
            code = plain_code(data)
        if code is not None:
            judgements.add(key, ({}, frozenset()))
            with operation.child("load"):
                return _load_data(Census(code, [], len(data), data[1], has_code=False, mutable=False), options)
    if known is None:
        judgement = _judged(BytesSource(data), options, operation, None, whole=True)
        judgements.add(key, (judgement.spellings or {}, judgement.constructed))
    else:
        census = Census(data, [], len(data), 0, bool(known[0]), mutable=False)
        judgement = Judgement(census, spellings=known[0], constructed=known[1])
        with operation.child("decide", action="cached", verdict="clean", policy_digest=options.policy.digest):
            pass
    with operation.child("load"):
        return _load(judgement, options)


def _judged(
    source: Source, options: Options, operation: Operation, buffers: Iterable[Any] | None, *, whole: bool
) -> Judgement:
    """The stages before the load; raises unless the verdict is clean."""
    with operation.child("analyse"):
        census = _census(source, options, buffers, whole=whole)
        if not census.has_code and is_harmless(census.code, census.protocol):
            return Judgement(census)
        tracer = _trace(census, options)
        if not census.has_code:
            return Judgement(census)
    return _decided(census, tracer, options, operation)


def _load(judgement: Judgement, options: Options) -> Any:
    return _load_code(judgement, options) if judgement.census.has_code else _load_data(judgement.census, options)


def judge(
    source: StreamSource, options: Options, operation: Operation, *, buffers: Iterable[Any] | None = None
) -> Judgement:
    """Judge the first stream of ``source`` without loading it."""
    with operation.child("analyse"):
        census = take_census(source, options.limits, buffers)
        tracer = _trace(census, options)
        if not census.has_code:
            _data_loads(census, options)
            return Judgement(census)
    with operation.child("decide"):
        return _decide(census, tracer, options)


def judge_broken(code: bytes, protocol: int, options: Options) -> Judgement | None:
    """Judge what a stream would do before the place where it breaks; ``None`` if it would do nothing.

    ``pickle.load`` executes opcodes as they come: a payload followed by rubbish still fires.
    """
    from safeload.analysis.hashing import KeyWalk
    from safeload.analysis.trace import Tracer

    tracer = Tracer(options.limits, fix_imports=options.fix_imports)
    census = Census(code, [], len(code), protocol, has_code=True, mutable=False)
    try:
        with contextlib.suppress(FormatError):
            KeyWalk(options.limits).walk(code)
        with contextlib.suppress(FormatError):
            tracer.trace(code, protocol)
    except SafeloadError:
        return None
    return _decide(census, tracer, options) if tracer.uses else None


def _census(source: Source, options: Options, buffers: Iterable[Any] | None, *, whole: bool) -> Census:
    """The census of a stream, which ``source`` leaves behind: whatever follows is read by whoever asks for it next.

    That holds for refused streams too, so a program may go on with the next one.
    """
    try:
        census = take_census(source, options.limits, buffers)
    except SafeloadError as error:
        source.abandon(None if isinstance(error, EOFError) else error.stopped_at)
        raise
    if whole and source.more_than(census.size):
        _trailing(census.size)
    source.finish(census.size)
    return census


def _trailing(size: int) -> NoReturn:
    raise FormatError(
        f"the pickle ends at byte {size}, but more follows; nothing was loaded. For a file of several pickles open it and call "
        "load(file) once for each",
        code="format.trailing",
    )


def _trace(census: Census, options: Options) -> Tracer:
    """The exact way: bound what hashing costs, then ask the unpickler what the stream would do."""
    from safeload.analysis.hashing import KeyWalk
    from safeload.analysis.trace import Tracer

    with _pause:
        KeyWalk(options.limits).walk(census.code, census.buffers)
    tracer = Tracer(options.limits, fix_imports=options.fix_imports, encoding=options.encoding, errors=options.errors)
    if census.has_code:
        try:
            with _pause:
                tracer.trace(census.code, census.protocol, census.buffers)
        except SafeloadError as error:
            error.broken_stream = (lambda: census.code), census.protocol
            raise
    return tracer


def _decided(census: Census, tracer: Tracer, options: Options, operation: Operation) -> Judgement:
    """The decision as a stage of its own; raises unless the verdict is clean."""
    with operation.child("decide", policy_digest=options.policy.digest) as stage:
        judgement = _decide(census, tracer, options)
        if judgement.findings:
            stage.set(findings=[finding.rule_id for finding in judgement.findings])
            _refuse(judgement)
        stage.set(verdict="clean")
    return judgement


def _decide(census: Census, tracer: Tracer, options: Options) -> Judgement:
    from safeload.analysis.gate import fickling_gate
    from safeload.program import Kind, Program

    program = Program.of(tracer.uses)
    persistent = options.persistent_load is not None
    refused = options.policy.decide(program, manifest=options.manifest, persistent=persistent)
    gate = fickling_gate(program)
    notes = gate.by_name
    findings = list(gate.structural)
    if refused:
        # Where the policy names an import or a call, fickling's view of that name is kept as information; what it says
        # of the refused ones counts.
        named = {finding.evidence for finding in refused}
        rest = Program.of(use for use in program.uses if use.name in named or use.name.replace(":", ".") in named)
        counted = fickling_gate(rest).by_name
        notes = tuple(note for note in notes if note not in counted)
        findings += [*_with_evidence(refused), *counted]
    findings = sorted(dict.fromkeys(findings), key=_order)
    constructed = frozenset(name for kind, name in program.operations if kind is Kind.CONSTRUCT)
    return Judgement(
        census, program, tracer.spellings, constructed, tuple(findings), tuple(dict.fromkeys(notes)), gate.source_code
    )


def _with_evidence(refused: Iterable[Finding]) -> Iterator[Finding]:
    """Refusals of globals that no data needs say so: evidence of harm, not just an unknown name."""
    import dataclasses

    from safeload.analysis.harmful import is_harmful
    from safeload.findings import Severity, Verdict

    for finding in refused:
        if finding.evidence and is_harmful(finding.evidence):
            message = finding.message.partition(". ")[0] + "; this is a way to run code, and no data needs it"
            yield dataclasses.replace(finding, severity=Severity.CRITICAL, verdict=Verdict.MALICIOUS, message=message)
        else:
            yield finding


def _order(finding: Finding) -> tuple[int, bool, str, str, str]:
    """Most serious first, the policy's before fickling's (they say what to do); the same order in every run."""
    by_fickling = finding.rule_id.startswith("fickling.")
    return -finding.severity, by_fickling, finding.rule_id, finding.evidence, finding.message


def _refuse(judgement: Judgement) -> NoReturn:
    report = report_of([judgement])
    first = judgement.findings[0]
    more = len(judgement.findings) - 1
    others = f" (and {more} more finding{'s' if more > 1 else ''}, see .report)" if more else ""
    raise PolicyError(f"refused as {report.verdict}: {first.message}{others}", code=first.rule_id, report=report)


def report_of(judgements: Sequence[Judgement], **fields: Any) -> Report:
    """The report of an artifact with these streams; ``fields`` are further attributes of :class:`Report`."""
    from safeload.findings import Report, StreamInfo, worst_verdict

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
    source_code = "\n\n".join(judgement.source_code for judgement in judgements if judgement.source_code)
    return Report(
        verdict,
        tuple(findings),
        globals=tuple(names),
        streams=tuple(streams),
        source_code=source_code,
        **{"container": "pickle", **fields},
    )


def _located(judgement: Judgement, index: int) -> Iterator[Finding]:
    import dataclasses

    from safeload.findings import Severity, Verdict

    where = f"stream {index}"
    for finding in judgement.findings:
        yield dataclasses.replace(finding, location=finding.location or where)
    for note in judgement.notes:
        yield dataclasses.replace(note, location=where, severity=Severity.INFO, verdict=Verdict.CLEAN)


def _load_plain(data: bytes, options: Options) -> Any:
    """A small stream in one frame, which the C unpickler reads from a C file at once."""
    try:
        return DataUnpickler(io.BytesIO(data), encoding=options.encoding, errors=options.errors).load()
    except SafeloadError:
        raise
    except Exception as error:
        raise FormatError.wrap(error) from error


def _load_data(census: Census, options: Options) -> Any:
    unpickler = DataUnpickler(
        CodeFeed(census.code), encoding=options.encoding, errors=options.errors, buffers=census.buffers or None
    )
    try:
        with _pause:
            return unpickler.load()
    except SafeloadError:
        raise
    except Exception as error:
        raise FormatError.wrap(error) from error


def _data_loads(census: Census, options: Options) -> None:
    """Does the unpickler accept a stream of pure data? It can do nothing but build it."""
    _load_data(census, options)


def _load_code(judgement: Judgement, options: Options) -> Any:
    census = judgement.census
    unpickler = RestrictedUnpickler(
        CodeFeed(census.code),
        resolve_all(judgement, options.policy),
        find_class=options.find_class,
        persistent_load=options.persistent_load,
        buffers=settled(judgement),
        encoding=options.encoding,
        errors=options.errors,
    )
    with _pause:
        return run(unpickler)


# Calls that make an array of the buffer they are given first.
_ARRAY_MAKERS = frozenset({"numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"})


def settled(judgement: Judgement) -> list[Any] | None:
    """The buffers of a stream, with every BYTEARRAY8 that does not become an array as a real bytearray.

    Writable array bytes are read into memory of their own (``FileSource.take_mutable``), because a bytearray would be
    written twice. The array does not show; anything else would.
    """
    buffers = judgement.census.buffers
    if not judgement.census.mutable or judgement.program is None:
        return buffers or None
    arrays = {
        id(use.args[0].obj)
        for use in judgement.program.uses
        if use.name in _ARRAY_MAKERS and use.args and type(use.args[0]) is memoryview
    }
    return [
        bytearray(buffer)
        if type(buffer) is memoryview and _is_private(buffer) and id(buffer.obj) not in arrays
        else buffer
        for buffer in buffers
    ]


def _is_private(buffer: memoryview) -> bool:
    """Whether this process made the memory for a literal of the stream (the caller's own buffers stay as they are)."""
    return type(buffer.obj).__module__ in ("mmap", "builtins") and not buffer.readonly


def resolve_all(judgement: Judgement, policy: Policy) -> dict[tuple[str, str], Any]:
    """Every global of a judged stream, by the names that the stream spells.

    Raises:
        LoadError: a name does not exist.
        PolicyError: a name is not what the policy meant (:mod:`safeload.loading.resolve`).
    """
    from safeload.loading.resolve import check_class, resolve

    resolved = {}
    for spelling, name in (judgement.spellings or {}).items():
        found = resolved[spelling] = resolve(_target(name, policy))
        if name in judgement.constructed:
            check_class(name, found, callable_too=_may_call(name, policy))
    return resolved


def _may_call(name: str, policy: Policy) -> bool:
    """Whether the policy lets ``name`` be called, with any arguments."""
    rule = policy.rule(name)
    return policy.grants_code or (rule is not None and rule.call is True)


def _target(name: str, policy: Policy) -> str:
    """The name that the policy loads in place of ``name``: usually the same."""
    rule = policy.rule(name)
    return name if rule is None else rule.resolve or name


class MemoTracer:
    """Judges streams that share a memo, one after the other.

    The first stream is traced only if it has to be; when a second one comes, the first is caught up on, because the second
    may use what the first one memoized. Rule: the traced memo holds what the unpickler's memo holds. A stream that was
    refused is taken out of it again (:meth:`rewind`), because the unpickler never sees that stream.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._history: list[Census] | None = []  # judged streams; None once they are too large to keep
        self._tracer: Tracer | None = None
        self._walk: KeyWalk | None = None
        self._renamed: dict[str, set[str]] = {}  # what the application's find_class found under another name
        self._tracing = False  # the tracer is ahead of the unpickler, or was left in the middle of a stream

    def judge(
        self,
        source: Source,
        operation: Operation,
        buffers: Iterable[Any] | None,
        *,
        persistent_load: Callable[[Any], Any] | None = None,
        whole: bool = False,
    ) -> Judgement:
        """Judge the next stream of ``source``; raises unless the verdict is clean."""
        options = self._options._replace(persistent_load=persistent_load)
        with operation.child("analyse"):
            census = _census(source, options, buffers, whole=whole)
            untouched = not self._history and self._tracer is None
            if untouched and not census.has_code and is_harmless(census.code, census.protocol):
                self._history = [census]
                return Judgement(census)
            tracer, walk = self._state()
            self._tracing = True
            walk.walk(census.code, census.buffers)
            tracer.uses.clear()
            with _pause:
                tracer.trace(census.code, census.protocol, census.buffers)
        judgement = _decided(census, tracer, options, operation) if tracer.uses else Judgement(census)
        for asked, found in self._renamed.items():
            self._decide_renamed(asked, found)
        self._remember(census)
        self._tracing = False
        return judgement

    def rewind(self) -> bool:
        """Undo what a refused stream did to the traced memo; ``False`` if that is not known any more."""
        if self._tracing:
            self._tracing = False
            self._tracer = self._walk = None
            return self._history is not None
        return True

    def _remember(self, census: Census) -> None:
        history = self._history
        if history is not None:
            history.append(census)
            if sum(len(past.code) for past in history) > _HISTORY_BYTES:
                self._history = None

    def resolve_into(self, resolved: dict[tuple[str, str], Any]) -> None:
        """Add the globals of the streams judged so far."""
        from safeload.loading.resolve import check_class, resolve
        from safeload.program import Kind

        if self._tracer is None:
            return
        constructed = {use.name for use in self._tracer.uses if use.kind is Kind.CONSTRUCT}
        for spelling, name in self._tracer.spellings.items():
            if spelling not in resolved:
                resolved[spelling] = resolve(_target(name, self._options.policy))
            if name in constructed:
                check_class(name, resolved[spelling], callable_too=_may_call(name, self._options.policy))

    def find(self, module: str, name: str, original: tuple[str, str] | None) -> Any:
        """Resolve a name that the application asks for while the stream's ``original`` name is looked up.

        What the stream does with the original name it then does with this one, so that is what is judged.
        """
        from safeload.analysis.trace import legacy_name, policy_name
        from safeload.loading.resolve import check_class, resolve
        from safeload.program import Kind, Use

        tracer, _ = self._state()
        known = tracer.spellings.get((module, name))
        if known is None or original != (module, name):
            if known is None:
                if tracer.maps_names:
                    module, name = legacy_name(module, name)
                known = policy_name(module, name)
            asked = tracer.spellings.get(original) if original else None
            if asked is None:
                self._decide_uses([Use(Kind.REFERENCE, known)])
            else:
                self._decide_renamed(asked, {known})
                self._renamed.setdefault(asked, set()).add(known)
        found = resolve(_target(known, self._options.policy))
        asked = tracer.spellings.get(original) if original else None
        if any(use.kind is Kind.CONSTRUCT and use.name in (asked, known) for use in tracer.uses):
            check_class(known, found, callable_too=_may_call(known, self._options.policy))
        return found

    def _decide_renamed(self, asked: str, found: Iterable[str]) -> None:
        """What the latest stream does with ``asked``, it does with what was found instead, in that stream or before."""
        uses = self._tracer.uses if self._tracer else ()
        for name in found:
            self._decide_uses([use._replace(name=name) for use in uses if use.name == asked])

    def _decide_uses(self, uses: list[Use]) -> None:
        from safeload.program import Program

        refused = self._options.policy.decide(Program.of(uses))
        if refused:
            raise PolicyError(f"refused: {refused[0].message}", code=refused[0].rule_id)

    def share_memo(self, other: MemoTracer) -> None:
        """Take over the memo of another tracer, by tracing again what it has traced.

        Its stand-ins cannot be shared: what is done to them would be recorded there, and judged by nobody here.
        """
        if other._history is None:
            raise ValueError("this memo belongs to streams that are too large to judge again")
        self._history = [*other._history]
        self._tracer = self._walk = None

    def clear_memo(self) -> None:
        """Forget what was memoized."""
        self._history = []
        self._tracer = self._walk = None
        self._tracing = False

    def _state(self) -> tuple[Tracer, KeyWalk]:
        from safeload.analysis.hashing import KeyWalk
        from safeload.analysis.trace import Tracer

        options = self._options
        if self._tracer is None or self._walk is None:
            tracer = Tracer(
                options.limits, fix_imports=options.fix_imports, encoding=options.encoding, errors=options.errors
            )
            walk = KeyWalk(options.limits)
            for census in self._history or ():
                walk.walk(census.code, census.buffers)
                tracer.trace(census.code, census.protocol, census.buffers)
            self._tracer, self._walk = tracer, walk
        return self._tracer, self._walk


class UserError(Exception):
    """Carries an exception of the application's own find_class or persistent_load through the unpickler."""


def users(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """``function``, with its exceptions marked as the application's."""
    if function is None:
        return None

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            raise UserError from error

    return call


def run(unpickler: Any) -> Any:
    """Let an unpickler load; what it raises becomes a :class:`LoadError`, what the application raises stays."""
    try:
        return unpickler.load()
    except SafeloadError:
        raise
    except UserError as error:
        cause = error.__cause__
    except Exception as error:
        raise LoadError.wrap(error) from error
    assert cause is not None  # noqa: S101 - set by users()
    raise cause  # not inside the handler, which would make UserError part of the application's exception
