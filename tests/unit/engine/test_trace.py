"""The trace: what a stream would do, recorded by the unpickler itself on stand-ins that do nothing."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

from safeload.engine.trace import Tracer, legacy_name, policy_name
from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.program import Keywords, Kind, Standin, Use, global_name, producer


def trace(
    code: bytes, protocol: int = 0, limits: Limits = DEFAULT_LIMITS, buffers: Any = (), **options: Any
) -> list[Use]:
    tracer = Tracer(limits, **options)
    tracer.trace(code, protocol, buffers)
    return tracer.uses


def seen(code: bytes, protocol: int = 0, **options: Any) -> list[tuple[str, str]]:
    return [(use.kind.value, use.name) for use in trace(code, protocol, **options)]


G = b"cm\nf\n"
REF = ("reference", "m.f")

WAYS = {
    "GLOBAL": (G + b".", [REF]),
    "STACK_GLOBAL": (b"\x8c\x01m\x8c\x01f\x93.", [REF]),
    "REDUCE": (G + b")R.", [REF, ("call", "m.f")]),
    "NEWOBJ": (G + b")\x81.", [REF, ("construct", "m.f")]),
    "NEWOBJ_EX": (G + b")}\x92.", [REF, ("construct", "m.f")]),
    "BUILD": (G + b")R}b.", [REF, ("call", "m.f"), ("state", "m.f")]),
    "BUILD with None": (G + b")RNb.", [REF, ("call", "m.f"), ("state", "m.f")]),
    "BUILD on the class": (G + b"}b.", [REF, ("class-state", "m.f")]),
    "BUILD on the class, slots": (G + b"N}\x8c\x01aNs\x86b.", [REF, ("class-state", "m.f")]),
    "APPEND": (G + b")RNa.", [REF, ("call", "m.f"), ("items", "m.f")]),
    "APPENDS": (G + b")R(NNe.", [REF, ("call", "m.f"), ("items", "m.f")]),
    "SETITEM": (G + b")RNNs.", [REF, ("call", "m.f"), ("items", "m.f")]),
    "SETITEMS": (G + b")R(NNu.", [REF, ("call", "m.f"), ("items", "m.f")]),
    "ADDITEMS": (G + b")R(N\x90.", [REF, ("call", "m.f"), ("items", "m.f")]),
    "APPEND to the class": (G + b"Na.", [REF, ("class-state", "m.f")]),
    "SETITEM on the class": (G + b"NNs.", [REF, ("class-state", "m.f")]),
    "ADDITEMS on the class": (G + b"(N\x90.", [REF, ("class-state", "m.f")]),
    "computed": (G + b")R)R.", [REF, ("call", "m.f"), ("computed", "m.f")]),
    "popped": (G + b")R0N.", [REF, ("call", "m.f")]),
    "from memo": (G + b"q\x000h\x00)R.", [REF, ("call", "m.f")]),
    "DUP": (G + b"2)R00N.", [REF, ("call", "m.f")]),
    "persistent": (b"Pid\n.", [("persistent", "")]),
    "persistent, binary": (b"NQ.", [("persistent", "")]),
    "OBJ with arguments": (b"(" + G + b"No.", [REF, ("call", "m.f")]),
    "INST with arguments": (b"(Nim\nf\n.", [REF, ("call", "m.f")]),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_use_is_recorded(way: str) -> None:
    """Each opcode that does something leaves its record, in order."""
    code, expected = WAYS[way]
    found = seen(code, 4)
    assert [found[index] for index in range(len(expected))] == expected
    assert {name for _, name in found} == {name for _, name in expected}


@pytest.mark.parametrize("code", [b"(" + G + b"o.", b"(im\nf\n."])
def test_calls_without_arguments_are_recorded(code: bytes) -> None:
    """OBJ and INST without arguments construct a class, and call anything else: one of the two is in the trace."""
    assert seen(code)[-1] in (("construct", "m.f"), ("call", "m.f"))


@pytest.mark.parametrize("name", ["_reconstructor", "__newobj__", "__newobj_ex__"])
def test_constructors_of_copyreg(name: str) -> None:
    """A call that makes an instance of its first argument is a construction of that class too."""
    uses = trace(b"ccopyreg\n" + name.encode() + b"\n" + G + b"N\x86R}b.", 4)
    kinds = [(use.kind, use.name) for use in uses]
    assert kinds[2:] == [(Kind.CALL, f"copyreg.{name}"), (Kind.CONSTRUCT, "m.f"), (Kind.STATE, "m.f")]
    assert uses[3].args == (None,)


def test_arguments() -> None:
    """Arguments are the real values, globals and results are stand-ins, keywords are told apart."""
    [_, use] = trace(G + b"(K\x01\x8c\x01a]}tR.", 4)
    assert use.args == (1, "a", [], {})
    uses = trace(G + G + b")R\x85R.", 4)
    assert producer(uses[-1].args[0]) == "m.f"
    assert isinstance(uses[-1].args[0], Standin)
    assert uses[2].target is uses[-1].args[0]
    uses = trace(G + G + b"\x85R.", 4)
    assert global_name(uses[-1].args[0]) == "m.f"
    [_, use] = trace(G + b"N\x85}\x8c\x01kK\x02s\x92.", 4)
    assert use.args == (None, {"k": 2})
    assert isinstance(use.args[1], Keywords)


def test_arguments_are_as_they_were() -> None:
    """What a stream does to a list or a dict after it was passed does not change the record."""
    uses = trace(G + b"]q\x00K\x01a\x85R0h\x00K\x02a0" + G + b"h\x00\x85R.", 4)
    calls = [use.args for use in uses if use.kind is Kind.CALL]
    assert calls == [([1],), ([1, 2],)]
    uses = trace(G + b"}q\x00\x8c\x01aK\x01s\x85Rh\x00\x8c\x01bK\x02s0.", 4)
    assert uses[-1].args == ({"a": 1},)
    inner = b"}q\x00\x8c\x01pK\x09s0" + G + b")R}\x8c\x01sh\x00sb" + b"h\x00\x8c\x01pK\x00s0."
    assert trace(inner, 4)[-1].args == ({"s": {"p": 9}},)
    assert trace(inner.replace(b"}\x8c\x01sh\x00s", b"}\x8c\x01sh\x00sN\x86"), 4)[-1].args == (({"s": {"p": 9}}, None),)


def test_nothing_is_imported() -> None:
    """Names that would run code when imported stay names."""
    before = set(sys.modules)
    for module in ("antigravity", "this", "idlelib.idle", "no.such.module"):
        assert seen(f"c{module}\nx\n)R.".encode()) == [("reference", f"{module}.x"), ("call", f"{module}.x")]
    assert set(sys.modules) == before


def test_names() -> None:
    """Python 2 names are mapped below protocol 3, dotted names have a colon from protocol 4 on."""
    assert seen(b"c__builtin__\nunicode\n.") == [("reference", "builtins.str")]
    assert seen(b"c__builtin__\nunicode\n.", fix_imports=False) == [("reference", "__builtin__.unicode")]
    assert seen(b"c__builtin__\nunicode\n.", 3) == [("reference", "__builtin__.unicode")]
    assert seen(b"cm\na.b\n.", 4) == [("reference", "m:a.b")]
    assert policy_name("m", "a") == "m.a"
    assert policy_name("m", "a.b") == "m:a.b"
    assert legacy_name("copy_reg", "_reconstructor") == ("copyreg", "_reconstructor")
    assert legacy_name("m", "n") == ("m", "n")
    tracer = Tracer(DEFAULT_LIMITS)
    tracer.trace(b"c__builtin__\nunicode\n.", 2)
    assert tracer.spellings == {("__builtin__", "unicode"): "builtins.str"}
    assert tracer.maps_names
    with pytest.raises(FormatError, match="dotted"):
        trace(b"cm\na.b\n.", 2)


@pytest.mark.parametrize(
    "code",
    [
        b"ca b\nc\n.",
        b"ca\nb c\n.",
        b"c.\na\n.",
        b"ca\n.\n.",
        b"ca\n1\n.",
        b"\x8c\x01aK\x01\x93.",
        b"K\x01\x8c\x01a\x93.",
        b"\x8c\x01a\x8c\x00\x93.",
    ],
)
def test_names_that_no_pickler_writes(code: bytes) -> None:
    """Refused where they are met."""
    with pytest.raises(FormatError):
        trace(code, 4)


def test_limits() -> None:
    """Names, globals and operations are bounded."""
    with pytest.raises(LimitExceededError, match="max_global_name"):
        trace(b"c" + b"a" * 50 + b"\nb\n.", limits=Limits(max_global_name=40))
    with pytest.raises(LimitExceededError, match="max_globals"):
        trace(b"".join(b"cm\nf%d\n0" % index for index in range(6)) + b"N.", limits=Limits(max_globals=5))
    with pytest.raises(LimitExceededError, match="max_operations"):
        trace((G + b"0") * 6 + b"N.", limits=Limits(max_operations=5))


@pytest.mark.parametrize(
    "code",
    [
        b"0.",
        b"K\x01)R.",
        b"N)\x81.",
        b"N}b.",
        b"h\x05.",
        b"]Nb.",
        b"NNNs.",
        b"]]Ns.",
        G + b"NR.",
        G + b"N\x81.",
        G + b")N\x92.",
        b"N\x97.",
    ],
)
def test_what_the_unpickler_refuses(code: bytes) -> None:
    """The unpickler's own errors are format errors; a BUILD of nothing on plain data does nothing."""
    if code == b"]Nb.":
        assert seen(code) == []
        return
    with pytest.raises(FormatError):
        trace(code, 4)


