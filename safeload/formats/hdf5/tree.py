"""What is in an HDF5 file: groups, datasets and attributes, walked once, before anything is loaded.

Rules: only hard links are followed, and soft ones inside what was walked; what leads out of the file, or runs in circles, is a
finding; the walk is bounded in objects and depth. With ``member`` only the way to it and what is below it is looked at:
nothing else is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, LimitExceededError, LoadError, SafeloadError
from safeload.facts.printable import printable_ascii
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.hdf5.attributes import read_attributes
from safeload.formats.hdf5.dataset import Dataset, check_announced
from safeload.formats.hdf5.guard import check_object
from safeload.formats.hdf5.heap import Heap
from safeload.formats.hdf5.types import ReferenceTypeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.formats.base import SplitRequest
    from safeload.formats.hdf5.library import Library

__all__ = ["Node", "Tree"]

# What looking at one object costs, as bytes of opcodes.
_OBJECT = 1_000
# Soft links that libhdf5 follows, one behind the other.
_MOST_SOFT = 16


class Node:
    """An object of the file. ``data`` is the dataset, or the NumPy dtype of a named datatype; a group has ``children``."""

    __slots__ = ("attrs", "children", "data", "identifier", "kind", "path", "value")

    def __init__(self, path: str, kind: str, identifier: Any) -> None:
        self.path = path
        self.kind = kind
        self.identifier = identifier
        self.children: dict[str, Node] = {}
        self.attrs: dict[str, Any] = {}
        self.data: Any = None
        self.value: Any = None


class _Soft(NamedTuple):
    group: Node
    name: str
    target: str
    depth: int


class Tree:
    """The objects of a file, or those at and below ``member``.

    Args:
        library: the open file. request: with bounds, and a path in it if not all of it is wanted.

    Raises:
        FormatError: the file is broken. LimitExceededError: it is beyond the limits.
        LoadError: (a KeyError too) there is no ``member``.
    """

    def __init__(self, library: Library, request: SplitRequest) -> None:
        member = request.part.member
        self._library = library
        self._limits = request.limits
        self._spending = request.spending
        self._heap = Heap(library)
        self._known: dict[int, Node] = {}
        self._soft: list[_Soft] = []
        self._links = self._names = 0
        self._attribute_bytes = 0
        self.findings: list[Finding] = []
        with library.quiet():
            identifier = library.file.id
            root = library.h5py.h5o.open(identifier, b"/")
            self.root = self._descend(root, member) if member is not None else self._walk(root, library.root, "/")
            self._resolve_soft()
        self._check_circles()

    def nodes(self) -> Iterator[Node]:
        """Every object once."""
        return iter(self._known.values())

    def datasets(self) -> Iterator[Node]:
        """Every dataset once."""
        return (node for node in self._known.values() if isinstance(node.data, Dataset))

    def report(self, rule: str, message: str, path: str, *, clean: bool = False, evidence: str = "") -> None:
        """Add a finding."""
        severity, verdict = (Severity.INFO, Verdict.CLEAN) if clean else (Severity.HIGH, Verdict.UNKNOWN)
        self.findings.append(Finding(rule, severity, message, path, evidence, verdict))

    def check_announced(self) -> None:
        """Refuse a file that announces far more than it holds, for who wants all of it."""
        stored = self._library.blob.size
        total = packed = 0
        for node in self.datasets():
            check_announced(node.data.announced, node.data.stored, self._limits)
            total += node.data.announced
            packed += node.data.stored
        if packed > stored:  # bytes that several are made of would be unpacked again and again
            raise FormatError("datasets of the HDF5 file store more, together, than the file", code="hdf5.overlap")
        check_announced(total, stored, self._limits)

    def _descend(self, identifier: Any, member: str) -> Node:
        """The object at ``member``; only hard links lead there."""
        path, address = "", self._library.root
        for name in filter(None, member.split("/")):
            check_object(self._library, address)
            kind = self._library.h5py.h5i.get_type(identifier)
            raw = name.encode("utf-8", "surrogateescape")
            if kind != self._library.h5py.h5i.GROUP or raw not in identifier:
                raise LoadError.wrap(KeyError(f"there is no member={member!r} in the HDF5 file"))
            link = identifier.links.get_info(raw)
            if link.type != self._library.h5py.h5l.TYPE_HARD:
                raise FormatError(
                    f"{path}/{name} is a link to somewhere else; name the object itself as member=", code="hdf5.link"
                )
            identifier, address = self._library.h5py.h5o.open(identifier, raw), int(link.u)
            path += "/" + name
        return self._walk(identifier, address, path or "/")

    def _walk(self, identifier: Any, address: int, path: str) -> Node:
        top = self._node(identifier, address, path)
        waiting = [(top, 0)] if top.kind == "group" else []
        while waiting:
            group, depth = waiting.pop()
            if depth >= self._limits.max_nesting:
                raise LimitExceededError(
                    f"groups are nested deeper than max_nesting={self._limits.max_nesting}", code="limit.depth"
                )
            for name, node, new in self._members(group, depth):
                group.children[name] = node
                if new and node.kind == "group":
                    waiting.append((node, depth + 1))
        return top

    def _members(self, group: Node, depth: int) -> Iterator[tuple[str, Node, bool]]:
        h5l = self._library.h5py.h5l
        for raw, kind, address in self._link_list(group.identifier):
            name = raw.decode("utf-8", "surrogateescape")
            path = f"{group.path.rstrip('/')}/{name}"
            if name in (".", "..") or not name or "/" in name:
                raise FormatError("an object in the HDF5 file has a name that no path can have")
            if kind == h5l.TYPE_SOFT:
                target = group.identifier.links.get_val(raw).decode("utf-8", "surrogateescape")
                self._soft.append(_Soft(group, name, target, depth))
            elif kind == h5l.TYPE_EXTERNAL:
                self.report("hdf5.external-link", "a link into another file; safeload does not follow it", path)
            elif kind != h5l.TYPE_HARD:
                self.report("hdf5.user-link", "a user-defined link, which only a plugin could follow", path)
            else:
                identifier = self._library.h5py.h5o.open(group.identifier, raw)
                before = len(self._known)
                node = self._node(identifier, address, path)
                yield name, node, len(self._known) > before

    def _link_list(self, identifier: Any) -> list[tuple[bytes, int, int]]:
        found: list[tuple[bytes, int, int]] = []
        most = self._library.blob.size  # each name is stored once; the heap that they are in could be shared

        def note(name: bytes, info: Any) -> bool | None:
            self._links += 1
            kind, value = int(info.type), int(info.u)  # the object is the same one in every call
            self._names += len(name) + (value if kind == self._library.h5py.h5l.TYPE_SOFT else 0)
            found.append((name, kind, value))
            return True if self._links > self._limits.max_members or self._names > most else None

        identifier.links.iterate(note, info=True)
        if self._names > most:
            raise FormatError("names of objects in the HDF5 file are longer, together, than the file")
        if self._links > self._limits.max_members:
            raise LimitExceededError(
                f"the HDF5 file has more than max_members={self._limits.max_members:,} objects; raise Limits(max_members=...)",
                code="limit.members",
            )
        if len({name for name, *_ in found}) != len(found):
            raise FormatError("a group in the HDF5 file has two members of one name")
        return found

    def _node(self, identifier: Any, address: int, path: str) -> Node:
        """The node of an open object; the same one for every hard link to it.

        libhdf5 is not asked for the address: with it, it looks up what else there is to know, and crashes on a broken index.
        """
        h5py = self._library.h5py
        known = self._known.get(address)
        if known is not None:
            return known
        if self._spending is not None:
            self._spending.judge(_OBJECT, traced=False)
        index = check_object(self._library, address)
        kinds = {h5py.h5i.GROUP: "group", h5py.h5i.DATASET: "dataset", h5py.h5i.DATATYPE: "datatype"}
        node = Node(path, kinds.get(h5py.h5i.get_type(identifier), "other"), identifier)
        self._known[address] = node
        self._contents(node, address, index)
        return node

    def _contents(self, node: Node, address: int, index: int) -> None:
        try:
            if node.kind == "dataset":
                node.data = Dataset(self._library, self._heap, node.identifier, self._limits, index)
            elif node.kind == "datatype":
                node.data = node.identifier.dtype
            elif node.kind == "other":
                raise FormatError("an object of a kind that safeload does not read", code="format.unsupported")
        except ReferenceTypeError as error:
            self.report(error.code, f"{error}, and {printable_ascii(node.path)} holds some", node.path)
        except LimitExceededError:
            raise
        except (SafeloadError, TypeError, ValueError, NotImplementedError) as error:
            self._refuse(error, node.path)
        read = read_attributes(self._library, self._heap, node.identifier, address, self._limits, self._attribute_bytes)
        node.attrs, self._attribute_bytes = read.values, read.total
        for name, problem in read.problems:
            self._refuse(problem, f"{node.path}@{name}")
        for name in read.left_out:
            self.report(
                "hdf5.reference",
                "an attribute that holds references, to scales or a palette for instance; it is left out",
                f"{node.path}@{name}",
                clean=True,
            )

    def _refuse(self, error: Exception, path: str) -> None:
        code = getattr(error, "code", "format.unsupported")
        message = str(error) if isinstance(error, SafeloadError) else "a datatype that NumPy does not have"
        malformed = code in ("format.malformed", "hdf5.chunk", "hdf5.opaque")
        verdict = Verdict.MALFORMED if malformed else Verdict.UNKNOWN
        self.findings.append(Finding(code, Severity.HIGH, message, path, verdict=verdict))

    def _resolve_soft(self) -> None:
        """Set soft links to what they name; those that name nothing are left out."""
        waiting = self._soft
        for _ in range(_MOST_SOFT):  # a chain that is longer leads nowhere for libhdf5 either
            left = []
            for link in waiting:
                node = self._at(link.group if not link.target.startswith("/") else self.root, link.target)
                if node is None:
                    left.append(link)
                else:
                    link.group.children[link.name] = node
            if len(left) == len(waiting):
                break
            waiting = left
        for link in waiting:
            path = f"{link.group.path.rstrip('/')}/{link.name}"
            self.report("hdf5.soft-link", "a soft link to nothing that was read; it is left out", path, clean=True)

    def _at(self, node: Node, path: str) -> Node | None:
        if path.startswith("/") and node.path != "/":
            return None
        found: Node | None = node
        for name in path.split("/"):
            if found is not None and name not in ("", "."):
                found = found.children.get(name)
        return found

    def _check_circles(self) -> None:
        """Refuse a group that is inside itself."""
        done: set[int] = set()
        path: set[int] = set()
        stack = [(self.root, iter(self.root.children.values()))]
        path.add(id(self.root))
        while stack:
            node, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
                path.discard(id(node))
                done.add(id(node))
            elif id(child) in path:
                self.report("hdf5.circle", "a group that contains itself; no nested dict can hold it", child.path)
                return
            elif id(child) not in done:
                path.add(id(child))
                stack.append((child, iter(child.children.values())))
