"""The guard: what a program unpickles by other ways than safeload is judged by a policy too.

Two parts. The *net* is one audit hook (PEP 578) on ``pickle.find_class``: it hears of every global that any unpickler of
CPython looks up, whoever bound which function when, but it knows names only. The *layer* replaces ``pickle.load``,
``pickle.loads``, ``pickle.Unpickler`` and ``joblib.load``, so that the whole stream is judged before its first opcode runs.

Rules: importing this package changes nothing; what :func:`install` did stays until the process ends, because a guard that
can be taken off is the first thing an attacker's code takes off; and where the net cannot know whether a use of a name is
harmless, it refuses the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safeload.guard.coverage import GuardStatus, status
    from safeload.guard.state import GuardWarning
    from safeload.guard.switch import active, install, install_from_environment

__all__ = ["GuardStatus", "GuardWarning", "active", "install", "install_from_environment", "status"]

_HOME = {
    "active": "switch",
    "install": "switch",
    "install_from_environment": "switch",
    "GuardWarning": "state",
    "GuardStatus": "coverage",
    "status": "coverage",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value