def test_persistent_objects_and_classes_from_calls() -> None:
    """What a persistent id stands for may not be touched; a class has to be named."""
    for code in (b"NQ)R.", b"NQ}b.", b"NQNb.", b"NQNa.", b"NQNNs.", b"NQ(N\x90."):
        with pytest.raises(FormatError):
            trace(code, 4)
    with pytest.raises(FormatError) as caught:
        trace(G + b")R)\x81.", 4)
    assert caught.value.code == "policy.computed-call"


def test_shared_memo_and_buffers() -> None:
    """Streams of one unpickler share a memo; buffers are shown read-only."""
    tracer = Tracer(DEFAULT_LIMITS)
    tracer.trace(b"\x80\x04" + G + b"\x94.", 4)
    tracer.trace(b"h\x00)R.", 4)
    assert [use.kind for use in tracer.uses] == [Kind.REFERENCE, Kind.CALL]
    buffer = bytearray(b"abc")
    shown = Tracer(DEFAULT_LIMITS).trace(b"\x97.", 5, [buffer])
    assert shown.readonly
    assert bytes(shown) == b"abc"
    assert Tracer(DEFAULT_LIMITS).trace(b"\x97.", 5, [b"abc"]) == b"abc"


def test_recursion_is_a_limit() -> None:
    """What makes the interpreter give up while tracing is refused like any other exhaustion."""
    key = b"N" + b"\x85" * 20
    assert trace(b"}" + key + b"Ns.", 4) == []
    with pytest.raises(FormatError):
        trace(b"]" + b"\x85" * 5 + b"q\x000}h\x00Ns.", 4)


