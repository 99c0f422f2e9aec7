"""What archives of several files have in common: which of them a load takes.

Rule: a load takes one file, and says so where there are several; a scan takes them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.findings import Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeload.formats.base import Member, Parts

__all__ = ["ArchiveSplit", "chosen", "member_finding", "no_member", "some_names"]

_SHOWN = 5


class ArchiveSplit:
    """Artifacts side by side. A load has chosen one of them."""

    streams = ()

    def __init__(self, container: str, members: Sequence[Member], findings: Sequence[Finding] = ()) -> None:
        self.container = container
        self.members = members
        self.findings = findings

    def rebuild(self, parts: Parts) -> Any:
        """The object of the chosen one."""
        return parts.member(0)


def member_finding(error: FormatError, name: str) -> Finding:
    """What a scan says of a file in an archive that is not what the archive announces, or that cannot be read."""
    verdict = Verdict.SKIPPED if error.code == "format.unsupported" else Verdict.MALFORMED
    return Finding(error.code, Severity.MEDIUM, str(error), name, verdict=verdict)


def chosen(names: Sequence[str], member: str | None, container: str) -> int:
    """The number of the file that a load takes.

    Raises:
        FormatError: there are several and none was named, or not the one that was named.
    """
    if member is not None:
        found = [number for number, name in enumerate(names) if name == member]
        if len(found) == 1:
            return found[0]
        if found:
            raise FormatError(
                f"the {container} archive has {len(found)} files of this name; programs take different ones",
                code="format.member",
            )
        no_member(names, container)
    if len(names) == 1:
        return 0
    if not names:
        raise FormatError(f"the {container} archive holds no files", code="format.member")
    raise FormatError(
        f"the {container} archive holds {len(names):,} files: {some_names(names)}. Name one: load(..., member={_shown(names[0])})",
        code="format.member",
    )


def no_member(names: Sequence[str], container: str) -> NoReturn:
    """Refuse a name that is not there."""
    held = f"it holds {some_names(names)}" if names else "it holds no files"
    raise FormatError(f"the {container} archive has no member of this name; {held}", code="format.member")


def some_names(names: Sequence[str]) -> str:
    """A few names, for a message."""
    return _joined(_shown(name) for name in names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _shown(name: str) -> str:
    """A name in ASCII, so that a hostile one cannot steer a terminal."""
    return ascii(name if len(name) <= 80 else name[:80] + "...")
