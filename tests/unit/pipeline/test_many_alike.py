"""Many objects that are alike, as in a forest: one among them that is not harmless is seen, whatever stands around it."""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING

import pytest

import safeload
from safeload.engine.census import take_census
from safeload.engine.trace import Tracer
from safeload.errors import LimitExceededError, SafeloadError
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.pipeline.request import JudgeOptions
from safeload.pipeline.verdict import decide
from safeload.policy import Policy
from safeload.source.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.pipeline.verdict import Judgement

POLICY = Policy.packs("data", "numpy", "sklearn").allow("m.C").allow("m.P")
# Slots 0 to 11: classes, functions, a dtype of eight bytes, names of attributes, an array of four numbers, an object.
PROLOGUE = (
    b"\x80\x04](cm\nC\n\x94csklearn.tree._tree\nTree\n\x94cnumpy._core.multiarray\n_reconstruct\n\x94cnumpy\nndarray\n\x94"
    b"cnumpy\ndtype\n\x8c\x02i8\x85R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x94"
    b"\x8c\x05nodes\x94\x8c\x06values\x94\x8c\x0anode_count\x94\x8c\x09max_depth\x94\x8c\x04tree\x94"
    b"h\x02h\x03K\x00\x85C\x01b\x87R(K\x01K\x04\x85h\x04\x89C\x20"
    + bytes(32)
    + b"tb\x94cnumpy.random._pickle\n__randomstate_ctor\n\x94"
)
CLASS, TREE, RECONSTRUCT, NDARRAY, DTYPE, NODES, VALUES, COUNT, DEPTH, ATTRIBUTE, ARRAY, RANDOM = (
    b"h" + bytes([slot]) for slot in range(12)
)


def integer(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def literal(data: bytes) -> bytes:
    return b"C" + bytes([len(data)]) + data if len(data) < 256 else b"B" + struct.pack("<I", len(data)) + data


def array(count: int, data: bytes | None = None, dtype: bytes = DTYPE) -> bytes:
    data = bytes(8 * count) if data is None else data
    head = RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R(K\x01" + integer(count) + b"\x85" + dtype + b"\x89"
    return head + literal(data) + b"tb"


def tree(nodes: bytes, values: bytes, count: int, depth: int = 3, outputs: int = 1) -> bytes:
    made = TREE + b"K\x14" + array(1) + integer(outputs) + b"\x87R"
    state = NODES + nodes + VALUES + values + COUNT + integer(count) + DEPTH + integer(depth)
    return made + b"}(" + state + b"ub"


def holder(value: bytes, name: bytes = ATTRIBUTE) -> bytes:
    return CLASS + b")\x81\x94}\x94(" + name + value + b"ub"


def forest(index: int) -> bytes:
    count = 40 + index * 7 % 80
    return holder(tree(array(count), array(count), count, depth=index % 9))


def stream(segment: Callable[[int], bytes], count: int = 150, tail: bytes = b"e") -> bytes:
    return PROLOGUE + b"".join(map(segment, range(count))) + tail + b"."


def except_at(segment: bytes, place: int = 120) -> bytes:
    return stream(lambda index: segment if index == place else forest(index))


def judged(code: bytes, limits: Limits = DEFAULT_LIMITS) -> Judgement:
    options = JudgeOptions(POLICY, limits)
    census = take_census(BytesSource(code), limits)
    tracer = Tracer(limits)
    tracer.trace(census.code, census.protocol, census.buffers)
    return decide(census, tracer, options)


def reasons(code: bytes) -> str:
    """Why it is refused."""
    judgement = judged(code)
    assert judgement.findings
    return "\n".join(finding.message for finding in judgement.findings)


def is_clean(code: bytes) -> bool:
    return not judged(code).findings


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param(forest, id="trees"),
        pytest.param(lambda index: holder(integer(index)), id="numbers"),
        pytest.param(lambda index: holder(integer(-index)), id="negative numbers"),
        pytest.param(lambda index: holder(b"G" + struct.pack(">d", index / 3)), id="floats"),
        pytest.param(lambda index: holder(b"K\x07"), id="the same again"),
        pytest.param(lambda index: holder(array(4, struct.pack("<4q", *range(index, index + 4)))), id="arrays"),
        pytest.param(lambda index: holder(array(40) if index % 5 else array(2000)), id="arrays in and out of the code"),
    ],
)
def test_harmless_objects_are_clean(segment: Callable[[int], bytes]) -> None:
    """Objects that differ in numbers and bytes only are harmless together as each is alone."""
    assert is_clean(stream(segment))


