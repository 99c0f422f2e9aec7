"""joblib files whose arrays are found at once: the same judgement and the same places as array by array, or no such judgement."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

import safeload
from safeload.errors import LimitExceededError, SafeloadError
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.pipeline.joblib import walk as arraystreams
from safeload.pipeline.joblib.arraywhole import WholeWalk
from safeload.pipeline.joblib.places import ArrayPlace
from safeload.pipeline.request import JudgeOptions
from safeload.pipeline.verdict import decide
from safeload.policy import Policy
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from safeload.pipeline.verdict import Judgement

POLICY = Policy.packs("data", "numpy", "sklearn")
# A description of an array whose dtype was written before: the literals of its shape.
DESCRIPTION = re.compile(rb"(?s)((?:K.|M..)+)[\x85-\x87]\x94h.h.h.h.h.[\x88\x89]h.K.ub")


def dumped(value: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


def arrays(count: int = 120) -> list[Any]:
    return [np.arange(index % 7, dtype=float) for index in range(count)]


def forest(count: int = 60) -> Any:
    ensemble = pytest.importorskip("sklearn.ensemble")
    features = np.random.default_rng(0).random((60, 4))
    return ensemble.RandomForestClassifier(count, max_depth=3, random_state=0).fit(features, features[:, 0] > 0.5)


def judged(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[Judgement, Any]:
    """The judgement, and the walk it comes from. Array by array it has to be the same, to the last place."""
    options = JudgeOptions(POLICY, limits)
    walk = arraystreams._walked(MemoryBlob(data), options, skims=False, guesses=True)
    judgement = decide(walk.census, walk.tracer, options)
    exact = arraystreams._walked(MemoryBlob(data), options, skims=False, guesses=False)
    full = decide(exact.census, exact.tracer, options)
    if not judgement.findings:
        assert not full.findings
        assert judgement.constructed == full.constructed
        assert judgement.spellings == full.spellings
        assert walk.census.code == exact.census.code
        assert walk.census.size == exact.census.size
        assert walk.census.protocol == exact.census.protocol
        assert [bytes(each) if isinstance(each, memoryview) else each for each in walk.census.buffers] == [
            bytes(each) if isinstance(each, memoryview) else each for each in exact.census.buffers
        ]
    return full, walk


def is_guessed(data: bytes) -> bool:
    judgement, walk = judged(data)
    assert not judgement.findings
    return isinstance(walk, WholeWalk)


def is_refused(data: bytes) -> bool:
    """Whether it is malformed, or has findings."""
    try:
        return bool(judged(data)[0].findings)
    except SafeloadError:
        return True


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_forest(protocol: int) -> None:
    """Most trees are left out of the trace, and all arrays are found; the model that is loaded predicts as before."""
    model = forest()
    file = io.BytesIO()
    joblib.dump(model, file, protocol=protocol)
    _, walk = judged(file.getvalue())
    assert isinstance(walk, WholeWalk)
    assert sum(isinstance(each, ArrayPlace) for each in walk.census.buffers) > 4 * 60
    assert len(walk.tracer.uses) < 600
    loaded = safeload.loads(file.getvalue(), policy=POLICY)
    features = np.random.default_rng(1).random((50, 4))
    assert (loaded.predict_proba(features) == model.predict_proba(features)).all()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(arrays(), id="of many lengths"),
        pytest.param({f"k{index}": np.full((index % 3, 2, 2), index) for index in range(90)}, id="of three axes"),
        pytest.param([np.full((), float(index)) for index in range(90)], id="of no axis"),
        pytest.param([np.asfortranarray(np.ones((2, index % 5 + 1))) for index in range(80)], id="in Fortran order"),
        pytest.param([np.zeros(300 + index, dtype="u1") for index in range(80)], id="of bytes"),
    ],
)
def test_lists_of_arrays(value: Any) -> None:
    """Arrays of one dtype are found whatever their shapes are, and are the same as joblib's."""
    data = dumped(value)
    assert is_guessed(data)
    loaded, expected = safeload.loads(data), joblib.load(io.BytesIO(data))
    pairs = zip(loaded, expected, strict=True) if isinstance(value, list) else ((loaded[k], expected[k]) for k in value)
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert (one == other).all()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(arrays(10), id="few"),
        pytest.param(
            [*arrays(), *[np.arange(3, dtype=f"u{2 ** (index % 3)}") for index in range(40)]], id="new dtypes"
        ),
        pytest.param([*arrays(), np.array([1, "a"], dtype=object), *arrays()], id="objects among them"),
        pytest.param([*arrays(), b"x" * 70_000, *arrays()], id="long bytes among them"),
    ],
)
def test_what_cannot_be_guessed_is_walked(value: Any) -> None:
    """Whatever is not like the beginning is found array by array."""
    data = dumped(value)
    assert not is_guessed(data)
    assert len(safeload.loads(data)) == len(value)


