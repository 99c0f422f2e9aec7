"""What can be done with one item of a run. Each function takes the work and a task, and returns the outcome or raises.

Rule: an item never holds up a run by what it is: pipes and devices, which a single load may wait for, are refused here.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

from safeload.api.batch.work import Outcome
from safeload.errors import EnvelopeError, FormatError, MissingKeyError
from safeload.pipeline.stages import open_artifact
from safeload.source.locations import RemoteFile, is_remote, local_path, refuse_url
from safeload.source.locations import stamp as remote_stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.api.batch.work import Task, Work
    from safeload.envelope import Opened
    from safeload.envelope.keys import KeyRing

__all__ = ["dump", "load", "rekey", "scan", "verify"]

_SIDECAR: Final = ".slsig"
_MAX_SIDECAR: Final = 1 << 20
_DEBRIS: Final = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")


def load(work: Work, task: Task) -> Outcome:
    """Load the artifact."""
    return _read(work, task, lambda: work.loader.load(task.source, keys=work.ring(), **work.options))


def scan(work: Work, task: Task) -> Outcome:
    """Report on the artifact."""
    return _read(work, task, lambda: work.loader.scan(task.source, keys=work.ring(), **work.options))


def verify(work: Work, task: Task) -> Outcome:
    """Verify every byte of the envelope, or of the file with a detached signature beside it."""
    from safeload.pipeline.scan import envelope_facts

    def verified() -> dict[str, Any]:
        with work.loader.audit.operation("verify") as operation:
            opened = _verified(work, task.source, _required(work.ring()))
            operation.set(key_id=opened.key_id, suite=opened.suite, payload_size=opened.size)
        return {**envelope_facts(opened), "cosigners": [entry.key.key_id.hex() for entry in opened.cosigners]}

    return _read(work, task, verified)


def _read(work: Work, task: Task, action: Callable[[], Any]) -> Outcome:
    """The stamp is taken before the artifact is read: if it changes meanwhile, the next run looks at it again."""
    _check_source(work, task.source)
    stamp = _stamp(task.source) if work.stamped else ""
    if _is_done(task, stamp):
        return Outcome(task.number, skipped=True)
    return Outcome(task.number, action(), stamp=stamp)


def _is_done(task: Task, stamp: str) -> bool:
    from safeload.api.batch.journal import Journal

    return Journal.matches(task.known, stamp)


def _check_source(work: Work, source: Any) -> None:
    if not work.loader.urls:
        refuse_url(source)
    if is_remote(source) or not isinstance(source, str | bytes | os.PathLike):
        return
    mode = os.stat(local_path(source)).st_mode  # noqa: PTH116 - may be bytes
    if stat.S_ISFIFO(mode):
        raise FormatError(
            "this is a pipe, which could hold up the whole run; open it and load it by itself", code="format.not-a-file"
        )


def _stamp(place: Any) -> str:
    """By what a change of ``place`` shows, ``""`` for what has no place."""
    if is_remote(place):
        return f"store:{remote_stamp(place)}"
    if not isinstance(place, str | bytes | os.PathLike):
        return ""
    with open(local_path(place), "rb") as file:  # noqa: PTH123 - may be bytes
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _required(ring: KeyRing | None) -> KeyRing:
    if ring is None:
        raise MissingKeyError("no keys were given; pass keys=KeyRing.from_env(...) or a place", code="envelope.no-keys")
    return ring


def _verified(work: Work, source: Any, ring: KeyRing) -> Opened:
    from safeload.envelope import is_envelope, verify_detached_path, verify_path

    with _opened(work, source) as file:
        head = file.read(8)
        file.seek(0)
        if is_envelope(head):
            return verify_path(file, ring, limits=work.loader.limits, **work.options)
    if is_remote(source) or not isinstance(source, str | bytes | os.PathLike):
        raise EnvelopeError("it is no envelope, so nothing says who made it", code="envelope.unsigned")
    path = os.fsdecode(local_path(source))
    try:
        with open_artifact(path + _SIDECAR) as beside:
            sidecar = beside.read(_MAX_SIDECAR + 1)
    except FileNotFoundError:
        raise EnvelopeError(
            f"it is no envelope, and there is no signature {path}{_SIDECAR}", code="envelope.unsigned"
        ) from None
    return verify_detached_path(sidecar, path, ring, limits=work.loader.limits, **work.options)


def _opened(work: Work, source: Any) -> Any:
    """The source as an open file to be closed by the caller; a file that was given stays its owner's."""
    if isinstance(source, bytes | os.PathLike):
        source = os.fsdecode(source)
    if isinstance(source, str):
        return open_artifact(source, work.loader.limits.max_artifact_bytes)
    raise TypeError(f"a source is a path or a URL, not {type(source).__name__}")


