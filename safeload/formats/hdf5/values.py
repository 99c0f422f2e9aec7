"""Values of an HDF5 file: searched for pickles before the load, and put together for it.

Rule: pickles that are kept as values are judged and stay bytes; nothing that is loaded from HDF5 was unpickled.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from safeload.errors import LimitExceededError
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.base import Stream
from safeload.formats.detect import looks_like_pickle_head
from safeload.formats.hdf5.dataset import Dataset
from safeload.formats.hdf5.group import Group
from safeload.formats.pickled_bytes import Effort, pickles_in
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.formats.hdf5.library import Library
    from safeload.formats.hdf5.tree import Node, Tree
    from safeload.limits import Limits

__all__ = ["built", "pickled_values"]

# A scan looks at texts in pieces of about so many bytes.
_PIECE = 1 << 24
# As many as in a file that is nothing but pickles; each is judged for itself.
_MOST_PICKLES = 20_000


def pickled_values(library: Library, tree: Tree, limits: Limits, *, keep: bool, index: Any = None) -> list[Stream]:
    """The pickles among the values of a tree, equal ones once; each is noted as a finding of the tree.

    Args:
        library: the open file. tree: what to look at. limits: bounds.
        keep: keep what was read of texts, to be loaded as it was judged.
        index: the part of the one dataset in the tree that will be loaded.
    """
    streams: list[Stream] = []
    effort, seen = Effort(library.blob.size), set[bytes]()
    with library.quiet():
        for node in tree.nodes():
            for where, data in _in_node(node, effort, keep=keep, index=index):
                digest = hashlib.sha256(data).digest()
                if digest in seen:
                    continue
                seen.add(digest)
                if len(streams) >= min(_MOST_PICKLES, limits.max_members):
                    raise LimitExceededError(
                        f"more than {_MOST_PICKLES:,} different pickles in the HDF5 file; read parts with member=",
                        code="limit.members",
                    )
                location = f"{node.path}{where}"
                message = "a pickle kept as a value; it was judged, and is loaded as the bytes that it is"
                tree.findings.append(Finding("hdf5.pickled", Severity.INFO, message, location, verdict=Verdict.CLEAN))
                streams.append(Stream(location, MemoryBlob(data), encoding="latin1"))
    return streams


def _in_node(node: Node, effort: Effort, *, keep: bool, index: Any) -> Iterator[tuple[str, bytes]]:
    import numpy as np

    for name, value in node.attrs.items():
        if value is not None:
            for where, data in pickles_in(_as_array(value), effort):
                yield f"@{name}{where if np.ndim(value) else ''}", data
    if isinstance(node.data, Dataset):
        for piece in _texts(node, node.data, keep=keep, index=index):
            yield from pickles_in(_as_array(piece), effort)


def _as_array(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    array = np.empty((), object)
    array[()] = value
    return array


def _texts(node: Node, dataset: Dataset, *, keep: bool, index: Any) -> Iterator[Any]:
    """The values of a dataset in which a pickle could be."""
    if dataset.empty:
        return
    if not dataset.layout.text:
        is_bytes = dataset.dtype.itemsize == 1 and dataset.dtype.kind in "ui" and len(dataset.shape) == 1
        if index is None and is_bytes and dataset.shape[0] > 1:
            head = dataset.read(slice(0, 2)).tobytes()
            if looks_like_pickle_head(head):
                yield dataset.read()
        return
    if keep:
        node.value = dataset.read(index)
        yield node.value
        return
    if not dataset.shape:
        yield dataset.read()
        return
    row = math.prod(dataset.shape[1:]) * int(dataset.dtype.itemsize) or 1
    step = max(1, _PIECE // row // dataset.rows) * dataset.rows  # whole chunks, so that none is unpacked twice
    for start in range(0, dataset.shape[0], step):
        yield dataset.read(slice(start, start + step))


def built(library: Library, tree: Tree, *, index: Any, mmap: bool) -> Any:
    """The object of a judged tree: groups as :class:`Group`, datasets as arrays."""
    made: dict[int, Any] = {}

    def value(node: Node) -> Any:
        if node.kind == "group":
            return made.setdefault(id(node), Group())
        if id(node) not in made:
            made[id(node)] = _loaded(node, index=index, mmap=mmap)
        return made[id(node)]

    with library.quiet():
        top = value(tree.root)
        waiting, seen = [tree.root] if tree.root.kind == "group" else [], {id(tree.root)}
        while waiting:
            node = waiting.pop()
            group = value(node)
            group.attrs.update(node.attrs)
            for name, child in node.children.items():
                group[name] = value(child)
                if child.kind == "group":
                    if id(child) not in seen:
                        seen.add(id(child))
                        waiting.append(child)
                elif child.attrs:
                    group.member_attrs[name] = dict(child.attrs)
    return top


def _loaded(node: Node, *, index: Any, mmap: bool) -> Any:
    if not isinstance(node.data, Dataset):
        return node.data
    return node.value if node.value is not None else node.data.read(index, mmap=mmap)
