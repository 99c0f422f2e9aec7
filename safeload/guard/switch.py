"""Turning the guard on: for the process, for a block, from the environment.

Rules: it is installed once and only ever made stricter; a block may name another policy and may not be laxer than the process.
"""

from __future__ import annotations

import importlib
import os
import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from safeload.facts import forks
from safeload.guard.state import Mode, State, block, process

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["active", "early", "install", "install_from_environment"]

MODE: Final = "SAFELOAD_GUARD"
POLICY: Final = "SAFELOAD_GUARD_POLICY"
TRAIL: Final = "SAFELOAD_GUARD_TRAIL"

# Whatever of safeload is imported only when it is needed: it has to take pickle's names before they are replaced.
_OWN: Final = (
    "safeload.api.batch.work", "safeload.api.defaults", "safeload.api.pickle_classes", "safeload.engine.fickling",
    "safeload.engine.load.unpickler", "safeload.engine.trace", "safeload.guard.judged",
)  # fmt: skip

_lock = forks.rlock()
early: list[str] = []  # what other modules had taken by name before


def install(mode: Literal["record", "warn", "refuse"] = "record", policy: Any = None, audit: Any = None) -> None:
    """Guard the process from now on. There is no way back but a new process.

    Args:
        mode: ``"record"``: put each global that is unpickled on record, once; ``"warn"``: also warn of what the policy does not
            allow; ``"refuse"``: raise a :class:`~safeload.PolicyError`.
        policy: what may be unpickled, as for :class:`~safeload.Loader`; by default that of the default loader.
        audit: where events go, as for :class:`~safeload.Loader`; by default where the default loader's go.

    Raises:
        RuntimeError: it is installed with a stricter mode already.
        ValueError, TypeError: an argument is wrong.
    """
    with _lock:
        before = process[0]
        if before is not None and Mode.of(mode) < before.mode:
            raise RuntimeError(f"the guard is installed in mode {before.mode.name.lower()!r} and stays that strict")
        state = _state(mode, policy, audit)
        process[0] = state
    with state.loader.audit.operation("guard", action="install", policy_digest=state.loader.policy.digest):
        pass


@contextmanager
def active(
    mode: Literal["record", "warn", "refuse"] = "refuse", policy: Any = None, audit: Any = None
) -> Iterator[None]:
    """Guard what this thread, or task, does inside of the ``with`` block; see :func:`install`.

    Threads that are started inside are not in the block; a task of asyncio is.

    Raises:
        RuntimeError: the guard of the process is stricter.
    """
    whole = process[0]
    if whole is not None and Mode.of(mode) < whole.mode:
        raise RuntimeError(f"the guard of the process is in mode {whole.mode.name.lower()!r}; a block cannot be laxer")
    state = _state(mode, policy, audit)
    token = block.set(state)
    try:
        yield
    finally:
        block.reset(token)


def install_from_environment() -> None:
    """Do what ``SAFELOAD_GUARD``, ``SAFELOAD_GUARD_POLICY`` (names or files, by commas) and ``SAFELOAD_GUARD_TRAIL`` say.

    Raises:
        ValueError: one of them has no meaning.
    """
    mode: Any = os.environ.get(MODE)
    if mode:
        names = [name.strip() for name in os.environ.get(POLICY, "").split(",") if name.strip()]
        install(mode, names or None, os.environ.get(TRAIL) or None)


def _state(mode: str, policy: Any, audit: Any) -> State:
    strictness = Mode.of(mode)
    with _lock:
        _prepare()  # before anything of the pipeline is imported: see there
    from safeload.api.defaults import current
    from safeload.api.loader import Loader

    default = current()
    loader = Loader(
        policy=default.policy if policy is None else policy,
        audit=default.audit if audit is None else audit,
        limits=default.limits,
    )
    return State(strictness, loader)


def _prepare() -> None:
    """Put net and layer in place, once; both do nothing until a state is in force.

    The unpicklers of safeload derive from the one that ``pickle`` names when they are imported. Under somebody else's hook
    (fickling's) that is no unpickler, and every load would fail, so they are imported while the original stands there.
    """
    from safeload.guard.late import watch_imports
    from safeload.guard.layer import REPLACED, original_unpickler, replace_entry_points
    from safeload.guard.net import install_hook

    if REPLACED:
        return
    hooked, pickle.Unpickler = pickle.Unpickler, original_unpickler()  # type: ignore[misc, assignment]
    try:
        for name in _OWN:
            importlib.import_module(name)
    finally:
        pickle.Unpickler = hooked  # type: ignore[misc]
    install_hook()
    early.extend(replace_entry_points())
    watch_imports()