def test_a_real_model() -> None:
    """Whatever scikit-learn writes for a forest loads as it was."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    import numpy as np

    features = np.random.default_rng(0).random((80, 4))
    model = ensemble.RandomForestClassifier(80, random_state=0).fit(features, features[:, 0] > 0.5)
    for protocol in (3, 4, 5):
        data = pickle.dumps(model, protocol)
        assert is_clean(data)
        loaded = safeload.loads(data, policy=POLICY)
        assert (loaded.predict_proba(features) == model.predict_proba(features)).all()


HOSTILE = {
    "more nodes than the array has": holder(tree(array(60), array(60), 61)),
    "a negative number of nodes": holder(tree(array(60), array(60), -1)),
    "more outputs than classes": holder(tree(array(60), array(60), 60, outputs=2)),
    "no array": holder(tree(b"K\x07", array(60), 60)),
    "the depth is no number": holder(tree(array(60), array(60), 60).replace(DEPTH + integer(3), DEPTH + b"N")),
    "a special attribute": holder(tree(array(60), array(60), 60), b"\x8c\x09__class__"),
    "another class": b"cm\nX\n" + holder(b"K\x01")[len(CLASS) :],
    "a function": holder(b"cos\nsystem\n(\x8c\x02idtR"),
    "a state for what is not its own": holder(b"K\x01") + b"0" + CLASS + b"}b",
    "a shape beyond all memory": holder(
        tree(array(60).replace(integer(60) + b"\x85", b"J\xff\xff\xff\x7f" * 3 + b"\x87"), array(60), 60)
    ),
}


@pytest.mark.parametrize("segment", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", [0, 1, 3, 10, 60, 149])
def test_one_that_is_not_harmless(segment: bytes, place: int) -> None:
    """One object among many that are harmless and alike is seen wherever it is."""
    assert reasons(except_at(segment, place))


def test_numbers_that_vary_by_themselves() -> None:
    """A number of nodes that has nothing to do with the array's size is refused, even if all that were seen were small enough."""
    code = stream(lambda index: holder(tree(array(90 + index % 2), array(90), index % 80)))
    assert is_clean(code)


def test_the_worst_is_not_at_an_end() -> None:
    """The one bad value is neither the least nor the greatest, nor in the first or the last object."""
    assert "more nodes" in reasons(
        stream(lambda index: holder(tree(array(40 if index == 77 else 70), array(70), 41 + index % 30)))
    )


