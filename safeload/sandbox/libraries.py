"""Which libraries an artifact gets in its jail: those that it names, that this list or the caller knows, that are installed.

A name in an artifact chooses code that runs at import, before the last lock closes. Rule: it can only choose what somebody
listed. A module that a policy pack names was reviewed and is imported in the zygote, once for all; any other module of a listed
library is imported in the jailed child itself, where it can read files and nothing else, and is gone with it.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Modules", "modules_for"]

# Distributions whose modules do nothing at import but define things. Their test suites and tools are left out by _LEFT_OUT.
_KNOWN = frozenset(
    """catboost cloudpickle collections datetime decimal dill fractions h5py imblearn joblib keras lightgbm ml_dtypes networkx
    numpy pandas patsy polars pyarrow scipy sklearn statsmodels torch uuid xgboost zoneinfo""".split()
)
_LEFT_OUT = re.compile(r"(^|\.)(tests?|testing|conftest|setup|_?distutils|f2py|__main__|benchmarks?|examples?)(\.|$)")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_MAX_MODULES = 200
# What these libraries import on first use, which the last lock would deny.
_COMPANIONS = {
    "numpy": (
        "numpy",
        "zipfile",
        "tempfile",
        "numpy.lib.format",
        "numpy.random",
        "numpy._core._methods",
        "numpy.core",
        "numpy.linalg",
    ),
    "pandas": ("pandas", "safeload.sandbox.data.frames", "pandas.core.computation.expressions", "pyarrow.pandas_compat", "pyarrow.vendored.version"),
    "scipy": ("scipy.sparse", "scipy.special", "scipy.linalg", "scipy.spatial", "scipy.stats"),
    "sklearn": ("sklearn.base", "sklearn.utils.validation", "scipy.sparse", "scipy.special", "scipy.linalg", "scipy.spatial",
                "narwhals.stable.v2._namespace", "narwhals._duration", "narwhals._interchange.dataframe",
                "narwhals._pandas_like.namespace", "narwhals._pandas_like.group_by", "narwhals._pandas_like.selectors"),
    "torch": ("torch", "torch.nn", "torch._weights_only_unpickler", "torch.serialization", "torch.utils.serialization"),
    "keras": ("keras", "keras.src.saving.saving_lib", "keras.models", "keras.layers"),
    "xgboost": ("xgboost", "xgboost.sklearn", "scipy.sparse", "sklearn.base", "pandas"),
    "lightgbm": ("lightgbm", "lightgbm.sklearn", "scipy.sparse"),
    "catboost": ("catboost",),
    "statsmodels": ("statsmodels.api", "statsmodels.formula.api"),
}  # fmt: skip


class Modules(NamedTuple):
    """Modules to import in the zygote, and in the jailed child."""

    shared: tuple[str, ...]
    own: tuple[str, ...]


def modules_for(names: Iterable[str], libraries: Iterable[str], always: Iterable[str] = ()) -> Modules:
    """Where to import what an artifact names.

    Args:
        names: the globals of the artifact, as its report has them.
        libraries: what the caller trusts besides: modules, with everything below them.
        always: modules that are needed whatever the artifact names.
    """
    trusted = tuple(libraries)
    shared: dict[str, None] = {}
    own: dict[str, None] = {}
    for name in always:
        shared.update(dict.fromkeys((name, *_COMPANIONS.get(name, ()))))
    wanted = [*trusted, *(name.rpartition(".")[0] for name in names)]
    for module in dict.fromkeys(wanted):
        top = module.partition(".")[0]
        if len(shared) + len(own) >= _MAX_MODULES or _MODULE.fullmatch(module) is None:
            continue
        if any(module == name or module.startswith(f"{name}.") for name in trusted):
            shared[module] = None
        elif top in _KNOWN and _LEFT_OUT.search(module) is None:
            shared.update(dict.fromkeys((top, *_COMPANIONS.get(top, ()))))
            (shared if module == top or module in _reviewed(top) else own)[module] = None
    return Modules(tuple(shared), tuple(name for name in own if name not in shared))


def check_libraries(libraries: Iterable[str] | None) -> frozenset[str]:
    """The caller's libraries.

    Raises:
        TypeError, ValueError: they are no names of modules.
    """
    if libraries is None:
        return frozenset()
    if isinstance(libraries, str):
        raise TypeError("libraries must be a list of names of modules, not one text")
    found = frozenset(libraries)
    for name in found:
        if type(name) is not str or _MODULE.fullmatch(name) is None:
            raise ValueError(f"libraries must be names of modules, not {name!r}")
    return found


@functools.cache
def _reviewed(top: str) -> frozenset[str]:
    """The modules that the pack of a library names."""
    from safeload.policy.packs import load_pack, pack_names

    if top not in pack_names():
        return frozenset()
    modules = {name.rpartition(".")[0] for name in load_pack(top).rules}
    return frozenset(module for module in modules if module.partition(".")[0] == top)


def importable_path() -> list[str]:
    """The directories from which this process imports, for the caller's own libraries."""
    return [entry for entry in sys.path if entry.startswith("/")]
