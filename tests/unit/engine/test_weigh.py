"""The scales and the cheap proof: what hashing and freeing a stream's objects would cost."""

from __future__ import annotations

import collections
import functools
import pickle
import struct
from typing import Any

import pytest

from safeload.engine.cost import proof
from safeload.engine.cost.proof import is_harmless, is_plain
from safeload.engine.trace import Tracer
from safeload.errors import FormatError, LimitExceededError
from safeload.facts.hash_probes import probes
from safeload.limits import DEFAULT_LIMITS, Limits

PRIME = (1 << 61) - 1


@pytest.fixture(autouse=True)
def patterns_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patterns for large streams are used from the first stream on, not only once compiling them is worth it."""
    monkeypatch.setattr(proof, "_PATIENCE", 0)


def long1(value: int) -> bytes:
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw


def walk(code: bytes, limits: Limits = DEFAULT_LIMITS, buffers: list[Any] | None = None) -> None:
    """Trace a stream and weigh what it builds."""
    Tracer(limits).trace(code, 4, buffers or [])


VALID = [
    b"N.", b"\x80\x04N.", b"]NaNa.", b"](NNe.", b"}NNs.", b"}(NNu.", b"\x8f(NN\x90.", b"(NN\x91.", b"(NNd.", b"(NNl.", b"(NNt.", b"N\x85.", b"NN\x86.",
    b"NNN\x87.", b").", b"N20.", b"N0N.", b"(N1N.", b"(0N.", b"(NN0tN0.", b"Nq\x000h\x00.", b"Nr\x00\x00\x00\x000j\x00\x00\x00\x00.", b"Np0\n0g0\n.",
    b"N\x940h\x00.", b"I1\n.", b"I01\n.", b"I00\n.", b"L1L\n.", b"L-5L\n.", b"F1.5\n.", b"S'a'\n.", b"Va\n.", b"K\x01.", b"M\x01\x00.", b"J\x01\x00\x00\x00.",
    b"G" + bytes(8) + b".", b"\x8a\x01\x05.", b"\x8b\x01\x00\x00\x00\x05.", b"\x8c\x01a.", b"C\x01a.", b"U\x01a.", b"X\x01\x00\x00\x00a.",
    b"B\x01\x00\x00\x00a.", b"T\x01\x00\x00\x00a.", b"\x8d" + struct.pack("<Q", 1) + b"a.", b"\x8e" + struct.pack("<Q", 1) + b"a.",
    b"\x96" + struct.pack("<Q", 1) + b"a.", b"\x88.", b"\x89.", b"ca\nb\n.", b"ca\nb\n)R.", b"ca\nb\n)\x81.", b"\x8c\x01a\x8c\x01b\x93)}\x92.",
    b"(ia\nb\n.", b"(NNia\nb\n.", b"(ca\nb\no.", b"(ca\nb\nNo.", b"ca\nb\n)RNb.", b"ca\nb\n)RNa.", b"ca\nb\n)RNNs.", b"ca\nb\n)R(N\x90.", b"NQ.", b"Pid\n.",
    b"\x97.", b"\x97\x98.", b"ca\nb\n](NNe\x85R.", b"ca\nb\n](NN\x86e\x85R.", b"ca\nb\n}NNs\x85R.",
]  # fmt: skip


@pytest.mark.parametrize("code", VALID)
def test_every_opcode_is_followed(code: bytes) -> None:
    """Well-formed streams of every opcode pass."""
    walk(code, buffers=[b"buffer"])


@pytest.mark.parametrize(
    "code",
    [b".0", b"0.", b"\x85.", b"N\x86.", b"NN\x87.", b"e.", b"a.", b"Na.", b"Ns.", b"u.", b"t.", b"d.", b"l.", b"1.", b"h\x00.", b"j\x00\x00\x00\x00.",
     b"g0\n.", b"q\x00.", b"\x94.", b"2.", b"R.", b"NR", b"b.", b"\x93.", b"\x81.", b"\x92.", b"Q.", b"o.", b"(o.", b"ia\nb\n.", b"\x90.", b"\x91.", b"N", b"", b"\xff.",
     b"K", b"G\x00", b"\x82\x01."],
)  # fmt: skip
def test_misuse_is_malformed(code: bytes) -> None:
    """Underflow, a missing mark or memo slot, an unknown opcode: a format error and no other exception."""
    with pytest.raises((FormatError, struct.error)):
        walk(code)


def test_depth() -> None:
    """Keys up to the limit pass, deeper ones do not; what is no key may be as deep as it likes."""
    limits = Limits(max_tuple_depth=10)
    walk(b"}N" + b"\x85" * 10 + b"Ns.", limits)
    walk(b"N" + b"\x85" * 1000 + b".", limits)
    for key in (b"N" + b"\x85" * 11, b")" + b"\x85" * 10, b"N" + b"(0" * 0 + b"N\x86" * 11):
        for use in (
            b"}" + key + b"Ns.",
            b"}(" + key + b"Nu.",
            b"(" + key + b"Nd.",
            b"\x8f(" + key + b"\x90.",
            b"(" + key + b"\x91.",
            b"ca\nb\n](" + key + b"e\x85R.",
        ):
            with pytest.raises(LimitExceededError, match="max_tuple_depth"):
                walk(use, limits)


def test_weight() -> None:
    """Sharing counts every time: the weight of a key doubles with each level."""
    limits = Limits(max_hash_work=1000)
    walk(b"}N\x85" + b"2\x86" * 5 + b"Ns.", limits)
    for code in (
        b"}N\x85" + b"2\x86" * 14 + b"Ns.",
        b"}N\x85" + b"2\x86" * 400 + b"Ns.",
        b"}(" + (b"N\x85" + b"2\x86" * 9 + b"N") * 20 + b"u.",
    ):
        with pytest.raises(LimitExceededError, match="max_hash_work"):
            walk(code, limits)


def test_made_keys() -> None:
    """Keys that calls made have hashes that nobody knows: their number is bounded, also inside tuples."""
    limits = Limits(max_constructed_keys=5)
    for wrap in (b"", b"\x85", b"N\x86"):
        walk(b"}(" + (b"ca\nb\n)R" + wrap + b"N") * 5 + b"u.", limits)
        with pytest.raises(LimitExceededError, match="max_constructed_keys"):
            walk(b"}(" + (b"ca\nb\n)R" + wrap + b"N") * 6 + b"u.", limits)


def test_nesting() -> None:
    """Objects that calls make nest as deep as the limit says, from the inside out and from the outside in."""
    limits = Limits(max_nesting=50)
    inside_out = (
        b"N" + b"\x940ca\nb\nh\x00\x85R" + b"".join(b"\x940ca\nb\nh" + bytes([i]) + b"\x85R" for i in range(1, 60))
    )
    with pytest.raises(LimitExceededError):
        walk(inside_out + b".", limits)
    walk(inside_out + b".")
    outside_in = b"ca\nb\n)Rq\x00q\x010" + b"h\x00ca\nb\n)Rq\x02a0h\x02q\x000" * 60 + b"h\x01."
    with pytest.raises(LimitExceededError):
        walk(outside_in, limits)
    walk(outside_in)


def test_cycles() -> None:
    """Structures that hold themselves are no endless nesting."""
    walk(b"]q\x00h\x00a.")
    walk(b"]q\x00h\x00a0ca\nb\nh\x00\x85R.")
    walk(b"ca\nb\n)Rq\x00}\x8c\x01ah\x00sb.")
    walk(b"}q\x00\x8c\x01ah\x00s.")


def test_collisions() -> None:
    """Numbers that collide, in one dict, in one set, one by one; a thousand of them are cheap."""
    keys = [long1(index * PRIME) for index in range(1, 3000)]
    for code in (b"}(" + b"".join(key + b"N" for key in keys) + b"u.", b"}" + b"".join(key + b"Ns" for key in keys) + b".",
                 b"\x8f(" + b"".join(keys) + b"\x90.", b"(" + b"".join(keys) + b"\x91.", b"(" + b"".join(key + b"N" for key in keys) + b"d."):  # fmt: skip
        with pytest.raises(LimitExceededError, match="max_probes"):
            walk(code)
    walk(b"}(" + b"".join(key + b"N" for key in keys[:900]) + b"u.")
    walk(b"}(" + b"".join(long1(index) + b"N" for index in range(3000)) + b"u.")
    walk(b"}(" + b"".join(keys[0] + b"N" for _ in range(3000)) + b"u.")


def test_probes() -> None:
    """The simulation makes the probes of CPython's dict, growth included, and gives up where that is too much."""
    assert probes([], 0, 10) == 0
    assert 5000 <= probes(range(5000), 5000, 100) <= 15_000
    assert probes([index * PRIME for index in range(1, 501)], 500, 100) == -1
    assert probes([index * PRIME for index in range(1, 51)], 50, 100) == 50 * 51 // 2
    assert 5000 < probes([index << 40 for index in range(5000)], 5000, 1000) < 200_000
    assert probes([7] * 5000, 5000, 100) == 1  # one key


