"""What the streams of one tracer may cost, and what they have cost so far.

Rule: what goes over a limit raises, and names the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from safeload.errors import LimitExceededError

if TYPE_CHECKING:
    from safeload.limits import Limits, Spending

__all__ = ["Account", "nests", "too_deep", "too_much"]


class Account:
    """What the streams of one tracer may cost, and what they have cost so far.

    Attributes:
        budget: steps of some nanoseconds: what the limits allow, and more for every byte that was read.
    """

    def __init__(self, limits: Limits, spending: Spending | None = None) -> None:
        self.limits = limits
        self.spending = spending
        self.charged = 0  # to the artifact
        self.budget = limits.max_hash_work
        self.work = 0
        self.constructed = 0  # squares: keys of one dict collide with each other only
        self.small = 0  # squares of the numbers of keys in small dicts

    def spend(self, weight: int) -> None:
        """Charge ``weight`` steps.

        Raises:
            LimitExceededError: the budget is used up.
        """
        self.work += weight
        if self.work > self.budget:
            too_much(
                self.limits,
                "max_hash_work",
                "steps to hash its keys and copy its arguments (parts that are shared count every time)",
            )

    def charge(self, work: int, constructed: int, small: int) -> None:
        """Charge what was charged before, for the same once more.

        Raises:
            LimitExceededError: it is too much now.
        """
        self.small += small
        self.constructed += constructed
        self.count_constructed(0)
        self.spend(work)

    def settle(self) -> None:
        """Charge what goes beyond the allowance for the bytes of this stream to the artifact: all its streams have one budget."""
        beyond = max(0, self.work - (self.budget - self.limits.max_hash_work))
        if self.spending is not None and beyond > self.charged:
            self.spending.hash(beyond - self.charged)
            self.charged = beyond

    def count_constructed(self, count: int) -> None:
        """So many keys of one dict have a hash that is not known; in the worst case each is compared with each.

        Raises:
            LimitExceededError: there are too many of them.
        """
        self.constructed += count * count
        if self.constructed > self.limits.max_constructed_keys**2:
            too_much(
                self.limits, "max_constructed_keys", "dict keys or set members that are made by calls, in one dict"
            )


def too_much(limits: Limits, name: str, what: str) -> NoReturn:
    """Refuse, because the limit ``name`` is exceeded."""
    limit = getattr(limits, name)
    raise LimitExceededError(
        f"the pickle needs more than {name}={limit:,} {what}; raise Limits({name}=...) if you trust its author",
        code="limit." + name.removeprefix("max_").replace("_", "-"),
    )


def nests(levels: int, limit: int) -> NoReturn:
    """Refuse, because objects nest too deep."""
    raise LimitExceededError(
        f"the pickle nests objects {levels:,} deep; freeing them again can crash the process. The limit is "
        f"max_nesting={limit:,}",
        code="limit.nesting",
    )


def too_deep(depth: int, limit: int) -> NoReturn:
    """Refuse, because a key nests too deep."""
    raise LimitExceededError(
        f"a dict key or set member nests tuples {depth:,} deep; hashing it recurses in C and can crash the process. "
        f"The limit is max_tuple_depth={limit}",
        code="limit.tuple-depth",
    )
