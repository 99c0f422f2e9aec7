"""What a run over many artifacts gives: one result per item, and the counts of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from safeload.findings import Report, Verdict

__all__ = ["Counts", "Result"]


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """How it ended for one item.

    Attributes:
        index: the item's place in the sources, from 0.
        source: the source as it was given; for ``dump_many`` the target.
        value: the object (``load_many``), the :class:`~safeload.Report` (``scan_many``), what is known about the verified
            envelope, as a dict (``verify_many``), ``"sealed"`` or ``"unchanged"`` (``rekey_many``), else ``None``.
        error: why it was refused or failed, else ``None``.
        skipped: a run before this one did it, and it has not changed since; there is no value then.
    """

    index: int
    source: Any
    value: Any = None
    error: Exception | None = None
    skipped: bool = False

    def __repr__(self) -> str:
        """Without what was loaded, which may be large, and secret."""
        if self.error is not None:
            how = f"{type(self.error).__name__}: {self.error}".partition("\n")[0]
        elif self.skipped:
            how = "skipped"
        else:
            how = str(self.report.verdict) if self.report is not None else type(self.value).__name__
        return f"<Result {self.index} of {self.source!r:.100}: {how}>"

    @property
    def ok(self) -> bool:
        """Whether it was done; of a scan, whether the artifact is clean as well."""
        report = self.report
        return self.error is None and (report is None or report.verdict is Verdict.CLEAN)

    @property
    def report(self) -> Report | None:
        """The report of a scan, or what a refusal knows about its artifact."""
        if isinstance(self.value, Report):
            return self.value
        found = getattr(self.error, "report", None)
        return found if isinstance(found, Report) else None

    def unwrap(self) -> Any:
        """The value.

        Raises:
            Exception: the item's error.
        """
        if self.error is not None:
            raise self.error
        return self.value


class Counts(NamedTuple):
    """How far a run is.

    Attributes:
        done: items that ended, the following two kinds among them.
        failed: items that are not :attr:`Result.ok`.
        skipped: items that were done before.
        total: how many there are, ``None`` if the sources do not tell.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def after(self, result: Result) -> Counts:
        """The counts with one more result."""
        return self._replace(
            done=self.done + 1, failed=self.failed + (not result.ok), skipped=self.skipped + result.skipped
        )
