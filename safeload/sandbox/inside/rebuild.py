"""Rebuilding an artifact inside of the jail, with the loader that its author meant.

No policy asks here what the artifact may call: the jail is what holds it. Rule: which loader it is was decided outside, by the
container that was judged; nothing here guesses.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FORMS", "rebuild"]


def rebuild(form: str, pieces: Sequence[memoryview], options: dict[str, Any]) -> Any:
    """The object of an artifact; ``pieces`` are its stream and the buffers that belong to it.

    Raises:
        Exception: whatever the artifact, or the library that reads it, raises.
    """
    return FORMS[form](pieces, options)


def _pickle(pieces: Sequence[memoryview], options: dict[str, Any]) -> Any:
    stream, *buffers = pieces
    return pickle.loads(
        stream,
        fix_imports=options.get("fix_imports", True),
        encoding=options.get("encoding", "ASCII"),
        errors=options.get("errors", "strict"),
        buffers=buffers,
    )


def _joblib(pieces: Sequence[memoryview], _options: dict[str, Any]) -> Any:
    import joblib

    return joblib.load(io.BytesIO(pieces[0]))


def _numpy(pieces: Sequence[memoryview], _options: dict[str, Any]) -> Any:
    import numpy as np

    loaded = np.load(io.BytesIO(pieces[0]), allow_pickle=True)
    return dict(loaded.items()) if hasattr(loaded, "items") else loaded


def _torch(pieces: Sequence[memoryview], _options: dict[str, Any]) -> Any:
    import torch

    return torch.load(io.BytesIO(pieces[0]), map_location="cpu", weights_only=False)


def _keras(pieces: Sequence[memoryview], _options: dict[str, Any]) -> Any:
    from keras.src.saving import saving_lib

    return saving_lib._load_model_from_fileobj(  # noqa: SLF001 - the only way that needs no path
        io.BytesIO(pieces[0]), custom_objects=None, compile=False, safe_mode=False
    )


def _judged(pieces: Sequence[memoryview], _options: dict[str, Any]) -> Any:
    """What has no code in it but a reader in C, by safeload's own loader."""
    from safeload.sandbox.inside.judged import load_judged

    return load_judged(bytes(pieces[0]))


FORMS: dict[str, Callable[[Sequence[memoryview], dict[str, Any]], Any]] = {
    "pickle": _pickle,
    "joblib": _joblib,
    "numpy": _numpy,
    "torch": _torch,
    "keras": _keras,
    "judged": _judged,
}
