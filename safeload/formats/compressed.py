"""One artifact, compressed as a whole: what gzip, bzip2, xz, lzma, zlib, lz4 and zstd have in common.

Rule: what Python's own readers take is taken; where they disagree on what follows a stream (some ignore it, some read on) the file
is refused. Limits hold while it is unpacked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError, LimitExceededError, SafeloadError, TruncatedError
from safeload.formats.base import GENERIC, NO, Member
from safeload.formats.detect import HEAD, known_container
from safeload.source.spill import Spill
from safeload.source.unpacking import Budget, check_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.formats.base import Parts, SplitRequest
    from safeload.source.blob import Blob
    from safeload.source.unpacking import Decompressor

__all__ = ["CONTENT", "Compressed", "missing_extra"]

_OUTPUT = 1 << 20
_FIRST_INPUT, _MOST_INPUT = 1 << 9, 1 << 17
# What the member of such a file is called.
CONTENT = "content"


class Compressed:
    """The format of files that are one compressed artifact.

    Args:
        name: the format's.
        magic: what it begins with.
        decompressor: makes one for each stream.
        several: streams may follow one another, and are one.
        padding: zeros may follow the last one, in multiples of this (0: none may).
        weak: text can begin with the magic, too.
    """

    def __init__(
        self,
        name: str,
        magic: tuple[bytes, ...],
        decompressor: Callable[[], Decompressor],
        *,
        several: bool = True,
        padding: int = 0,
        weak: bool = False,
    ) -> None:
        self.name = name
        self._magic = magic
        self.begins = bytes(each[0] for each in magic)
        self._decompressor = decompressor
        self._several = several
        self._padding = padding
        self._weak = weak

    def recognise(self, blob: Blob) -> int:
        """See :class:`~safeload.formats.base.Format`."""
        if not blob.head(HEAD).startswith(self._magic):
            return NO
        return GENERIC if not self._weak or known_container(blob.head(HEAD)) == self.name else NO

    def split(self, blob: Blob, request: SplitRequest) -> CompressedSplit:
        """Unpack it.

        Raises:
            FormatError: it is damaged, incomplete, or something follows it.
            LimitExceededError: it unpacks to too much.
        """
        try:
            content = self._unpacked(blob, request)
        except SafeloadError:
            raise
        except Exception as error:
            if str(error).startswith("Memory usage limit"):
                raise LimitExceededError(
                    f"the {self.name} data ask for more memory to be unpacked than any encoder's own settings do; compress them again",
                    code="limit.memory",
                    stage="read",
                ) from error
            raise FormatError(
                f"the {self.name} data are damaged and cannot be unpacked; fetch the file again",
                code="format.compressed",
            ) from error
        return CompressedSplit(self.name, Member(CONTENT, content, request))

    def _unpacked(self, blob: Blob, request: SplitRequest) -> Blob:
        limits = request.limits
        budget = request.budget or Budget(limits)
        data, position = Spill(budget.memory), 0
        for _ in range(limits.max_members):
            position = self._stream(blob, position, data, request._replace(budget=budget))
            if position == blob.size or self._is_padding(blob, position):
                content = data.blob()
                content.budget = budget
                return content
            if not self._several:
                self._trailing()
        raise LimitExceededError(
            f"the {self.name} file has more than max_members={limits.max_members:,} streams", code="limit.members"
        )

    def _stream(self, blob: Blob, position: int, data: Spill, request: SplitRequest) -> int:
        """Unpack the stream at ``position`` to the end of ``data``; where it ends."""
        decompressor = self._decompressor()
        if position and not blob.read(position, min(8, blob.size - position)).startswith(self._magic):
            self._trailing()
        most = getattr(decompressor, "feed", _MOST_INPUT)
        step = min(_FIRST_INPUT, most)
        assert request.budget is not None  # noqa: S101 - set above
        while not decompressor.eof:
            read = b""
            if decompressor.needs_input:
                read = blob.read(position, min(step, blob.size - position))
                position += len(read)
                step = min(2 * step, most)
            piece = decompressor.decompress(read, _OUTPUT)
            request.budget.spend(len(piece))
            data.write(piece)
            check_ratio(data.size, position, request.limits)
            if not read and not piece and not decompressor.eof and position == blob.size:
                raise TruncatedError(f"the {self.name} file ends before it is complete; fetch it again")
        return position - len(decompressor.unused_data or b"")  # lz4 says None

    def _is_padding(self, blob: Blob, position: int) -> bool:
        """Whether nothing but zeros follows."""
        left = blob.size - position
        if not self._padding or left % self._padding:
            return False
        return not any(any(chunk) for chunk in blob.slice(position, left).chunks())

    def _trailing(self) -> NoReturn:
        raise FormatError(
            f"bytes follow the {self.name} data: some programs ignore them and some do not. Cut them off if they are not meant "
            "to be there",
            code="format.trailing",
        )


class CompressedSplit:
    """The artifact inside."""

    streams = ()
    findings = ()

    def __init__(self, container: str, content: Member) -> None:
        self.container = container
        self.members = (content,)

    def rebuild(self, parts: Parts) -> Any:
        """The artifact's object."""
        return parts.member(0)


def missing_extra(name: str, extra: str, error: ImportError) -> NoReturn:
    """Refuse what needs a package that is not installed."""
    raise FormatError(
        f"this is {name} data, and what unpacks them is not installed: pip install 'safeload[{extra}]'",
        code="format.missing-extra",
    ) from error
