"""Shortcuts of the key walk: what repeats is accounted for without being walked, and never for less than it costs."""

from __future__ import annotations

import pickle
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest

from safeload.engine.cost import nodes, scales
from safeload.engine.cost.hashing import KeyWalk
from safeload.errors import FormatError, SafeloadError
from safeload.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

# What is in the memo before anything repeats. Slots 0 to 7: a class, a function, numpy's scalar, a dtype (made by a call and a
# state), datetime, a string, a number, a dict.
PROLOGUE = (
    b"\x80\x04](cm\nC\n\x94cm\nf\n\x94cnumpy._core.multiarray\nscalar\n\x94"
    b"cnumpy\ndtype\n\x8c\x02i8\x85R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x94cdatetime\ndatetime\n\x94"
    b"\x8c\x04text\x94K\x07\x94}\x94"
)
CLASS, FUNCTION, SCALAR, DTYPE, DATE, TEXT, NUMBER, DICT = (b"h" + bytes([slot]) for slot in range(8))
FILLED = 8
STOP = b"."


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def text(value: bytes) -> bytes:
    return b"C" + bytes([len(value)]) + value if len(value) < 256 else b"B" + struct.pack("<I", len(value)) + value


def get(slot: int) -> bytes:
    return b"j" + struct.pack("<I", slot)


def walked(code: bytes, limits: Limits = DEFAULT_LIMITS, sizes: tuple[int, ...] = (), *, exact: bool) -> Any:
    """The walk and how it ended: all that is known of what a stream costs."""
    walk = KeyWalk(limits)
    walk._used = exact
    try:
        walk.walk(code, [bytes(size) for size in sizes])
    except SafeloadError as error:
        return walk, error.code
    return walk, (walk.work, walk.budget, walk.constructed, len(walk.memo) + walk.skipped, walk.longest_integer)


def skips(code: bytes, **options: Any) -> bool:
    """Whether shortcuts were taken to the end. They have to come to the same as the exact walk."""
    exact = walked(code, exact=True, **options)[1]
    walk, shortly = walked(code, exact=False, **options)
    assert shortly == exact
    return bool(walk.matches)


def objects(count: int, segment: Callable[[int], bytes], tail: bytes = b"e", prologue: bytes = PROLOGUE) -> bytes:
    return prologue + b"".join(segment(index) for index in range(count)) + tail + STOP


def instance(index: int) -> bytes:
    return CLASS + b")\x81\x94}\x94(" + TEXT + number(index) + b"\x8c\x01b\x94" + text(bytes(index % 60)) + b"ub"


def refused(code: bytes, limits: Limits = DEFAULT_LIMITS) -> str:
    """The code of the refusal; the exact walk has to refuse too, and shortcuts must not matter."""
    exact = walked(code, limits, exact=True)[1]
    assert walked(code, limits, exact=False)[1] == exact
    assert isinstance(exact, str)
    return exact


REPEATING = {
    "instances": instance,
    "calls": lambda index: FUNCTION + number(index) + b"\x85R",
    "calls, memoized": lambda index: FUNCTION + text(b"%04d" % index) + b"\x94\x85\x94R\x94",
    "with a key": lambda index: text(b"key %d" % index) + CLASS + b")\x81}" + TEXT + b"Nsb",
    "scalars": lambda index: SCALAR + DTYPE + text(struct.pack("<q", index)) + b"\x86R",
    "dates": lambda index: DATE + text(b"0123456789") + b"\x85R",
    "numbers of every kind": lambda index: (
        FUNCTION + [b"K\x01", b"M\x01\x00", number(1), b"G" + bytes(8), b"\x8a\x05\xff\xff\xff\xff\x00"][index % 5] + b"\x85R"
    ),
    "arrays of four sizes": lambda index: FUNCTION + b")R(K\x01" + text(bytes(2_000 << index % 4)) + b"tb",
    "containers": lambda index: FUNCTION + b"(](NK\x01e}(" + text(b"a") + number(index) + b"u\x8f(K\x01\x90(K\x01\x91(NNl(NNd(NN\x85ttR",
    "bytearrays": lambda index: FUNCTION + b"\x96" + struct.pack("<Q", index) + bytes(index) + b"\x85R",
    "keywords": lambda index: CLASS + b")}" + text(b"a") + number(index) + b"s\x92Nb",
    "shared arguments": lambda index: FUNCTION + DICT + number(index) + DTYPE + b"\x87R",
}  # fmt: skip


