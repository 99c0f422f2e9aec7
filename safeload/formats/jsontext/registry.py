"""Classes of the program that JSON texts may name: registered by the program, never looked up or imported.

Rule: registering is the permission. Whoever writes a text chooses the state that ``from_json`` gets, so it checks what it is given.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from safeload.errors import LoadError, PolicyError
from safeload.facts import forks
from safeload.formats.jsontext.form import MisfitError, expect, mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.formats.jsontext.reader import Reader
    from safeload.formats.jsontext.writer import Writer

__all__ = ["UNMADE", "is_registered", "read_object", "register_json", "write_object"]

_Class = TypeVar("_Class", bound=type)
_MAX_NAME = 200


class _Unmade:
    """Stands for an instance while a text is only scanned."""


UNMADE = _Unmade()


class _Entry(NamedTuple):
    cls: type
    name: str
    take: Callable[[Any], Any]  # instance -> state
    make: Callable[[Any], Any]  # state -> instance


_lock = forks.lock()
_by_name: dict[str, _Entry] = {}
_by_class: dict[type, _Entry] = {}


@overload
def register_json(
    cls: _Class,
    *,
    name: str | None = None,
    to_json: Callable[[Any], Any] | None = None,
    from_json: Callable[[Any], Any] | None = None,
) -> _Class: ...


@overload
def register_json(
    cls: None = None,
    *,
    name: str | None = None,
    to_json: Callable[[Any], Any] | None = None,
    from_json: Callable[[Any], Any] | None = None,
) -> Callable[[_Class], _Class]: ...


def register_json(
    cls: Any = None,
    *,
    name: str | None = None,
    to_json: Callable[[Any], Any] | None = None,
    from_json: Callable[[Any], Any] | None = None,
) -> Any:
    """Let ``codec="json"`` write and read instances of ``cls``; also a decorator.

    Of a dataclass the fields are written and given to the class again; of an enum the member's name (of a flag its
    value); of a named tuple the items; of any other class what ``to_json`` makes of an instance, from which ``from_json`` makes it again.
    States may hold whatever the codec writes, instances of registered classes too. Instances of subclasses are not written:
    register the subclass.

    Args:
        cls: the class.
        name: what stands in the text; by default ``"module.Class"``, which changes when the class moves. A class registered under
            several names is read under all of them and written under the last.
        to_json: instance to state; by default a method of that name.
        from_json: state to instance; by default a class method of that name. It gets what the author of the text chose.

    Returns:
        The class.

    Raises:
        TypeError: nobody said how an instance becomes a state, or the class needs more than its fields to be made.
        ValueError: the name belongs to another class, or is unusual.
    """
    if cls is None:
        return lambda cls: register_json(cls, name=name, to_json=to_json, from_json=from_json)
    if not isinstance(cls, type):
        raise TypeError(f"register_json takes a class, not an instance of {type(cls).__name__}")
    if name is None:
        name = f"{cls.__module__}.{cls.__qualname__}"
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isascii() or not name.isprintable():
        raise ValueError(f"a name is printable ASCII of 1 to {_MAX_NAME} characters")
    entry = _Entry(cls, name, *_ways(cls, to_json, from_json))
    with _lock:
        known = _by_name.get(name)
        if known is not None and not _is_same(known.cls, cls):
            raise ValueError(f"the name {name!r} belongs to {known.cls.__qualname__}; give another name=")
        _by_name[name] = _by_class[cls] = entry
    return cls


def _is_same(known: type, cls: type) -> bool:
    """Whether a class is another one, or itself made again (a module reloaded, a notebook's cell run again)."""
    return (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)


def _ways(cls: type, to_json: Any, from_json: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    take = to_json or getattr(cls, "to_json", None)
    make = from_json or getattr(cls, "from_json", None)
    if callable(take) and callable(make):
        return take, make
    if take is not None or make is not None:
        raise TypeError(f"{cls.__qualname__} needs both to_json and from_json")
    if issubclass(cls, enum.Flag):
        return (lambda member: member.value), cls
    if issubclass(cls, enum.Enum):
        return (lambda member: member.name), lambda state: cls[state]
    if dataclasses.is_dataclass(cls):
        return _dataclass_ways(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return list, lambda state: cls(*_of_type(state, list))
    raise TypeError(
        f"{cls.__qualname__} is no dataclass, enum or named tuple, so it needs to_json and from_json, as methods or arguments"
    )


def _dataclass_ways(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    parameters = list(inspect.signature(cls).parameters)
    if parameters != names:
        raise TypeError(
            f"{cls.__qualname__} is made from {parameters}, which are not its fields; give it to_json and from_json"
        )
    return (lambda value: {name: getattr(value, name) for name in names}), lambda state: cls(**_of_type(state, dict))


def _of_type(state: Any, kind: type) -> Any:
    if type(state) is not kind:
        raise TypeError(f"the state is a {kind.__name__}")
    return state


def is_registered(name: str) -> bool:
    """Whether the program registered a class under ``name``."""
    return name in _by_name


def write_object(value: Any, writer: Writer) -> Any:
    """The node of an instance of a registered class.

    Raises:
        MisfitError: its class is not registered.
    """
    cls = type(value)
    entry = _by_class.get(cls)
    if entry is None:
        raise MisfitError(
            f"JSON has no form for {cls.__module__}.{cls.__qualname__}; convert it, or register its class with "
            f"safeload.register_json({cls.__name__})"
        )
    return mark("object", writer.value(entry.take(value)), name=entry.name)


def read_object(node: dict[str, Any], reader: Reader) -> Any:
    """The instance that a node stands for.

    Raises:
        PolicyError: the name is not registered.
        LoadError: the class did not take the state, or made something else.
    """
    name = expect(node["name"], str, "a name")
    state = reader.value(node["v"])
    if not reader.loading:
        return UNMADE
    entry = _by_name.get(name)
    if entry is None:
        raise PolicyError(f"refused: {not_registered(name)}", code="json.not-registered")
    try:
        made = entry.make(state)
    except (MisfitError, PolicyError):  # of a text inside it: not this text's
        raise LoadError(f"{name}.from_json refused its state", code="json.from-json") from None
    except Exception as error:
        raise LoadError.wrap(error) from error
    if type(made) is not entry.cls:
        raise LoadError(f"{name}.from_json made an instance of {type(made).__name__}", code="json.from-json")
    return made


def not_registered(name: str) -> str:
    """What to say of a name that is not registered."""
    shown = name[:_MAX_NAME].encode("unicode_escape").decode("ascii")
    return (
        f"the JSON text asks for the class {shown!r}, which this program did not register; if you know it, call "
        f"safeload.register_json(cls, name={shown!r}) first"
    )
