"""The bounds of one artifact, and what is spent of them."""

from __future__ import annotations

import pytest

from safeload import LimitExceededError, Limits
from safeload.limits import ArtifactBudget, Spending


@pytest.mark.parametrize(
    ("limits", "charge", "code"),
    [
        (Limits(max_work=5_000), lambda spent: spent.judge(1, traced=True), "limit.work"),
        (Limits(max_work=5_000), lambda spent: spent.judge(2_000, traced=False), "limit.work"),
        (Limits(max_operations=2), lambda spent: spent.operate(1), "limit.operations"),
        (Limits(max_hash_work=200), lambda spent: spent.hash(100), "limit.hash-work"),
        (Limits(max_compiled=20), lambda spent: spent.compile(10), "limit.compiled"),
    ],
)
def test_what_is_spent_adds_up(limits, charge, code):
    """Each charge alone is within its limit, and the third of them is not: the parts of an artifact have one budget, not one each."""
    spent = Spending(limits)
    charge(spent)
    charge(spent)
    spent.check()
    with pytest.raises(LimitExceededError) as caught:
        charge(spent)
    assert caught.value.code == code
    with pytest.raises(LimitExceededError):
        spent.check()


def test_a_large_artifact_may_have_more_streams():
    """The work has to be out of proportion to the artifact: a large archive of small honest pickles is judged whole."""
    spent = Spending(Limits(max_work=5_000), size=1_000)
    for _ in range(7):
        spent.judge(1, traced=True)
    with pytest.raises(LimitExceededError):
        spent.judge(1, traced=True)


def test_what_calls_cost_adds_up_over_streams():
    """Half of any budget twice is all of it, and what is loaded again is paid again; members of an archive share it."""
    halves = [
        (1 << 27, 0, 0, 0, 0),
        (0, 50_000, 0, 0, 0),
        (0, 0, 1 << 19, 0, 0),
        (0, 0, 0, 10_000, 0),
        (0, 0, 0, 0, 500_000),
    ]
    for half in halves:
        budget = ArtifactBudget()
        assert not budget.spend(half)
        assert not budget.spend(half)
        assert budget.spend(half)
        assert budget.used() == tuple(3 * each for each in half)
