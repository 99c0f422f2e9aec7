"""What a library believes of an object's memory is checked once more when the stream has stopped.

An object is checked when it is made or gets its state. A stream that then changes what was checked (bytes that an array views, an
array that gets its first state late) would hand out an object whose library reads beyond its memory. So, after STOP and before
anybody gets the object, all that is reachable from it is looked through for instances of the classes that have a check.

A module with checks is named in :data:`_MODULES` and has a table ``CHECKS``: for a class, or for the name of one (``module:Class``,
so that a check imports nothing that the stream did not), a check that raises ``ValueError`` for an object (of that class or of a
subclass) whose library must not see it. Checks in a table ``TOGETHER`` get all objects of a load that are of their class, before
the others run: a forest has hundreds of small trees. Rule: a check reads attributes, calls nothing that an instance could replace,
and takes time in proportion to the object.
"""

from __future__ import annotations

import datetime as dt
import gc
import importlib
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Check = Callable[[Any], None]
    Together = Callable[[list[Any]], None]

__all__ = ["check_loaded", "reachable"]

# Where the checks are, by the package of which a stream has to name something before it can make an object of theirs.
_MODULES: Mapping[str, tuple[str, ...]] = {
    "statsmodels": ("safeload.engine.load.formulas",),
    "scipy": ("safeload.engine.load.matrices", "safeload.engine.load.splines", "safeload.engine.load.answers"),
    "sklearn": (
        "safeload.engine.load.trees",
        "safeload.engine.load.neighbours",
        "safeload.engine.load.machines",
        "safeload.engine.load.encoders",
        "safeload.engine.load.answers",
    ),
    "pandas": ("safeload.engine.load.indexed", "safeload.engine.load.columns", "safeload.engine.load.frames"),
    "torch": ("safeload.engine.load.answers",),
}
# What holds no other object.
_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, range, type(Ellipsis), type(NotImplemented)}
)
# What leads to a program rather than to data.
_CODE = (type, types.ModuleType, types.FunctionType, types.CodeType)


def check_loaded(loaded: Any, packages: Iterable[str]) -> None:
    """Check all objects of ``loaded`` whose classes have a check.

    Args:
        loaded: what a stream made.
        packages: the top-level packages of the names in it.

    Raises:
        ValueError: its library would read or write memory that is not its own.
    """
    checks, together = _checks_of(packages)
    if not checks and not together:
        return
    known: dict[type, tuple[tuple[Check, ...], list[list[Any]]]] = {}
    gathered: dict[Together, list[Any]] = {check: [] for check in together.values()}
    single: list[tuple[Check, Any]] = []
    for item in reachable(loaded):
        kind = type(item)
        found = known.get(kind)
        if found is None:
            bases = kind.__mro__
            known[kind] = found = (
                tuple(checks[base] for base in bases if base in checks),
                [gathered[together[base]] for base in bases if base in together],
            )
        if found[0]:
            single += [(check, item) for check in found[0]]
        for group in found[1]:
            group.append(item)
    for joint, group in gathered.items():
        if group:
            joint(group)
    for check, item in single:
        check(item)


def _checks_of(packages: Iterable[str]) -> tuple[dict[type, Check], dict[type, Together]]:
    """The checks for objects of ``packages`` that are imported; others have no objects."""
    checks: dict[type, Check] = {}
    together: dict[type, Together] = {}
    for package in packages:
        for name in _MODULES.get(package, ()) if package in sys.modules else ():
            module = importlib.import_module(name)
            _add(checks, module.CHECKS)
            _add(together, getattr(module, "TOGETHER", {}))
    return checks, together


def _add(found: dict[type, Any], table: Mapping[Any, Any]) -> None:
    """Put a table's checks under the classes that are there."""
    modules = sys.modules
    for key, check in table.items():
        kind = key
        if type(key) is str:
            module, _, name = key.partition(":")
            if module not in modules:
                continue
            kind = getattr(modules[module], name, None)
        if isinstance(kind, type):
            found[kind] = check


def reachable(root: Any) -> Iterator[Any]:
    """All objects that ``root`` leads to, itself among them, but for plain data, built-in containers, classes and functions.

    The collector's own account of references is asked, in layers, and what it does not see is added: items of arrays, the
    zone of a time, the metadata of a dtype. No method of an object is called.
    """
    numpy: Any = sys.modules.get("numpy")
    plans: dict[type, _Plan] = {}
    seen: set[int] = set()
    layers: list[list[Any]] = [[root]]  # also keeps what is made here, so that no id comes twice
    while layers[-1]:
        fresh: list[Any] = []
        added: list[Any] = []
        for item in layers[-1]:
            if id(item) in seen:
                continue
            seen.add(id(item))
            kind = type(item)
            if kind in _CONTAINERS:
                if len(item) <= _SHORT or not _is_plain(item):
                    fresh.append(item)
                continue
            plan = plans.get(kind)
            if plan is None:
                plan = plans[kind] = _plan_of(kind, numpy)
            if plan.skipped:
                continue
            yield item
            fresh.append(item)
            if plan.hidden is not None:
                added += plan.hidden(item)
        layers.append([item for item in gc.get_referents(*fresh) + added if type(item) not in _ATOMS])


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
# Longer containers are first asked whether they hold plain data only, which is done in C.
_SHORT = 64


def _is_plain(held: Any) -> bool:
    if not _ATOMS.issuperset(map(type, held)):
        return False
    return type(held) is not dict or _ATOMS.issuperset(map(type, held.values()))


class _Plan(NamedTuple):
    """What is done with the objects of a class."""

    skipped: bool = False
    hidden: Callable[[Any], list[Any]] | None = None  # what the collector does not see


def _plan_of(kind: type, numpy: Any) -> _Plan:
    if issubclass(kind, _CODE):
        return _Plan(skipped=True)
    if issubclass(kind, (dt.datetime, dt.time)):
        return _Plan(hidden=_zone_of)
    if numpy is not None:
        if issubclass(kind, numpy.ndarray):
            return _Plan(hidden=_in_array)
        if issubclass(kind, numpy.dtype):
            return _Plan(hidden=_in_dtype)
        if issubclass(kind, numpy.void):
            return _Plan(hidden=_in_record)
    return _Plan()


def _zone_of(time: Any) -> list[Any]:
    slot: Any = dt.time.tzinfo if isinstance(time, dt.time) else dt.datetime.tzinfo
    return [slot.__get__(time)]


def _in_array(array: Any) -> list[Any]:
    import numpy as np

    if type(array) is not np.ndarray:
        return [np.ndarray.view(array, np.ndarray)]
    found: list[Any] = [array.base, array.dtype]
    if array.dtype.names is not None:
        found += [array[name] for name in array.dtype.names if array.dtype[name].hasobject]
    elif array.dtype.kind == "O":
        found.append(array.ravel().tolist())  # plain items are told from others at once
    return found


def _in_dtype(dtype: Any) -> list[Any]:
    return [dtype.metadata, dtype.subdtype, getattr(dtype, "na_object", None), *(dtype.fields or {}).values()]


def _in_record(record: Any) -> list[Any]:
    import numpy as np

    dtype: Any = np.generic.dtype
    base: Any = np.generic.base
    described = dtype.__get__(record)
    return [base.__get__(record), described, np.void.item(record) if described.hasobject else None]
