"""The engine against CPython: on valid streams it agrees, on mutated ones it agrees or refuses.

``pickletools.genops`` and the C unpickler are the two other readers of every stream. What they accept differently is
what scanners are broken with, so wherever they differ from each other safeload has to refuse. :data:`DIFFERENCES` lists
the kinds of streams on which safeload refuses and the C unpickler does not, each with its reason; a refusal for any
other reason fails the test.
"""

# ruff: noqa: PT017 - a refusal is one of two right answers
from __future__ import annotations

import collections
import contextlib
import datetime as dt
import decimal
import fractions
import io
import pickle
import pickletools
import sys
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import safeload
from safeload.engine.census import Census, take_census
from safeload.engine.cost.proof import is_harmless, is_plain
from safeload.engine.standins import Persistent, make_standin
from safeload.engine.trace import Tracer, legacy_name, policy_name
from safeload.errors import LimitExceededError, SafeloadError
from safeload.limits import DEFAULT_LIMITS
from safeload.program import Kind
from safeload.source.sources import BytesSource

# Why safeload refuses what the C unpickler accepts (from bytes), by the error's code.
DIFFERENCES = {
    "format.malformed": "a second PROTO, a PROTO behind the first opcode, frames that nest, overlap or cut an opcode, numbers, strings and "
    "memo indices that are not spelled as pickle spells them (blanks, underscores, leading zeros, octal, hexadecimal floats)",
    "format.number": "text numbers that readers understand differently",
    "format.truncated": "a frame that announces more than there is",
    "format.trailing": "bytes behind STOP",
    "format.extension": "EXT1, EXT2, EXT4: the extension cache bypasses find_class",
    "format.global-name": "names that are no identifiers, or dotted below protocol 4",
    "format.set-item": "items that are assigned to a list, or added to what is no set",
    "format.keywords": "keywords that are no names, or are there twice",
    "format.buffers": "NEXT_BUFFER without buffers",
    "limit.memo-index": "a memo index beyond the size of the stream",
    "limit.tuple-depth": "hashing a deep tuple",
    "limit.hash-work": "hashing shared tuples",
    "limit.integer-digits": "long numbers as text",
    "limit.stream-bytes": "an announced length beyond the limits",
    "limit.artifact-bytes": "an announced length beyond the limits",
    "limit.global-name": "a long name",
    "policy.computed-call": "a class that another call returned",
}
SAFE_TO_MAKE = (
    "builtins",
    "collections",
    "copyreg",
    "_codecs",
    "datetime",
    "decimal",
    "fractions",
    "uuid",
    "copy_reg",
    "__builtin__",
)


