"""What the ``audit=`` keyword takes, turned into an auditor.

Rule: a file named by its path is a *required* sink: who asks for a trail gets one or gets an error. Loggers and
functions are optional sinks, and a sink that is passed as an object is what its class says. For anything else, build an :class:`~safeload.audit.Auditor` with ``required=``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from safeload.audit.auditor import SILENT, Auditor
from safeload.audit.sinks import Sink, registry
from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["build"]

# One open trail per path, however many loads name it: a sink per call would leak a descriptor per call.
_trails: dict[str, Auditor] = {}
_MAX_TRAILS: Final = 32
_lock = forks.lock()


def build(value: Any) -> Auditor:
    """The auditor that ``value`` means.

    Args:
        value: ``None`` (no sink), an :class:`Auditor`, a sink, a function that takes an event, a
            ``logging.Logger``, a path (a JSON lines trail, required), or a list or tuple of those.

    Raises:
        TypeError: ``value`` is none of these.
    """
    if value is None:
        return SILENT
    if isinstance(value, Auditor):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return _combined(value)
    if isinstance(value, str | os.PathLike):
        return _trail(value)
    sink, required = _sink(value)
    return Auditor(required=(sink,)) if required else Auditor(sinks=(sink,))


def _trail(value: str | os.PathLike[str]) -> Auditor:
    path = os.path.abspath(os.fspath(value))  # noqa: PTH100  resolve() would follow the link that the sink must refuse
    with _lock:
        auditor = _trails.get(path)
        if auditor is None:
            while len(_trails) >= _MAX_TRAILS:
                _trails.pop(next(iter(_trails))).close()
            sink, _ = _sink(path)
            auditor = _trails[path] = Auditor(required=(sink,))
    return auditor


def _combined(values: Iterable[Any]) -> Auditor:
    optional: list[Sink] = []
    required: list[Sink] = []
    host = False
    for value in values:
        auditor = build(value)
        optional += auditor.sinks
        required += auditor.required
        host |= auditor.host
    return Auditor(sinks=optional, required=required, host=host)


def _sink(value: Any) -> tuple[Sink, bool]:
    if not isinstance(value, type) and isinstance(value, Sink):
        # What the sink says of itself: a trail that is passed as an object is no less required than one that is named by its path.
        return value, bool(getattr(value, "required_by_default", False))
    for kind in registry().values():
        made = kind.of(value)
        if made is not None:
            return made, kind.required_by_default
    raise TypeError(
        f"audit= takes None, a path, a function, a logging.Logger, a sink, an Auditor or a list of those, "
        f"not {'the class ' + value.__name__ if isinstance(value, type) else type(value).__name__}"
    )
