"""The journal of a run: JSON lines that say which items are done, so that a run can be taken up again.

    {"safeload_journal": 1, "run": "<digest of what was asked for>"}
    {"item": "/data/a.pkl", "stamp": "sha256:…"}

Rules: only what ended well is written, after the caller has taken the result; an item is done only while its stamp (digest
of the bytes, or what its store says of it) is the one in the journal; a line that is not whole, or not understood, means
that the item is done again. A journal is for one kind of run: with another policy, other keys, options or version
it is refused. Whoever can write the journal can make a run skip items, never make anything load: it has mode 0600.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import Any, Final

from safeload.errors import AuditError

__all__ = ["Journal", "name_of"]

_FLAGS: Final = (
    os.O_RDWR | os.O_APPEND | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_MAX_LINE: Final = 1 << 17


def name_of(source: Any) -> str:
    """What a source is called in a journal: its URL or absolute path, ``""`` for what has no name."""
    from safeload.source.locations import is_remote, local_path

    if is_remote(source):
        return str(source)
    if isinstance(source, str | bytes | os.PathLike):
        return os.path.abspath(os.fsdecode(local_path(source)))  # noqa: PTH100 - a link is a place of its own
    return ""


class Journal:
    """The journal at ``path``, locked for this run.

    Memory: some 150 bytes for each item that is done.

    Args:
        path: the file; made if there is none.
        run: digest of what was asked for.

    Raises:
        ValueError: it is the journal of another kind of run, of a run that is not over, or no journal.
        OSError: it cannot be read and written.
    """

    def __init__(self, path: str | os.PathLike[str], run: str) -> None:
        self._done: dict[int, bytes] = {}
        self._path = os.fspath(path)
        self._descriptor = os.open(path, _FLAGS, 0o600)
        try:
            self._lock()
            self._read(run)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        from safeload.audit import lock

        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise ValueError(f"the journal {self._path} is not a regular file; name another one")
        try:
            lock.acquire(self._descriptor, 0)
        except AuditError as error:
            raise ValueError(
                f"the journal {self._path} is in use by another run; wait for its end, or name another file"
            ) from error

    def _read(self, run: str) -> None:
        header = {"safeload_journal": 1, "run": run}
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            first = file.readline(_MAX_LINE)
            if not first.endswith(b"\n"):
                # Nothing, or the torn beginning of our own header: start afresh. Anything else is somebody's file.
                if first and not first.startswith(b'{"safeload_journal"'):
                    raise ValueError(f"{self._path} is not a journal of safeload; name another file")
                os.ftruncate(self._descriptor, 0)
                self._append(header)
                return
            found = _parsed(first)
            if found.get("safeload_journal") != 1:
                raise ValueError(f"{self._path} is not a journal of safeload; name another file")
            if found.get("run") != run:
                raise ValueError(
                    f"the journal {self._path} is of another kind of run (other policy, keys, options or version of safeload), so "
                    "what it says is done is not; name another file, or delete it to begin anew"
                )
            last = first
            while line := file.readline(_MAX_LINE):
                last = line
                entry = _parsed(line) if line.endswith(b"\n") else {}
                item, stamp = entry.get("item"), entry.get("stamp")
                if isinstance(item, str) and isinstance(stamp, str):
                    self._done[_key(item)] = _short(stamp)
        if not last.endswith(b"\n"):
            self._write(b"\n")  # closes off what a crash left of a line

    def knows(self, item: str) -> bytes | None:
        """The short form of the stamp with which ``item`` was done; see :meth:`matches`."""
        return self._done.get(_key(item)) if item else None

    @staticmethod
    def matches(known: bytes | None, stamp: str) -> bool:
        """Whether ``stamp`` is the one that :meth:`knows` gave."""
        return known is not None and bool(stamp) and known == _short(stamp)

    def add(self, item: str, stamp: str) -> None:
        """Write down that ``item`` is done."""
        if item and stamp:
            self._append({"item": item, "stamp": stamp})

    def _append(self, entry: dict[str, Any]) -> None:
        self._write(json.dumps(entry, ensure_ascii=True).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if os.write(self._descriptor, line) != len(line):
            raise OSError(28, "the journal could not be written; free some space and take the run up again", self._path)

    def close(self) -> None:
        """Let other runs use it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _key(item: str) -> int:
    digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _short(stamp: str) -> bytes:
    return hashlib.blake2b(stamp.encode("utf-8", "surrogatepass"), digest_size=16).digest()
