"""Many artifacts at once: loaded, written, scanned, verified or sealed anew, on threads, processes or a cluster.

The functions are those of :class:`safeload.api.many.Many`, with the loader as their first argument. Rules: one bad item does not
stop the rest; memory is bounded, whatever the number of items; files are whole or not there, however a run ends. This
package decides nothing about an artifact: each item goes the way of the loader's own methods.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from safeload.api.batch.result import Counts, Result
from safeload.api.batch.run import Batch, How, begin, started
from safeload.api.batch.work import Task, Work
from safeload.api.options import (
    DumpManyOptions,
    LoadManyOptions,
    ManyOptions,
    ScanManyOptions,
    VerifyManyOptions,
    names_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from safeload.envelope.keys import Key

__all__ = ["Batch", "Counts", "Result", "dump_many", "load_many", "rekey_many", "scan_many", "verify_many"]

_CHOICES: Final = ("policy", "limits", "audit")
# The options of each action that go to the loader's method, or to the envelope.
_OPTIONS: Final = {
    action: names_of(options) - names_of(ManyOptions) - {"key"}
    for action, options in (
        ("load", LoadManyOptions),
        ("scan", ScanManyOptions),
        ("verify", VerifyManyOptions),
        ("rekey", ScanManyOptions),
        ("dump", DumpManyOptions),
    )
}


def load_many(loader: Any, sources: Iterable[Any], *, keys: Any = None, **options: Any) -> Batch:
    """See :meth:`safeload.api.many.Many.load_many`."""
    work = _work("load", loader, options, keys=keys)
    return begin(work, sources, _tasks(sources), "loading", _how(options))


def scan_many(loader: Any, sources: Iterable[Any], *, keys: Any = None, **options: Any) -> Batch:
    """See :meth:`safeload.api.many.Many.scan_many`."""
    work = _work("scan", loader, options, keys=keys)
    return begin(work, sources, _tasks(sources), "scanning", _how(options))


def verify_many(loader: Any, sources: Iterable[Any], *, keys: Any = None, **options: Any) -> Batch:
    """See :meth:`safeload.api.many.Many.verify_many`."""
    work = _work("verify", loader, options, keys=keys)
    _need_keys(work)
    return begin(work, sources, _tasks(sources), "verifying", _how(options))


def rekey_many(loader: Any, sources: Iterable[Any], new_key: Key | str, *, keys: Any = None, **options: Any) -> Batch:
    """See :meth:`safeload.api.many.Many.rekey_many`."""
    work = _work("rekey", loader, options, keys=keys, key=_key(new_key, "new_key"))
    _need_keys(work)
    return begin(work, sources, _tasks(sources), "sealing", _how(options))


def dump_many(loader: Any, items: Iterable[Any], *, key: Key | str | None = None, **options: Any) -> Batch:
    """See :meth:`safeload.api.many.Many.dump_many`."""
    if key is None and loader.keys is not None:
        key = loader.keys.primary
    work = _work("dump", loader, options, key=None if key is None else _key(key, "key"))
    return begin(work, items, _dumps(items), "writing", _how(options))


def _work(action: str, loader: Any, given: dict[str, Any], *, keys: Any = None, key: Key | str | None = None) -> Work:
    own = _OPTIONS[action]
    unknown = sorted(given.keys() - {*own, *_CHOICES, *How._fields})
    if unknown:
        raise TypeError(f"{action}_many() got an unexpected keyword argument {unknown[0]!r}")
    choices = {name: given[name] for name in _CHOICES if given.get(name) is not None}
    place = keys if isinstance(keys, str) else None
    if keys is not None and place is None:
        choices["keys"] = keys
    loader = loader.changed(**choices)
    resumes = given.get("resume") is not None
    options = {name: given[name] for name in own if given.get(name) is not None}
    return Work(
        action, loader, options, place, key, stamped=resumes, began=started() if resumes else 0.0,
        run=os.urandom(8).hex(),
    )  # fmt: skip


def _how(given: dict[str, Any]) -> How:
    return How(**{name: given[name] for name in How._fields if name in given})


def _key(key: Any, name: str) -> Key | str:
    from safeload.envelope.keys import Key

    if not isinstance(key, Key | str):
        raise TypeError(f"{name} is a safeload.Key, or a place such as 'env:NAME', not {type(key).__name__}")
    return key


def _need_keys(work: Work) -> None:
    if work.keys is None and work.loader.keys is None:
        raise ValueError(f"{work.action}_many needs keys=: a KeyRing, a key, or a place such as 'env:SAFELOAD_KEYS'")


def _tasks(sources: Iterable[Any]) -> Iterator[Task]:
    if isinstance(sources, str | bytes | os.PathLike):
        raise TypeError("sources is an iterable of paths and the like; for one artifact use the function without _many")
    return (Task(index, source) for index, source in enumerate(sources))


def _dumps(items: Iterable[Any]) -> Iterator[Task]:
    """The tasks of a dump. Memory: some 100 bytes for each target, so that none is written by two."""
    items = iter(items)  # what is no iterable is said at once

    def tasks() -> Iterator[Task]:
        seen: set[int] = set()
        for index, item in enumerate(items):
            if not isinstance(item, tuple) or len(item) != 2:
                yield Task(index, None, problem=TypeError("an item of dump_many is a tuple (object, target)"))
                continue
            value, target = item
            place = _place(target)
            if place in seen:
                problem = ValueError(
                    "this target was given before in the same run, for another object: not written again"
                )
                yield Task(index, target, problem=problem)
                continue
            if place is not None:
                seen.add(place)
            yield Task(index, target, value)

    return tasks()


def _place(target: Any) -> int | None:
    """A number for a target, the same for all of its spellings; ``None`` for what is none."""
    from hashlib import blake2b

    from safeload.source.locations import is_remote, local_path

    if not isinstance(target, str | bytes | os.PathLike):
        return None
    name = str(target)
    if not is_remote(target):
        try:
            folder, base = os.path.split(os.fsdecode(local_path(target)))
            name = os.path.normcase(os.path.join(os.path.realpath(folder), base))  # noqa: PTH118 - a str
        except ValueError:  # a URL or a path that is none; writing it will say so
            return None
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
