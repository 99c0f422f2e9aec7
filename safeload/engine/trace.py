"""What would a stream import, call and change? Asked of CPython's own unpickler, with inert stand-ins.

The stream runs on the C unpickler that will load it, so there is no second parser to disagree with it. Instead of
importing, ``find_class`` answers with a class made for the name, whose metaclass records what the stream does with
it and does nothing. The unpickler has no branches: it executes every opcode in order whatever the values are, so the
trace is complete; of a folded stream (:mod:`~safeload.engine.cost.folding`) but for repetitions of what it shows. Rule: nothing here
imports, resolves or calls anything that a stream names.
"""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.engine.feed import CodeFeed
from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.program import Keywords, Kind, Standin, StandinType, Use, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from safeload.engine.cost.folding import Folded
    from safeload.limits import Limits

__all__ = ["Tracer", "legacy_name", "policy_name"]

_CONTAINERS = frozenset({list, dict, Keywords})
_NO_CONTAINER = _CONTAINERS.isdisjoint
# What a copy of a dict takes for each key, in list items; and what every byte of a stream allows to be copied: a stream in which each
# object has a state of its own never meets the limit.
_COPIED_PER_KEY = 8
_COPIED_PER_BYTE = 4
_bare: Any = object.__new__
_new_use = tuple.__new__  # what Use() does, at a third of the cost
# A call of one of these makes an instance of the class in its first argument (CPython, Lib/copyreg.py).
_CONSTRUCTORS = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


def policy_name(module: str, qualname: str) -> str:
    """The name that policies use: ``module.attr``, or ``module:outer.inner`` for a dotted qualname."""
    return f"{module}:{qualname}" if "." in qualname else f"{module}.{qualname}"


def legacy_name(module: str, name: str) -> tuple[str, str]:
    """What a Python 2 name is called today (as ``find_class`` maps it below protocol 3 with ``fix_imports``)."""
    import _compat_pickle

    mapped = _compat_pickle.NAME_MAPPING.get((module, name))
    if mapped is not None:
        return mapped
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