@pytest.mark.parametrize("protocol", range(6))
def test_proof_accepts_what_people_write(protocol: int) -> None:
    """Ordinary data is proven at once, small and large; in protocols without MEMOIZE if no tuple is memoized."""
    record: dict[str, Any] = {"id": 7, "name": "x" * 20, "tags": ["a", "b"], "at": 1.5, "none": None}
    if protocol >= 4:
        record |= {"pair": (1, 2), "ok": True}
    for value in (
        record,
        [record] * 3,
        [dict(record, id=index) for index in range(500)],
        list(range(20_000)),
        {str(index): index for index in range(5000)},
    ):
        code = pickle.dumps(value, protocol)
        code = code if protocol < 4 else _without_frames(code)
        assert is_harmless(code, protocol), value
    assert is_plain(pickle.dumps(record, 4)) == is_plain(pickle.dumps(record, 5)) is True


def _without_frames(data: bytes) -> bytes:
    from safeload.engine.census import take_census
    from safeload.source.sources import BytesSource

    return take_census(BytesSource(data), DEFAULT_LIMITS).code


@pytest.mark.parametrize(
    "code",
    [b"N\x85\x85.", b"N\x852\x86.", b"N\x85\x940h\x00h\x00\x86.", b"(NN\x91.", b"N\x85q\x00h\x00\x86.", b"ca\nb\n.", b"N", b"", b".N.", b"K\x01\x94.", b"N\x94.",
     b"N\x97", b"NNN\x87\x87.", b"(N(NttN.", b"X\xff\xff\xff\xffa.", b"\x8d" + b"\xff" * 8 + b"a."],
)  # fmt: skip
def test_proof_refuses(code: bytes) -> None:
    """What nests, shares, memoizes numbers, or is no complete stream is not proven."""
    for protocol, lead in ((4, b"\x80\x04"), (2, b"\x80\x02")):
        assert not is_harmless(lead + code, protocol)
    framed = b"\x80\x04\x95" + struct.pack("<Q", len(code)) + code
    assert not is_plain(framed)


