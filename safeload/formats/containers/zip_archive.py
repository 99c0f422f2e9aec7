"""Zip archives that are no artifact of their own: what is in them is examined, file by file."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.archives import ArchiveSplit, chosen
from safeload.formats.base import GENERIC, NO, SPECIFIC, Member
from safeload.formats.detect import HEAD, is_zip, looks_like_pickle_head
from safeload.formats.programs import program_finding, unfinished_finding
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from safeload.formats.base import SplitRequest
    from safeload.formats.zip_reader import ZipEntry, ZipReader
    from safeload.source.blob import Blob

__all__ = ["FORMAT"]

# skops writes an archive whose only special file is this one: what its loader imports and calls stands there, as JSON.
_SCHEMA = "schema.json"
# The key that each of its nodes has. JSON can spell it in other ways: with escapes, or in UTF-16 and UTF-32, where zeros are.
_NODES = re.compile(rb"__loader__|\\u|\0")
_SKOPS = (
    "this is a skops file: what skops would import and call is in its schema.json, which safeload does not judge; see "
    "skops.io.get_untrusted_types for it"
)


class _Zip:
    name, refined = "zip", True

    def recognise(self, blob: Blob) -> int:
        # Behind something else: that is another format then, or nothing that loads. Programs that open it as a zip do.
        if is_zip(blob):
            return GENERIC
        if looks_like_pickle_head(blob.head(HEAD)):  # no reader looks for an archive there
            return NO
        from safeload.formats.zip_reader import has_zip_behind

        return SPECIFIC if has_zip_behind(blob) else NO

    def split(self, blob: Blob, request: SplitRequest) -> ArchiveSplit:
        from safeload.formats.zip_reader import ZipReader

        reader = ZipReader(blob, request.limits, budget=request.budget)
        files = reader.files
        if request.loading:
            if request.part.member is None and (whole := _of_the_whole(reader)):
                raise FormatError(whole[0].message, code=whole[0].rule_id)
            entry = files[chosen([entry.name for entry in files], request.part.member, self.name)]
            return ArchiveSplit(self.name, (Member(entry.name, reader.open(entry), request.inside()),))
        return ArchiveSplit(self.name, _Members(reader, files), _of_the_whole(reader))


class _Members(Sequence[Member]):
    """The files for a scan, each opened when it is its turn: an archive can have a hundred thousand of them."""

    def __init__(self, reader: ZipReader, entries: Sequence[ZipEntry]) -> None:
        self._reader = reader
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        entry = self._entries[index]
        verify = functools.partial(self._reader.verify, entry)  # raises again what open() does
        try:
            return Member(entry.name, self._reader.open(entry, verify=False), verify=verify)
        except FormatError:
            return Member(entry.name, MemoryBlob(b""), verify=verify)


def _of_the_whole(reader: ZipReader) -> tuple[Finding, ...]:
    """What the archive is to a loader of its own; nothing for one that only holds files."""
    if _is_skops(reader):
        return (Finding("format.unsupported", Severity.MEDIUM, _SKOPS, verdict=Verdict.SKIPPED),)
    unfinished = unfinished_finding([entry.name for entry in reader.files])
    if unfinished is not None:
        return (unfinished,)
    program = program_finding(entry.name for entry in reader.files)
    return () if program is None else (program,)


def _is_skops(reader: ZipReader) -> bool:
    entry = reader.by_name.get(_SCHEMA)
    if entry is None or entry.is_directory:
        return False
    try:
        schema = reader.open(entry, verify=False)
        return _NODES.search(schema.view(0, schema.size)) is not None
    except FormatError:
        return True  # it cannot be read here, and a finding says so; no less is known of it than that


FORMAT = _Zip()
