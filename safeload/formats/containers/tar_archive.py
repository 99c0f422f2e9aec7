"""Tar archives that are no artifact of their own: what is in them is examined, file by file, and never extracted.

Links are not followed and devices are nothing: neither has bytes, so nothing in them can be loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.formats.archives import ArchiveSplit, chosen
from safeload.formats.base import GENERIC, NO, Member
from safeload.formats.tar_reader import is_tar, read_tar

if TYPE_CHECKING:
    from safeload.formats.base import Request
    from safeload.formats.blob import Blob

__all__ = ["FORMAT"]


class _Tar:
    name = "tar"

    def recognise(self, blob: Blob) -> int:
        return GENERIC if is_tar(blob) else NO

    def split(self, blob: Blob, request: Request) -> ArchiveSplit:
        entries = read_tar(blob, request.limits)
        if request.loading:
            entry = entries[chosen([entry.name for entry in entries], request.member, self.name)]
            content = blob.slice(entry.data, entry.size)
            return ArchiveSplit(self.name, (Member(entry.name, content, request._replace(member=None)),))
        return ArchiveSplit(self.name, [Member(entry.name, blob.slice(entry.data, entry.size)) for entry in entries])


FORMAT = _Tar()
