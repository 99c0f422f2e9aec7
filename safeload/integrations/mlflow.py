"""MLflow: models that are a signed artifact, verified before anything of them is loaded.

``save_model`` and ``log_model`` write a model as a ``pyfunc`` whose data is one file of safeload; :func:`load_model` reads that file, and nothing
else of the model's folder: neither ``MLmodel`` nor a pickle beside it. ``mlflow.pyfunc.load_model`` works too, under the default loader; it believes
``MLmodel``, so whoever can change that file decides what loads the model: use :func:`load_model` where the store is not trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safeload.integrations.values import Values

if TYPE_CHECKING:
    from safeload.api.loader import Loader

__all__ = ["load_model", "log_model", "save_model"]

FILE: Final = "model.safeload"
_PURPOSE: Final = "mlflow"


def _write(model: Any, path: Path, loader: Loader | None, name: str, codec: str) -> None:
    values = Values(loader, purpose=_PURPOSE)
    sealing: dict[str, Any] = {}
    if values.loader.keys is not None:
        sealing = {"key": values.loader.keys.primary, "context": values.context(name)}
    values.loader.dump(model, path, codec=codec, **sealing)


def save_model(
    model: Any, path: str, *, loader: Loader | None = None, name: str = "", codec: str = "joblib", **options: Any
) -> None:
    """Save ``model`` in the folder ``path``, as ``mlflow.pyfunc.save_model`` does.

    Args:
        model: an object with ``predict``.
        loader: with keys it signs; by default the default loader.
        name: what the model is for; a signed model opens under the same name only.
        codec: how it is written, see :meth:`safeload.Loader.dump`.
        options: for ``mlflow.pyfunc.save_model``, such as ``signature`` and ``pip_requirements``.
    """
    import tempfile

    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as folder:
        _write(model, Path(folder, FILE), loader, name, codec)
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            data_path=str(Path(folder, FILE)),
            **{"pip_requirements": ["safeload"], **options},
        )


def log_model(
    model: Any, *, loader: Loader | None = None, name: str = "", codec: str = "joblib", **options: Any
) -> Any:
    """The same for ``mlflow.pyfunc.log_model``; returns what that returns."""
    import tempfile

    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as folder:
        _write(model, Path(folder, FILE), loader, name, codec)
        return mlflow.pyfunc.log_model(
            loader_module=__name__, data_path=str(Path(folder, FILE)), **{"pip_requirements": ["safeload"], **options}
        )


def load_model(model_uri: str, *, loader: Loader | None = None, name: str = "") -> Any:
    """The model at ``model_uri`` (a folder, ``runs:/``, ``models:/`` ...), verified and judged by ``loader``.

    Raises:
        SafeloadError: it was refused.
        FileNotFoundError: it is no model that :func:`save_model` wrote.
    """
    from mlflow.artifacts import download_artifacts

    folder = Path(model_uri) if Path(model_uri).is_dir() else Path(download_artifacts(artifact_uri=model_uri))
    return _load(folder / "data" / FILE, loader, name)


def _load(path: Path, loader: Loader | None, name: str) -> Any:
    values = Values(loader, purpose=_PURPOSE)
    return values.loader.load(path, context=None if values.loader.keys is None else values.context(name))


def _load_pyfunc(path: str) -> Any:
    """What ``mlflow.pyfunc.load_model`` calls with the path of the data."""
    return _load(Path(path, FILE) if Path(path).is_dir() else Path(path), None, "")
