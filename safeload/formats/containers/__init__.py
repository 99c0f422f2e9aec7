"""The container formats: one module per format, found by its file; no list to keep.

A module defines ``FORMAT``, a :class:`~safeload.formats.base.Format`. If the format is also written, it defines ``CODECS`` as well,
a tuple of :class:`Codec`. Rule: which format an artifact is, its bytes decide; an artifact that two formats claim equally is refused.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from safeload.errors import FormatError
from safeload.formats.base import GENERIC, NO, SPECIFIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safeload.formats.base import EncodeOptions, Format
    from safeload.source.blob import Blob

__all__ = ["Codec", "codecs", "detect", "formats"]


class Codec(Protocol):
    """How objects are written in a format.

    Attributes:
        name: the value of ``dump(codec=...)``. number: the codec's number in envelopes (``envelope/SPEC.md``).
        reads: the name of the format that reads it again; ``None`` if its payload is a pickle stream.
        code: it may carry code, so it is written and read only where the signer's grant says ``code``.
    """

    name: str
    number: int
    reads: str | None
    code: bool

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        """``obj`` as bytes-like parts, to be written one behind the other.

        Raises:
            TypeError, ValueError: the codec cannot write this object; the message says why.
        """
        ...


@functools.cache
def _modules() -> tuple[Any, ...]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


@functools.cache
def formats() -> Mapping[str, Format]:
    """Every format by name."""
    return MappingProxyType({module.FORMAT.name: module.FORMAT for module in _modules()})


@functools.cache
def codecs() -> Mapping[str, Codec]:
    """Every codec by name."""
    return MappingProxyType({codec.name: codec for module in _modules() for codec in getattr(module, "CODECS", ())})


@functools.cache
def _asked(first: bytes) -> tuple[Format, ...]:
    """The formats that an artifact with this first byte could be of; not all of them see every file of a large archive."""
    return tuple(
        known
        for known in formats().values()
        if (begins := getattr(known, "begins", None)) is None or (bool(first) and first in begins)
    )


def detect(blob: Blob) -> Format | None:
    """The format of an artifact; ``None`` if no container format knows it (it may still be a pickle).

    Raises:
        FormatError: two formats claim it, so two programs would read different things from it.
    """
    answers = {known: known.recognise(blob) for known in _asked(blob.head(1))}
    if not answers:
        return None
    sure = max(answers.values())
    best = [known for known, answer in answers.items() if answer == sure > NO]
    if sure == SPECIFIC:  # of its own outer form only: a zip archive of weights may be a HDF5 file as well
        best += [
            known for known, answer in answers.items() if answer == GENERIC and not getattr(known, "refined", False)
        ]
    if len(best) > 1:
        names = " and ".join(sorted(known.name for known in best))
        raise FormatError(
            f"the file is {names} at once: programs would read different things from it, so it is refused",
            code="format.polyglot",
        )
    return best[0] if best else None
