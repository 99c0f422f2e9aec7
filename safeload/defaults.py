"""The process's default loader, behind the functions of the package's top level.

Rule: it is replaced as a whole, never changed, and a change leaves an audit event.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from safeload.loader import Loader

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from safeload.findings import Report
    from safeload.limits import Limits

__all__ = ["configure", "configure_from_file", "current", "dump", "dumps", "is_safe", "load", "loader_with", "loads", "scan"]

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


def configure_from_file(path: str | os.PathLike[str]) -> Loader:
    """Make the default loader one with the choices of a ``safeload.toml`` or of ``[tool.safeload]`` in a pyproject.toml.

    Raises:
        ValueError: the file has a mistake; the message names the line.
        OSError: it cannot be read.
    """
    from safeload.policy import load_config

    config = load_config(path)
    return _install(Loader(policy=config.policy, keys=None, audit=config.audit or None, limits=config.limits))


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
    kept = {"policy": loader.policy, "keys": loader.keys, "audit": loader.audit, "limits": loader.limits}
    return Loader(**{**kept, **given})


def load(source: Any, **options: Any) -> Any:
    return current().load(source, **options)


def loads(data: Any, /, **options: Any) -> Any:
    return current().loads(data, **options)


def dump(obj: Any, target: Any, protocol: int | None = None, **options: Any) -> None:
    current().dump(obj, target, protocol, **options)


def dumps(obj: Any, protocol: int | None = None, **options: Any) -> bytes:
    return current().dumps(obj, protocol, **options)


def scan(source: Any, *, policy: Any = None, keys: Any = None, limits: Limits | None = None) -> Report:
    return current().scan(source, policy=policy, keys=keys, limits=limits)


def is_safe(source: Any, **options: Any) -> bool:
    """Whether :func:`scan` finds ``source`` clean."""
    return scan(source, **options).verdict == "clean"


def _document(function: Callable[..., Any], method: Callable[..., Any]) -> None:
    function.__doc__ = method.__doc__


for _function, _method in ((load, Loader.load), (loads, Loader.loads), (dump, Loader.dump), (dumps, Loader.dumps), (scan, Loader.scan)):
    _document(_function, _method)
