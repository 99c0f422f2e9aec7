"""Versions of payloads: which version a payload has, and the steps that bring an old one up to date.

A payload has a *kind*, the program's own name for what it is, and a version of that kind; both are under the envelope's signature (the
version in the prelude, the kind as the claim ``payload``). A program registers its steps with :func:`migration`; the version that
they lead to is the one it knows. Rules: a payload that is newer than that is refused and not guessed at; a payload that says it is of
another kind than the reader asks for is refused; a step is missing or fails, and nothing is handed out. Steps get an object that has
been verified, judged and loaded, before it is checked against a schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from safeload.errors import LoadError, SafeloadError, VersionError
from safeload.facts import forks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLAIM", "Plan", "check_kind", "known_version", "migration", "plan"]

CLAIM: Final = "payload"
_MAX_KIND: Final = 100
_MAX_VERSION: Final = (1 << 32) - 1
_Step = TypeVar("_Step", bound="Callable[[Any], Any]")


class _Migration(NamedTuple):
    function: Callable[[Any], Any]
    target: int


class Plan(NamedTuple):
    """The steps for one payload, in order."""

    kind: str
    version: int
    target: int
    steps: tuple[_Migration, ...]

    def upgrade(self, obj: Any) -> Any:
        """``obj`` in the version ``target``.

        Raises:
            LoadError: a step raised something, or returned nothing; what it raised is chained.
        """
        version = self.version
        for step in self.steps:
            where = f"the migration of {self.kind!r} from version {version}"
            had = obj is not None
            try:
                obj = step.function(obj)
            except SafeloadError:
                raise
            except Exception as error:
                raise LoadError(f"{where} failed: {type(error).__name__}", code="version.migration") from error
            if had and obj is None:
                raise LoadError(f"{where} returned nothing; it must return the new object", code="version.migration")
            version = step.target
        return obj


_lock = forks.lock()
_by_kind: dict[str, dict[int, _Migration]] = {}


def migration(kind: str, *, from_version: int, to_version: int | None = None) -> Callable[[_Step], _Step]:
    """Make the decorated function the step that upgrades payloads of ``kind`` from ``from_version``.

    The function takes the object and returns it in the next version; it may change it in place, but must return it. Version 0 is that of
    payloads that were written without one.

    Args:
        kind: what ``dump(kind=...)`` was given.
        from_version: the version it takes.
        to_version: the version it makes, by default the next one.

    Raises:
        TypeError, ValueError: an argument is wrong, or another function is that step already.
    """
    check_kind(kind)
    target = from_version + 1 if to_version is None else to_version
    for number in (from_version, target):
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"a version is an int, not {type(number).__name__}")
    if not 0 <= from_version < target <= _MAX_VERSION:
        raise ValueError(f"a migration goes up, from a version of at least 0, not from {from_version} to {target}")

    def register(function: _Step) -> _Step:
        if not callable(function):
            raise TypeError("a migration is a function")
        with _lock:
            steps = _by_kind.setdefault(kind, {})
            known = steps.get(from_version)
            if known is not None and not _is_same(known.function, function):
                raise ValueError(f"there is a migration of {kind!r} from version {from_version} already")
            steps[from_version] = _Migration(function, target)
        return function

    return register


def _is_same(known: Any, function: Any) -> bool:
    """Whether a function is another one, or itself made again (a module reloaded)."""
    names = ("__module__", "__qualname__")
    return all(getattr(known, name, known) == getattr(function, name, function) for name in names)


def check_kind(kind: Any) -> None:
    """Raise unless ``kind`` can be one.

    Raises:
        TypeError, ValueError: it cannot.
    """
    if not isinstance(kind, str):
        raise TypeError(f"kind is a str, not {type(kind).__name__}")
    if not 0 < len(kind) <= _MAX_KIND or not kind.isprintable():
        raise ValueError(f"kind is 1 to {_MAX_KIND} printable characters")


def known_version(kind: str) -> int | None:
    """The version that the registered migrations of ``kind`` lead to; ``None`` if there are none."""
    steps = _by_kind.get(kind)
    return max(step.target for step in steps.values()) if steps else None


def plan(claimed: Any, version: int, *, kind: str | None, current: int | None) -> Plan | None:
    """The steps for a payload; ``None`` if nothing is known of its kind and nothing was asked for.

    Args:
        claimed: the claim ``payload``, ``None`` if the envelope has none.
        version: the payload's version.
        kind: what the reader says it is.
        current: the version that the reader wants; by default the one that the migrations lead to.

    Raises:
        VersionError: another kind, newer than known, or a step is missing.
    """
    if claimed is not None:
        try:
            check_kind(claimed)
        except (TypeError, ValueError):
            raise VersionError(
                "the envelope's kind of payload is no name; its writer is faulty", code="version.kind"
            ) from None
    if kind is not None and claimed is not None and claimed != kind:
        raise VersionError(
            f"the payload is of the kind {_shown(claimed)}, and {_shown(kind)} was asked for; load the other file, or ask for that kind",
            code="version.kind",
        )
    name = kind if kind is not None else claimed
    if name is None:
        return None
    target = known_version(name) if current is None else current
    if target is None:
        return None
    if version > target:
        raise VersionError(
            f"the payload is version {version} of {_shown(name)}, and this program knows versions up to {target}; update the program",
            code="version.newer",
        )
    return Plan(name, version, target, tuple(_steps(name, version, target)))


def _steps(kind: str, version: int, target: int) -> list[_Migration]:
    found: list[_Migration] = []
    known = _by_kind.get(kind, {})
    while version < target:
        step = known.get(version)
        if step is None or step.target > target:
            raise VersionError(
                f"no migration of {_shown(kind)} leads from version {version} to {target}; register the missing one with "
                f"@safeload.migration({_shown(kind)}, from_version={version})",
                code="version.gap",
            )
        found.append(step)
        version = step.target
    return found


def _shown(kind: str) -> str:
    return repr(kind.encode("unicode_escape").decode("ascii"))