def test_copies_add_up() -> None:
    """Arrays that are copied again and again from the memo are counted, not judged once."""
    big = RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R(K\x01J\x00\x00\x20\x00\x85" + DTYPE + b"\x89C\x01\x00tb\x940"
    again = b"h\x0c"
    code = PROLOGUE + big + b"".join(holder(tree(again, again, 5)) for _ in range(80)) + b"e."
    assert "copy the same arrays" in reasons(code)


def test_rules_that_are_not_bounded() -> None:
    """A generator's position is compared with a table; such rules see every object."""
    state = b"\x8c\x07MT19937" + ARRAY + b"%bK\x00G" + bytes(8) + b"t"

    def segment(index: int) -> bytes:
        return holder(RANDOM + b"\x8c\x07MT19937\x85R(" + state % integer(index) + b"b")

    assert is_clean(stream(segment))
    assert "out of bounds" in reasons(stream(lambda index: segment(index if index != 99 else 625)))


def test_arrays_themselves_are_not_left_out() -> None:
    """A rule that meets an array later asks for its size; so no array stands for others."""
    assert is_clean(stream(lambda index: array(3 + index % 50)))


def test_a_later_reference_to_one_of_them() -> None:
    """What is taken from the memo is what stands there."""
    inside = b"h\xc8"  # slot 200: an object or a dict of one of the repetitions
    code = stream(lambda index: holder(integer(index)), tail=inside + b"ae")
    assert is_clean(code)
    with pytest.raises(SafeloadError):
        judged(stream(lambda index: holder(integer(index)), tail=b"ej\xff\xff\x00\x000"))


def test_a_model_that_changes_later() -> None:
    """A state that is set again on the object that others stand for is seen, and so is one on any other of them."""
    for at in (b"", b"h\x0c", b"h\x40"):
        assert "set twice" in reasons(stream(lambda index: holder(integer(index)), tail=at + b"}b" + b"e"))


def test_what_they_read_changes_between_them() -> None:
    """A dtype that gets another state in the middle of the array's repetitions is refused as if nothing had been left out."""
    change = DTYPE + b"(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb0"
    assert "set twice" in reasons(
        stream(lambda index: (change if index == 90 else b"") + holder(array(4, bytes([index]) * 32)))
    )


def test_strings_have_to_be_the_same() -> None:
    """A string may be a name; one that differs is looked at."""

    def segment(index: int) -> bytes:
        name = b"\x8c\x09__class__" if index == 130 else b"\x8c\x09attribute"
        return CLASS + b")\x81\x94}\x94(" + name + integer(index) + b"ub"

    assert "special attribute" in reasons(stream(segment))
    assert is_clean(stream(lambda index: segment(index % 130)))


@pytest.mark.parametrize("spelled", [b"C\x01%c", b"B\x01\x00\x00\x00%c", b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00%c"])
def test_type_codes_have_to_be_the_same(spelled: bytes) -> None:
    """A type code is bytes, but it is looked at: numpy would make an array of another kind."""

    def segment(index: int) -> bytes:
        code = spelled % (b"O" if index == 130 else b"b")
        return holder(array(4).replace(b"C\x01b", code))

    assert "empty array" in reasons(stream(segment))


def test_two_models_take_turns() -> None:
    """Objects of two classes in turn."""

    def segment(index: int) -> bytes:
        return holder(integer(index)) if index % 2 else b"cm\nP\n" + forest(index)[len(CLASS) :]

    judgement = judged(stream(segment))
    assert not judgement.findings
    assert {"m.C", "m.P"} == set(judgement.constructed)


def pending() -> bytes:
    """An array that waits for its state."""
    return RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R"


def big_array(size: int) -> bytes:
    """An array of so many numbers, in the memo."""
    return array(size) + b"\x94"


def test_copies_of_what_is_read_add_up() -> None:
    """Two arrays, or the bytes of an array, that every repetition reads from the memo: the first copy of each is free, no other."""
    first = holder(integer(1))
    nodes, values = b"h\x0c", b"h\x0d"
    code = PROLOGUE + big_array(1 << 15) * 2 + first + holder(tree(nodes, values, 5)) * 200 + b"e."
    assert "copy the same arrays" in reasons(code)
    data = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b"\x94"
    again = array(1 << 17, b"").replace(b"B" + bytes(4), b"h\x0c")
    assert "the same bytes" in reasons(PROLOGUE + data + first + holder(again) * 400 + b"e.")


@pytest.mark.parametrize("code", [b"C\x01O", b"B\x01\x00\x00\x00O", b"B\x0b\x00\x00\x00V2147483600"])
@pytest.mark.parametrize("usual", [b"C\x01b", b"B\x01\x00\x00\x00b"])
def test_bytes_that_a_rule_looks_at(code: bytes, usual: bytes) -> None:
    """The type code of an empty array is a single byte that has to be ``b``: in every repetition."""
    segments = [holder(array(4).replace(b"C\x01b", code if index in (60, 61) else usual)) for index in range(150)]
    assert "empty array of bytes" in reasons(PROLOGUE + b"".join(segments) + b"e.")


def test_buffers_of_the_caller() -> None:
    """The same out-of-band buffer in many places, and one that is a type code, are seen in each of them."""
    options = JudgeOptions(POLICY, DEFAULT_LIMITS)

    def refused(segment: bytes, buffers: list[bytes]) -> bool:
        code = PROLOGUE.replace(b"\x80\x04", b"\x80\x05") + holder(integer(1)) + segment * (len(buffers)) + b"e."
        census = take_census(BytesSource(code), DEFAULT_LIMITS, buffers)
        tracer = Tracer(DEFAULT_LIMITS)
        tracer.trace(census.code, census.protocol, census.buffers)
        return bool(decide(census, tracer, options).findings)

    state = array(1 << 17, b"").replace(b"C\x00", b"\x97")
    others = [bytes([index]) * (1 << 20) for index in range(6)]
    assert not refused(holder(state), others)
    assert refused(holder(state), [*others, *others[:1]])
    assert refused(holder(state), [*others, *others[:1] * 400])
    codes = [b"b"] * 100
    assert not refused(holder(array(4).replace(b"C\x01b", b"\x97")), codes)
    assert refused(holder(array(4).replace(b"C\x01b", b"\x97")), [*codes, b"O"])


def test_an_array_that_waits() -> None:
    """Nothing runs between the making of an array and its state."""
    before = b"".join(holder(integer(index)) for index in range(60))
    state = b"(K\x01K\x04\x85" + DTYPE + b"\x89C\x20" + bytes(32) + b"tb"
    assert is_clean(PROLOGUE + before + pending() + state + before + b"e.")
    code = PROLOGUE + before + pending() + before + b"0" * 60 + state + b"e."
    assert "long after" in reasons(code)


@pytest.mark.parametrize("value", [integer(1), CLASS])
def test_what_is_inside_of_what_they_read_changes(value: bytes) -> None:
    """A dict in a tuple that is the state of each of them gets a key."""
    read = b"N}\x94\x86\x94"  # slots 12 and 13
    segment = CLASS + b")\x81\x94h\x0db"
    other = b"cm\nP\n)\x81}b"
    change = b"h\x0c\x8c\x09__class__" + value + b"s0"
    assert is_clean(PROLOGUE + read + segment * 30 + other + segment * 40 + b"e.")
    with pytest.raises(SafeloadError, match="the state of an object already"):
        judged(PROLOGUE + read + segment * 30 + change + other + segment * 40 + b"e.")


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param(lambda index: b"](" + integer(index) + b"e\x94Nb", id="a list"),
        pytest.param(lambda index: b"(" + integer(index) + CLASS + b")\x81}bt\x94Nb", id="a tuple with an object"),
        pytest.param(lambda index: b"](" + integer(index) + CLASS + b")\x81}be\x94Nb", id="a list with an object"),
    ],
)
def test_data_that_gets_a_state(segment: Callable[[int], bytes]) -> None:
    """``None`` as a state changes nothing, so data may have it too; but the numbers in data are seen later."""
    assert is_clean(stream(segment))


def test_lists_that_are_passed_again() -> None:
    """What the trace keeps of lists that many repetitions are given is counted for all of them."""
    given = b"}(" + b"".join(b"\x8c\x01" + bytes([key]) + b"](" + b"N" * 60 + b"e" for key in range(60)) + b"u\x94"
    code = PROLOGUE + given + (CLASS + b")\x81\x94h\x0cb") * 1000 + b"e."
    limits = Limits(max_hash_work=2_000_000)
    with pytest.raises(LimitExceededError, match="passes lists and dicts"):
        judged(code, limits)