@pytest.mark.parametrize("name", REPEATING)
def test_what_repeats_is_skipped(name: str) -> None:
    """The shortcut is taken, and everything that is counted is what the exact walk counts."""
    assert skips(objects(100, REPEATING[name]))
    assert skips(objects(100, REPEATING[name], tail=b"t" * 100, prologue=PROLOGUE + b"(" * 99))


def test_buffers() -> None:
    """Buffers are counted off, and those of another size class are another kind of segment."""
    code = objects(100, lambda _: FUNCTION + b"\x97\x98" + DTYPE + b"\x86R")
    assert skips(code, sizes=(100_000,) * 100)
    assert skips(code, sizes=tuple(1_000 << index % 9 for index in range(100)))
    assert skips(code, sizes=(100_000,) * 50)  # the rest is missing, which the unpickler refuses
    walk, _ = walked(code, exact=False, sizes=tuple(range(1_000, 1_100)))
    assert walk.taken == 100


def test_real_objects() -> None:
    """What honest pickles hold many of."""
    import datetime as dt
    import decimal

    import numpy as np

    day = dt.date(2020, 1, 1)
    for many in (
        [day + dt.timedelta(index) for index in range(200)],
        [decimal.Decimal(index) for index in range(200)],
        [np.arange(index + 20) for index in range(200)],
        {f"layer {index}": np.arange(float(index + 20)) for index in range(200)},
    ):
        assert skips(_canonical(pickle.dumps(many, 4)))
    assert skips(_canonical(pickle.dumps(many, 3)))
    assert skips(_canonical(pickle.dumps([decimal.Decimal(index) for index in range(400)], 2)))


def test_puts_into_the_next_slot() -> None:
    """What older protocols write in place of MEMOIZE counts as that, in both widths; any other PUT ends the shortcuts."""

    def puts(slots: Callable[[int], int]) -> bytes:
        def segment(index: int) -> bytes:
            slot = slots(index)
            put = b"q" + bytes([slot]) if slot < 256 else b"r" + struct.pack("<I", slot)
            return CLASS + b")\x81" + put + b"}(" + TEXT + number(index) + b"ub"

        return objects(400, segment)

    assert skips(puts(lambda index: FILLED + index))
    assert not skips(puts(lambda _: FILLED))
    assert not skips(puts(lambda index: FILLED + 2 * index))
    assert not skips(puts(lambda index: FILLED + index if index < 300 else 3))
    assert not skips(puts(lambda index: 0 if index == 350 else FILLED + index))


# Attacks. Each would be judged too lightly if a twin were taken for the real object.


PRIME = (1 << 61) - 1


def test_slots_of_what_was_skipped() -> None:
    """A memo reference into a skipped segment makes the walk exact: the slot holds what the stream put there."""
    assert skips(objects(100, instance, tail=get(FILLED) + b"Nbe"))
    for slot in (FILLED + 30, FILLED + 390):
        assert not skips(objects(100, instance, tail=get(slot) + b"Nbe"))
    assert skips(objects(100, instance, tail=CLASS + b")\x81e"))
    with pytest.raises(FormatError):
        KeyWalk(DEFAULT_LIMITS).walk(objects(100, instance, tail=get(5_000) + b"e"))


def test_slots_in_the_next_stream() -> None:
    """Streams that share a memo: the next one may refer to what was skipped in the first."""
    walk = KeyWalk(DEFAULT_LIMITS)
    walk.walk(objects(100, instance))
    assert walk.matches
    walk.walk(get(FILLED + 200) + b"Nb.")
    assert not walk.matches
    walk = KeyWalk(DEFAULT_LIMITS)
    walk.walk(objects(100, instance))
    walk.feed(get(FILLED + 200) + b"Nb.")
    walk.finish()


