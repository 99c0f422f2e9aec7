"""What would a stream import, call and change? Asked of CPython's own unpickler, with inert stand-ins.

The stream runs on the C unpickler that will load it, so there is no second parser to disagree with it. Instead of
importing, ``find_class`` answers with a class made for the name (:mod:`~safeload.engine.standins`). The stream is respelled
(:mod:`~safeload.engine.respell`), so nothing is hashed or compared while it runs; what it built is weighed afterwards
(:mod:`~safeload.engine.cost.weigh`). The unpickler has no branches: it executes every opcode in order whatever the values
are, so the trace is complete. Rule: nothing here imports, resolves or calls anything that a stream names, and nothing that a
stream made is hashed.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from safeload.engine import respell as tags
from safeload.engine.cost.account import Account
from safeload.engine.cost.values import SCALARS, is_light, is_scalar
from safeload.engine.cost.weigh import Scales
from safeload.engine.feed import CodeFeed
from safeload.engine.respell import respell
from safeload.engine.standins import Persistent, make_standin
from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.program import (
    Frozen,
    Keywords,
    Kind,
    Members,
    Pairs,
    Standin,
    StandinType,
    Use,
    as_dict,
    nested_name,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.limits import Limits

__all__ = ["Tracer", "legacy_name", "policy_name"]

_CONTAINERS = frozenset({list, dict, Pairs, Members, Keywords})
_NO_CONTAINER = _CONTAINERS.isdisjoint
# What a copy of a dict takes for each key, in list items; and what every byte of a stream allows to be copied: a stream in which each
# object has a state of its own never meets the limit.
_COPIED_PER_KEY = 8
_COPIED_PER_BYTE = 4
_new_use = tuple.__new__  # what Use() does, at a third of the cost
_STR = frozenset({str})
_T = TypeVar("_T", bound=Pairs)


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
        named: see :class:`safeload.formats.base.Stream`.
        account: what the artifact may cost; one of its own if there is none.

    Attributes:
        uses: what the streams do, in order.
        spellings: the policy names of the globals, by module and name as they are spelled.
        scales: what the latest stream weighs.
        settled: dicts that were given as a state, by ``id``.
        builds: whether the piece that was executed last ends with BUILD.
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
        account: Account | None = None,
    ) -> None:
        self.limits = limits
        self.makes_classes = makes_classes
        self.uses: list[Use] = []
        self.spellings: dict[tuple[str, str], str] = {}
        self.scales = Scales(account or Account(limits))
        self.builds = False
        self.settled: dict[int, Pairs] = {}
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
        self._unpickler.__init__(self._feed, self, self._buffers, self._named, **self._options)  # type: ignore[misc]

    def trace(self, code: bytes, protocol: int, buffers: Iterable[Any] = ()) -> Any:
        """Run one canonical stream and weigh it; returns what it builds, with stand-ins for what is not plain data.

        Dicts are :class:`~safeload.program.Pairs` in it, sets :class:`~safeload.program.Members`.

        Raises:
            FormatError: the unpickler does not accept the stream.
            LimitExceededError: more uses or globals than the limits allow, or it would cost too much to load.
        """
        self._feed.feed(self._respelled(code))
        return self._load(protocol, buffers)

    def trace_pieces(self, next_piece: Callable[[], bytes], protocol: int, buffers: Iterable[Any] = ()) -> Any:
        """:meth:`trace` for a canonical stream in pieces, each ending where an opcode does, the last with STOP.

        ``next_piece`` is called when every opcode of the pieces before was executed, so that ``uses`` has all they did,
        and what it raises leaves this method. A piece that ends inside an opcode is refused, or executed with what
        follows as if it had not been cut; so a caller cuts where a census has seen that an opcode ends.
        """
        self._feed.feed(b"", lambda: self._respelled(next_piece()))
        try:
            built = self._load(protocol, buffers)
        except SafeloadError:
            if self._feed.failure is not None:
                raise self._feed.failure from None
            raise
        if not self._read_all:
            raise FormatError("not a well-formed pickle: STOP is followed by more", code="format.trailing")
        return built

    def beside(self) -> Tracer:
        """A tracer for a stream inside of this one, with a memo of its own; its uses are recorded here, on one account."""
        other = Tracer(
            self.limits,
            fix_imports=self._fix_imports,
            makes_classes=self.makes_classes,
            named=self._named,
            account=self.scales.account,
            **self._options,
        )
        other.uses = self.uses
        other.scales = self.scales.beside()
        return other

    def _respelled(self, code: bytes) -> bytes:
        self._may_copy += _COPIED_PER_BYTE * len(code)
        respelled = respell(code)
        self.scales.expect(respelled, len(code))
        self.builds = respelled.builds
        return respelled.code

    def _load(self, protocol: int, buffers: Iterable[Any]) -> Any:
        self._protocol = protocol
        self._buffers.load(buffers, self.scales)
        try:
            built = self._run()
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
        self.scales.weigh()
        return built

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
            self._buffers.load((), self.scales)
        self._read_all = self._feed.exhausted
        self._feed.feed(b"N.")
        self._unpickler.load()
        self._unpickler.goes_on = True
        return built

    def release(self) -> None:
        """Let go of the memo: no further stream will be traced. Its objects would wait for the collector otherwise."""
        del self._unpickler

    def standin(self, name: str) -> type:
        """The stand-in for the global ``name`` (a policy name), without a use of it."""
        if name not in self._standins:
            self._standins[name] = self._made(name)
        return self._standins[name]

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
            scales = self.scales
            if kind is Kind.CALL and is_light(args) and not scales.long:
                scales.light += 1  # nothing in it can change, and it weighs next to nothing
            elif name in SCALARS and is_scalar(args):
                scales.scalar(args[0])
            else:
                scales.given(kind, name, args, target)
                if kind is Kind.STATE:
                    self._settle(args[0])
                if kind is not Kind.ITEMS:
                    args = self._kept(args)
                elif type(args[1]) is Pairs:
                    args = (args[0], as_dict(args[1]))
        uses.append(_new_use(Use, (kind, name, args, target)))
        if len(uses) > self._most_uses:
            raise LimitExceededError(
                f"the pickle uses more than max_operations={self._most_uses:,} imports, calls and state sets",
                code="limit.operations",
            )

    def _settle(self, state: Any) -> None:
        """Note the dicts of a state: a class may take one for its own, and then nothing may be added to it any more."""
        for part in state if type(state) is tuple else (state,):
            if type(part) is Pairs:
                self.settled[id(part)] = part

    def _kept(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A snapshot of ``args``; a stream that passes a large list again and again runs into the limit."""
        if _NO_CONTAINER(map(type, args)):
            for item in args:
                if type(item) is tuple:
                    self._copied += len(item)  # of a long one, a look takes as long as a copy
                    if not _NO_CONTAINER(map(type, item)):
                        break
            else:
                if self._copied > self._may_copy:
                    self._too_many_copies()
                return args  # nothing in it can change
        kept = snapshot(args, self._note)
        for item in kept:
            for part in item if type(item) is tuple else (item,):
                kind = type(part)
                if kind is list:
                    self._copied += len(part)
                elif kind in _CONTAINERS:
                    self._copied += _COPIED_PER_KEY * len(part)
        if self._copied > self._may_copy:
            self._too_many_copies()
        return kept

    def _too_many_copies(self) -> NoReturn:
        raise LimitExceededError(
            f"the pickle passes lists and dicts of more than max_hash_work={self.limits.max_hash_work:,} items to calls",
            code="limit.hash-work",
        )

    def _note(self, size: int) -> None:
        self._copied += size // 8
        if self._copied > self._may_copy:
            self._too_many_copies()

    def find(self, module: str, name: str) -> type:
        """The stand-in for a global of the stream."""
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

    def _made(self, name: str) -> type:
        return make_standin(name, self.record, makes_classes=self.makes_classes, attribute=self._attribute)

    def _attribute(self, owner: str, name: str) -> type:
        """The stand-in for what is nested in a global, which ``getattr`` names: as if protocol 4 had named it."""
        known = nested_name(owner, name)
        module, _, path = known.partition(":")
        if len(known) > self.limits.max_global_name:
            raise LimitExceededError(
                f"a global's name is longer than max_global_name={self.limits.max_global_name:,}",
                code="limit.global-name",
            )
        if known not in self._standins:
            if len(self._standins) >= self.limits.max_globals:
                raise LimitExceededError(
                    f"the pickle imports more than max_globals={self.limits.max_globals:,} names", code="limit.globals"
                )
            self._standins[known] = self._made(known)
        self.spellings[module, path] = known
        self.record(Kind.REFERENCE, known)
        return self._standins[known]


