"""A trail in several files: what log rotation makes of one.

Rule: the files are put in order by what their lines say, never by their names or times, and each one but the first has to follow another. A file
that was removed from the middle is a break, and two files that follow the same one are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safeload.audit.trail import Break, verify_trail

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from safeload.audit.chain import Head, MacKey
    from safeload.audit.trail import TrailReport

__all__ = ["verify_trails"]


def verify_trails(
    paths: Sequence[str | os.PathLike[str]],
    key: MacKey | None = None,
    *,
    anchor: Head | tuple[int, str] | None = None,
    previous: str | None = None,
) -> list[tuple[str, TrailReport]]:
    """Check the files of one trail; see :func:`~safeload.audit.verify_trail`.

    Args:
        paths: the files, in any order.
        key: the writers' key.
        anchor: an earlier head, which one of the files has to contain.
        previous: head digest of the file before the first one.

    Returns:
        Path and report of each file, the oldest first. A file that does not follow another one is broken.

    Raises:
        AuditError: a file cannot be read or is none.
    """
    if len(paths) == 1:
        return [(str(paths[0]), verify_trail(paths[0], key, anchor=anchor, previous=previous))]
    reports = [(str(path), verify_trail(path, key)) for path in paths]
    ordered = _in_order(reports)
    checked = []
    before = previous
    for path, report in ordered:
        if before is not None and report.broken is None and report.starts_after != before:
            report = replace(  # noqa: PLW2901
                report, broken=Break(1, "missing", "the file before this one is not among those that were given")
            )
        checked.append((path, report))
        before = report.head.digest
    if anchor is not None and not any(verify_trail(path, key, anchor=anchor).ok for path in paths):
        path, last = checked[-1]
        gone = Break(
            last.events + 1, "truncated", "the anchored end is in none of the files: lines were cut off or rewritten"
        )
        checked[-1] = path, last if last.broken else replace(last, broken=gone)
    return checked


def _in_order(reports: list[tuple[str, TrailReport]]) -> list[tuple[str, TrailReport]]:
    """Each file after the one that it follows; a file that follows none of them begins a row of its own."""
    heads = {report.head.digest for _, report in reports if report.events}
    left = list(reports)
    ordered: list[tuple[str, TrailReport]] = []
    while left:
        wanted = ordered[-1][1].head.digest if ordered else None
        following = [each for each in left if each[1].starts_after == wanted]
        starting = [each for each in left if each[1].starts_after not in heads]
        chosen = (following or starting or left)[0]
        left.remove(chosen)
        ordered.append(chosen)
    return ordered
