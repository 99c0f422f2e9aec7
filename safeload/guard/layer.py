"""The layer: ``pickle``'s entry points, and joblib's, with a judgement of the whole stream before the first opcode.

``pickle.load``, ``loads``, ``Unpickler`` and ``_load``, ``_loads`` are replaced in ``pickle`` and ``_pickle``, and in every
module that took them by ``from pickle import loads`` before. What calls them through the module comes here too:
``numpy.load(allow_pickle=True)``, ``torch.load(weights_only=False)`` and ``pandas.read_pickle``, imported now or later.

Rules: where no guard is in force a replacement does what was there before; safeload's own modules are imported first
and keep the originals; a replacement of the class is a subclass of it, so that ``isinstance`` and subclasses keep working.
"""

from __future__ import annotations

import _pickle
import io
import pickle
import sys
from typing import TYPE_CHECKING, Any

from safeload.errors import SafeloadError
from safeload.guard.state import Mode, current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from safeload.guard.state import State

__all__ = ["REPLACED", "original_unpickler", "replace_entry_points"]

# What was put in the place of what: "pickle.loads" -> the replacement; the status compares with what is there now.
REPLACED: dict[str, Any] = {}


def original_unpickler() -> type:
    """The C type, also where somebody's hook stands in its place.

    Raises:
        RuntimeError: this Python has none.
    """
    for each in object.__subclasses__():
        if each.__name__ == "Unpickler" and each.__module__ == "_pickle" and "load" in vars(each):
            return each
    raise RuntimeError("this Python has no C unpickler, and the guard is made for it")


def judged(state: State, file: Any, owner: Any = None, **options: Any) -> Any:
    """Load the next stream of ``file`` if the state's policy allows it.

    Args:
        owner: an unpickler of a subclass, whose ``find_class`` and ``persistent_load`` are to be asked.

    Raises:
        SafeloadError: it does not.
    """
    from safeload.guard.judged import JudgedUnpickler

    inner = None if owner is None else owner.__dict__.get("_guard_inner")
    if inner is None or inner.judges_for is not state:  # one for all loads of an owner, which share a memo
        inner = JudgedUnpickler(state, owner, file, **options)
    try:
        return inner.load()
    except SafeloadError as error:
        state.refused(error)
        raise


def _load_or_warn(state: State, file: Any, options: dict[str, Any], otherwise: Callable[[], Any]) -> Any:
    """Load a stream as the mode says; ``otherwise`` loads it without a judgement."""
    if state.mode is Mode.RECORD:
        return otherwise()
    if state.mode is Mode.REFUSE:
        return judged(state, file, **options)
    try:
        position = file.tell()
        file.seek(position)
    except (AttributeError, OSError, ValueError):
        return otherwise()  # a pipe gives its bytes once: what it holds is judged by names only
    try:
        return judged(state, file, **options)
    except SafeloadError as error:
        state.warn(str(error))
        file.seek(position)
        return otherwise()


def _options(fix_imports: bool, encoding: str, errors: str, buffers: Iterable[Any] | None) -> dict[str, Any]:
    given = None if type(buffers) is tuple and not buffers else buffers
    return {"fix_imports": fix_imports, "encoding": encoding, "errors": errors, "buffers": given}


def _functions(previous_load: Any, previous_loads: Any) -> tuple[Any, Any]:
    def load(
        file: Any, *, fix_imports: bool = True, encoding: str = "ASCII", errors: str = "strict", buffers: Any = ()
    ) -> Any:
        state = current()
        options = {"fix_imports": fix_imports, "encoding": encoding, "errors": errors, "buffers": buffers}
        if state is None:
            return previous_load(file, **options)
        return _load_or_warn(
            state, file, _options(fix_imports, encoding, errors, buffers), lambda: previous_load(file, **options)
        )

    def loads(
        data: Any, /, *, fix_imports: bool = True, encoding: str = "ASCII", errors: str = "strict", buffers: Any = ()
    ) -> Any:
        state = current()
        options = {"fix_imports": fix_imports, "encoding": encoding, "errors": errors, "buffers": buffers}
        if state is None or state.mode is Mode.RECORD:
            return previous_loads(data, **options)
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        data = bytes(memoryview(data))
        return _load_or_warn(
            state,
            io.BytesIO(data),
            _options(fix_imports, encoding, errors, buffers),
            lambda: previous_loads(data, **options),
        )

    for function in (load, loads):
        function.__module__, function.__qualname__ = "_pickle", function.__name__
        function.__doc__ = getattr(pickle, function.__name__).__doc__
    return load, loads


