"""The keyword arguments of the interface, each in one place: loaders, top-level functions and batches take them from here.

A method takes them as ``**options``, typed by one of the classes below; :func:`takes` shows them in its signature. Written out in each
method, an argument that is added to ``load`` and forgotten in ``loads`` would leave one way in without a check.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta

    from safeload.envelope.keys import Key
    from safeload.limits import Limits

__all__ = [
    "BoundOptions",
    "DumpManyOptions",
    "FernetOptions",
    "LoadManyOptions",
    "ManyOptions",
    "ReadOptions",
    "ScanManyOptions",
    "ScanOptions",
    "VerifyManyOptions",
    "WriteOptions",
    "names_of",
    "takes",
]

_F = TypeVar("_F", bound="Callable[..., Any]")


class _Judged(TypedDict, total=False):
    policy: Any
    limits: Limits | None


class _Recorded(TypedDict, total=False):
    audit: Any


class _Opened(TypedDict, total=False):
    keys: Any
    context: Any


class _Unpickled(TypedDict, total=False):
    fix_imports: bool
    encoding: str
    errors: str


class _Selected(TypedDict, total=False):
    mmap: bool
    arrays: str | None
    member: str | None
    index: Any


class ScanOptions(_Judged, _Opened, total=False):
    """What a scan takes."""


class ReadOptions(_Judged, _Opened, _Recorded, _Unpickled, _Selected, total=False):
    """What a load takes; documented at :meth:`safeload.Loader.load`."""

    schema: Any
    buffers: Iterable[Any] | None
    kind: str | None
    version: int | None


class FernetOptions(_Judged, _Recorded, total=False):
    """What a load of a Fernet token takes besides the token."""

    schema: Any


class _Encoded(TypedDict, total=False):
    codec: str
    context: Any
    schema: Any
    version: int
    expires_in: float | timedelta | None
    fix_imports: bool
    compress: Any


class WriteOptions(_Encoded, total=False):
    """What a dump takes; documented at :meth:`safeload.Loader.dump`."""

    key: Key | None
    sign: bool | None
    kind: str | None
    buffer_callback: Callable[[Any], Any] | None


class BoundOptions(TypedDict, total=False):
    """What a loader can be bound to; documented at :meth:`safeload.Loader.bound`."""

    context: Any
    purpose: str | None
    expires_in: float | timedelta | None
    codec: str | None
    kind: str | None
    version: int | None
    schema: Any


class ManyOptions(_Judged, _Recorded, total=False):
    """What every run over many artifacts takes; documented at :class:`safeload.api.many.Many`."""

    keys: Any
    ordered: bool
    jobs: int | None
    backend: Any
    ahead: int | None
    progress: Any
    on_result: Callable[[Any], object] | None
    resume: str | os.PathLike[str] | None


class LoadManyOptions(ManyOptions, _Unpickled, _Selected, total=False):
    """What a run of loads takes."""

    context: Any
    schema: Any


class ScanManyOptions(ManyOptions, total=False):
    """What a run of scans takes, and one that seals anew."""

    context: Any


class VerifyManyOptions(ScanManyOptions, total=False):
    """What a run of verifications takes."""

    require: int


class DumpManyOptions(ManyOptions, _Encoded, total=False):
    """What a run of dumps takes."""

    protocol: int | None
    key: Key | str | None


# What is not ``None`` where it is not given.
_DEFAULTS: Mapping[str, Any] = {
    "mmap": False,
    "fix_imports": True,
    "encoding": "ASCII",
    "errors": "strict",
    "codec": "pickle",
    "ordered": True,
    "progress": False,
}


def names_of(options: type) -> frozenset[str]:
    """The names of the arguments that one of the classes above has."""
    return frozenset(options.__annotations__)


def takes(options: type, **defaults: Any) -> Callable[[_F], _F]:
    """Show the arguments of ``options`` in the signature of a function that takes them as ``**options``.

    ``defaults`` are those that differ from what the argument is elsewhere.
    """
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name, _DEFAULTS.get(name)),
            annotation=getattr(kind, "__forward_arg__", kind),
        )
        for name, kind in options.__annotations__.items()
    ]

    def signed(function: _F) -> _F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        return function

    return signed
