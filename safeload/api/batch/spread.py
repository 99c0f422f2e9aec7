"""Work spread by ``joblib.Parallel``: threads, processes, or what joblib is configured with (Dask, Ray).

Tasks go out in windows: so many are taken from the sources, done, and their results handed out before more are taken. This
is what bounds memory however slow the caller is (joblib alone goes on working while nobody takes its results), keeps the
sources in the caller's thread, and says which tasks are in doubt when a process dies: each of those is done again
by itself, and the one that kills its process again is the culprit.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from safeload.api.batch.work import Outcome, Packed
from safeload.api.batch.worker import do, run_packed
from safeload.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from safeload.api.batch.work import Task, Work

__all__ = ["Spread"]

_SHORT: Final = 0.1  # seconds: windows that are done sooner cost more than their work, and grow
_SETTLED: Final = 5  # seconds that tasks which nobody waits for may take to be queued, at most
_MANY: Final = 32  # fewer tasks than this are not worth starting processes for


class Spread:
    """How the tasks of a run are spread. Joblib's configuration is read here, once.

    Args:
        work: what is done with each.
        jobs: how many at a time; ``None`` for joblib's configuration, else one per processor.
        backend: a backend of joblib; ``None`` for joblib's configuration, else threads or processes.
        processes: prefer processes where nothing else is said, there are many tasks and the work can be done there.
        ordered: whether outcomes come in the order of the tasks, or as they are completed.
        ahead: tasks in a window for each job: at first, and for short work at most.

    Raises:
        ValueError: the work cannot be done on this backend; the message says how it can.
    """

    def __init__(
        self, work: Work, *, jobs: int | None, backend: Any, processes: bool, ordered: bool, ahead: tuple[int, int]
    ) -> None:
        import joblib

        if jobs is not None and (type(jobs) is not int or not jobs):
            raise ValueError(f"jobs is a number of workers, or -1 for one per processor, not {jobs!r}")
        self._work = work
        self._packed = b""
        jobs = _configured_jobs() if jobs is None else jobs
        as_generator = "generator" if ordered else "generator_unordered"
        # In a context, because that is where joblib knows the backends of other packages by name.
        with contextlib.nullcontext() if backend is None else joblib.parallel_config(backend=backend):
            self._threads, self._processes = (
                joblib.Parallel(n_jobs=jobs, prefer=kind, return_as=as_generator) for kind in ("threads", "processes")
            )
        # Where a backend is given or configured, the preference changes nothing.
        self._chosen = type(_backend(self._threads)) is type(_backend(self._processes))
        if self._chosen and not _shares_memory(self._threads):
            self._pack()
            _answer_for_lost_workers(_backend(self._threads))
        self._wants_processes = processes and not self._chosen and not work.why_here()
        count = max(1, _backend(self._threads).effective_n_jobs(self._threads.n_jobs))
        self._size, self._largest = ahead[0] * count, ahead[1] * count
        self._busy = 0.0  # seconds that the last window was waited for

    @property
    def local(self) -> bool:
        """Whether the work is certain to be done in this process."""
        return not self._packed and not self._wants_processes

    def _pack(self) -> None:
        why = self._work.why_here()
        if why:
            raise ValueError(why)
        self._packed = self._work.packed()

    def outcomes(self, tasks: Iterator[Task]) -> Generator[tuple[Task, Outcome], None, None]:
        """Every task with its outcome. An error of ``tasks`` itself is raised after the outcomes of those before it."""
        parallel = self._threads
        with contextlib.ExitStack() as pool:
            started = False
            while True:
                window, failure = _taken(tasks, self._size)
                if window and not started:
                    started = True
                    if self._wants_processes and len(window) >= _MANY:
                        self._pack()
                        parallel = self._processes
                    pool.enter_context(parallel)
                if window:
                    doubtful = yield from self._window(parallel, window)
                    if doubtful:
                        pool.close()
                        for task in doubtful:
                            yield task, self._alone(parallel, task)
                        parallel = pool.enter_context(self._again(parallel))
                if failure is not None:
                    raise failure
                if len(window) < self._size:
                    return
                if self._busy < _SHORT:
                    self._size = min(2 * self._size, self._largest)

    def _window(self, parallel: Any, window: Sequence[Task]) -> Generator[tuple[Task, Outcome], None, Sequence[Task]]:
        """The outcomes of a window; what is returned has none, because something broke."""
        left = {task.number: task for task in window}
        self._busy = 0.0
        with contextlib.closing(self._done(parallel, window)) as done:
            while left:
                began = time.monotonic()
                try:
                    outcome = next(done)
                except OSError:
                    raise  # the cluster is gone, not a task
                except Exception:  # noqa: BLE001 - a process died, or what it gave could not be brought here
                    break
                self._busy += time.monotonic() - began
                if outcome.number in left:
                    yield left.pop(outcome.number), outcome
        return tuple(left.values())

    def _alone(self, parallel: Any, task: Task) -> Outcome:
        """The outcome of a task that was under way when something broke."""
        try:
            doubtful = task._replace(doubtful=True)
            with contextlib.closing(self._done(self._again(parallel, ordered=True), [doubtful])) as done:
                return next(done)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - see _window
            message = (
                f"the process that worked on it ended ({type(error).__name__}), alone as well; was there enough memory? "
                "Treat the artifact as hostile"
            )
            lost = LoadError(message, code="batch.process-died")
            lost.__cause__ = error
            return Outcome(task.number, error=lost)

    def _again(self, parallel: Any, *, ordered: bool = False) -> Any:
        """Another one like it: one that broke can still be given results of what it was told to do before."""
        import joblib

        return_as = "generator" if ordered else parallel.return_as
        return joblib.Parallel(n_jobs=parallel.n_jobs, backend=_backend(parallel), return_as=return_as)

    def _done(self, parallel: Any, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        from joblib import delayed

        if not self._packed:
            calls = (delayed(do)(self._work, task) for task in tasks)
        else:
            calls = (delayed(run_packed)(self._packed, task) for task in tasks)
        results = parallel(calls)
        try:
            for result in results:
                yield result.open() if isinstance(result, Packed) else result
        except GeneratorExit:
            _give_no_more(parallel)
            raise
        finally:
            with warnings.catch_warnings():
                # joblib warns of results that nobody took; whoever stops early knows.
                warnings.simplefilter("ignore")
                results.close()


def _taken(tasks: Iterator[Task], size: int) -> tuple[list[Task], Exception | None]:
    taken: list[Task] = []
    try:
        for task in itertools.islice(tasks, size):
            taken.append(task)  # noqa: PERF402 - what came before an error is kept
    except Exception as error:  # noqa: BLE001 - the sources' own; what came before it is done first
        return taken, error
    return taken, None


def _backend(parallel: Any) -> Any:
    return parallel._backend  # noqa: SLF001 - joblib tells it nowhere else


def _give_no_more(parallel: Any) -> None:
    """Let loky take what it was given, and give it no more: its workers are about to be killed.

    A task that is on its way to it then (joblib 1.6 gives it the next one from a thread of loky's) would end that thread with a
    ``KeyError``: a traceback on standard error, and queues that nobody closes.
    """
    waiting = getattr(getattr(_backend(parallel), "_workers", None), "_work_ids", None)
    if waiting is None:
        return
    parallel._aborting = True  # noqa: SLF001 - as closing its results does, too late
    with parallel._lock:  # noqa: SLF001 - held while a task is given
        pass
    end = time.monotonic() + _SETTLED
    while not waiting.empty() and time.monotonic() < end:
        time.sleep(0.001)


def _answer_for_lost_workers(backend: Any) -> None:
    """Make joblib's Dask backend (1.6) tell of tasks whose worker died: as it is, the run would wait for them for ever.

    While other workers are started again it may count a single one, for which joblib would work in this process: it counts
    two then.
    """
    if type(backend).__name__ != "DaskDistributedBackend" or "submit" in vars(backend):
        return
    submit, effective = backend.submit, backend.effective_n_jobs
    backend.effective_n_jobs = lambda n_jobs: max(2, effective(n_jobs))

    def submit_and_answer(func: Any, callback: Any = None) -> Any:
        answered = False

        def once(outcome: Any) -> None:
            nonlocal answered
            if callback is not None and not answered:
                answered = True
                callback(outcome)

        def failed(future: Any) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                once(error)  # joblib raises an outcome that is an exception

        future = submit(func, callback=once)
        future.add_done_callback(failed)
        return future

    backend.submit = submit_and_answer


def _shares_memory(parallel: Any) -> bool:
    return bool(getattr(_backend(parallel), "supports_sharedmem", False))


def _configured_jobs() -> int | None:
    """``None`` where joblib is configured with a number of jobs, which it then takes itself; else all processors."""
    import joblib

    config = getattr(getattr(joblib.parallel, "_backend", None), "config", None) or {}
    return None if type(config.get("n_jobs")) is int else -1
