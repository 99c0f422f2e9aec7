"""Which files a scan looks at. By walking, never by name: what a file is, its bytes decide later.

Rules: nothing is passed over in silence. A symlink is followed only inside the tree that was named (a hostile tree may
point anywhere); what cannot be entered or is no file becomes a report of its own, which counts as *not scanned*. The
result does not depend on the order in which a file system lists names.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from safeload.cli.failure import Failure, os_reason
from safeload.cli.files import kind_of
from safeload.findings import Finding, Report, Severity, Verdict
from safeload.source.locations import is_remote

__all__ = ["Discovery", "Globs", "discover", "not_scanned"]


def not_scanned(path: str, rule_id: str, message: str) -> Report:
    """The report of something that a scan could not look at."""
    finding = Finding(rule_id, Severity.MEDIUM, message, verdict=Verdict.ERROR)
    return Report(Verdict.ERROR, (finding,), path=path)


class Globs:
    """Patterns for paths relative to the directory that was named.

    A pattern without ``/`` matches any one name on the way (``*.bin``, ``node_modules``); one with ``/`` matches the
    whole relative path, where ``**`` stands for any number of directories. A directory that matches includes all in it.
    """

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = [tuple(pattern.strip("/").removeprefix("./").split("/")) for pattern in patterns]
        for given, pattern in zip(patterns, self._patterns, strict=True):
            if not all(pattern):
                raise Failure(f"the pattern {given!r} has an empty part", "give a glob such as '*.bin'")

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, relative: str) -> bool:
        """Whether a path, relative and with ``/``, or a directory on its way, matches."""
        parts = tuple(relative.split("/"))
        return any(
            any(fnmatchcase(part, pattern[0]) for part in parts)
            if len(pattern) == 1
            else any(_matches(parts[:end], pattern) for end in range(1, len(parts) + 1))
            for pattern in self._patterns
        )


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


@dataclass(slots=True)
class Discovery:
    """What was found: files to scan, whether each was named, what could not be looked at, what was passed over."""

    files: dict[str, bool] = field(default_factory=dict)
    missed: dict[str, Report] = field(default_factory=dict)
    not_entered: set[str] = field(default_factory=set)

    def add(self, path: str, *, named: bool) -> None:
        """Note a file to scan; one that was named stays named when it is found again."""
        self.files[path] = named or self.files.get(path, False)

    def miss(self, path: str, rule_id: str, message: str) -> None:
        """Note something that cannot be scanned."""
        self.missed[path] = not_scanned(path, rule_id, message)


def discover(paths: tuple[str, ...], *, include: Globs, exclude: Globs, hidden: bool) -> Discovery:
    """Walk ``paths``; a URL names one object. The globs and ``hidden`` are about what directories hold, not about what was named.

    Raises:
        Failure: a path does not exist.
    """
    found = Discovery()
    for path in paths:
        if is_remote(path):
            found.add(path, named=True)
            continue
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise Failure(f"{path} does not exist", "check the spelling; nothing was scanned") from None
        except ValueError:
            raise Failure("a path cannot hold a NUL character", "check the spelling; nothing was scanned") from None
        except OSError as error:
            found.miss(path, "scan.unreadable", f"cannot be looked at: {os_reason(error)}")
            continue
        if stat.S_ISLNK(status.st_mode):
            try:
                status = os.stat(path)  # noqa: PTH116 - a str; named, so its target is meant wherever it is
            except OSError as error:
                found.miss(path, "scan.broken-symlink", f"a symlink whose target cannot be opened: {os_reason(error)}")
                continue
        if stat.S_ISDIR(status.st_mode):
            _Walk(path, found, include, exclude, hidden=hidden).run()
        elif stat.S_ISREG(status.st_mode):
            found.add(path, named=True)
        else:
            found.miss(path, "scan.not-a-file", _special(status.st_mode))
    return found


def _special(mode: int) -> str:
    return f"{kind_of(mode)}, not a regular file; nothing was read from it"


class _Walk:
    """The walk below one directory that was named."""

    def __init__(self, root: str, found: Discovery, include: Globs, exclude: Globs, *, hidden: bool) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.found = found
        self.include = include
        self.exclude = exclude
        self.hidden = hidden
        self.visited: set[tuple[int, int]] = set()
        self.linked: list[str] = []  # directories behind symlinks, entered only if the tree itself does not reach them

    def run(self) -> None:
        """Visit everything: the tree first, so that a file is listed under its own name where it has one."""
        pending = [""]
        while pending:
            while pending:
                pending += self._visit(pending.pop())
            self.linked.sort(reverse=True)
            if self.linked:
                pending.append(self.linked.pop())

    def _path(self, relative: str) -> str:
        if not relative:
            return self.root
        local = relative if os.sep == "/" else relative.replace("/", os.sep)
        return local if self.root in (".", "./") else os.path.join(self.root, local)  # noqa: PTH118 - str, as typed

    def _visit(self, relative: str) -> list[str]:
        """List one directory; returns the directories in it."""
        path = self._path(relative)
        try:
            status = os.stat(path)  # noqa: PTH116 - a str
            if (status.st_dev, status.st_ino) in self.visited:
                return []
            self.visited.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.found.miss(path, "scan.directory-unreadable", f"a directory that cannot be listed: {os_reason(error)}")
            return []
        below = []
        for entry in entries:
            inner = f"{relative}/{entry.name}" if relative else entry.name
            if self.exclude.match(inner):
                continue
            if entry.is_symlink():
                self._link(entry, inner)
            elif entry.is_dir(follow_symlinks=False):
                if entry.name.startswith(".") and not self.hidden:
                    self.found.not_entered.add(self._path(inner))
                else:
                    below.append(inner)
            elif not self.include or self.include.match(inner):
                self._file(entry, inner)
        return below

    def _file(self, entry: os.DirEntry[str], relative: str) -> None:
        path = self._path(relative)
        if entry.is_file(follow_symlinks=False):
            self.found.add(path, named=False)
            return
        try:
            message = _special(entry.stat(follow_symlinks=False).st_mode)
        except OSError as error:
            message = f"cannot be looked at: {os_reason(error)}"
        self.found.miss(path, "scan.not-a-file", message)

    def _link(self, entry: os.DirEntry[str], relative: str) -> None:
        path = self._path(relative)
        try:
            status = entry.stat()
            real = os.path.realpath(path)
            inside = os.path.commonpath([self.real_root, real]) == self.real_root
        except (OSError, ValueError):
            status, inside = None, False
        is_directory = status is not None and stat.S_ISDIR(status.st_mode)
        if not is_directory and self.include and not self.include.match(relative):
            return
        if status is None:
            self.found.miss(path, "scan.broken-symlink", "a symlink whose target cannot be opened")
        elif not inside:
            message = "a symlink that leads out of the tree, not followed; name its target to scan it, or --exclude it"
            self.found.miss(path, "scan.symlink-outside", message)
        elif is_directory:
            self.linked.append(relative)
        elif stat.S_ISREG(status.st_mode):
            self.found.add(path, named=False)
        else:
            self.found.miss(path, "scan.not-a-file", _special(status.st_mode))
