"""The inert objects that stand for globals, and for what calls return, while a stream is traced.

They record what the unpickler does to them and do nothing. The unpickler looks some names up on whatever is on its stack
(``__setstate__``, ``append``, ``extend``, ``add``, item assignment), so each of them is answered here, on classes and on
instances. Rule: whatever a stream does to a stand-in leaves a record, or is refused; an unrecorded change would be a way
to act behind the judge's back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.program import Keywords, Kind, Standin, StandinType, global_name, is_nested_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Persistent", "make_standin"]

_bare: Any = object.__new__
# A call of one of these makes an instance of the class in its first argument (CPython, Lib/copyreg.py).
_CONSTRUCTORS = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


class _RecordingType(StandinType):
    """Metaclass of stand-ins: being called is recorded; being changed is recorded as a class state set.

    The names below are looked up by the unpickler on whatever is on its stack. A data descriptor on the metaclass
    answers before the class's own attributes, so a change of the class is never mistaken for one of an instance.
    """

    _record: Any

    def __call__(cls, *args: Any) -> Any:
        result = _bare(cls)
        cls._record(Kind.CALL, cls.safeload_name, args, result)
        return result

    def safeload_items(cls, _how: str, _items: Any) -> None:
        cls._record(Kind.CLASS_STATE, cls.safeload_name)

    def _class_state(cls, *_args: Any) -> None:
        cls._record(Kind.CLASS_STATE, cls.safeload_name)

    @property
    def __setstate__(cls) -> Any:
        return cls._class_state

    append = extend = __setstate__


class _ConstructingType(_RecordingType):
    """Metaclass of stand-ins for the calls that make an instance of the class in their first argument."""

    def __call__(cls, *args: Any) -> Any:
        if not args or not isinstance(args[0], _RecordingType):
            return super().__call__(*args)
        result = _bare(args[0])
        cls._record(Kind.CALL, cls.safeload_name, args, result)
        cls._record(Kind.CONSTRUCT, args[0].safeload_name, args[1:], result)
        return result


class _GetterType(_RecordingType):
    """Metaclass of the stand-in for ``getattr``: of a global it is how protocols below 4 name what is nested in a class.

    That is a reference to ``module:Outer.name``, and judged as one. Everything else that ``getattr`` returns is the result of a call.
    """

    _attribute: Callable[[str, str], Any]

    def __call__(cls, *args: Any) -> Any:
        owner = global_name(args[0]) if len(args) == 2 else None
        if owner is None or not is_nested_name(args[1]):
            return super().__call__(*args)
        cls._record(Kind.CALL, cls.safeload_name, args)
        return cls._attribute(owner, args[1])


class _Recording(Standin):
    """What a stand-in's instances do: record, and nothing else."""

    __slots__ = ()
    _record: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            args = (*args, Keywords(kwargs))
        result = object.__new__(cls)
        cls._record(Kind.CONSTRUCT, cls.safeload_producer, args, result)
        return result

    def __setstate__(self, state: Any) -> None:
        type(self)._record(Kind.STATE, self.safeload_producer, (state,), self)

    def safeload_items(self, how: str, items: Any) -> None:
        """Record a batch of items: by assignment (``"setitem"``, as pairs), or added to a set (``"add"``) or a list (``"append"``)."""
        type(self)._record(Kind.ITEMS, self.safeload_producer, (how, items), self)

    def extend(self, items: Any) -> None:
        self.safeload_items("append", items)

    def append(self, item: Any) -> None:
        self.safeload_items("append", [item])

    def __call__(self, *args: Any) -> Any:
        type(self)._record(Kind.COMPUTED, self.safeload_producer, args)
        return object.__new__(type(self))


class Persistent(Standin):
    """What a persistent id stands for. It can be stored, but not called or changed.

    Every way of changing it is answered here, because the application's object may answer it too.
    """

    __slots__ = ()
    safeload_producer = "persistent-id"

    def __setstate__(self, state: Any) -> None:
        self._refuse()

    def append(self, _item: Any) -> None:
        self._refuse()

    extend = append

    def safeload_items(self, _how: str, _items: Any) -> None:
        self._refuse()

    def __call__(self, *_args: Any) -> Any:
        self._refuse()

    @staticmethod
    def _refuse() -> NoReturn:
        raise FormatError(
            "the pickle calls or changes the object behind a persistent id, which is the application's own",
            code="policy.persistent-object",
            stage="analyse",
        )


class _ClassMakerType(_RecordingType):
    """Metaclass of stand-ins whose calls may make classes: they all return one class, which records in its turn."""

    def __call__(cls, *args: Any) -> Any:
        name = cls.safeload_name
        result = cls.__dict__.get("safeload_result")
        if result is None:
            content = {"safeload_producer": name, "_record": staticmethod(cls._record)}
            result = cls.safeload_result = _ResultType("standin", (_Result,), content)
        cls._record(Kind.CALL, name, args, result)
        return result


class _ResultType(type):
    """Metaclass of what stands for the results of calls, where those may be classes.

    As far as the unpickler can tell each is a class, an instance that has its state set, a list and a dict at once.
    """

    safeload_producer: str
    _record: Any

    def __call__(cls, *args: Any) -> Any:
        cls._record(Kind.COMPUTED, cls.safeload_producer, args)
        return cls

    def safeload_items(cls, how: str, items: Any) -> None:
        cls._record(Kind.ITEMS, cls.safeload_producer, (how, items), cls)

    def _set_state(cls, state: Any) -> None:
        cls._record(Kind.STATE, cls.safeload_producer, (state,), cls)

    def _extend(cls, items: Any) -> None:
        cls._record(Kind.ITEMS, cls.safeload_producer, ("append", items), cls)

    def _append(cls, item: Any) -> None:
        cls._extend([item])

    @property
    def __setstate__(cls) -> Any:
        return cls._set_state

    @property
    def append(cls) -> Any:
        return cls._append

    @property
    def extend(cls) -> Any:
        return cls._extend


class _Result(Standin):
    """Base of the classes of :class:`_ResultType`; an instance that a stream makes of one is that class again."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made: Any = cls
        made._record(Kind.COMPUTED, made.safeload_producer, (*args, Keywords(kwargs)) if kwargs else args)
        return made


def make_standin(
    name: str, record: Callable[..., None], *, makes_classes: bool, attribute: Callable[[str, str], Any] | None = None
) -> type:
    """The stand-in for the global ``name``.

    Args:
        name: the policy name.
        record: called with kind, name, arguments and target of every use.
        makes_classes: its calls may return classes.
        attribute: the stand-in for a public attribute of a global; for the stand-in of ``getattr``.
    """
    metaclass: type[_RecordingType] = _RecordingType
    if name in _CONSTRUCTORS:
        metaclass = _ConstructingType
    elif makes_classes:
        metaclass = _ClassMakerType
    content: dict[str, Any] = {
        "__slots__": (), "safeload_name": name, "safeload_producer": name, "_record": staticmethod(record),
    }  # fmt: skip
    if name == "builtins.getattr" and attribute is not None and not makes_classes:
        metaclass = _GetterType
        content["_attribute"] = staticmethod(attribute)
    return metaclass("standin", (_Recording,), content)
