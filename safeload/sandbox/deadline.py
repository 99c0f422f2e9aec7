"""Time that is left, and what to say when none is."""

from __future__ import annotations

import time

from safeload.errors import SandboxTimeoutError

__all__ = ["Deadline"]


class Deadline:
    """A moment by which the sandbox must have answered."""

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"a timeout must be more than 0 seconds, got {seconds}")
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then.

        Raises:
            SandboxTimeoutError: it is over.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.over()
        return left

    def over(self) -> SandboxTimeoutError:
        """The error for a deadline that passed."""
        return SandboxTimeoutError(
            f"the sandbox gave no answer within {self.seconds:g} seconds, and the process in it was killed; "
            "raise Limits(max_sandbox_seconds=...) or timeout= if the work is that long"
        )