@pytest.mark.parametrize("place", [0, 17, 40, 100])
@pytest.mark.parametrize("change", [-1, 1, 5])
def test_a_shape_that_does_not_fit(place: int, change: int) -> None:
    """A description that says more or less than what follows moves everything behind it: refused, as array by array."""
    data = bytearray(dumped([np.full(9, 0x4141414141414141) for _ in range(120)]))
    found = list(DESCRIPTION.finditer(bytes(data)))[place]
    data[found.start(1) + 1] += change
    with pytest.raises(SafeloadError):
        judged(bytes(data))
    with pytest.raises(SafeloadError):
        safeload.loads(bytes(data))


def test_a_tree_whose_arrays_disagree() -> None:
    """The sizes of arrays that are left out come from their own numbers, not from the model's."""
    data = dumped(forest())
    descriptions = list(DESCRIPTION.finditer(data))
    for found in descriptions[130:134]:
        mutated = bytearray(data)
        mutated[found.start(1) + 1] ^= 1
        assert is_refused(bytes(mutated))


def test_hidden_code_behind_a_false_size() -> None:
    """An array's bytes that hold a frame with code are not skipped over by one reading and run by the other."""
    hostile = b"\x95\x13\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n\x8c\x02id\x85R0"
    value = [np.frombuffer(hostile.ljust(72, b"N"), dtype=float) for _ in range(120)]
    data = bytearray(dumped(value))
    assert is_guessed(bytes(data))
    found = list(DESCRIPTION.finditer(bytes(data)))[90]
    data[found.start(1) + 1] = 0  # the description now says that the frame follows
    assert is_refused(bytes(data))


def test_unpacked_opcodes_are_weighed_before_they_are_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes of compressed opcodes would make gigabytes of objects, also where the places of arrays are guessed."""
    body = b"\x8f" * 3_000_000 + b"e."
    bomb = dumped(arrays(40))[:-2] + b"\x95" + len(body).to_bytes(8, "little") + body
    monkeypatch.setattr(WholeWalk, "run", lambda _: pytest.fail("walked"))
    report = safeload.scan(gzip.compress(bomb))
    assert report.verdict != "clean"
    assert "limit.unpacked-objects" in [finding.rule_id for member in report.members for finding in member.findings]


def test_the_number_of_arrays_is_bounded() -> None:
    """``max_members`` counts arrays that were guessed, too."""
    with pytest.raises(LimitExceededError, match="max_members"):
        judged(dumped(arrays(200)), Limits(max_members=150))


def test_scan_and_load_agree() -> None:
    """A scan, which does not read the arrays, comes to the same verdict."""
    data = dumped(forest())
    assert safeload.Loader(policy=POLICY).scan(data).verdict == "clean"
    assert safeload.scan(data).verdict == "unknown"


def test_nothing_adds_up_in_memory() -> None:
    """What a guess began and gave up is collected: CPython's collector does not see what an unpickler left on its stack."""
    import gc

    from safeload.engine.trace import Tracer

    data = dumped(arrays())
    broken = [data[: len(data) // 2], data[:-2] + b"0000.", data.replace(b"NumpyArrayWrapper", b"NumpyArrayWrappex")]
    counts = []
    for _ in range(4):
        for artifact in (data, *broken):
            arraystreams.judgements.clear()
            with contextlib.suppress(SafeloadError):
                safeload.loads(artifact)
        gc.collect()
        counts.append(sum(type(each) is Tracer for each in gc.get_objects()))
    assert counts[-1] <= counts[0]
