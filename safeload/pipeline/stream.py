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
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from safeload.engine.census import Census, StreamSource, take_census
from safeload.engine.collector import pause
from safeload.engine.cost.proof import is_harmless, is_plain, plain_code
from safeload.engine.data_unpickler import Built
from safeload.errors import FormatError, SafeloadError
from safeload.pipeline.known_clean import MAX_BYTES, Judgements
from safeload.pipeline.plain import load_data, load_plain
from safeload.pipeline.verdict import COMPUTED_CLASS, Judgement, decide, refuse
from safeload.program import ARRAY_WRAPPERS
from safeload.source.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeload.audit import Operation
    from safeload.engine.trace import Tracer
    from safeload.pipeline.known_clean import Known
    from safeload.pipeline.request import JudgeOptions

__all__ = [
    "Source",
    "census_of",
    "decided",
    "has_arrays",
    "is_short",
    "judge",
    "judge_broken",
    "judgements",
    "literals_of",
    "new_tracer",
    "rebuild",
    "rebuild_bytes",
    "rebuild_short",
]

judgements: Judgements[Known] = Judgements()

# The code of the error for a stream that safeload.pipeline.joblib.walk has to read.
ARRAYS = "format.arrays"
# Opcodes that give something that could be called: GLOBAL, INST, STACK_GLOBAL, PERSID, BINPERSID. (The census knows no EXT1.)
_CALLABLES = (b"c", b"i", b"\x93", b"P", b"Q")


def has_arrays(error: SafeloadError) -> bool:
    """Whether a stream was refused because array bytes stand, or may stand, between its opcodes, as in a joblib file."""
    if error.code == ARRAYS:
        return True
    return error.broken_stream is not None and b"NumpyArrayWrapper" in error.broken_stream[0]()


class Source(StreamSource, Protocol):
    """Bytes that are read, and left behind."""

    def finish(self, size: int) -> None:
        """Leave what the bytes come from right behind the first ``size`` bytes."""
        ...

    def abandon(self, at: int | None) -> None:
        """Leave it where a broken stream stopped making sense, or at the end (``None``)."""
        ...


def rebuild(
    source: Source,
    options: JudgeOptions,
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
    with operation.child("analyse"):
        census = census_of(source, options, buffers, whole=whole)
        analysed = _analysed(census, options)
    if isinstance(analysed, Built):
        with operation.child("load"):
            return analysed.value, census.size
    judgement = _settled(census, analysed, options, operation)
    with operation.child("load"):
        return _load(judgement, options), census.size


def rebuild_bytes(
    data: bytes, options: JudgeOptions, operation: Operation, *, buffers: Iterable[Any] | None = None
) -> Any:
    """:func:`rebuild` for an artifact that is one stream in memory.

    Small plain data takes a shorter way through the same stages, and bytes that this process has judged clean before
    under the same policy, limits and options are not judged again.
    """
    if buffers is not None or len(data) > MAX_BYTES:
        return rebuild(BytesSource(data), options, operation, buffers=buffers)[0]
    if is_short(data, options):
        return rebuild_short(data, options, operation)
    place = judgements.place(data, *options.cache_key())
    known = place.known
    if known is not None:
        census = Census(data, [], len(data), 0, bool(known[0]), mutable=False)
        judgement = Judgement(census, spellings=known[0], constructed=known[1])
        with operation.child("decide", action="cached", verdict="clean", policy_digest=options.policy.digest) as stage:
            note_grant(stage, options)
    else:
        with operation.child("analyse"):
            analysed: Tracer | Built | None
            code = plain_code(data) if len(data) <= options.limits.max_stream_bytes else None
            if code is not None:
                census, analysed = Census(code, [], len(data), data[1], has_code=False, mutable=False), None
            else:
                census = census_of(BytesSource(data), options, None, whole=True)
                analysed = _analysed(census, options)
        if isinstance(analysed, Built):
            place.keep(({}, frozenset()))
            with operation.child("load"):
                return analysed.value
        judgement = _settled(census, analysed, options, operation)
        if not judgement.probes:
            place.keep((judgement.spellings or {}, judgement.constructed))
    with operation.child("load"):
        return _load(judgement, options)


def is_short(data: bytes, options: JudgeOptions) -> bool:
    """Whether ``data`` is one small stream of plain data, proven harmless, which :func:`rebuild_short` takes."""
    return is_plain(data) and len(data) <= options.limits.max_stream_bytes


def rebuild_short(data: bytes, options: JudgeOptions, operation: Operation) -> Any:
    """The stages for what :func:`is_short` has judged: there is nothing left to decide."""
    with operation.child("analyse"):
        pass
    with operation.child("load"):
        return load_plain(data, options)


def _analysed(census: Census, options: JudgeOptions) -> Tracer | Built | None:
    """Trace a stream, and weigh it; of pure data there is nothing left to decide, and it may be built already."""
    if census.has_code:
        return _traced(census, options)
    if is_harmless(census.code, census.protocol):
        return None
    with pause:
        if not census.buffers:
            from safeload.engine.built import build_data

            return build_data(
                census.code, options.limits, options.spending, encoding=options.encoding, errors=options.errors
            )
        tracer = new_tracer(options)
        tracer.trace(census.code, census.protocol, census.buffers)
        tracer.release()
    return None


def _settled(census: Census, tracer: Tracer | None, options: JudgeOptions, operation: Operation) -> Judgement:
    """The judgement of an analysed stream; raises unless the verdict is clean."""
    return Judgement(census) if tracer is None else decided(census, tracer, options, operation)


def _load(judgement: Judgement, options: JudgeOptions) -> Any:
    if not judgement.census.has_code:
        return load_data(judgement.census, options)
    from safeload.pipeline.rebuild import load_code

    return load_code(judgement, options)


def judge(
    source: StreamSource,
    options: JudgeOptions,
    operation: Operation,
    *,
    buffers: Iterable[Any] | None = None,
    will_load: bool = False,
) -> Judgement:
    """Judge the first stream of ``source`` without loading it.

    ``will_load`` says that a clean stream will be loaded: then plain data is not built once more to see whether it can be.
    """
    with operation.child("analyse"):
        census = take_census(source, options.limits, buffers)
        analysed = _analysed(census, options)
        if analysed is None and not will_load:
            load_data(census, options)  # does the unpickler accept it? It can do nothing but build it
        if analysed is None or isinstance(analysed, Built):
            return Judgement(census)
    with operation.child("decide") as stage:
        note_grant(stage, options)
        return decide(census, analysed, options)


def judge_broken(code: bytes, protocol: int, options: JudgeOptions, buffers: Sequence[Any] = ()) -> Judgement | None:
    """Judge what a stream would do before the place where it breaks; ``None`` if it would do nothing.

    ``pickle.load`` executes opcodes as they come: a payload followed by rubbish still fires. To ask for a persistent id is to
    do nothing: other files begin so (PNG images).
    """
    if not any(opcode in code for opcode in _CALLABLES):
        return None
    from safeload.program import Kind

    tracer = new_tracer(options)
    literals = literals_of(buffers)
    arguments = True
    with pause:
        try:
            tracer.trace(code, protocol, literals)
        except FormatError as error:
            if error.code == COMPUTED_CLASS:
                tracer = new_tracer(options, makes_classes=True)
                with contextlib.suppress(SafeloadError):
                    tracer.trace(code, protocol, literals)
            arguments = _weighed(tracer)
        except SafeloadError:
            arguments = False
    if all(use.kind is Kind.PERSISTENT for use in tracer.uses):
        return None
    census = Census(code, literals, len(code), protocol, has_code=True, mutable=False)
    return decide(census, tracer, options, arguments=arguments)


def literals_of(buffers: Iterable[Any]) -> list[Any]:
    """The buffers of a broken stream; what stands for the bytes of an array in a joblib file is nothing that an unpickler takes."""
    return [item if isinstance(item, bytes | bytearray | memoryview) else b"" for item in buffers]


def _weighed(tracer: Tracer) -> bool:
    """Whether what a broken stream hands to calls is light enough for the rules to look at."""
    try:
        tracer.scales.weigh()
    except SafeloadError:
        return False
    return True


def census_of(source: Source, options: JudgeOptions, buffers: Iterable[Any] | None, *, whole: bool) -> Census:
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
        f"load(file) once for each; if nothing should follow, as a line break that an editor added, cut the file off there: truncate -s {size} FILE",
        code="format.trailing",
    )


