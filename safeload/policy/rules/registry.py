"""The table of argument rules: rule files register in it, decisions look rules up by the names that packs use.

It imports no rule file, so that rules never depend on the order of imports; :mod:`safeload.policy.rules` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["KEYWORDS", "RULES", "Check", "argument_rule", "has_names"]

Check = Callable[["Use", "Context"], "str | None"]

RULES: dict[str, Check] = {}
KEYWORDS: set[Check] = set()


def argument_rule(name: str, *, keywords: bool = False) -> Callable[[Check], Check]:
    """Register a check under the name that packs use.

    ``keywords``: it judges keyword arguments; no other check is asked about a use that has some.
    """

    def register(check: Check) -> Check:
        RULES[name] = check
        if keywords:
            KEYWORDS.add(check)
        return check

    return register


def has_names(value: Any) -> bool:
    """Whether a traced value is a dict whose keys are all exactly text.

    A rule that looks a key up in another dict may find one value, and the library, to which another key is equal, the other.
    """
    return type(value) is dict and all(type(key) is str for key in value)