def test_scalars_as_keys() -> None:
    """Keys that a shortcut left without their numbers collide like others."""

    def scalar(index: int) -> bytes:
        return SCALAR + DTYPE + text(struct.pack("<q", index << 45)) + b"\x86R"

    honest = objects(
        5_000,
        lambda index: SCALAR + DTYPE + text(struct.pack("<q", index)) + b"\x86R",
        tail=b"\x90e"[:1],
        prologue=PROLOGUE + b"\x8f(",
    )
    assert not skips(honest)
    few = Limits(max_probes=8)
    assert walked(honest, few, exact=False)[1] != "limit.probes"
    assert refused(objects(5_000, scalar, tail=b"\x90", prologue=PROLOGUE + b"\x8f("), few) == "limit.probes"
    pairs = objects(5_000, lambda index: scalar(index) + b"K\x01", tail=b"u", prologue=PROLOGUE + b"}(")
    assert refused(pairs, few) == "limit.probes"
    tuples = objects(5_000, lambda index: scalar(index) + b"\x85", tail=b"\x90", prologue=PROLOGUE + b"\x8f(")
    assert not skips(tuples)


def test_dtypes_that_differ() -> None:
    """A scalar of a dtype that was skipped: what it hashes as depends on what the dtype was made with."""
    prologue = PROLOGUE + b"cnumpy\ndtype\n\x94"

    def dtype(index: int) -> bytes:
        return get(FILLED) + text(b"i8" if index < 30 else b"V8") + b"\x85R"

    assert skips(objects(50, dtype, prologue=prologue))
    assert not skips(objects(50, lambda index: SCALAR + dtype(index) + text(bytes(8)) + b"\x86R", prologue=prologue))
    # The dtype of this scalar is the last one that was skipped, whose model had another type.
    code = objects(
        50, lambda index: SCALAR + dtype(index), tail=text(bytes(8)) + b"\x86R\x90", prologue=prologue + b"\x8f("
    )
    assert not skips(code)


def test_outer_containers() -> None:
    """A segment that adds keys to what was there before is no template: the keys add up."""
    code = objects(
        3_000, lambda index: FUNCTION + b")R" + DICT + b"\x8a\x0a" + (index * PRIME).to_bytes(10, "little") + b"Ns0"
    )
    assert refused(code) == "limit.probes"
    short = objects(3_000, lambda index: FUNCTION + b")R" + DICT + number(index << 12) + b"Ns0")
    assert walked(short, exact=True)[1] == walked(short, exact=False)[1]
    built = objects(3_000, lambda index: FUNCTION + b")R0" + DICT + number(index << 12) + b"\x85" + DTYPE + b"Nb0")
    assert walked(built, exact=True)[1] == walked(built, exact=False)[1]


def test_keys_that_come_later() -> None:
    """A dict of a segment that gets more keys: its own ones count with their numbers."""

    def filled(index: int) -> bytes:
        keys = b"".join(number((index * 1_000 + key) << 14) + b"N" for key in range(1_000))
        return FUNCTION + b")R(" + keys + b"u" + FUNCTION + b")RNb"

    more = b"(" + b"".join(number(-(key << 14) - 1) + b"N" for key in range(1_000)) + b"ue"
    code = objects(6, filled, tail=more)
    assert walked(code, exact=True)[1] == walked(code, exact=False)[1]


def test_members_of_arguments() -> None:
    """A call that gets a long list of pairs may make a dict of them, with the first of each as the key."""
    code = objects(
        4_000,
        lambda index: FUNCTION + number(index << 18) + TEXT + b"\x86R",
        tail=b"e\x85R",
        prologue=PROLOGUE + FUNCTION + b"](",
    )
    assert not skips(code)


def test_constructed_keys() -> None:
    """Keys made by calls add up over the segments."""
    code = objects(100, lambda index: FUNCTION + b"}" + CLASS + number(index) + b"\x85\x81Ns\x85R")
    assert skips(code)
    assert refused(code, Limits(max_constructed_keys=90)) == "limit.constructed-keys"
    assert walked(code, Limits(max_constructed_keys=100), exact=False)[1] != "limit.constructed-keys"