class Tracer:
    """Traces streams that share a memo; ``uses`` grows from call to call.

    Args:
        limits: bounds on uses and globals.
        fix_imports, encoding, errors: as for ``pickle.Unpickler``.
        makes_classes: calls may make classes, of which the stream makes instances, as those of dill and cloudpickle do.
            What one global makes is then one object in the trace, so no argument rule can judge it: for streams whose
            arguments nobody judges (a signer's grant), and to see all of a stream that is refused anyway.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        makes_classes: bool = False,
        named: Callable[[Any], Any] | None = None,
    ) -> None:
        """``named``: see :class:`safeload.formats.base.Stream`."""
        self.limits = limits
        self.makes_classes = makes_classes
        self.uses: list[Use] = []
        # Uses that stand for others; an empty range is where others were left out.
        self.repeated: list[range] = []
        # The trace of the same stream, if something was left out of this one.
        self.in_full: Callable[[], Tracer] | None = None
        self._left_out = 0
        self.spellings: dict[tuple[str, str], str] = {}
        self._protocol = 0
        self._copied = 0  # list items, some eight bytes each, in what was kept of arguments
        self._may_copy = limits.max_hash_work
        self._most_uses = limits.max_operations
        self._fix_imports = fix_imports
        self._options = {"encoding": encoding, "errors": errors}
        self._feed = CodeFeed()
        self._standins: dict[str, type] = {}
        self._buffers = _Buffers()
        self._named = named
        self._read_all = False
        self._unpickler: _TracingUnpickler = _TracingUnpickler.__new__(_TracingUnpickler)
        self._start()

    def _start(self) -> None:
        """Give the unpickler an empty stack and an empty memo."""
        self._unpickler.__init__(  # type: ignore[misc]
            self._feed, find=self._find, record=self.record, buffers=self._buffers, named=self._named, **self._options
        )

    def trace(self, code: bytes, protocol: int, buffers: Iterable[Any] = ()) -> Any:
        """Run one canonical stream; returns what it builds, with stand-ins for everything that is not plain data.

        Raises:
            FormatError: the unpickler does not accept the stream.
            LimitExceededError: more uses or globals than the limits allow.
        """
        self._may_copy += _COPIED_PER_BYTE * len(code)
        self._feed.feed(code)
        return self._load(protocol, buffers)

    def trace_pieces(self, next_piece: Callable[[], bytes], protocol: int, buffers: Iterable[Any] = ()) -> Any:
        """:meth:`trace` for a canonical stream in pieces, each ending where an opcode does, the last with STOP.

        ``next_piece`` is called when every opcode of the pieces before was executed, so that ``uses`` has all they did,
        and what it raises leaves this method. A piece that ends inside an opcode is refused, or executed with what
        follows as if it had not been cut; so a caller cuts where a census has seen that an opcode ends.
        """

        def counted() -> bytes:
            piece = next_piece()
            self._may_copy += _COPIED_PER_BYTE * len(piece)
            return piece

        self._feed.feed(b"", counted)
        try:
            built = self._load(protocol, buffers)
        except SafeloadError:
            if self._feed.failure is not None:
                raise self._feed.failure from None
            raise
        if not self._read_all:
            raise FormatError("not a well-formed pickle: STOP is followed by more", code="format.trailing")
        return built

    def trace_folded(self, folded: Folded, protocol: int, buffers: Iterable[Any] | None = None) -> Any:
        """:meth:`trace` for a folded stream; :attr:`repeated` says which uses stand for others.

        ``buffers``: in place of those of the stream.

        Raises:
            SafeloadError: as :meth:`trace`; the stream itself may do better.
        """
        buffers = folded.buffers if buffers is None else buffers
        built = self.trace_pieces(functools.partial(next, self._pieces_of(folded), b""), protocol, buffers)
        if len(self.uses) + self._left_out > self._most_uses:
            raise _too_many_uses(self._most_uses)
        if self._copied > self._may_copy:
            raise self._too_many_copies()
        return built

    def _pieces_of(self, folded: Folded) -> Iterator[bytes]:
        """The pieces; each is asked for when those before were executed."""
        for code, counts in folded.pieces:
            first, copied = len(self.uses), self._copied
            yield code
            if counts > 0 and len(self.uses) == first:
                raise FormatError("a repetition does nothing that can be judged")  # an empty range says something else
            if counts:
                self.repeated.append(range(first, len(self.uses)))
            if counts > 1:
                self._left_out += (counts - 1) * (len(self.uses) - first)
                self._copied += (counts - 1) * (self._copied - copied)

    def _load(self, protocol: int, buffers: Iterable[Any]) -> Any:
        self._protocol = protocol
        self._buffers.load(buffers)
        try:
            return self._run()
        except SafeloadError:
            raise
        except RecursionError as error:
            raise LimitExceededError(
                "the pickle nests its keys deeper than Python's recursion limit", code="limit.recursion"
            ) from error
        except MemoryError as error:
            raise LimitExceededError("the pickle needs more memory than there is", code="limit.memory") from error
        except Exception as error:
            if str(error).startswith(("NEWOBJ class argument", "NEWOBJ_EX class argument")):
                raise FormatError(
                    "the pickle makes an instance of a class that another call returns; a class has to be named, so this is "
                    "never allowed",
                    code="policy.computed-call",
                    stage="analyse",
                ) from error
            raise FormatError.wrap(error) from error

    def _run(self) -> Any:
        """Let the unpickler load, and leave nothing on its stack.

        The collector does not see what stands there (``Pdata`` in Modules/_pickle.c has no traverse function), nor the buffers, and all of it
        leads back to this tracer: it would stay in memory for good.
        """
        try:
            built = self._unpickler.load()
        except BaseException:
            self._start()
            raise
        finally:
            self._buffers.load(())
        self._read_all = self._feed.exhausted
        self._feed.feed(b"N.")
        self._unpickler.load()
        return built

    def standin(self, name: str) -> type:
        """The stand-in for the global ``name`` (a policy name), without a use of it."""
        if name not in self._standins:
            self._standins[name] = self._made(name)
        return self._standins[name]

    def _made(self, name: str) -> type:
        return _make_standin(_ClassMakerType if self.makes_classes else _RecordingType, name, self.record)

    @property
    def maps_names(self) -> bool:
        """Whether Python 2 names of the stream traced last are mapped."""
        return self._protocol < 3 and self._fix_imports

    def record(self, kind: Kind, name: str, args: tuple[Any, ...] = (), target: Any = None) -> None:
        """Append a use to :attr:`uses`.

        Raises:
            LimitExceededError: there are too many.
        """
        uses = self.uses
        if args:
            args = self._kept(args)
        uses.append(_new_use(Use, (kind, name, args, target)))
        if len(uses) > self._most_uses:
            raise _too_many_uses(self._most_uses)

    def _kept(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A snapshot of ``args``; a stream that passes a large list again and again runs into the limit."""
        if _NO_CONTAINER(map(type, args)):
            for item in args:
                if type(item) is tuple and not _NO_CONTAINER(map(type, item)):
                    break
            else:
                return args  # nothing in it can change
        kept = snapshot(args, self._note)
        for item in kept:
            for part in item if type(item) is tuple else (item,):
                if type(part) is list:
                    self._copied += len(part)
                elif type(part) in _CONTAINERS:
                    self._copied += _COPIED_PER_KEY * len(part)
        if self._copied > self._may_copy:
            raise self._too_many_copies()
        return kept

    def _too_many_copies(self) -> LimitExceededError:
        return LimitExceededError(
            f"the pickle passes lists and dicts of more than max_hash_work={self.limits.max_hash_work:,} items to calls",
            code="limit.hash-work",
        )

    def _note(self, size: int) -> None:
        self._copied += size // 8

    def _find(self, module: str, name: str) -> type:
        spelling = (module, name)
        known = self.spellings.get(spelling)
        if known is None:
            known = self.spellings[spelling] = self._learn(module, name)
        self.record(Kind.REFERENCE, known)
        return self._standins[known]

    def _learn(self, module: str, name: str) -> str:
        """Check a name seen for the first time and make its stand-in."""
        limit = self.limits.max_global_name
        if not isinstance(module, str) or not isinstance(name, str):
            raise FormatError("a global is named by something that is not a string")
        if len(module) + len(name) > limit:
            raise LimitExceededError(
                f"a global's name is longer than max_global_name={limit:,}", code="limit.global-name"
            )
        if not _is_path(module) or not _is_path(name):
            raise FormatError(
                "a global's name is not made of Python identifiers; no pickler writes that", code="format.global-name"
            )
        if self._protocol < 3 and self._fix_imports:
            module, name = legacy_name(module, name)
        if self._protocol < 4 and "." in name:
            raise FormatError(
                "a dotted global needs protocol 4; older protocols look the name up whole", code="format.global-name"
            )
        known = policy_name(module, name)
        if known not in self._standins:
            if len(self._standins) >= self.limits.max_globals:
                raise LimitExceededError(
                    f"the pickle imports more than max_globals={self.limits.max_globals:,} names", code="limit.globals"
                )
            self._standins[known] = self._made(known)
        return known