def test_proof_bounds_numbers_as_keys() -> None:
    """Many numbers that may be keys are not proven; nor are tuples of them, whatever way they become keys."""
    many = range(1, 30_000)
    for protocol in (2, 4):
        lead = bytes([0x80, protocol])
        for key in (
            lambda i: long1(i * PRIME),
            lambda i: long1(i * PRIME) + b"\x85",
            lambda i: b"(" + long1(i * PRIME) + b"t",
        ):
            assert not is_harmless(lead + b"}(" + b"".join(key(i) + b"N" for i in many) + b"u.", protocol)
            assert not is_harmless(lead + b"}" + b"".join(key(i) + b"Ns" for i in many) + b".", protocol)
            assert not is_harmless(lead + b"\x8f(" + b"".join(key(i) for i in many) + b"\x90.", protocol)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x04.",
        b"\x80\x04\x95" + struct.pack("<Q", 2) + b"N.N",
        b"\x80\x03\x95" + struct.pack("<Q", 2) + b"N.",
        b"\x80\x04N.",
    ],
)
def test_not_plain(data: bytes) -> None:
    """The short way takes one frame that is the whole artifact, and nothing else."""
    assert not is_plain(data)
    assert is_plain(b"\x80\x04\x95" + struct.pack("<Q", 2) + b"N.")


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(a=1),
        {("a", ("b", 1)): 2},
        {frozenset((1, 2)): 3},
        {1 << 80: 1},
        [((1,), (2,))] * 9,
        {(): ()},
    ],
)
@pytest.mark.parametrize("protocol", range(6))
def test_real_pickles_are_light(value: Any, protocol: int) -> None:
    """What the proof leaves open, the scales decide; honest data passes."""
    walk(_without_frames(pickle.dumps(value, protocol)))


