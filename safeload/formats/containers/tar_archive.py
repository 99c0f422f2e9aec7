"""Tar archives that are no artifact of their own: what is in them is examined, file by file, and never extracted.

Links are not followed and devices are nothing: neither has bytes, so nothing in them can be loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.errors import FormatError
from safeload.formats.archives import ArchiveSplit, chosen
from safeload.formats.base import GENERIC, NO, SPECIFIC, Member
from safeload.formats.detect import HEAD, is_more_than_tar, is_tar
from safeload.formats.programs import program_finding

if TYPE_CHECKING:
    from safeload.formats.base import SplitRequest
    from safeload.source.blob import Blob

__all__ = ["FORMAT"]


class _Tar:
    name, refined = "tar", True

    def recognise(self, blob: Blob) -> int:
        # PyTorch looks for a tar archive before it looks for its own magic number, other programs for theirs.
        return NO if not is_tar(blob) else SPECIFIC if is_more_than_tar(blob.head(HEAD)) else GENERIC

    def split(self, blob: Blob, request: SplitRequest) -> ArchiveSplit:
        if is_more_than_tar(blob.head(HEAD)):
            raise FormatError(
                "the file is a tar archive and begins as a file of another format: programs would read different things from it, "
                "so it is refused",
                code="format.polyglot",
            )
        from safeload.formats.tar_reader import read_tar

        entries = read_tar(blob, request.limits)
        program = program_finding(entry.name for entry in entries)
        if request.loading:
            if program is not None and request.part.member is None:
                raise FormatError(program.message, code=program.rule_id)
            entry = entries[chosen([entry.name for entry in entries], request.part.member, self.name)]
            content = blob.slice(entry.data, entry.size)
            return ArchiveSplit(self.name, (Member(entry.name, content, request.inside()),))
        members = [Member(entry.name, blob.slice(entry.data, entry.size)) for entry in entries]
        return ArchiveSplit(self.name, members, () if program is None else (program,))


FORMAT = _Tar()