def test_real_objects() -> None:
    """Pickles of real objects: the program of what they need and nothing else."""
    import collections
    import decimal
    import fractions

    value = [decimal.Decimal("1.5"), fractions.Fraction(1, 3), collections.OrderedDict(a=1)]
    for protocol in range(6):
        names = {name for _, name in seen(_canonical(pickle.dumps(value, protocol)), protocol)}
        assert names == {"decimal.Decimal", "fractions.Fraction", "collections.OrderedDict"}


def _pieces(code: bytes) -> list[bytes]:
    """Every opcode on its own."""
    import pickletools

    starts = [at for _, _, at in pickletools.genops(code)]
    return [code[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


@pytest.mark.parametrize("protocol", range(6))
def test_pieces(protocol: int) -> None:
    """A stream in pieces: when the next piece is asked for, all before was executed, and the whole is the same."""
    import collections
    import decimal

    value = [
        decimal.Decimal("1.5"),
        "text",
        b"bytes",
        2**70,
        1.5,
        collections.OrderedDict(a=1),
        {"key": (1, 2)},
        {3},
        "",
    ]
    value += [complex(1, 2), "long " * 99, bytearray(b"bytes"), bytearray(), collections.Counter("ab"), -1, b""]
    code = _canonical(pickle.dumps(value, protocol))
    whole = Tracer(DEFAULT_LIMITS)
    built = whole.trace(code, protocol)
    tracer, before, pieces = Tracer(DEFAULT_LIMITS), 0, iter(_pieces(code))
    piece = b""

    def next_piece() -> bytes:
        nonlocal before, piece
        assert piece[:1] not in CODE or len(tracer.uses) > before
        before, piece = len(tracer.uses), next(pieces)
        return piece

    in_pieces = tracer.trace_pieces(next_piece, protocol)
    assert next(pieces, None) is None
    assert [use[:2] for use in tracer.uses] == [use[:2] for use in whole.uses]
    assert [item for item in in_pieces if not isinstance(item, Standin)] == [
        item for item in built if not isinstance(item, Standin)
    ]


CODE = {bytes([opcode]) for opcode in b"ciRbo\x81\x92\x93QP"}


@pytest.mark.parametrize("way", WAYS)
def test_every_use_in_pieces(way: str) -> None:
    """Every way of using a global is recorded before the next piece is asked for."""
    code, expected = WAYS[way]
    pieces = iter(_pieces(code))
    tracer = Tracer(DEFAULT_LIMITS)
    tracer.trace_pieces(lambda: next(pieces), 0)
    assert [(use.kind.value, use.name) for use in tracer.uses] == expected


@pytest.mark.parametrize(
    "pieces",
    [[b""], [b"N"], [b"N", b""], [b"\x8c\x05ab", b"cde."], [b"G\x00", bytes(7) + b"."], [b"N.", b"N"], [b"N.N"], [b"I1", b"\n."]],
)  # fmt: skip
def test_pieces_that_do_not_fit(pieces: list[bytes]) -> None:
    """A stream that ends without STOP, goes on behind it, or is cut inside an argument is refused."""
    left = iter(pieces)
    tracer = Tracer(DEFAULT_LIMITS)
    if pieces[0] == b"N.":
        assert tracer.trace_pieces(lambda: next(left), 4) is None
        assert list(left) == [b"N"]  # nobody asks for what follows STOP
    else:
        with pytest.raises(FormatError):
            tracer.trace_pieces(lambda: next(left, b""), 4)


def test_refusing_between_pieces() -> None:
    """What the source of the pieces raises ends the trace."""

    def refuse() -> bytes:
        raise LimitExceededError("enough", code="limit.test")

    with pytest.raises(LimitExceededError, match="enough"):
        Tracer(DEFAULT_LIMITS).trace_pieces(refuse, 4)

    def mistake() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tracer(DEFAULT_LIMITS).trace_pieces(mistake, 4)


def _canonical(data: bytes) -> bytes:
    from safeload.engine.census import take_census
    from safeload.source.sources import BytesSource

    return take_census(BytesSource(data), DEFAULT_LIMITS).code


@pytest.mark.parametrize("end", [b"(K\x01", b"0000.", b"K\x01\x81.", b"R."])
def test_a_failure_leaves_nothing_in_memory(end: bytes) -> None:
    """Objects on the stack of an unpickler that has failed are invisible to the collector, and lead back to the trace."""
    import gc
    import weakref

    tracer = Tracer(DEFAULT_LIMITS)
    with pytest.raises(SafeloadError):
        tracer.trace(b"\x80\x04]\x94(cm\nC\n\x94)\x81\x94}b" + end, 4)
    known = weakref.ref(tracer)
    del tracer
    gc.collect()
    assert known() is None


def test_what_a_stream_leaves_on_the_stack_is_forgotten() -> None:
    """STOP takes the last object; those below it would stay in memory with the trace that they lead back to."""
    import gc
    import weakref

    tracer = Tracer(DEFAULT_LIMITS)
    assert tracer.trace(b"\x80\x04cm\nC\n\x94)\x81\x94(h\x01K\x07.", 4) == 7
    assert tracer.trace(b"\x80\x04h\x00)\x81.", 4).safeload_producer == "m.C"  # the memo is not forgotten
    known = weakref.ref(tracer)
    del tracer
    gc.collect()
    assert known() is None


def test_a_state_does_not_change_after_it_was_set() -> None:
    """A class that makes the state its own dict would get attributes that nobody has judged."""
    for opened in (b"}\x94", b"N}\x94\x86\x94"):
        slot = b"h\x00"
        code = opened + b"0cm\nC\n)\x81" + (slot if opened[:1] == b"}" else b"h\x01") + b"b" + slot + b"\x8c\x06append"
        with pytest.raises(FormatError, match="the state of an object already"):
            Tracer(DEFAULT_LIMITS).trace(code + b"Ns0.", 4)


@pytest.mark.parametrize("target", [b"](NNe", b"C\x02ab", b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab", b")"])
def test_nothing_writes_into_data(target: bytes) -> None:
    """Items of a list or bytes are not replaced: what was checked is what is used."""
    for change in (b"K\x00K\x01s", b"(K\x00K\x01u"):
        with pytest.raises(FormatError, match="assigns items to what is no dict"):
            Tracer(DEFAULT_LIMITS).trace(target + change + b".", 5)
    if target[:1] == b"\x96":
        with pytest.raises(FormatError):
            Tracer(DEFAULT_LIMITS).trace(target + b"(K\x00e.", 5)
