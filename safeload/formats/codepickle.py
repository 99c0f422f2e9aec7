"""Pickles that carry code, written by a library of their own: what dill's and cloudpickle's codecs share.

Nothing in the bytes tells such a pickle from another, so no artifact is recognised as one: what it imports says it
(:mod:`safeload.facts.code_makers`). Rule: the payload is a pickle stream and takes the way of pickles; the codec only says that the
signer's grant has to say ``code``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.facts.code_makers import import_library
from safeload.formats.base import NO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, SplitRequest
    from safeload.source.blob import Blob

__all__ = ["CodePickle", "CodePickleCodec"]


class CodePickle:
    """The format of the family ``name``, which no file is recognised as."""

    begins = b""

    def __init__(self, name: str) -> None:
        self.name = name

    def recognise(self, blob: Blob) -> int:  # noqa: ARG002
        """No: it is a pickle."""
        return NO

    def split(self, blob: Blob, request: SplitRequest) -> NoReturn:  # noqa: ARG002
        """Never asked for: the codec's payload is a stream."""
        raise FormatError(f"a {self.name} pickle is read as a pickle", code="format.unsupported")


class CodePickleCodec:
    """Writes what the library's own ``dumps`` writes, under the library's own settings."""

    reads = None
    code = True

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        """See :class:`~safeload.formats.containers.Codec`.

        Raises:
            ImportError: the library is not installed.
            ValueError: ``compress`` was given.
            pickle.PicklingError, TypeError, AttributeError: the library cannot write ``obj``.
        """
        if request.compress is not None:
            raise ValueError(f"compress= is for codecs that compress, and {self.name} does not")
        try:
            library = import_library(self.name)
        except ImportError as error:
            raise ImportError(
                f"codec={self.name!r} needs {self.name}, which is not installed: pip install 'safeload[{self.name}]'",
                name=self.name,
            ) from error
        return (library.dumps(obj, protocol=request.protocol),)
