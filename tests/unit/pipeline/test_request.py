"""What one call asks for: frozen, and its judging part is all of a cached judgement's key."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from safeload import Limits, Policy
from safeload.limits import DEFAULT_LIMITS
from safeload.pipeline.request import JudgeOptions, ReadRequest

CALLERS = {"fix_imports", "encoding", "errors", "persistent_load", "named"}
OTHER: dict[str, Any] = {
    "policy": Policy.packs("data"),
    "limits": Limits(max_depth=3),
    "manifest": ("call builtins.list",),
    "fix_imports": False,
    "encoding": "latin1",
    "errors": "replace",
    "signed": True,
    "persistent_load": repr,
    "named": repr,
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(JudgeOptions) if field.compare])
def test_every_choice_is_part_of_the_key(name: str) -> None:
    """A choice that is missing in the key lets bytes judged under one value of it pass as clean under another."""
    plain = JudgeOptions(Policy(), DEFAULT_LIMITS)
    assert dataclasses.replace(plain, **{name: OTHER[name]}).cache_key() != plain.cache_key()


def test_what_was_spent_is_no_choice() -> None:
    """Only what has been spent of an artifact's limits is left out: with it in the key nothing would be found again."""
    assert [field.name for field in dataclasses.fields(JudgeOptions) if not field.compare] == ["spending"]


def test_equal_choices_have_equal_keys() -> None:
    """Otherwise nothing that was judged before is ever found."""
    assert JudgeOptions(Policy(), DEFAULT_LIMITS).cache_key() == JudgeOptions(Policy(), Limits()).cache_key()


def test_a_signer_changes_its_own_part_only() -> None:
    """A choice of the caller that got lost with the signer's policy would be judged as if it were not made."""
    asked = JudgeOptions(Policy(), DEFAULT_LIMITS, None, **{name: OTHER[name] for name in OTHER if name in CALLERS})
    signed = asked.signed_by(OTHER["policy"], ("call x.y",))
    assert signed == dataclasses.replace(asked, policy=OTHER["policy"], manifest=("call x.y",), signed=True)
    assert signed.spending is asked.spending


def test_a_request_is_frozen() -> None:
    """A stage that could change the request would decide for the stages behind it."""
    request = ReadRequest(JudgeOptions(Policy(), DEFAULT_LIMITS))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.schema = {}  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.judging.signed = True  # type: ignore[misc]
