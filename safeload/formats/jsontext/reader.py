"""Plain values with markers to the values they stand for.

Rules: nothing is imported; only registered classes are made. Keys of dicts and members of sets are counted before they are put in:
an author can choose numbers that all collide. While an artifact is only scanned, registered classes are not called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LimitExceededError
from safeload.facts.hash_probes import probes
from safeload.formats.jsontext import groups, registry, scalars
from safeload.formats.jsontext.form import MARKER, Kind, MisfitError, expect, pointer

if TYPE_CHECKING:
    from safeload.limits import Limits

__all__ = ["Reader", "names_in"]

# Fewer keys than these cost too little for their collisions to matter.
_FEW = 1_024
_NESTED = frozenset({dict, list})


def names_in(tree: Any) -> list[str]:
    """The names of classes that the markers in ``tree`` ask for, in order of first use."""
    names: dict[str, None] = {}
    stack = [tree]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            if node.get(MARKER) == "object" and type(node.get("name")) is str:
                names[node["name"]] = None
            node = list(node.values())
        stack += [item for item in reversed(node) if type(item) in _NESTED] if type(node) is list else ()
    return list(names)


class Reader:
    """Reads the values of one text.

    Args:
        limits: of the load.
        loading: ``False``: make nothing of registered classes, only see that the text is well-formed.
    """

    def __init__(self, limits: Limits, *, loading: bool) -> None:
        self.limits = limits
        self.loading = loading
        self._work = 0

    def read(self, tree: Any) -> Any:
        """The value of ``tree``, which is used up.

        Raises:
            FormatError: a marker is not of the documented form.
            LimitExceededError: keys collide more often than is allowed.
        """
        try:
            return self.value(tree)
        except MisfitError as misfit:
            raise FormatError(
                f"{pointer(misfit.path)}: {misfit}; the text is not what dump(codec='json') writes", code="json.marker"
            ) from None

    def value(self, node: Any) -> Any:
        """The value of one node."""
        if type(node) is list:
            self.items(node)
            return node
        if type(node) is not dict:
            return node
        if MARKER in node:
            return self._marked(node)
        name = ""
        try:
            for name, item in node.items():
                if type(item) in _NESTED:
                    node[name] = self.value(item)
        except MisfitError as misfit:
            misfit.path.append(name)
            raise
        return node

    def items(self, node: Any) -> list[Any]:
        """The values of a list node."""
        expect(node, list, "a list")
        index = 0
        try:
            for index, item in enumerate(node):
                if type(item) in _NESTED:
                    node[index] = self.value(item)
        except MisfitError as misfit:
            misfit.path.append(index)
            raise
        found: list[Any] = node
        return found

    def _marked(self, node: dict[str, Any]) -> Any:
        name = expect(node[MARKER], str, "a kind's name in $safeload")
        kind = _KINDS.get(name)
        if kind is None:
            raise MisfitError("the kind in $safeload is none that this version of safeload knows")
        members = node.keys() - {MARKER, "v"}
        if "v" not in node or not kind.members <= members or not members <= kind.members | kind.optional:
            wanted = ", ".join(["v", *sorted(kind.members)])
            raise MisfitError(f"a marker of this kind has the members {wanted} and no others")
        try:
            return kind.read(node, self)
        except MisfitError as misfit:
            misfit.path.append("v")
            raise

    def check_keys(self, keys: list[Any]) -> None:
        """Check how ``keys`` collide, before they go into one dict or set.

        Raises:
            LimitExceededError: the longest probe chain is over ``max_probes``, or comparing keys is over ``max_hash_work``.
            MisfitError: one cannot be hashed.
        """
        if scalars.RANDOMISED.issuperset(map(type, keys)):  # nobody knows their hashes beforehand
            return
        try:
            hashes = [hash(key) for key in keys]
        except TypeError:
            raise MisfitError("a key or member here cannot be hashed") from None
        if len(set(hashes)) != len(hashes):
            self._weigh(keys, hashes)
        if len(hashes) > _FEW and probes(keys, len(keys), self.limits.max_probes) < 0:
            raise LimitExceededError(
                f"more than max_probes={self.limits.max_probes:,} collisions for one key of a dict or set; raise "
                "Limits(max_probes=...) if you trust the author",
                code="limit.probes",
            )

    def _weigh(self, keys: list[Any], hashes: list[int]) -> None:
        """Keys with equal hashes are compared, all with all, and a comparison visits all of both."""
        groups_: dict[int, list[int]] = {}
        for key, number in zip(keys, hashes, strict=True):
            groups_.setdefault(number, []).append(groups.weight(key))
        for weights in groups_.values():
            self._work += (len(weights) - 1) * sum(weights) // 2
        if self._work > self.limits.max_hash_work:
            raise LimitExceededError(
                f"more than max_hash_work={self.limits.max_hash_work:,} steps to compare keys whose hashes are equal; raise "
                "Limits(max_hash_work=...) if you trust the author",
                code="limit.hash-work",
            )


def _array_kind(name: str, *members: str) -> Kind:
    def read(node: dict[str, Any], reader: Reader) -> Any:  # noqa: ARG001 - the signature of kinds
        from safeload.formats.jsontext import arrays  # NumPy is imported where an array is

        return arrays.READ[name](node)

    return Kind(read, frozenset(members))


_KINDS: dict[str, Kind] = {
    **scalars.KINDS,
    **groups.KINDS,
    "object": Kind(registry.read_object, frozenset({"name"})),
    "ndarray": _array_kind("ndarray", "dtype", "shape", "order"),
    "scalar": _array_kind("scalar", "dtype"),
    "dtype": _array_kind("dtype"),
}