def cut(code: bytes) -> list[bytes]:
    """Every opcode on its own."""
    import pickletools

    starts = [at for _, _, at in pickletools.genops(code)]
    return [code[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def in_pieces(pieces: list[bytes], buffers: list[Any]) -> Tracer:
    tracer = Tracer(DEFAULT_LIMITS)
    tracer.trace_pieces(functools.partial(next, iter(pieces), b""), 4, buffers)
    return tracer


@pytest.mark.parametrize("code", VALID)
def test_pieces(code: bytes) -> None:
    """A stream that comes in pieces is traced and weighed like the whole: the stack, the marks and the memo last."""
    whole, buffers = Tracer(DEFAULT_LIMITS), [b"buffer"]
    whole.trace(code, 4, buffers)
    tracer = in_pieces(cut(code), buffers)
    assert [use[:2] for use in tracer.uses] == [use[:2] for use in whole.uses]
    assert tracer.scales.account.work == whole.scales.account.work


@pytest.mark.parametrize(
    "pieces",
    [[b"N.N"], [b"\x8c\x05abcd", b"e."], [b"K", b"\x01."], [b"G\x00", bytes(7) + b"."], [b"0"],
     [b"]N", b"a", b"a"], [b"I1", b"\n."], [b"\x80", b"\x04N."]],
)  # fmt: skip
def test_pieces_that_do_not_fit(pieces: list[bytes]) -> None:
    """A piece that ends inside an opcode, comes after STOP, or uses a stack that is not there is malformed."""
    with pytest.raises(FormatError):
        in_pieces(pieces, [])


def test_limits_in_pieces() -> None:
    """What exceeds a limit only as a whole does so in pieces."""
    keys = [long1(number * PRIME) + b"N" for number in range(5_000)]
    with pytest.raises(LimitExceededError, match="max_probes"):
        in_pieces([b"}(", *keys, b"u", b"."], [])


@pytest.mark.parametrize("levels", [16, 40])
def test_frozensets_in_shared_tuples(levels: int) -> None:
    """Tuples that share a frozenset over and over are charged before they are copied: 4 kB took 19 seconds and 2 GB."""
    shared = b"(N\x91\x940" + b"".join(b"h" + bytes([level]) + b"2\x86\x940" for level in range(levels))
    keys = b"".join(b"h" + bytes([levels]) + b"M" + struct.pack("<H", key) + b"\x86N" for key in range(800))
    with pytest.raises(LimitExceededError, match="max_hash_work"):
        walk(shared + b"}(" + keys + b"u.")


@pytest.mark.parametrize(
    "code",
    [b"}\x94(h\x00\x85Nh\x00\x85\x85Nu.", b"(lq\x00(lcm\nA\n(N}q\x01\x87K\x01\x852h\x01h\x012q\x02\x85K\x02h\x02h\x01K\x03K\x04]\x870\x87sQ0.",
     b"]\x94h\x00\x85\x94ah\x000}h\x01Ns.", b"]\x94h\x00\x85\x94a0}h\x01\x85Ns."],
)  # fmt: skip
def test_keys_that_hold_themselves(code: bytes) -> None:
    """A key that holds what has no hash is refused as malformed also where it is a part of that."""
    with pytest.raises(FormatError):
        walk(code)


def test_keys_with_objects_that_hold_them() -> None:
    """An object may hold the dict whose key it is."""
    walk(b"cm\nA\n)R\x94}\x94h\x00\x85Nsbh\x00.")
    walk(b"cm\nA\n)R\x94}(\x8c\x01d}\x94h\x00\x85Nsubh\x00.")


def test_proof_of_medium_streams() -> None:
    """Records are proven before it pays to compile the patterns for large streams; many numbers or tuples that may be keys are not."""
    records = pickle.dumps([{"id": index, "name": f"n{index}", "score": index / 2} for index in range(1_000)], 4)
    assert 16_384 < len(records) < 65_536
    assert is_plain(records)
    for value in (
        {index << 20: None for index in range(1, 10_000)},
        {(index % 7, index): None for index in range(4_000)},
        [("a" * 100, index) for index in range(2_000)],
    ):
        data = pickle.dumps(value, 4)
        assert not is_plain(data)
        assert not is_harmless(_without_frames(data), 4)