def dump(work: Work, task: Task) -> Outcome:
    """Write the object to the target."""
    target = task.source
    if not isinstance(target, str | bytes | os.PathLike):
        raise TypeError(f"a target is a path or a URL, not {type(target).__name__}")
    if not work.loader.urls:
        refuse_url(target)
    path = None if is_remote(target) else os.path.realpath(os.path.dirname(os.fsdecode(local_path(target))) or ".")  # noqa: PTH120
    if task.known is not None and _is_done(task, _stamp_if_there(target)):
        return Outcome(task.number, skipped=True)
    if path is not None:
        if not os.path.isdir(path):  # noqa: PTH112 - a str
            raise FileNotFoundError(2, "there is no such directory; make it first", path)
        _sweep(work, path, os.path.basename(os.fsdecode(local_path(target))))  # noqa: PTH119
    work.loader.dump(task.value, target, key=work.sealing_key(), **work.options)
    return Outcome(task.number, stamp=_stamp(target) if work.stamped else "")


def _stamp_if_there(target: Any) -> str:
    try:
        return _stamp(target)
    except OSError:
        return ""


def _sweep(work: Work, folder: str, name: str) -> None:
    """Remove what a run that was killed left of this target: its temporary file, older than this run."""
    if not work.began or len(name) > 100:  # longer names are cut in temporary ones, so they are not ours for certain
        return
    for path in _debris(work.run, folder).get(name, ()):
        try:
            if os.lstat(path).st_mtime < work.began:
                os.unlink(path)  # noqa: PTH108 - a str
        except FileNotFoundError:
            continue


@functools.lru_cache(maxsize=64)
def _debris(run: str, folder: str) -> dict[str, tuple[str, ...]]:
    """Temporary files of ``AtomicFile`` in a folder by their targets' names, listed once for a run."""
    del run
    found: dict[str, tuple[str, ...]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _DEBRIS.fullmatch(entry.name)
            if match:
                found[match[1]] = (*found.get(match[1], ()), entry.path)
    return found


def rekey(work: Work, task: Task) -> Outcome:
    """Seal the envelope anew, in place, after all of it was verified."""
    key = work.sealing_key()
    if key is None:  # the entry point has seen to it
        raise TypeError("rekey_many needs a key to seal with")
    _check_source(work, task.source)
    if task.known is not None and _is_done(task, _stamp(task.source)):
        return Outcome(task.number, skipped=True)
    with work.loader.audit.operation("seal", key_id=key.key_id, suite=key.suite, action="rekey"):
        value = _resealed(work, task.source, key)
    return Outcome(task.number, value, stamp=_stamp(task.source) if work.stamped else "")


def _resealed(work: Work, source: Any, key: Any) -> str:
    from safeload.envelope import is_envelope, rekey_path, rekey_to, verify_path
    from safeload.envelope.keys import KeyRing
    from safeload.envelope.wire import PRELUDE_SIZE, Layout, unpack

    options = {"limits": work.loader.limits, **work.options}
    with _opened(work, source) as file:
        head = file.read(PRELUDE_SIZE)
        file.seek(0)
        if not is_envelope(head):
            raise EnvelopeError("it is no envelope; nothing was changed", code="envelope.unsigned")
        prelude = unpack(head)
        if prelude.layout == Layout.DETACHED:
            raise EnvelopeError("it is a detached signature; sign the file again", code="envelope.detached")
        if prelude.key_id == key.key_id:
            verify_path(file, KeyRing([key]), **options)
            return "unchanged"
        ring = _required(work.ring())
        if is_remote(source):
            with RemoteFile(source) as target:
                rekey_to(target, file, ring, key, **options)
                target.commit()
            return "sealed"
    path = os.fsdecode(local_path(source))
    _sweep(work, os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))  # noqa: PTH119, PTH120
    rekey_path(path, ring, key, **options)
    return "sealed"