def test_work_adds_up() -> None:
    """What one segment costs, a thousand cost a thousand times, and are refused at the same place."""
    doubled = b"".join(get(slot) + get(slot) + b"\x86\x94" for slot in range(8, 24))
    code = objects(
        2_000, lambda index: FUNCTION + get(24) + number(index) + b"\x86R", prologue=PROLOGUE + b"N\x85\x94" + doubled
    )
    assert skips(objects(500, lambda _: FUNCTION + get(16) + b"\x85R", prologue=PROLOGUE + b"N\x85\x94" + doubled))
    for limit in (1_000, 1_000_000, 10_000_000):
        assert refused(code, Limits(max_hash_work=limit)) == "limit.hash-work"


def test_cycles() -> None:
    """Parts that come late make the walk exact, because sums over the graph need all of it."""
    assert not skips(objects(100, instance, tail=b"e\x94" + get(FILLED + 300) + get(FILLED + 300) + b"a0"))


def test_the_empty_tuple() -> None:
    """It is one object everywhere. ``None`` as its state adds nothing to it, so no call with it costs more afterwards."""
    assert skips(objects(80, lambda index: b")Nb" * (index % 7) + instance(index)))
    assert not skips(objects(80, lambda index: b")Nb"))


def test_values_that_come_late() -> None:
    """What is added to a list that is part of what the matches read is seen, though it holds nothing."""
    read = PROLOGUE + b"]\x94\x85\x94"
    add = get(FILLED) + number(1) + b"a0"
    segment = CLASS + get(FILLED + 1) + b"\x85\x81}b"
    assert skips(objects(80, lambda index: segment, prologue=read))
    assert not skips(
        objects(80, lambda index: (add + instance(index) if index == 40 else b"") + segment, prologue=read)
    )


def test_nesting() -> None:
    """A twin is as deep as its model."""
    code = objects(50, lambda _: FUNCTION + b"K\x01" + b"\x85" * 400 + b"R", tail=b"\x85" * 90 + FUNCTION + b"N\x85Re")
    assert skips(code)
    key = objects(
        50,
        lambda _: FUNCTION + b"K\x01" + b"\x85" * 400 + b"R",
        tail=b"t" + b"\x85" * 101 + b"Ns",
        prologue=PROLOGUE + b"}(",
    )
    assert refused(key) == "limit.tuple-depth"


def test_puts() -> None:
    """PUT can fill a slot again or leave gaps: no shortcuts beside it, whichever comes first."""
    assert not skips(objects(100, instance, prologue=PROLOGUE + b"q\x63"))
    assert not skips(objects(100, instance, tail=b"q\x05e"))
    assert not skips(objects(50, instance, tail=b"p5\n" + b"".join(map(instance, range(50))) + b"e"))
    assert not skips(objects(50, lambda index: instance(index) + b"r\x05\x00\x00\x00"))


def test_long_integers() -> None:
    """Digits beside calls are counted in what is skipped, too."""
    code = objects(
        100, lambda index: FUNCTION + b"\x8a" + bytes([1 + index % 7]) + b"\x01" * (1 + index % 7) + b"\x85R"
    )
    assert skips(code)
    assert refused(code, Limits(max_integer_digits=12)) == "limit.integer-digits"


def test_cut_streams() -> None:
    """A stream that ends anywhere is malformed with and without shortcuts."""
    code = objects(20, lambda index: FUNCTION + text(b"x" * 300) + number(index) + b"\x86R")
    for end in range(len(code) - 700, len(code)):
        assert refused(code[:end]) == "format.stack"


# Differential: random streams of segments that are alike, almost alike or not.


