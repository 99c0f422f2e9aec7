"""A run over many artifacts: tasks out of sources, results out of outcomes, the journal and the progress beside them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sized
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from safeload.api.batch.journal import Journal, name_of
from safeload.api.batch.progress import reporting
from safeload.api.batch.result import Counts, Result
from safeload.api.batch.spread import Spread

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from safeload.api.batch.work import Task, Work

__all__ = ["Batch", "How", "begin"]


class How(NamedTuple):
    """The arguments that every kind of run has; see :func:`safeload.load_many`."""

    ordered: bool = True
    jobs: int | None = None
    backend: Any = None
    ahead: int | None = None
    progress: bool | Callable[[Counts], object] = False
    on_result: Callable[[Result], object] | None = None
    resume: str | os.PathLike[str] | None = None


class Batch(Iterator[Result]):
    """The results of a run, an iterator: work is done as they are taken, a bounded number of items ahead.

    It is a context manager too: leaving it ends the run. ``run()`` takes all results.

    Attributes:
        counts: how far it is.
    """

    def __init__(self, total: int | None) -> None:
        self.counts = Counts(total=total)
        self._results: Iterator[Result] = iter(())

    def __next__(self) -> Result:
        return next(self._results)

    def run(self) -> Counts:
        """Do everything that is left and return the counts; the results go to ``on_result`` only."""
        for _ in self:
            pass
        return self.counts

    def close(self) -> None:
        """End the run. What is under way is stopped or finished; files are whole in either case."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begin(work: Work, sources: Iterable[Any], tasks: Iterator[Task], verb: str, how: How) -> Batch:
    """Start a run. Mistakes in its arguments are raised here, before anything is done.

    Args:
        work: what is done with each task.
        sources: what the tasks are made of, for their number.
        tasks: the tasks, without what the journal knows.
        verb: for the progress.
        how: how to run.
    """
    if how.on_result is not None and not callable(how.on_result):
        raise TypeError(f"on_result is a function, not {type(how.on_result).__name__}")
    if how.ahead is not None and (type(how.ahead) is not int or how.ahead < 1):
        raise ValueError(f"ahead is a number of items for each job, at least 1, not {how.ahead!r}")
    reads = work.action in ("scan", "verify")
    # Objects can be large, so few of them wait; what is read for a report leaves little behind.
    first = 4 if work.action in ("load", "dump") else 32
    ahead = (first, 32) if how.ahead is None else (how.ahead, how.ahead)
    spread = Spread(work, jobs=how.jobs, backend=how.backend, processes=reads, ordered=how.ordered, ahead=ahead)
    if spread.local:
        work.ring()  # a place that gives no keys ends the call here
        work.sealing_key()
    total = len(sources) if isinstance(sources, Sized) else None
    journal = None if how.resume is None else Journal(how.resume, _digest(work, here=spread.local))
    batch = Batch(total)
    batch._results = _results(batch, work, spread, tasks, journal, verb, how)  # noqa: SLF001 - its only maker
    return batch


def _results(
    batch: Batch, work: Work, spread: Spread, tasks: Iterator[Task], journal: Journal | None, verb: str, how: How
) -> Iterator[Result]:
    with contextlib.ExitStack() as stack:
        if journal is not None:
            stack.callback(journal.close)
            tasks = _known(tasks, journal)
        tell = stack.enter_context(reporting(how.progress, verb, batch.counts.total))
        outcomes = stack.enter_context(contextlib.closing(spread.outcomes(tasks)))
        for task, outcome in outcomes:
            for event in outcome.events:
                work.loader.audit.replay(event)
            result = Result(outcome.number, task.source, outcome.value, outcome.error, outcome.skipped)
            batch.counts = batch.counts.after(result)
            if how.on_result is not None:
                how.on_result(result)
            tell(batch.counts)
            yield result
            if journal is not None and result.ok and not result.skipped:
                journal.add(name_of(task.source), outcome.stamp)


def _known(tasks: Iterator[Task], journal: Journal) -> Iterator[Task]:
    for task in tasks:
        try:
            known = journal.knows(name_of(task.source))
        except ValueError:  # no place; the action says so
            known = None
        yield task._replace(known=known)


def _digest(work: Work, *, here: bool) -> str:
    """What was asked for, as a digest: the journal of another policy, key or option says nothing about this run."""
    from safeload import __version__

    # Elsewhere this process may have no keys: there the places stand for them.
    ring, key = (work.ring(), work.sealing_key()) if here else (None, None)
    asked = {
        "version": __version__,
        "action": work.action,
        "policy": work.loader.policy.digest,
        "limits": asdict(work.loader.limits),
        "signers": sorted(
            (key, value.policy.digest, sorted(value.grants)) for key, value in (work.loader.signers or {}).items()
        ),
        "options": sorted((name, repr(value)) for name, value in work.options.items()),
        "keys": None if ring is None else sorted((entry.key.key_id_hex, str(entry.state)) for entry in ring),
        "places": [work.keys, work.key if isinstance(work.key, str) else None],
        "key": None if key is None else key.key_id_hex,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def started() -> float:
    """The time from which on files are this run's own, in seconds of the epoch; clocks of file systems are coarse."""
    return time.time() - 2
