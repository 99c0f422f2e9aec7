"""The globals that turn data into Python code: dill's, cloudpickle's, and the types of functions and code objects.

Shared by the decision (which lets them in from nobody but a signer whose grant says ``code``), the analysis, the writing
and the loading. Rule: what is listed here no allow list can permit, because its argument is bytecode, and no rule
about arguments tells harmless bytecode from harmful.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["family", "family_of", "import_library", "why_refused"]

# Modules of the same code in other places: joblib.externals.cloudpickle, pyspark.cloudpickle, ray.cloudpickle ...
_CLOUDPICKLE = frozenset({"cloudpickle", "cloudpickle_fast"})
# ``builtins.code`` and the like do not exist, but are what a pickler that trusts ``__module__`` writes.
_BARE = frozenset(
    """
    types.CodeType types.FunctionType types.LambdaType builtins.code builtins.function
    new.code new.function marshal.loads _marshal.loads
    """.split()
)
_KNOWN = ("dill", "cloudpickle")


def family(name: str) -> str | None:
    """``"dill"``, ``"cloudpickle"`` or ``"code"`` for a global that makes code, ``None`` for any other.

    Args:
        name: a policy name: ``module.attr`` or ``module:outer.inner``.
    """
    if name in _BARE:
        return "code"
    if "dill" not in name and "cloudpickle" not in name:
        return None
    module, _, _ = name.partition(":") if ":" in name else name.rpartition(".")
    parts = module.split(".")
    if not _CLOUDPICKLE.isdisjoint(parts):
        return "cloudpickle"
    return "dill" if parts[0] == "dill" or "_dill" in parts or parts[-2:] == ["dill", "dill"] else None


def family_of(names: Iterable[str]) -> str | None:
    """The family of a whole program: the pickler that wrote it, or ``"code"`` if only the bare types are named."""
    found = {family(name) for name in names}
    return next((known for known in _KNOWN if known in found), "code" if "code" in found else None)


def why_refused(kind: str, *, signed: bool = False) -> str:
    """Why a pickle of this family was refused, and what to do."""
    what = f"a {kind} pickle" if kind in _KNOWN else "a pickle that carries code"
    codec = kind if kind in _KNOWN else "dill"
    who = "its signer's entry in the key ring does not grant code" if signed else "nobody vouches for this one"
    return (
        f"this is {what}: it makes functions out of bytecode, so loading it runs whatever its author wrote, and no policy can "
        f"tell good bytecode from bad; it loads only from a signer who is trusted with that, and {who}. "
        "If you trust the author like your own program, seal it with a key and grant that key code in the reader's ring:\n"
        f'safeload.dump(obj, path, codec="{codec}", key=key)    # or: safeload sign FILE\n'
        'KeyRing([KeyEntry(key, grants={"code"})])    # in a key file: KEY grants=code\n'
        'Otherwise have the object written without code, for instance with codec="pickle" and classes in a module'
    )


def import_library(name: str) -> Any:
    """Import dill or cloudpickle itself.

    On import dill teaches its types to pickle's Python pickler, the one that joblib uses: from then on the process writes code where
    nobody asked for it. That is taken back, unless the program has imported dill itself.

    Raises:
        ImportError: it is not installed.
    """
    known = sys.modules.get(name)
    if known is not None:
        return known
    library: Any = importlib.import_module(name)
    if name == "dill":
        library.extend(False)
    return library