class Inert:
    """What every global is for the reader that says what CPython accepts."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any) -> Any:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    extend = add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class CReader(pickle.Unpickler):
    """The C unpickler with inert globals."""

    def find_class(self, module: str, name: str) -> Any:
        return Inert

    def persistent_load(self, pid: Any) -> Any:
        return None


def read_by_c(data: bytes) -> tuple[int, list[tuple[str, str]]] | None:
    """Where the stream ends and what it imports, or ``None`` if CPython does not accept it."""
    found: list[tuple[str, str]] = []

    class Reader(CReader):
        def find_class(self, module: str, name: str) -> Any:
            found.append((module, name))
            return Inert

    file = io.BytesIO(data)
    try:
        Reader(file).load()
    except Exception:
        return None
    return file.tell(), found


def read_by_genops(data: bytes) -> tuple[int, set[str]] | None:
    """Where the stream ends and its opcodes."""
    names, file = set(), io.BytesIO(data)
    try:
        for opcode, _, _ in pickletools.genops(file):
            names.add(opcode.name)
    except Exception:
        return None
    return file.tell(), names


def census_of(data: bytes) -> Census | SafeloadError:
    try:
        return take_census(BytesSource(data), DEFAULT_LIMITS)
    except SafeloadError as error:
        return error


# ---------------------------------------------------------------- values and streams

atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False), st.text(max_size=20),
    st.binary(max_size=20), st.binary(min_size=250, max_size=300), st.complex_numbers(allow_nan=False),
    st.dates(), st.datetimes(), st.timedeltas(), st.decimals(allow_nan=False), st.fractions(), st.uuids(),
)  # fmt: skip
keys = st.one_of(
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=False),
    st.tuples(st.integers(), st.text(max_size=3)),
    st.none(),
    st.dates(),
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=5), st.sets(keys, max_size=5), st.frozensets(keys, max_size=5),
        st.tuples(inner, inner), st.tuples(inner), st.builds(lambda x: [x, x, (x, x)], inner),
        st.builds(collections.OrderedDict, st.dictionaries(keys, inner, max_size=3)), st.builds(collections.deque, st.lists(inner, max_size=3)),
        st.builds(bytearray, st.binary(max_size=9)),
    ),
    max_leaves=12,
)  # fmt: skip
protocols = st.integers(0, pickle.HIGHEST_PROTOCOL)
streams = st.builds(pickle.dumps, values, protocols)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid stream with bytes flipped, pieces of another one spliced in, opcodes moved, or cut."""
    data = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "insert", "delete", "splice", "opcode", "repeat", "cut"]))
        if kind == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 5))]
        elif kind == "splice":
            other = draw(streams)
            start = draw(st.integers(0, len(other)))
            data[at:at] = other[start : start + draw(st.integers(1, 30))]
        elif kind == "opcode":
            data[at:at] = draw(st.sampled_from(pickletools.opcodes)).code.encode("latin-1")
        elif kind == "repeat":
            data[at:at] = data[max(0, at - draw(st.integers(1, 12))) : at]
        else:
            del data[at:]
    return bytes(data)


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """Opcodes with plausible arguments in any order: most are broken, all look like pickles."""
    parts = [draw(st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"\x80\x05"]))]
    for opcode in draw(st.lists(st.sampled_from(pickletools.opcodes), max_size=25)):
        code = opcode.code.encode("latin-1")
        if opcode.name in ("PROTO", "STOP"):
            continue
        parts.append(code + draw(_argument(opcode)))
    return b"".join(parts) + b"."


def _argument(opcode: Any) -> st.SearchStrategy[bytes]:
    if opcode.arg is None:
        return st.just(b"")
    name, size = opcode.arg.name, opcode.arg.n
    if size >= 0:
        return st.one_of(st.just(bytes(size)), st.binary(min_size=size, max_size=size))
    if name.startswith("stringnl_noescape_pair"):
        return st.sampled_from([b"collections\nOrderedDict\n", b"os\nsystem\n", b"a\nb.c\n", b"\n\n", b"a b\nc\n"])
    if "nl" in name or name == "floatnl":
        return st.sampled_from(
            [
                b"1\n",
                b"0\n",
                b"-1\n",
                b"01\n",
                b"1L\n",
                b"0x1\n",
                b" 1\n",
                b"1_0\n",
                b"'a'\n",
                b"'\n",
                b"nan\n",
                b"1e5\n",
                b"a\\u0041\n",
                b"\n",
            ]
        )
    width = {"1": 1, "4": 4, "8": 8}[name[-1] if name[-1] in "148" else "1"]
    return st.binary(max_size=6).map(lambda raw: len(raw).to_bytes(width, "little") + raw)


# ---------------------------------------------------------------- properties


@given(streams)
def test_valid_streams(data: bytes) -> None:
    """The three readers agree on where a valid stream ends and whether it carries code; cut off, it is truncated."""
    census = census_of(data)
    assert isinstance(census, Census)
    ops = read_by_genops(data)
    assert ops is not None
    assert census.size == ops[0] == len(data)
    code = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"}
    assert census.has_code == bool(ops[1] & code)