class _Buffers:
    """The iterator behind NEXT_BUFFER; what a stream could change in place is shown to it read-only."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: Any = iter(())

    def load(self, buffers: Iterable[Any]) -> None:
        self._items = iter(buffers)

    def __iter__(self) -> _Buffers:
        return self

    def __next__(self) -> Any:
        buffer = next(self._items)
        if type(buffer) is bytes or isinstance(buffer, Standin):
            return buffer
        return memoryview(buffer).toreadonly()


class _TracingUnpickler(pickle.Unpickler):
    """The C unpickler with both of its ways out replaced."""

    def __init__(
        self, file: Any, *, find: Any, record: Any, buffers: Any, named: Any, encoding: str, errors: str
    ) -> None:
        super().__init__(file, encoding=encoding, errors=errors, buffers=buffers)
        self.record = record
        self._named = named
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        return self._find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        found = self._named(pid) if self._named is not None else None
        if not isinstance(found, StandinType):
            found = _Persistent()
        self.record(Kind.PERSISTENT, "", (pid,), found)
        return found


class _RecordingType(StandinType):
    """Metaclass of stand-ins: being called is recorded; being changed is recorded as a class state set.

    The names below are looked up by the unpickler on whatever is on its stack. A data descriptor on the metaclass
    answers before the class's own attributes, so a change of the class is never mistaken for one of an instance.
    """

    _record: Any

    def __call__(cls, *args: Any) -> Any:
        name = cls.safeload_name
        if name in _CONSTRUCTORS and args and isinstance(args[0], _RecordingType):
            result = _bare(args[0])
            cls._record(Kind.CALL, name, args, result)
            cls._record(Kind.CONSTRUCT, args[0].safeload_name, args[1:], result)
            return result
        result = _bare(cls)
        cls._record(Kind.CALL, name, args, result)
        return result

    def __setitem__(cls, key: Any, value: Any) -> None:
        cls._record(Kind.CLASS_STATE, cls.safeload_name)

    def _class_state(cls, *_args: Any) -> None:
        cls._record(Kind.CLASS_STATE, cls.safeload_name)

    @property
    def __setstate__(cls) -> Any:
        return cls._class_state

    append = extend = add = __setstate__


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

    def __setitem__(self, key: Any, value: Any) -> None:
        type(self)._record(Kind.ITEMS, self.safeload_producer, ("setitem",), self)

    def append(self, _item: Any) -> None:
        type(self)._record(Kind.ITEMS, self.safeload_producer, ("append",), self)

    extend = add = append

    def __call__(self, *args: Any) -> Any:
        type(self)._record(Kind.COMPUTED, self.safeload_producer, args)
        return object.__new__(type(self))


class _Persistent(Standin):
    """What a persistent id stands for. It can be stored, but not called or changed.

    Every way of changing it is answered here, because the application's object may answer it too.
    """

    __slots__ = ()
    safeload_producer = "persistent-id"

    def __setstate__(self, state: Any) -> None:
        self._refuse()

    def __setitem__(self, key: Any, value: Any) -> None:
        self._refuse()

    def append(self, _item: Any) -> None:
        self._refuse()

    extend = add = append

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
        if name in _CONSTRUCTORS and args and isinstance(args[0], _RecordingType):
            return super().__call__(*args)
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

    def __setitem__(cls, key: Any, value: Any) -> None:
        cls._record(Kind.ITEMS, cls.safeload_producer, ("setitem",), cls)

    def _set_state(cls, state: Any) -> None:
        cls._record(Kind.STATE, cls.safeload_producer, (state,), cls)

    def _add(cls, _item: Any) -> None:
        cls._record(Kind.ITEMS, cls.safeload_producer, ("append",), cls)

    @property
    def __setstate__(cls) -> Any:
        return cls._set_state

    @property
    def append(cls) -> Any:
        return cls._add

    extend = add = append


class _Result(Standin):
    """Base of the classes of :class:`_ResultType`; an instance that a stream makes of one is that class again."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made: Any = cls
        made._record(Kind.COMPUTED, made.safeload_producer, (*args, Keywords(kwargs)) if kwargs else args)
        return made


def _too_many_uses(limit: int) -> LimitExceededError:
    return LimitExceededError(
        f"the pickle uses more than max_operations={limit:,} imports, calls and state sets", code="limit.operations"
    )


def _make_standin(metaclass: type[_RecordingType], name: str, record: Any) -> type:
    return metaclass(
        "standin",
        (_Recording,),
        {"__slots__": (), "safeload_name": name, "safeload_producer": name, "_record": staticmethod(record)},
    )


def _is_path(name: str) -> bool:
    """Identifiers joined by dots. ``<locals>`` (of functions and classes inside functions) never resolves."""
    return all(part.isidentifier() or part == "<locals>" for part in name.split("."))
