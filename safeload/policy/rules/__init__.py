"""Argument rules, a file for each library: which arguments make an allowed callable harmless.

Rule: every rule file is named in :func:`known_rules`. A pack that asks for a rule which nobody registered does not load.
"""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING

from safeload.policy.rules.registry import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.policy.decision import Context
    from safeload.policy.rules.registry import Check
    from safeload.program import Use

__all__ = ["find_rules", "known_rules"]


@functools.cache
def known_rules() -> Mapping[str, Check]:
    """Every argument rule by name."""
    from safeload.policy.rules import (  # noqa: F401 - each registers its rules
        arguments,
        arrays,
        arrow,
        boosters,
        compiled,
        containers,
        dtypes,
        networkx_statsmodels,
        pandas_columns,
        pandas_frames,
        pandas_indexes,
        pandas_scalars,
        sklearn_scipy,
        torch,
        zones,
    )

    return MappingProxyType(RULES)


@functools.cache
def find_rules(condition: str) -> tuple[Check, ...]:
    """The checks of a permission such as ``"a|b"``, of which one has to accept; ``""`` accepts everything."""
    if not condition:
        return (_anything,)
    return tuple(known_rules()[name] for name in condition.split("|"))


def _anything(_use: Use, _context: Context) -> str | None:
    return None
