"""The table of argument rules: rule files register in it, decisions look rules up by the names that packs use.

It imports no rule file, so that rules never depend on the order of imports; :mod:`safeload.policy.rules` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__ = ["BOUNDED", "RULES", "Check", "argument_rule"]

Check = Callable[["Use", "Context"], "str | None"]

RULES: dict[str, Check] = {}
BOUNDED: set[Check] = set()


def argument_rule(name: str, *, bounded: bool = False) -> Callable[[Check], Check]:
    """Register a check under the name that packs use.

    ``bounded``: of numbers it asks their types, and how they compare with each other and with bounds; of bytes their
    type (and what a single one is). So what it says of the least and of the greatest numbers holds for those between them.
    """

    def register(check: Check) -> Check:
        RULES[name] = check
        if bounded:
            BOUNDED.add(check)
        return check

    return register