@given(values, protocols)
def test_same_object(value: Any, protocol: int) -> None:
    """What loads is what ``pickle.loads`` gives, from bytes, from a file, and through an Unpickler; and the scan is clean."""
    data = pickle.dumps(value, protocol)
    expected = pickle.loads(data)
    for loaded in (safeload.loads(data), safeload.load(io.BytesIO(data)), safeload.Unpickler(io.BytesIO(data)).load()):
        assert loaded == expected
        assert type(loaded) is type(expected)
        assert repr(loaded) == repr(expected) or isinstance(expected, (set, frozenset, dict, list, tuple))
    assert safeload.scan(data).verdict == "clean"


def agree(data: bytes) -> None:
    """The differential check of one stream."""
    census = census_of(data)
    by_c, by_genops = read_by_c(data), read_by_genops(data)
    if not isinstance(census, Census):
        if by_c is not None:
            assert census.code in DIFFERENCES, (census, data)
        return
    # The census looks at the form only, so the C unpickler may still refuse; where it does not, they agree.
    if by_genops is None:  # text that is not in its encoding; the census does not decode
        with pytest.raises(SafeloadError):
            safeload.loads(data)
        return
    assert by_genops[0] == census.size
    if by_c is not None:
        assert by_c[0] == census.size
    if not census.has_code:
        assert by_c is None or not by_c[1]
        return
    tracer = Tracer(DEFAULT_LIMITS)
    try:
        tracer.trace(census.code, census.protocol)
    except SafeloadError as error:
        assert by_c is None or error.code in DIFFERENCES, (error.code, error, data)
        return
    if any(use.kind in (Kind.CLASS_STATE, Kind.COMPUTED, Kind.ITEMS, Kind.STATE) for use in tracer.uses):
        return  # the trace records what a real object may answer with an error; the policy decides
    assert by_c is not None, data
    assert set(tracer.spellings) == set(by_c[1])


@given(mutated())
@settings(max_examples=300)
def test_mutated_streams(data: bytes) -> None:
    """Bytes flipped, pieces spliced, opcodes inserted."""
    agree(data)


@given(programs())
@settings(max_examples=300)
def test_random_programs(data: bytes) -> None:
    """Any opcode behind any other."""
    agree(data)


def attempt(data: bytes) -> None:
    """An object or a SafeloadError; a report, whatever the bytes are; no import of what is named."""
    for read in (
        safeload.loads,
        lambda data: safeload.load(io.BytesIO(data)),
        lambda data: safeload.Unpickler(io.BytesIO(data)).load(),
        lambda data: safeload.loads(data, encoding="latin1", buffers=[b"x", bytearray(b"y")]),
    ):
        try:
            read(data)
        except SafeloadError as error:
            assert isinstance(error, pickle.UnpicklingError)
            assert error.code
            assert error.stage
    report = safeload.scan(data)
    assert report.verdict in ("clean", "skipped", "unknown", "malformed", "malicious")
    assert report.to_json().isascii()
    if report.verdict == "clean":
        # Allowed, and then a constructor did not like its arguments, or Python 2 strings need an encoding.
        with contextlib.suppress(safeload.LoadError, UnicodeDecodeError):
            safeload.load(io.BytesIO(data))


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_random_bytes(data: bytes) -> None:
    """Any bytes."""
    attempt(data)


@given(mutated())
@settings(max_examples=200)
def test_mutated_bytes(data: bytes) -> None:
    """Almost valid bytes."""
    attempt(data)


@given(programs())
@settings(max_examples=200)
def test_random_opcodes(data: bytes) -> None:
    """Opcodes in any order."""
    attempt(data)


@given(st.one_of(streams, mutated(), programs()))
@settings(max_examples=300)
def test_shapes_accept_a_subset(data: bytes) -> None:
    """What the cheap proofs accept, the exact way accepts; and it is pure data of the same length."""
    census = census_of(data)
    if is_plain(data):
        assert isinstance(census, Census)
        assert not census.has_code
        assert census.size == len(data)
        try:
            Tracer(DEFAULT_LIMITS).trace(census.code, census.protocol)
        except SafeloadError as error:
            assert not isinstance(error, LimitExceededError)
            assert read_by_c(data) is None or error.code in DIFFERENCES  # the C unpickler refuses that too
    if isinstance(census, Census) and not census.has_code and is_harmless(census.code, census.protocol):
        try:
            Tracer(DEFAULT_LIMITS).trace(census.code, census.protocol)
        except SafeloadError as error:
            assert not isinstance(error, LimitExceededError)
            assert read_by_c(data) is None or error.code in DIFFERENCES


