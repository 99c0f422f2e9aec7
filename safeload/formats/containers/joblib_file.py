"""joblib files: a pickle with the bytes of its arrays between the opcodes, maybe compressed as a whole.

How such a stream is read is :mod:`safeload.pipeline.joblib.walk`'s; nothing at its start tells it from a pickle, so whoever judges a
pickle finds out. Versions 0.10 and later of joblib write it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from safeload.formats.base import NO, Member, Stream
from safeload.formats.detect import HEAD, known_container

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, Parts, SplitRequest
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]

_COMPRESSED = frozenset({"gzip", "bzip2", "xz", "lzma", "zlib", "lz4"})


class _Joblib:
    name = "joblib"

    begins = b""

    def recognise(self, blob: Blob) -> int:  # noqa: ARG002
        """See the module's docstring."""
        return NO

    def split(self, blob: Blob, request: SplitRequest) -> _Split:  # noqa: ARG002
        """One stream; or, compressed, an artifact inside."""
        if known_container(blob.head(HEAD)) in _COMPRESSED:
            return _Split((), (Member("", blob),))
        return _Split((Stream("", blob, arrays=True),), ())


class _Split:
    container = "joblib"
    findings = ()

    def __init__(self, streams: tuple[Stream, ...], members: tuple[Member, ...]) -> None:
        self.streams = streams
        self.members = members

    def rebuild(self, parts: Parts) -> Any:
        """The object."""
        return parts.stream(0) if self.streams else parts.member(0)


class _Codec:
    """``compress``: as for ``joblib.dump``."""

    name = reads = "joblib"
    number = 5
    code = False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        """What ``joblib.dump`` writes."""
        import joblib

        buffer = io.BytesIO()
        joblib.dump(obj, buffer, compress=request.compress or 0, protocol=request.protocol)
        return (buffer.getvalue(),)


FORMAT = _Joblib()
CODECS = (_Codec(),)