def new_tracer(options: JudgeOptions, *, makes_classes: bool | None = None) -> Tracer:
    """A tracer for streams that are judged under ``options``; if nothing else is said, calls may make classes where the policy grants code."""
    from safeload.engine.cost.account import Account
    from safeload.engine.trace import Tracer

    return Tracer(
        options.limits,
        fix_imports=options.fix_imports,
        encoding=options.encoding,
        errors=options.errors,
        makes_classes=options.policy.grants_code if makes_classes is None else makes_classes,
        named=options.named,
        account=Account(options.limits, options.spending),
    )


def _traced(census: Census, options: JudgeOptions) -> Tracer:
    tracer = new_tracer(options)
    try:
        with pause:
            try:
                tracer.trace(census.code, census.protocol, census.buffers)
            except FormatError as error:
                if error.code != COMPUTED_CLASS:
                    raise
                tracer = new_tracer(options, makes_classes=True)  # refused by decide(); this is to see all of it
                tracer.trace(census.code, census.protocol, census.buffers)
    except SafeloadError as error:
        error.broken_stream = (lambda: census.code), census.protocol, census.buffers
        raise
    tracer.release()
    if not ARRAY_WRAPPERS.isdisjoint(tracer.spellings.values()):
        arrays = FormatError("array bytes stand between the opcodes of this stream", code=ARRAYS)
        arrays.broken_stream = (lambda: census.code), census.protocol, census.buffers
        raise arrays
    return tracer


def note_grant(stage: Any, options: JudgeOptions) -> None:
    """Put on record that names and arguments are not judged, because the signer's grant says ``code``."""
    if options.policy.grants_code and stage.recording:
        stage.set(unsafe=["code"])


def decided(census: Census, tracer: Tracer, options: JudgeOptions, operation: Operation) -> Judgement:
    """The decision as a stage of its own; raises unless the verdict is clean."""
    with operation.child("decide", policy_digest=options.policy.digest) as stage:
        note_grant(stage, options)
        judgement = decide(census, tracer, options)
        if judgement.findings:
            stage.set(findings=[finding.rule_id for finding in judgement.findings])
            refuse(judgement)
        stage.set(verdict="clean")
    return judgement