@given(st.one_of(streams, mutated(), programs()))
@settings(max_examples=300)
def test_the_trace_of_the_respelled_stream_is_that_of_the_stream(data: bytes) -> None:
    """Uses are seen in the order of the original stream, by an unpickler that runs it as it stands, and both fail or neither."""
    census = census_of(data)
    if not isinstance(census, Census):
        return
    expected = plain_trace(census)
    tracer = Tracer(DEFAULT_LIMITS)
    try:
        tracer.trace(census.code, census.protocol)
    except SafeloadError as error:
        assert expected is None or isinstance(error, LimitExceededError) or error.code in DIFFERENCES, (error, data)
        return
    assert expected is not None, data
    assert [use[:2] for use in tracer.uses if use.kind is not Kind.ITEMS] == expected


def plain_trace(census: Census) -> list[tuple[Kind, str]] | None:
    """The uses of a stream that is run as it is, with dicts and sets of Python; ``None`` if the unpickler refuses it."""
    uses: list[tuple[Kind, str]] = []

    def record(kind: Kind, name: str, _args: Any = (), _target: Any = None) -> None:
        uses.append((kind, name))

    made: dict[str, type] = {}

    class Plain(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if census.protocol < 3:
                module, name = legacy_name(module, name)
            known = policy_name(module, name)
            record(Kind.REFERENCE, known)
            if known not in made:
                made[known] = make_standin(known, record, makes_classes=False)
                for method in ("__setitem__", "add"):
                    setattr(made[known], method, lambda *_: None)
                type(made[known]).__setitem__ = lambda cls, _k, _v: record(Kind.CLASS_STATE, cls.safeload_name)
            return made[known]

        def persistent_load(self, _pid: Any) -> Any:
            record(Kind.PERSISTENT, "")
            return Persistent()

    try:
        Plain(io.BytesIO(census.code)).load()
    except Exception:
        return None
    return [use for use in uses if use[0] is not Kind.ITEMS]  # they are recorded in batches


@given(st.one_of(mutated(), programs()))
@settings(max_examples=200)
def test_trace_imports_nothing(data: bytes) -> None:
    """Tracing changes neither ``sys.modules`` nor anything else that a stream names."""
    census = census_of(data)
    if not isinstance(census, Census):
        return
    before = set(sys.modules)
    tracer = Tracer(DEFAULT_LIMITS)
    with contextlib.suppress(SafeloadError):
        tracer.trace(census.code, census.protocol)
    assert set(sys.modules) <= before | {"_compat_pickle"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_truncation(protocol: int) -> None:
    """Cut anywhere, a stream is refused, and scanned without an exception."""
    value = {"a": [1, 2.5, None, b"x" * 300], "d": decimal.Decimal("1.5"), "t": dt.date(2020, 1, 1), "f": fractions.Fraction(1, 3),
             "u": uuid.UUID(int=5), (1, 2): {3}}  # fmt: skip
    data = pickle.dumps(value, protocol)
    for size in range(len(data)):
        with pytest.raises(SafeloadError):
            safeload.loads(data[:size])
        if size % 5 == 0:
            assert safeload.scan(data[:size]).verdict != "clean"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_flipped_byte(protocol: int) -> None:
    """Each byte replaced by several others: the readers agree, or safeload refuses."""
    data = pickle.dumps({"a": [1, 2.5, None], "d": decimal.Decimal("1.5"), (1, 2): {3}}, protocol)
    for at in range(len(data)):
        for value in (0, 0x28, 0x2E, 0x52, 0x63, 0x80, 0x94, 0x95, 0xFF, data[at] ^ 1, data[at] ^ 0x80):
            changed = bytearray(data)
            changed[at] = value
            agree(bytes(changed))
