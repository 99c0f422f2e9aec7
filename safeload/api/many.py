"""What a loader can do with many artifacts: the documentation of :mod:`safeload.api.batch`, as methods.

Only this file is imported with the loader; the rest comes with the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from safeload.api.options import DumpManyOptions, LoadManyOptions, ScanManyOptions, VerifyManyOptions, takes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.api.batch import Batch
    from safeload.envelope.keys import Key

__all__ = ["Many"]


class Many:
    """Methods of :class:`~safeload.Loader` for many artifacts.

    They return a :class:`~safeload.Batch`, an iterator of :class:`~safeload.Result`: items are worked on while results are
    taken, a bounded number ahead, and a bad item is a result with an ``error``. ``batch.run()`` takes them all. The keyword
    arguments that all of them have:

    Args:
        policy, limits, audit: instead of this loader's. A trail (a path) is written where the work is done, by all processes
            of a machine as one chain; other sinks get the events of other processes with the results, so that an attempt
            that killed its process is only in a trail.
        keys: instead of this loader's; also the place that keys come from, such as ``"env:SAFELOAD_KEYS"``,
            ``"file:/path"`` or ``"command:[...]"``. Other processes get keys in no other way: each opens the place itself.
        ordered: results in the order of the sources, or (``False``) as they are completed.
        jobs: how many at a time; ``-1`` for one per processor, which is also the default. With ``1`` joblib works in this
            process, whatever the backend.
        backend: ``"threading"``, ``"loky"`` (processes), ``"dask"``, ``"ray"`` or another one of joblib; by default what
            ``joblib.parallel_config`` says, else threads. Scans and verifications of many files take processes if they can.
        ahead: items that may be finished or under way, for each job, before their results are taken. By default 32; for
            loads and dumps 4, and more only where they take next to no time. Give ``1`` for objects that fill the memory.
        progress: ``True`` to show a person how far it is (with a bar if ``rich`` is installed; nothing if standard error is
            no terminal), or a function that gets the :class:`~safeload.api.batch.Counts` after each item.
        on_result: a function that gets each result before it is handed out.
        resume: the path of a journal. What a run before this one did, and has not changed since, is skipped. The
            journal is for this kind of run only: other policies, keys or options need another one.

    Raises:
        ValueError, TypeError: an argument is wrong, or cannot cross into the processes of ``backend``.
    """

    __slots__ = ()

    @takes(LoadManyOptions)
    def load_many(self, sources: Iterable[Any], **options: Unpack[LoadManyOptions]) -> Batch:
        """Load many artifacts.

        Objects come back from other processes and machines as pickles that joblib carries: from your own workers, after
        those have judged the artifact. Whoever controls a worker controls what it returns, so run workers only where you
        would run the program itself. The default is threads, where nothing is carried.

        Args:
            sources: paths, URLs or open binary files (threads only), any number of them.
            options: those of all these methods, see :class:`~safeload.api.many.Many`, and of :meth:`~safeload.Loader.load`.

        Returns:
            A :class:`~safeload.Batch`; the ``value`` of a result is the object.
        """
        from safeload.api.batch import load_many

        return load_many(self, sources, **options)

    @takes(ScanManyOptions)
    def scan_many(self, sources: Iterable[Any], **options: Unpack[ScanManyOptions]) -> Batch:
        """Report on many artifacts without loading them; a result is ``ok`` if its artifact is clean.

        Args:
            sources: as for :meth:`load_many`.
            options: those of all these methods, see :class:`~safeload.api.many.Many`, and ``context``.

        Returns:
            A :class:`~safeload.Batch`; the ``value`` of a result is a :class:`~safeload.Report`.
        """
        from safeload.api.batch import scan_many

        return scan_many(self, sources, **options)

    @takes(VerifyManyOptions)
    def verify_many(self, sources: Iterable[Any], **options: Unpack[VerifyManyOptions]) -> Batch:
        """Verify every byte of many envelopes, and keep nothing. A key that only verifies is enough.

        Args:
            sources: paths or URLs of envelopes, or paths of files with a detached signature beside them (``.slsig``).
            options: those of all these methods, see :class:`~safeload.api.many.Many`, ``context``, and ``require``: the number of
                valid cosignatures to demand.

        Returns:
            A :class:`~safeload.Batch`; the ``value`` of a result is a dict of what is known about the envelope.
        """
        from safeload.api.batch import verify_many

        return verify_many(self, sources, **options)

    @takes(ScanManyOptions)
    def rekey_many(self, sources: Iterable[Any], new_key: Key | str, **options: Unpack[ScanManyOptions]) -> Batch:
        """Seal many envelopes with another key, in place, each after all of it was verified.

        Times, claims, version and context are kept; cosignatures are lost. Envelopes that have the key already are verified
        and left alone, so a run that was interrupted can be repeated, also without a journal.

        Args:
            sources: paths or URLs.
            new_key: a key that can sign, or the place of one such as ``"env:NEW_KEY"``.
            options: those of all these methods, see :class:`~safeload.api.many.Many`, and ``context``.

        Returns:
            A :class:`~safeload.Batch`; the ``value`` of a result is ``"sealed"`` or ``"unchanged"``.
        """
        from safeload.api.batch import rekey_many

        return rekey_many(self, sources, new_key, **options)

    @takes(DumpManyOptions, version=0)
    def dump_many(self, items: Iterable[tuple[Any, Any]], **options: Unpack[DumpManyOptions]) -> Batch:
        """Write many objects, each file whole or not at all.

        With ``resume``, a target that the journal says is complete, and that still is what was written, is skipped; whatever
        else is there is written again. A target that is given twice is an error of the second item.

        Args:
            items: tuples ``(object, target)``; a target is a path or a URL.
            options: those of all these methods, see :class:`~safeload.api.many.Many`, and of :meth:`~safeload.Loader.dump`;
                ``key`` may be a place, such as ``"env:SAFELOAD_KEYS"``, whose first active key it is.

        Returns:
            A :class:`~safeload.Batch`; the ``source`` of a result is the target.
        """
        from safeload.api.batch import dump_many

        return dump_many(self, items, **options)
