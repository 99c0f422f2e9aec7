"""The process's default loader, behind the functions of the package's top level.

Rule: it is replaced as a whole, never changed, and a change leaves an audit event.
"""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, Unpack

from safeload.api.loader import Loader
from safeload.api.options import (
    DumpManyOptions,
    FernetOptions,
    LoadManyOptions,
    ReadOptions,
    ScanManyOptions,
    ScanOptions,
    VerifyManyOptions,
    WriteOptions,
    takes,
)
from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.api.batch import Batch
    from safeload.envelope.keys import Key
    from safeload.findings import Report
    from safeload.limits import Limits

__all__ = [
    "configure",
    "configure_from_file",
    "current",
    "dump",
    "dump_many",
    "dumps",
    "is_safe",
    "load",
    "load_many",
    "loader_with",
    "loads",
    "open_fernet",
    "rekey_many",
    "reset",
    "scan",
    "scan_many",
    "verify_many",
]

_lock = forks.lock()
_loader: Loader | None = None


def current() -> Loader:
    """The default loader; made on first use."""
    global _loader  # noqa: PLW0603 - this module's one piece of state
    if _loader is None:
        with _lock:
            if _loader is None:
                _loader = Loader()
    return _loader


def configure(
    *,
    policy: Any = None,
    keys: Any = None,
    audit: Any = None,
    limits: Limits | None = None,
    urls: bool | None = None,
    sandbox: str | None = None,
) -> Loader:
    """Change the default loader of the process: what is given. Everything else stays as it is; :func:`reset` starts anew.

    Args:
        policy, keys, audit, limits: as for :class:`~safeload.Loader`. With keys, the functions of the package sign what they write, and
            read signed artifacts only.
        urls, sandbox: the same; ``urls=False`` for a program that takes names of artifacts from its clients.

    Returns:
        The new default loader.
    """
    return _install(current().changed(policy=policy, keys=keys, audit=audit, limits=limits, urls=urls, sandbox=sandbox))


def reset() -> Loader:
    """Make the default loader one with nothing configured: the default policy, no keys, no trail."""
    return _install(Loader())


def configure_from_file(path: str | os.PathLike[str], *, keys: Any = None) -> Loader:
    """Make the default loader one with the choices of a ``safeload.toml`` or of ``[tool.safeload]`` in a pyproject.toml.

    Args:
        path: the file. It says which signer may do what; it never holds keys.
        keys: the key ring.

    Raises:
        ValueError: the file has a mistake; the message names the line.
        OSError: it cannot be read.
    """
    from safeload.policy import load_config

    config = load_config(os.fspath(path))
    audit = list(config.audit) or None
    return _install(Loader(policy=config.policy, keys=keys, audit=audit, limits=config.limits, signers=config.signers))


def _install(loader: Loader) -> Loader:
    global _loader  # noqa: PLW0603
    before = current()
    # Both trails hear of it: the one that ends and the one that begins.
    with (
        before.audit.operation("policy", action="configure", policy_digest=loader.policy.digest),
        loader.audit.operation("policy", action="configure", policy_digest=loader.policy.digest),
        _lock,
    ):
        _loader = loader
    return loader


def loader_with(like: Loader | None = None, /, **choices: Any) -> Loader:
    """The default loader, or the one given, or one like it with the given (not ``None``) choices instead."""
    return (like or current()).changed(**choices)


_NOT_GIVEN: Any = object()


def _file(options: Any) -> Any:
    """Pickle calls it ``file``; programs that say ``load(file=f)`` keep working."""
    try:
        return options.pop("file")
    except KeyError:
        raise TypeError("a path or an open binary file is required") from None


def load(source: Any = _NOT_GIVEN, **options: Unpack[ReadOptions]) -> Any:
    """Load from a path or file; see :meth:`safeload.Loader.load`."""
    if source is _NOT_GIVEN:
        source = _file(options)
    return current().load(source, **options)


def loads(data: Any, /, **options: Unpack[ReadOptions]) -> Any:
    """Load from bytes; see :meth:`safeload.Loader.loads`."""
    return current().loads(data, **options)


def dump(obj: Any, target: Any = _NOT_GIVEN, protocol: int | None = None, **options: Unpack[WriteOptions]) -> None:
    """Write to a path or file; see :meth:`safeload.Loader.dump`."""
    if target is _NOT_GIVEN:
        target = _file(options)
    current().dump(obj, target, protocol, **options)


def dumps(obj: Any, protocol: int | None = None, **options: Unpack[WriteOptions]) -> bytes:
    """Write to bytes; see :meth:`safeload.Loader.dumps`."""
    return current().dumps(obj, protocol, **options)


def scan(source: Any, **options: Unpack[ScanOptions]) -> Report:
    """Report on an artifact without loading it; see :meth:`safeload.Loader.scan`."""
    return current().scan(source, **options)


def open_fernet(
    token: bytes | str, key: Any, *, codec: str = "pickle", ttl: int | None = None, **options: Unpack[FernetOptions]
) -> Any:
    """Load the payload of a plain Fernet token; see :meth:`safeload.Loader.open_fernet`."""
    return current().open_fernet(token, key, codec=codec, ttl=ttl, **options)


def load_many(sources: Iterable[Any], **options: Unpack[LoadManyOptions]) -> Batch:
    """Load many artifacts; see :meth:`safeload.Loader.load_many`."""
    return current().load_many(sources, **options)


def scan_many(sources: Iterable[Any], **options: Unpack[ScanManyOptions]) -> Batch:
    """Report on many artifacts; see :meth:`safeload.Loader.scan_many`."""
    return current().scan_many(sources, **options)


def verify_many(sources: Iterable[Any], **options: Unpack[VerifyManyOptions]) -> Batch:
    """Verify many envelopes; see :meth:`safeload.Loader.verify_many`."""
    return current().verify_many(sources, **options)


def rekey_many(sources: Iterable[Any], new_key: Key | str, **options: Unpack[ScanManyOptions]) -> Batch:
    """Seal many envelopes anew; see :meth:`safeload.Loader.rekey_many`."""
    return current().rekey_many(sources, new_key, **options)


def dump_many(items: Iterable[tuple[Any, Any]], **options: Unpack[DumpManyOptions]) -> Batch:
    """Write many objects; see :meth:`safeload.Loader.dump_many`."""
    return current().dump_many(items, **options)


@takes(ScanOptions)
def is_safe(source: Any, **options: Unpack[ScanOptions]) -> bool:
    """Whether :func:`scan` finds ``source`` clean."""
    return scan(source, **options).verdict == "clean"


def _document(function: Any, method: Callable[..., Any]) -> None:
    """Show of a function what its method says: the arguments (here ``source`` and ``target`` may be called ``file``), the text."""
    signature = inspect.signature(method)
    function.__signature__ = signature.replace(parameters=[*signature.parameters.values()][1:])
    function.__doc__ = method.__doc__


for _function, _method in (
    (load, Loader.load),
    (loads, Loader.loads),
    (dump, Loader.dump),
    (open_fernet, Loader.open_fernet),
    (dumps, Loader.dumps),
    (scan, Loader.scan),
    (load_many, Loader.load_many),
    (scan_many, Loader.scan_many),
    (verify_many, Loader.verify_many),
    (rekey_many, Loader.rekey_many),
    (dump_many, Loader.dump_many),
):
    _document(_function, _method)
