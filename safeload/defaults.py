"""The process's default loader, behind the functions of the package's top level.

Rule: it is replaced as a whole, never changed, and a change leaves an audit event.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from safeload.loader import Loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.findings import Report
    from safeload.limits import Limits

__all__ = [
    "configure",
    "configure_from_file",
    "current",
    "dump",
    "dumps",
    "is_safe",
    "load",
    "loader_with",
    "loads",
    "open_fernet",
    "scan",
]

_lock = threading.Lock()
_loader: Loader | None = None


def current() -> Loader:
    """The default loader; made on first use."""
    global _loader  # noqa: PLW0603 - this module's one piece of state
    if _loader is None:
        with _lock:
            if _loader is None:
                _loader = Loader()
    return _loader


def configure(*, policy: Any = None, keys: Any = None, audit: Any = None, limits: Limits | None = None) -> Loader:
    """Make the default loader of the process one with these choices; what is not given is the default again."""
    return _install(Loader(policy=policy, keys=keys, audit=audit, limits=limits))


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


def loader_with(**choices: Any) -> Loader:
    """The default loader, or one like it with the given (not ``None``) choices instead."""
    given = {name: value for name, value in choices.items() if value is not None}
    loader = current()
    if not given:
        return loader
    kept = {
        "policy": loader.policy,
        "keys": loader.keys,
        "audit": loader.audit,
        "limits": loader.limits,
        "signers": loader.signers,
    }
    return Loader(**{**kept, **given})


_NOT_GIVEN: Any = object()


def _file(options: dict[str, Any]) -> Any:
    """Pickle calls it ``file``; programs that say ``load(file=f)`` keep working."""
    try:
        return options.pop("file")
    except KeyError:
        raise TypeError("a path or an open binary file is required") from None


def load(source: Any = _NOT_GIVEN, **options: Any) -> Any:
    """Load from a path or file; see :meth:`safeload.Loader.load`."""
    if source is _NOT_GIVEN:
        source = _file(options)
    return current().load(source, **options)


def loads(data: Any, /, **options: Any) -> Any:
    """Load from bytes; see :meth:`safeload.Loader.loads`."""
    return current().loads(data, **options)


def dump(obj: Any, target: Any = _NOT_GIVEN, protocol: int | None = None, **options: Any) -> None:
    """Write to a path or file; see :meth:`safeload.Loader.dump`."""
    if target is _NOT_GIVEN:
        target = _file(options)
    current().dump(obj, target, protocol, **options)


def dumps(obj: Any, protocol: int | None = None, **options: Any) -> bytes:
    """Write to bytes; see :meth:`safeload.Loader.dumps`."""
    return current().dumps(obj, protocol, **options)


def scan(
    source: Any, *, policy: Any = None, keys: Any = None, limits: Limits | None = None, context: Any = None
) -> Report:
    """Report on an artifact without loading it; see :meth:`safeload.Loader.scan`."""
    return current().scan(source, policy=policy, keys=keys, limits=limits, context=context)


def open_fernet(token: bytes | str, key: Any, **options: Any) -> Any:
    """Load the payload of a plain Fernet token; see :meth:`safeload.Loader.open_fernet`."""
    return current().open_fernet(token, key, **options)


def is_safe(source: Any, **options: Any) -> bool:
    """Whether :func:`scan` finds ``source`` clean."""
    return scan(source, **options).verdict == "clean"


def _document(function: Callable[..., Any], method: Callable[..., Any]) -> None:
    function.__doc__ = method.__doc__


for _function, _method in (
    (load, Loader.load),
    (loads, Loader.loads),
    (dump, Loader.dump),
    (open_fernet, Loader.open_fernet),
    (dumps, Loader.dumps),
    (scan, Loader.scan),
):
    _document(_function, _method)
