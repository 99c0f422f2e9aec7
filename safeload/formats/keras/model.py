"""Keras itself, for a model that was judged clean.

Rules: Keras gets a private copy, written here from what was judged, and never the artifact (what its HDF5 reader would
see besides is gone); its safe mode is on all the same.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["model_of"]

_BACKENDS = ("tensorflow", "torch", "jax")


def model_of(name: str, files: Mapping[str, Any] | bytes | memoryview) -> Any:
    """The model of a private copy.

    Args:
        name: of the copy; Keras decides by its ending. files: the copy's bytes, or the entries of the zip archive that it is.

    A model whose training settings (optimizer, losses) this Keras does not understand comes uncompiled.

    Raises:
        FormatError: Keras is not there (``format.missing-extra``). LoadError: it does not load the model.
    """
    keras = _keras()
    with tempfile.TemporaryDirectory(prefix="safeload-") as directory:  # readable by this user only
        path = Path(directory, name)
        path.write_bytes(files if isinstance(files, bytes | memoryview) else _archive(files))
        return _loaded(keras, str(path))


def _loaded(keras: Any, path: str) -> Any:
    """What Keras makes of a file: compiled where it can be; the training settings of older versions often cannot."""
    options: dict[str, Any] = {}
    if "safe_mode" in inspect.signature(keras.saving.load_model).parameters:
        options["safe_mode"] = True
    try:
        with contextlib.suppress(Exception):
            return keras.saving.load_model(path, **options)
        return keras.saving.load_model(path, compile=False, **options)
    except Exception as error:
        raise LoadError.wrap(error) from error


def _archive(files: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _keras() -> Any:
    """Keras, with a backend that is installed where the one that is configured is not."""
    found = None if _is_installed(_configured()) else next(filter(_is_installed, _BACKENDS), None)
    try:
        if found is not None:
            os.environ["KERAS_BACKEND"] = found
        import keras
    except Exception as error:
        raise FormatError(
            "this is a Keras model; loading it needs Keras and a backend: pip install 'safeload[keras]' and tensorflow, torch or "
            "jax. Its configuration and weights load without, with arrays='numpy'",
            code="format.missing-extra",
        ) from error
    finally:
        if found is not None:
            del os.environ["KERAS_BACKEND"]
    return keras


def _configured() -> str:
    """The backend that Keras will use: of the environment, of its configuration file, or its default."""
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen:
        return chosen
    directory = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        return str(json.loads(Path(directory, "keras.json").read_text("utf-8"))["backend"])
    except (OSError, ValueError, LookupError, TypeError):
        return _BACKENDS[0]


def _is_installed(backend: str) -> bool:
    return backend not in _BACKENDS or importlib.util.find_spec(backend) is not None
