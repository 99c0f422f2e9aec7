"""A loader in the shape of the module ``pickle``, for libraries that take a module: ``torch.load(pickle_module=...)``, joblib, shelve.

Everything in ``pickle.__all__`` is there, under the same names and signatures. Rules: ``load``, ``loads`` and ``Unpickler`` read pickle streams (in
envelopes, if the loader has keys) and no containers, and stop right behind each stream; what writes signs if the loader has keys.
"""

from __future__ import annotations

import io
import pickle
from types import ModuleType
from typing import TYPE_CHECKING, Any

from safeload.api.defaults import current
from safeload.api.pickle_classes import Pickler, Unpickler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.api.loader import Loader

__all__ = ["PickleModule", "default"]

# Names that libraries take from pickle and that its __all__ does not list.
_MORE = (
    "whichmodule",
    "format_version",
    "compatible_formats",
    "encode_long",
    "decode_long",
    "bytes_types",
    "dispatch_table",
)


class PickleModule(ModuleType):
    """What :meth:`safeload.Loader.pickle_module` returns. ``encoding`` is ``None``: what it writes is bytes.

    Args:
        loader: judges what is read, and signs what is written if it has keys; or a function that returns it, asked at each call.
        name: the name of the module.
    """

    def __init__(self, loader: Loader | Callable[[], Loader], name: str = "safeload.pickle") -> None:
        super().__init__(name, self.__doc__)
        said = vars(self)
        for each in (*pickle.__all__, *_MORE):
            if hasattr(pickle, each):
                said[each] = getattr(pickle, each)
        now: Callable[[], Loader] = loader if callable(loader) else lambda: loader
        reads = type("Unpickler", (Unpickler,), {"__doc__": Unpickler.__doc__, "__module__": name, "_like": _like(now)})
        writes = type("Pickler", (Pickler,), {"__doc__": Pickler.__doc__, "__module__": name, "_like": _like(now)})
        said.update(
            _functions(reads, writes), Unpickler=reads, _Unpickler=reads, Pickler=writes, _Pickler=writes, encoding=None,
            __all__=list(pickle.__all__),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} of a safeload.Loader>"


def _like(current: Callable[[], Loader]) -> Callable[..., Loader]:
    def like(_: Any, **choices: Any) -> Loader:
        return current().changed(**choices)

    return like


def _functions(reads: Any, writes: Any) -> dict[str, Any]:
    def load(
        file: Any,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
    ) -> Any:
        """Judge the next stream of ``file`` and return its object; as ``pickle.load``."""
        return reads(file, fix_imports=fix_imports, encoding=encoding, errors=errors, buffers=buffers).load()

    def loads(
        data: Any,
        /,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
    ) -> Any:
        """Judge the stream that ``data`` begins with and return its object; as ``pickle.loads``."""
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        file = io.BytesIO(data)
        return reads(file, fix_imports=fix_imports, encoding=encoding, errors=errors, buffers=buffers).load()

    def dump(
        obj: Any, file: Any, protocol: int | None = None, *, fix_imports: bool = True, buffer_callback: Any = None
    ) -> None:
        """Write ``obj`` to ``file``; as ``pickle.dump``."""
        writes(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback).dump(obj)

    def dumps(obj: Any, protocol: int | None = None, *, fix_imports: bool = True, buffer_callback: Any = None) -> bytes:
        """``obj`` as bytes; as ``pickle.dumps``."""
        file = io.BytesIO()
        writes(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback).dump(obj)
        return file.getvalue()

    return {"load": load, "loads": loads, "dump": dump, "dumps": dumps}


# The default loader, whichever it is when something is read or written.
default = PickleModule(current)
