"""From a judged artifact to its object: the sixth stage for what is in a container.

Rule: the object is made of the bytes that were judged, under the options that they were judged under, and only if all of the artifact
is clean. A format that could reach other bytes here would load what nobody has looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safeload.errors import LoadError, SafeloadError
from safeload.pipeline.joblib.walk import load_arrays
from safeload.pipeline.plain import load_data
from safeload.pipeline.rebuild import load_code

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safeload.audit import Operation
    from safeload.pipeline.tree import JudgedArtifact

__all__ = ["assemble"]


def assemble(judged: JudgedArtifact, operation: Operation) -> Any:
    """The object of an artifact.

    Raises:
        SafeloadError: it is not clean, or the bytes turn out not to be what they announced.
    """
    judged.refuse()
    with operation.child("load"):
        return _Assembly(judged).object()


class _Assembly:
    """What a format's ``rebuild`` may ask for; see :class:`safeload.formats.base.Parts`."""

    __slots__ = ("_judged",)

    def __init__(self, judged: JudgedArtifact) -> None:
        self._judged = judged

    def object(self) -> Any:
        """The object of an artifact that is clean."""
        split = self._judged.split
        if split is None:
            return self.stream(0)
        try:
            return split.rebuild(self)
        except SafeloadError:
            raise
        except Exception as error:
            raise LoadError.wrap(error) from error

    def stream(
        self,
        index: int,
        *,
        persistent_load: Callable[[Any], Any] | None = None,
        substitutes: Mapping[str, Any] | None = None,
    ) -> Any:
        """See :class:`~safeload.formats.base.Parts`."""
        judged = self._judged
        judgement = judged.judgements[index]
        options = judged.options[index]
        if persistent_load is not options.persistent_load:
            options = replace(options, persistent_load=persistent_load)
        stream = judged.split.streams[index] if judged.split is not None else None
        if stream is not None and stream.arrays:
            return load_arrays(judgement, options, stream.blob, mmap=judged.mmap)
        if judgement.census.has_code:
            return load_code(judgement, options, substitutes)
        return load_data(judgement.census, options)

    def member(self, index: int) -> Any:
        """See :class:`~safeload.formats.base.Parts`."""
        return _Assembly(self._judged.members[index]).object()
