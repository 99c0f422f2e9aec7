"""Formats that are recognised and not judged: nothing is said about what they hold, and nothing of them is loaded.

Rule: recognised is not clean. Each is reported as skipped, with what a person can do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.formats.base import FALLBACK, NO
from safeload.formats.detect import HEAD, known_container
from safeload.formats.models import model_container

if TYPE_CHECKING:
    from safeload.formats.base import SplitRequest
    from safeload.source.blob import Blob

__all__ = ["FORMAT"]


class _Unjudged:
    name = "unjudged"

    def recognise(self, blob: Blob) -> int:
        return FALLBACK if _container(blob) else NO

    def split(self, blob: Blob, request: SplitRequest) -> _Skipped:
        container = _container(blob) or self.name
        if request.loading:
            _refuse(container)
        return _Skipped(container)


def _container(blob: Blob) -> str | None:
    return known_container(blob.head(HEAD)) or model_container(blob)


class _Skipped:
    streams = members = ()

    def __init__(self, container: str) -> None:
        self.container = container

    @property
    def findings(self) -> tuple[Any, ...]:
        from safeload.findings import Finding, Severity, Verdict

        severity = Severity.MEDIUM if self.container == "git-lfs-pointer" else Severity.LOW
        try:
            _refuse(self.container)
        except FormatError as error:
            return (Finding(error.code, severity, str(error), verdict=Verdict.SKIPPED),)

    def rebuild(self, parts: object) -> NoReturn:  # noqa: ARG002
        _refuse(self.container)


def _refuse(container: str) -> NoReturn:
    if container == "git-lfs-pointer":
        raise FormatError(
            "this is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'", code="format.lfs-pointer"
        )
    if container == "joblib-zf":
        raise FormatError(
            "this file was compressed by joblib 0.9 or older; load it with that joblib in a sandbox and save it again",
            code="format.unsupported",
        )
    raise FormatError(
        f"this is a {container} file; safeload does not look inside and does not load it", code="format.unsupported"
    )


FORMAT = _Unjudged()