def _unpickler_class(previous: Any) -> type:
    """A subclass of the C type whose ``load`` judges first."""

    class Unpickler(previous):  # type: ignore[misc]
        _guard_class = True

        def __init__(
            self,
            file: Any,
            *,
            fix_imports: bool = True,
            encoding: str = "ASCII",
            errors: str = "strict",
            buffers: Any = (),
        ) -> None:
            super().__init__(file, fix_imports=fix_imports, encoding=encoding, errors=errors, buffers=buffers)
            self._guard_file = file
            self._guard_options = _options(fix_imports, encoding, errors, buffers)
            self._guard_inner: Any = None

        def load(self) -> Any:
            state = current()
            if state is None or not hasattr(self, "_guard_file"):
                return super().load()  # whoever did not call __init__ hears it from the original
            return _load_or_warn(
                state, self._guard_file, {**self._guard_options, "owner": self}, lambda: previous.load(self)
            )

        def find_class(self, module: str, name: str, /) -> Any:
            inner = self.__dict__.get("_guard_inner")
            if inner is not None and inner.is_loading:  # a subclass asks for a name of a stream that is being judged
                return inner.find_judged(module, name)
            return super().find_class(module, name)

    Unpickler.__module__, Unpickler.__qualname__ = "_pickle", "Unpickler"
    Unpickler.__doc__ = previous.__doc__
    return Unpickler


def _joblib_load(previous: Any) -> Any:
    def load(filename: Any, mmap_mode: Any = None, *arguments: Any, **options: Any) -> Any:
        """Load a file of ``joblib.dump``, judged by the guard: arrays are read, ``mmap_mode`` has no effect."""
        state = current()
        if state is None or state.mode is Mode.RECORD:
            return previous(filename, mmap_mode, *arguments, **options)
        try:
            return state.loader.load(filename)
        except SafeloadError as error:
            state.refused(error)
            if state.mode is Mode.REFUSE:
                raise
            state.warn(str(error))
            if hasattr(filename, "seek"):
                filename.seek(0)
            return previous(filename, mmap_mode, *arguments, **options)

    load.__module__, load.__qualname__ = "joblib.numpy_pickle", "load"
    return load


def replace_entry_points() -> list[str]:
    """Put the layer in place; the names of what others had taken from ``pickle`` before, now replaced as well."""
    unpickler = _unpickler_class(original_unpickler())
    load, loads = _functions(pickle.load, pickle.loads)
    pairs: dict[int, tuple[Any, Any]] = {}
    for module in (pickle, _pickle):
        for name, replacement in (("load", load), ("loads", loads), ("Unpickler", unpickler)):
            previous = getattr(module, name)
            pairs[id(previous)] = previous, replacement
            setattr(module, name, replacement)
            REPLACED[f"{module.__name__}.{name}"] = replacement
    original = original_unpickler()
    pairs[id(original)] = original, unpickler
    python_load, python_loads = _functions(pickle._load, pickle._loads)  # type: ignore[attr-defined] # noqa: SLF001
    for name, replacement in (("_load", python_load), ("_loads", python_loads)):
        pairs[id(getattr(pickle, name))] = getattr(pickle, name), replacement
        setattr(pickle, name, replacement)
        REPLACED[f"pickle.{name}"] = replacement
    found = _rebind(pairs)
    if "joblib.numpy_pickle" in sys.modules:
        found += replace_joblib(sys.modules["joblib.numpy_pickle"])
    return found


def replace_joblib(module: Any) -> list[str]:
    """The same for ``joblib.load``; ``module`` is ``joblib.numpy_pickle``."""
    previous = module.load
    module.load = REPLACED["joblib.load"] = _joblib_load(previous)
    return _rebind({id(previous): (previous, module.load)})


def _rebind(pairs: dict[int, tuple[Any, Any]]) -> list[str]:
    """Replace in all modules what they took by name; where it was found."""
    found = []
    for name, module in _others():
        for attribute, value in list(vars(module).items()):
            pair = pairs.get(id(value))
            if pair is not None and pair[0] is value and not _has_subclass(module, value):
                setattr(module, attribute, pair[1])
                found.append(f"{name}.{attribute}")
    return found


def _has_subclass(module: Any, value: Any) -> bool:
    """Whether a class of the module derives from ``value`` and calls it by its name, as dill does: ``StockUnpickler.load(self)``."""
    if not isinstance(value, type):
        return False
    return any(isinstance(each, type) and each is not value and value in each.__mro__ for each in vars(module).values())


def _others() -> Iterator[tuple[str, Any]]:
    """The modules that are not safeload's; what fickling keeps as the originals of its own hook stays as well."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in ("safeload", "fickling", "_pickle", "pickle") and type(module) is type(sys):
            yield name, module