class Maker:
    """Writes random segments of one shape."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int) -> list[Any]:
        """Opcodes, with callables in the place of literals."""
        choose = self.random.choice
        kinds = ["number", "text", "const", "get"] + [
            "tuple",
            "list",
            "dict",
            "set",
            "call",
            "call",
            "scalar",
            "built",
        ] * (depth > 0)
        kind = choose(kinds)
        memo = [b"\x94"] if self.random.random() < 0.5 else []
        inner = [self.value(depth - 1) for _ in range(self.random.randrange(4))] if depth else []
        flat = [part for item in inner for part in item]
        if kind == "number":
            return [self.a_number]
        if kind == "text":
            return [self.a_text, *memo]
        if kind == "const":
            return [choose([b"N", b"\x88", b"\x89"])]
        if kind == "get":
            return [choose([CLASS, DTYPE, TEXT, NUMBER, DICT, get(self.random.randrange(30))])]
        if kind == "scalar":
            return [
                SCALAR,
                choose([DTYPE, CLASS]),
                lambda: text(struct.pack("<q", self.random.randrange(9) << 45)),
                *memo,
                b"\x86R",
                *memo,
            ]
        if kind == "tuple":
            return [b"(", *flat, b"t", *memo]
        if kind == "list":
            return [b"]", *memo, b"(", *flat, b"e"]
        if kind == "set":
            return [b"\x8f", *memo, b"(", *flat, b"\x90"]
        if kind == "dict":
            pairs = [part for item in inner for part in [*self.value(0), *item]]
            return [b"}", *memo, b"(", *pairs, b"u"]
        made = [choose([FUNCTION, CLASS, DATE]), b"(", *flat, b"t", choose([b"R", b"\x81"]), *memo]
        if kind == "built":
            made += [*self.value(depth - 1), b"b"]
        return made

    def a_number(self) -> bytes:
        value = self.random.choice([0, 1, 255, 4_000, -1, 1 << 20, self.random.randrange(9) << 45, (1 << 61) - 1])
        return self.random.choice([pickle.dumps(value, 2)[2:-1], b"G" + struct.pack(">d", value)])

    def a_text(self) -> bytes:
        return text(bytes(self.random.choice([1, 1, 1, 2, 8, 63, 64, 300, 1_100])))

    def stream(self) -> bytes:
        parts = []
        for _ in range(self.random.randrange(1, 4)):
            shape = [part for _ in range(self.random.randrange(1, 3)) for part in self.value(3)]
            parts += [
                b"".join(part() if callable(part) else part for part in shape)
                for _ in range(self.random.randrange(1, 12))
            ]
        tail = [part for _ in range(self.random.randrange(4)) for part in self.value(2)]
        tail += self.random.choice([[], [b"b"], [b"s"], [b"a"], [b"\x86", CLASS, b"0"], [b"\x85}", TEXT, b"Nsb"]])
        parts.append(b"".join(part() if callable(part) else part for part in tail))
        opened, closed = self.random.choice(
            [
                (b"", b"e"),
                (b"}(", b"ue"),
                (b"\x8f(", b"\x90e"),
                (FUNCTION + b"(", b"tRe"),
                (FUNCTION + b"](", b"e\x85Re"),
            ]
        )
        return PROLOGUE + opened + b"".join(parts) + closed + STOP


STRICT = Limits(max_constructed_keys=5, max_hash_work=300, max_tuple_depth=6, max_nesting=5)


@pytest.mark.parametrize("small", [False, True])
def test_like_the_exact_walk(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random streams: the same verdict and the same account with and without shortcuts, and some are shortened.

    The second time everything is large that has a few keys, and collides if two do.
    """
    limits = [DEFAULT_LIMITS, STRICT]
    if small:
        monkeypatch.setattr(scales, "SMALL_DICT", 2)
        monkeypatch.setattr(scales, "HEAVY", 3)
        # Else the address, which is another one in each walk.
        monkeypatch.setattr(nodes, "_made_value", lambda key: "unknown" if key.value is None else key.value)
        limits = [Limits(max_probes=1)]
    shortened, codes = 0, set()
    for seed in range(1_000):
        code = Maker(seed).stream()
        for limit in limits:
            exact = walked(code, limit, exact=True)[1]
            walk, shortly = walked(code, limit, exact=False)
            assert shortly == exact, (seed, code)
            shortened += bool(walk.matches)
            codes.add(exact if type(exact) is str else "accepted")
    assert shortened > 100
    assert codes >= (
        {"accepted", "limit.probes"}
        if small
        else {"accepted", "limit.constructed-keys", "limit.tuple-depth", "limit.nesting"}
    )


def _canonical(data: bytes) -> bytes:
    from safeload.engine.census import take_census
    from safeload.source.sources import BytesSource

    return take_census(BytesSource(data), DEFAULT_LIMITS).code
