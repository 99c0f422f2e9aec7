"""What an object is made of: its parts by path, their types, and which of them pickle cannot write.

Rule: nothing of an object runs but the reduce methods that pickling it needs. Attributes are read from where instances
keep them, never by asking the object, so no property, ``__getattr__`` or ``__repr__`` of it is called.
"""

from __future__ import annotations

import collections
import functools
import pickle
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Graph", "TooLargeError", "Unpicklable", "bounded_pickle", "type_name", "unpicklable", "walk"]

_LEAVES = frozenset(
    {str, bytes, bytearray, int, float, complex, bool, type(None), types.ModuleType, types.FunctionType}
)
_PLAIN_KEYS = frozenset({str, int, float, bool, bytes, type(None)})
_SEQUENCES: tuple[Any, ...] = (list, tuple, collections.deque)
_KEY_TEXT = 60
_LONGEST = 40  # labels of a path
_MOST_BAD = 20


class TooLargeError(Exception):
    """The pickle has more bytes than it may have."""


class Graph(NamedTuple):
    """What a walk has seen.

    Attributes:
        types: how many distinct objects there are of each type, by ``module.qualname``.
        owners: by the ``id`` of an object, that of what holds it and what leads from there; ``objects`` keeps them alive.
        size: bytes of strings and buffers, roughly.
        complete: whether all of the object was walked.
    """

    types: dict[str, int]
    owners: dict[int, tuple[int, str]]
    objects: list[Any]
    size: int
    complete: bool

    def path(self, obj: Any) -> str | None:
        """How to get to an object from the root, ``None`` if it was not seen; of a very long way, the ends."""
        if id(obj) not in self.owners:
            return None
        labels: list[str] = []
        at = id(obj)
        while at:
            at, label = self.owners[at]
            labels.append(label)
        labels.reverse()
        if len(labels) > _LONGEST:
            labels[_LONGEST // 2 : -_LONGEST // 2] = [f"...({len(labels) - _LONGEST:,} more)..."]
        return "".join(labels)


def type_name(kind: type) -> str:
    """``module.qualname`` of a type; ``builtins`` is left out."""
    module = type.__dict__["__module__"].__get__(kind)
    qualname = type.__dict__["__qualname__"].__get__(kind)
    if type(module) is not str or module == "builtins":
        return str(qualname)
    return f"{module}.{qualname}"


def walk(root: Any, most: int, *, name: str = "obj") -> Graph:
    """Every object that ``root`` holds, breadth first, so that each has one of its shortest paths; at most ``most`` of them."""
    counts: collections.Counter[str] = collections.Counter()
    owners = {id(root): (0, name)}
    objects = [root]
    size = 0
    for obj in objects:  # grows meanwhile
        counts[type_name(type(obj))] += 1
        size += _weight(obj)
        for label, part in _parts(obj):
            if id(part) in owners:
                continue
            if len(objects) >= most:
                return Graph(dict(counts.most_common()), owners, objects, size, complete=False)
            owners[id(part)] = id(obj), label
            objects.append(part)
    return Graph(dict(counts.most_common()), owners, objects, size, complete=True)


def _weight(obj: Any) -> int:
    if type(obj) in (str, bytes, bytearray):
        return len(obj)
    return int(obj.nbytes) if type(obj) is memoryview or _is_array(obj) else 8


def _is_array(obj: Any) -> bool:
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and type(obj) is numpy.ndarray


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """The parts of an object with what leads to them."""
    kind = type(obj)
    if kind in _LEAVES or issubclass(kind, type):
        return
    if issubclass(kind, dict):
        for key, value in dict.items(obj):
            if type(key) not in _PLAIN_KEYS:
                yield f"<key {_key(key)}>", key
            yield f"[{_key(key)}]", value
    elif kind is functools.partial:
        yield from ((".func", obj.func), (".args", obj.args), (".keywords", obj.keywords))
    elif kind is types.MethodType:
        yield ".__self__", obj.__self__
    else:
        yield from _items(obj, kind)
    yield from _attributes(obj, kind)


def _items(obj: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """The items of what is iterated over, by the built-in class's own iterator."""
    for base in _SEQUENCES:
        if issubclass(kind, base):
            for number, item in enumerate(base.__iter__(obj)):
                yield f"[{number}]", item
    for unordered in (set, frozenset):
        if issubclass(kind, unordered):
            for item in unordered.__iter__(obj):
                yield f"<item {_key(item)}>", item
    if _is_array(obj) and obj.dtype.hasobject and obj.dtype.names is None:
        for number, item in enumerate(obj.flat):
            yield f".flat[{number}]", item


def _attributes(obj: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """What the instance keeps in its dict and its slots."""
    for base in type.__dict__["__mro__"].__get__(kind):
        for name, descriptor in type.__dict__["__dict__"].__get__(base).items():
            if name == "__dict__" and type(descriptor) is types.GetSetDescriptorType:
                for attribute, value in dict.items(descriptor.__get__(obj)):
                    yield f".{attribute}" if type(attribute) is str else f".__dict__[{_key(attribute)}]", value
            elif type(descriptor) is types.MemberDescriptorType and name != "__weakref__":
                try:
                    yield f".{name}", descriptor.__get__(obj)
                except AttributeError:  # an empty slot
                    continue


def _key(key: Any) -> str:
    if type(key) in _PLAIN_KEYS and not (type(key) is int and key.bit_length() > 200):
        text = repr(key[:_KEY_TEXT] if type(key) in (str, bytes) else key)
        return text if len(text) <= _KEY_TEXT + 3 else text[:_KEY_TEXT] + "..."
    return f"<{type_name(type(key))}>"


class _BoundedFile:
    """Takes what a pickler writes, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self._left = limit

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._left -= len(part)
        if self._left < 0:
            raise TooLargeError
        self.parts.append(part)
        return len(part)


class _WatchingPickler(pickle.Pickler):
    """Knows what it is at, and leaves out what is known to be bad."""

    def __init__(self, file: Any, left_out: set[int]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.at: Any = None
        self._left_out = left_out

    def reducer_override(self, obj: Any) -> Any:
        """Asked before anything that is no plain data is reduced."""
        if id(obj) in self._left_out:
            return str, ()
        self.at = obj
        return NotImplemented


def bounded_pickle(obj: Any, limit: int) -> bytes:
    """``obj`` as a pickle of the highest protocol.

    Raises:
        TooLargeError: it has more than ``limit`` bytes.
        Exception: whatever reducing the object raises.
    """
    file = _BoundedFile(limit)
    pickle.Pickler(file, pickle.HIGHEST_PROTOCOL).dump(obj)
    return b"".join(file.parts)


class Unpicklable(NamedTuple):
    """A part that pickle cannot write: ``path`` is empty if it exists only while its owner is pickled."""

    path: str
    part: Any
    error: Exception


def unpicklable(root: Any, graph: Graph, limit: int) -> list[Unpicklable]:
    """The parts of ``root`` that pickle cannot write; the first twenty.

    The pickler is watched: the last thing that it began to reduce is what it failed at. That one is left out the next time.
    """
    found: list[Unpicklable] = []
    left_out: set[int] = set()
    while len(found) < _MOST_BAD:
        pickler = _WatchingPickler(_BoundedFile(limit), left_out)
        try:
            pickler.dump(root)
        except TooLargeError:
            break
        except Exception as error:  # noqa: BLE001 - any error of the object's own is the answer
            part = root if pickler.at is None else pickler.at
            path = _path(part, graph)
            if id(part) in left_out or (not path and any(not known.path for known in found)):
                break
            left_out.add(id(part))
            found.append(Unpicklable(path, part, error.with_traceback(None)))
        else:
            break
    return found


def _path(part: Any, graph: Graph) -> str:
    """How to get to it from the root; to a class, from the first of its instances."""
    path = graph.path(part)
    if path is None and issubclass(type(part), type):
        owner = next((obj for obj in graph.objects if type(obj) is part), None)
        path = None if owner is None else f"{graph.path(owner)}.__class__"
    return path or ""
