"""The load compares states with the real classes: of the application's own only it knows the methods."""

from __future__ import annotations

import collections
import functools
import io
import pickle
from typing import Any

import pytest

import safeload
from safeload.engine.load.answers import _check_items, _check_module
from safeload.errors import LoadError, PolicyError
from safeload.policy import Policy

HERE = __name__
calls: list[Any] = []


class Base:
    """What a class inherits counts."""

    @classmethod
    def inherited(cls) -> None: ...

    @staticmethod
    def alone() -> None: ...


class Thing(Base):
    """Has one of each."""

    __slots__ = ("slot",)

    size = 1
    kind: Any = None
    factory = dict

    def method(self) -> None: ...

    @functools.cached_property
    def cached(self) -> int:
        return 1

    @property
    def computed(self) -> Any:
        return 1

    @computed.setter
    def computed(self, value: Any) -> None:
        calls.append(value)


class Caller:
    """Can be called."""

    def __call__(self) -> None: ...


class Silent:
    """Cannot."""


class Calling(Thing):
    """Its ``__setstate__`` calls a method."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        calls.append(self.method())


class MistakeError(Exception):
    """Sets its state attribute by attribute."""

    @property
    def computed(self) -> int:
        return 1


Two = collections.namedtuple("Two", "a b")  # noqa: PYI024 - its items have no types


class Keys(dict):
    """A subclass of dict."""


def make(cls: type) -> Any:
    """Makes an instance of what it is given."""
    return cls.__new__(cls)


def function() -> None:
    calls.append("called")


POLICY = Policy.packs("data")
for cls in (Thing, Caller, Silent, Calling, Two, Keys, MistakeError):
    POLICY = POLICY.allow(f"{HERE}.{cls.__name__}", call=cls is MistakeError)
POLICY = POLICY.allow(f"{HERE}.make", call=True).allow(f"{HERE}.function", construct=False, state=False)


class Reduced:
    """Pickles as an object with a state."""

    def __init__(self, cls: Any, state: Any, maker: Any = None) -> None:
        self.reduced = (maker, (cls,), state) if maker else (_new, (cls,), state)

    def __reduce__(self) -> Any:
        return self.reduced


def _new(cls: Any) -> Any:
    return cls.__new__(cls)


def dumped(value: Any) -> bytes:
    """``value`` with NEWOBJ in place of the helper."""
    file = io.BytesIO()

    class Pickler(pickle._Pickler):  # type: ignore[name-defined]
        def save_reduce(self, func: Any, args: Any, state: Any = None, *rest: Any, obj: Any = None) -> None:
            if func is _new:
                self.save(args[0])
                self.write(b")\x81")
                if state is not None:
                    self.save(state)
                    self.write(b"b")
            else:
                super().save_reduce(func, args, state, *rest, obj=obj)

    Pickler(file, 4).dump(value)
    return file.getvalue()


@pytest.mark.parametrize(
    "state",
    [
        {"method": function}, {"inherited": function}, {"alone": function}, {"factory": function}, {"method": Caller()},
        {"method": Thing}, (None, {"method": function}), ({"method": function}, None), {"size": 1, "method": function},
        (None, {"computed": 1}), {"append": function}, {"utcoffset": Caller()}, Two(None, {"method": function}),
        Keys(method=function), (None, Keys(method=function)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cls", [Thing, Calling])
def test_methods_are_not_replaced(state: Any, cls: type) -> None:
    """Of the class, of its bases, in both dicts of a state and in what the unpickler takes for one; before anything runs."""
    calls.clear()
    with pytest.raises(PolicyError) as caught:
        safeload.loads(dumped(Reduced(cls, state)), policy=POLICY)
    assert caught.value.code in ("policy.shadow", "policy.argument")
    assert not calls


@pytest.mark.parametrize(
    "state",
    [
        {"method": 1}, {"method": Silent()}, {"method": None}, {"cached": 2}, {"cached": Caller()}, {"kind": function},
        {"size": function}, {"other": function}, {"computed": 2}, (None, {"slot": function}), ({"a": 1}, {"slot": 2}),
    ],
)  # fmt: skip
def test_attributes_that_nobody_calls_are_set(state: Any) -> None:
    """Data under a method's name, cached values, defaults of the class, slots, and what a property hides anyway."""
    calls.clear()
    loaded = safeload.loads(dumped(Reduced(Thing, state)), policy=POLICY)
    assert type(loaded) is Thing
    assert not calls


def test_what_functions_made_is_compared_with_what_they_were_given() -> None:
    """A function of the application makes an instance of a class in its arguments."""
    with pytest.raises(PolicyError, match="replaces a method"):
        safeload.loads(dumped(Reduced(Thing, {"method": function}, make)), policy=POLICY)
    assert safeload.loads(dumped(Reduced(Thing, {"a": function}, make)), policy=POLICY).a is function


def test_exceptions_set_attribute_by_attribute() -> None:
    """``BaseException.__setstate__`` would run a setter, and change the arguments."""
    for state in ({"computed": 1}, {"args": 1}, {"with_traceback": function}):
        with pytest.raises(PolicyError):
            safeload.loads(dumped(Reduced(MistakeError, state)), policy=POLICY)
    assert safeload.loads(dumped(Reduced(MistakeError, {"note": 1})), policy=POLICY).note == 1


def test_the_application_can_allow_it() -> None:
    """By name, or by name and value."""
    data = dumped(Reduced(Thing, {"method": function}))
    for shadow in ("method", f"method={HERE}.function"):
        loaded = safeload.loads(data, policy=POLICY.allow(f"{HERE}.Thing", shadows=[shadow]))
        assert loaded.method is function
    with pytest.raises(PolicyError):
        safeload.loads(data, policy=POLICY.allow(f"{HERE}.Thing", shadows=["method=x.y"]))
    with pytest.raises(ValueError, match="may be replaced"):
        POLICY.allow(f"{HERE}.Thing", shadows=["__class__"])


def test_a_memo_that_streams_share() -> None:
    """An Unpickler loads several streams, and each one's states are compared."""
    good, bad = dumped(Reduced(Thing, {"a": 1})), dumped(Reduced(Thing, {"method": function}))
    unpickler = safeload.Unpickler(io.BytesIO(good + bad), policy=POLICY)
    assert unpickler.load().a == 1
    with pytest.raises(PolicyError):
        unpickler.load()


def test_names_that_objects_answer_from_their_items() -> None:
    """What a mapping or a module hands out under the name of a protocol; checked when the stream has stopped."""
    for items in ({"__array_interface__": 1}, {"_as_parameter_": 1}, {"append": len}, {Keys: 1}):
        with pytest.raises(ValueError, match=r"name|text|called"):
            _check_items(Keys(items))
    _check_items(Keys({"x": len, "append": 1, 5: len}))

    class Module:
        __module__ = "torch.nn"

    for held in ({"_modules": {"__array_interface__": {}}}, {"_forward_hooks": {1: len}}):
        module = Module()
        module.__dict__.update(held)
        with pytest.raises(ValueError, match=r"looked up|hooks"):
            _check_module(module)
    module.__dict__.clear()
    _check_module(module)


def test_what_cannot_be_imported_is_an_error() -> None:
    """The comparison resolves names as the load does."""
    with pytest.raises((LoadError, PolicyError)):
        safeload.loads(
            b"\x80\x04c" + b"no_such_module\nThing\n)\x81}\x8c\x01aK\x01sb.",
            policy=Policy().allow("no_such_module.Thing"),
        )