class _Buffers:
    """The iterator behind NEXT_BUFFER; what a stream could change in place is shown to it read-only."""

    __slots__ = ("_items", "_scales")

    def __init__(self) -> None:
        self._items: Any = iter(())

    def load(self, buffers: Iterable[Any], scales: Scales) -> None:
        self._items = iter(buffers)
        self._scales = scales

    def __iter__(self) -> _Buffers:
        return self

    def __next__(self) -> Any:
        buffer = next(self._items)
        if isinstance(buffer, Standin):
            return buffer
        if type(buffer) is not bytes:
            buffer = memoryview(buffer).toreadonly()
        self._scales.account.budget += buffer.nbytes if type(buffer) is memoryview else len(buffer)
        return buffer


class _TracingUnpickler(pickle.Unpickler):
    """The C unpickler with both of its ways out replaced, for respelled streams."""

    def __init__(self, file: Any, tracer: Tracer, buffers: Any, named: Any, *, encoding: str, errors: str) -> None:
        super().__init__(file, encoding=encoding, errors=errors, buffers=buffers)
        self._tracer = tracer
        self._named = named
        self._made = (
            tracer.scales.made
        )  # what hashes: dicts and sets when they get their first items, or more than those of an earlier stream
        self._batches: dict[int, Any] = {}
        self.goes_on = False  # whether the memo has objects of an earlier stream, which were weighed with that one

    def find_class(self, module: str, name: str) -> Any:
        return self._tracer.find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Do what the respelled opcode does; a text is the application's own id."""
        if type(pid) is not tuple:
            return self._persistent(pid)
        payload, tag = pid
        if tag == tags.SET_ITEMS:
            target, items = payload
            return self._set_items(target, items)
        if tag == tags.EMPTY_DICT:
            return Pairs()
        if tag == tags.SET_ITEM:
            target, *items = payload
            return self._set_items(target, items)
        return self._rare(payload, tag)

    def _rare(self, payload: Any, tag: int) -> Any:
        """The respelled opcodes that common streams hardly use."""
        if tag == tags.BYTES:
            return memoryview(payload)
        if tag == tags.DICT:
            return self._set_items(Pairs(), payload)
        if tag == tags.EMPTY_SET:
            return Members()
        if tag == tags.FROZENSET:
            made = Frozen(payload)
            if made:
                self._made.append(made)
            return made
        if tag == tags.ADD_ITEMS:
            return self._add_items(*payload)
        if tag == tags.NEW_WITH_KEYWORDS:
            return _new(*payload)
        if tag == tags.PERSISTENT:
            return self._persistent(payload)
        raise FormatError("not a well-formed pickle: a persistent id that no stream can have")

    def _set_items(self, target: Any, items: list[Any]) -> Any:
        if type(target) is Pairs:
            if len(items) % 2:
                raise FormatError("not a well-formed pickle: odd number of items for SETITEMS")
            if items and id(target) in self._tracer.settled:
                raise FormatError(
                    "the pickle adds to a dict that is the state of an object already; no pickler writes that, and it would change "
                    "what was judged",
                    code="format.set-item",
                )
            if items and (not target or self.goes_on):
                self._made.append(target)
            target += items
        elif not items:
            return target
        elif len(items) % 2 or not _answers(target):
            raise FormatError(
                "the pickle assigns items to what is no dict; no pickler writes that, and it would change what others hold",
                code="format.set-item",
            )
        else:
            self._batch(target, Pairs).take(items)
            type(target).safeload_items(target, "setitem", Pairs(items))
        return target

    def _add_items(self, target: Any, items: tuple[Any, ...]) -> Any:
        if type(target) is Members:
            if items and (not target or self.goes_on):
                self._made.append(target)
            target += items
        elif not items:
            return target
        elif not _answers(target):
            raise FormatError("the pickle adds members to what is no set", code="format.set-item")
        else:
            self._batch(target, Members).take(items)
            type(target).safeload_items(target, "add", Members(items))
        return target

    def _batch(self, target: Any, kind: type[_T]) -> _T:
        """All items that one object gets: they are keys of one dict, or members of one set."""
        found = self._batches.get(id(target))
        if type(found) is not kind:
            found = self._batches[id(target)] = kind()
            self._made.append(found)
        elif self.goes_on:
            self._made.append(found)
        return found

    def _persistent(self, pid: Any) -> Any:
        found = self._named(pid) if self._named is not None else None
        if not isinstance(found, StandinType):
            found = Persistent()
        self._tracer.record(Kind.PERSISTENT, "", (pid,), found)
        return found


def _answers(target: Any) -> bool:
    """Whether it is a stand-in, for a global, for what a call made or for a class that one made."""
    return isinstance(target, Standin) or hasattr(type(target), "safeload_items")


def _new(cls: Any, args: Any, keywords: Any) -> Any:
    """NEWOBJ_EX: the names of keywords are exactly strings, once each, or somebody could judge another one than is used."""
    if not isinstance(cls, type) or not isinstance(args, tuple):
        raise TypeError("NEWOBJ_EX class argument must be a type, not " + type(cls).__name__)
    names = keywords[::2] if type(keywords) is Pairs else (None,)
    if not _STR.issuperset(map(type, names)) or len(set(names)) < len(names):
        raise FormatError("the keywords of an object are not a dict of names", code="format.keywords")
    return cls.__new__(cls, *args, **dict(zip(names, keywords[1::2], strict=True)))


def _is_path(name: str) -> bool:
    """Identifiers joined by dots. ``<locals>`` (of functions and classes inside functions) never resolves."""
    return all(part.isidentifier() or part == "<locals>" for part in name.split("."))
