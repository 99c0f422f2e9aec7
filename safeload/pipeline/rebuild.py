"""The load: from a clean judgement to the object, by the restricted C unpickler.

Rule: what is loaded is the code and the buffers that were judged. Names are resolved, and checked to be what the policy
meant, before the first opcode runs.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safeload.engine.collector import pause
from safeload.engine.feed import CodeFeed
from safeload.engine.load.probing import ProbingUnpickler
from safeload.errors import LoadError, SafeloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from safeload.engine.load.unpickler import RestrictedUnpickler
    from safeload.pipeline.request import JudgeOptions
    from safeload.pipeline.verdict import Judgement
    from safeload.policy import Policy
    from safeload.program import Use

__all__ = [
    "compare_states",
    "found_for",
    "load_code",
    "may_call",
    "resolve_all",
    "run",
    "settle_class",
    "settled",
    "target",
    "unpickler_for",
    "users",
]


def load_code(judgement: Judgement, options: JudgeOptions, substitutes: Mapping[str, Any] | None = None) -> Any:
    """Rebuild a stream whose verdict is clean.

    ``substitutes`` are objects of a container format that stand for globals, by policy name, which are then not imported.

    Raises:
        LoadError: a name does not exist, or an allowed object could not be rebuilt.
        PolicyError: a name is not what the policy meant.
    """
    unpickler = unpickler_for(
        judgement,
        options,
        resolve_all(judgement, options.policy, substitutes or {}),
        buffers=settled(judgement),
        persistent_load=options.persistent_load,
    )
    with pause:
        loaded = run(unpickler)
    if options.policy.grants_code:
        settle_class(loaded, judgement)
    return loaded


def unpickler_for(
    judgement: Judgement,
    options: JudgeOptions,
    resolved: Mapping[tuple[str, str], Any],
    *,
    buffers: Iterable[Any] | None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> ProbingUnpickler:
    """The restricted unpickler for a judged stream, ready to load it."""
    feed = CodeFeed()
    unpickler = ProbingUnpickler(
        feed,
        resolved,
        persistent_load=persistent_load,
        buffers=buffers,
        encoding=options.encoding,
        errors=options.errors,
    )
    feed.feed(unpickler.code_of(judgement.census, probes=judgement.probes, limits=options.limits))
    return unpickler


def settle_class(loaded: Any, judgement: Judgement) -> None:
    """What dill's unpickler does with an object in the end."""
    from safeload.engine.load.dillnames import current_class

    current_class(loaded, (judgement.spellings or {}).values())


# Calls that make an array of the buffer they are given first.
_ARRAY_MAKERS = frozenset({"numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"})


def settled(judgement: Judgement) -> list[Any] | None:
    """The buffers of a stream, with every BYTEARRAY8 that does not become an array as a real bytearray.

    Writable array bytes are read into memory of their own (``FileSource.take_mutable``), because a bytearray would be
    written twice. The array does not show; anything else would.
    """
    buffers = judgement.census.buffers
    if not judgement.census.mutable or judgement.program is None:
        return buffers or None
    arrays = {
        id(use.args[0].obj)
        for use in judgement.program.uses
        if use.name in _ARRAY_MAKERS and use.args and type(use.args[0]) is memoryview
    }
    return [
        bytearray(buffer)
        if type(buffer) is memoryview and _is_private(buffer) and id(buffer.obj) not in arrays
        else buffer
        for buffer in buffers
    ]


def _is_private(buffer: memoryview) -> bool:
    """Whether this process made the memory for a literal of the stream (the caller's own buffers stay as they are)."""
    return type(buffer.obj).__module__ in ("mmap", "builtins") and not buffer.readonly


def resolve_all(
    judgement: Judgement, policy: Policy, substitutes: Mapping[str, Any] = MappingProxyType({}), *, states: bool = True
) -> dict[tuple[str, str], Any]:
    """Every global of a judged stream, by the names that the stream spells.

    ``states``: compare the states of the whole program with the classes; once for streams that are parts of one.

    Raises:
        LoadError: a name does not exist.
        PolicyError: a name is not what the policy meant (:mod:`safeload.engine.load.resolve`).
    """
    from safeload.engine.load.resolve import check_class

    resolved = {}
    for spelling, name in (judgement.spellings or {}).items():
        if name in substitutes:
            resolved[spelling] = substitutes[name]
            continue
        found = resolved[spelling] = found_for(name, policy)
        if name in judgement.constructed:
            check_class(name, found, callable_too=may_call(name, policy))
    if states and judgement.program is not None:
        compare_states(judgement.program.uses, policy, substitutes)
    return resolved


def compare_states(uses: Iterable[Use], policy: Policy, substitutes: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Compare the states of a judged program with the classes that they are for (:mod:`safeload.engine.load.states`).

    Raises:
        LoadError: a name does not exist.
        PolicyError: a state replaces a method.
    """
    from safeload.engine.load.states import check_states
    from safeload.policy.states import gives_callables

    def find(name: str) -> Any:
        return substitutes[name] if name in substitutes else found_for(name, policy)

    def admits(name: str, attribute: str, value: str) -> bool:
        rule = policy.rule(name)
        return rule is not None and rule.may_shadow(attribute, value)

    if not policy.grants_code:
        check_states(uses, find, gives_callables, admits)


def found_for(name: str, policy: Policy) -> Any:
    """The object that a judged stream's global ``name`` stands for.

    Raises:
        LoadError: the name does not exist.
        PolicyError: it is not what the policy meant.
    """
    from safeload.engine.load.resolve import resolve

    name = target(name, policy)
    if policy.grants_code:
        from safeload.engine.load.dillnames import moved, special

        found = special(name)
        if found is not None:
            return found
        return resolve(moved(name), modules=True)
    return resolve(name)


def may_call(name: str, policy: Policy) -> bool:
    """Whether the policy lets ``name`` be called, with any arguments."""
    rule = policy.rule(name)
    return policy.grants_code or (rule is not None and rule.call is True)


def target(name: str, policy: Policy) -> str:
    """The name that the policy loads in place of ``name``: usually the same."""
    rule = policy.rule(name)
    return name if rule is None else rule.resolve or name


class UserError(Exception):
    """Carries an exception of the application's own find_class or persistent_load through the unpickler."""


def users(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """``function``, with its exceptions marked as the application's."""
    if function is None:
        return None

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            raise UserError from error

    return call


def run(unpickler: RestrictedUnpickler) -> Any:
    """Let an unpickler load, and check what it made; what that raises becomes a :class:`LoadError`, what the application raises stays."""
    try:
        loaded = unpickler.load()
        from safeload.engine.load.checks import check_loaded  # plain data does not come here

        check_loaded(loaded, unpickler.packages)
        return loaded
    except SafeloadError:
        raise
    except UserError as error:
        cause = error.__cause__
    except Exception as error:
        raise LoadError.wrap(error) from error
    assert cause is not None  # noqa: S101 - set by users()
    raise cause  # not inside the handler, which would make UserError part of the application's exception
