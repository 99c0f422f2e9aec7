"""Keras models (``.keras``): a zip archive of a configuration, weights in HDF5, and assets.

Loaded by Keras, or with ``arrays="numpy"`` as data: ``{"config": ..., "metadata": ..., "weights": ..., "assets": ...}``. Rule: the
configuration is judged before anything else is done with it, everything else in the archive is an artifact of its own,
and Keras gets an archive written from what was judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.base import NO, SPECIFIC, Member
from safeload.formats.detect import is_zip
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import Parts, SplitRequest
    from safeload.formats.zip_reader import ZipEntry, ZipReader
    from safeload.source.blob import Blob

__all__ = ["FORMAT"]

_CONFIG, _METADATA, _WEIGHTS, _ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
_MAX_ASSET = 1 << 28


class _Keras:
    name = "keras"

    begins = b"P"

    def recognise(self, blob: Blob) -> int:
        if not is_zip(blob):
            return NO
        from safeload.formats.zip_reader import zip_names

        names = zip_names(blob) or ()
        if _CONFIG not in names:
            return NO
        return SPECIFIC if _METADATA in names or _is_weights(names) or _names_an_object(blob) else NO

    def split(self, blob: Blob, request: SplitRequest) -> _Split:
        from safeload.formats.zip_reader import ZipReader

        return _Split(ZipReader(blob, request.limits, budget=request.budget, fold_case=True), request)


def _is_weights(names: Sequence[str]) -> bool:
    return any(name.startswith("model.weights.") for name in names)


def _names_an_object(blob: Blob) -> bool:
    """Whether the configuration alone is a model's: Keras builds it before it looks for weights."""
    from safeload.formats.keras.config import read_json
    from safeload.formats.zip_reader import ZipReader

    try:
        reader = ZipReader(blob)
        entry = reader.by_name[_CONFIG]
        config = read_json(reader.read(entry), _CONFIG) if entry.size <= _MAX_ASSET else None
    except (SafeloadError, OSError, MemoryError):
        return False
    return isinstance(config, dict) and "class_name" in config


class _Split:
    container = "keras"
    streams = ()

    def __init__(self, reader: ZipReader, request: SplitRequest) -> None:
        if request.part.member is not None or request.part.index is not None:
            raise FormatError(
                "member= and index= read a part of an HDF5 file; load the Keras model with arrays='numpy' and take what you need "
                "of its weights",
                code="format.member",
            )
        from safeload.formats.keras.config import judge_config

        self._request = request
        self.members: list[Member] = []
        self.findings: list[Finding] = []
        self._files: dict[str, bytes] = {}
        self._weights: dict[str, int] = {}
        self._json: dict[str, Any] = {}
        for entry in reader.files:
            _check_name(entry.name)
            self._take(reader, entry)
        if _CONFIG not in self._json:
            raise FormatError("the Keras model has no configuration")
        self.findings += judge_config(self._json[_CONFIG], _CONFIG, request.permits)

    def _take(self, reader: ZipReader, entry: ZipEntry) -> None:
        from safeload.formats.keras.config import read_json

        name = entry.name
        if name in (_CONFIG, _METADATA):
            data = reader.read(entry)
            self._files[name] = data
            self._json[name] = read_json(data, name)
        elif name == _WEIGHTS:
            self._weights[name] = len(self.members)
            self.members.append(Member(name, MemoryBlob(reader.view(entry))))
        elif name.startswith(_ASSETS):
            if entry.size > _MAX_ASSET:
                raise LimitExceededError(
                    "an asset of the Keras model is larger than any vocabulary", code="limit.asset"
                )
            data = reader.read(entry)
            self._files[name] = data
            if _is_artifact(data):
                self.members.append(Member(name, MemoryBlob(data)))
        else:
            message = "an entry that no Keras model has; it is not loaded"
            self.findings.append(Finding("keras.entry", Severity.MEDIUM, message, name, verdict=Verdict.UNKNOWN))
            blob = reader.open(entry)
            self.members.append(Member(name, blob))

    def rebuild(self, parts: Parts) -> Any:
        weights = {name: parts.member(index) for name, index in self._weights.items()}
        if self._request.part.arrays == "numpy":
            return {
                "config": self._json[_CONFIG],
                "metadata": self._json.get(_METADATA),
                "weights": weights.get(_WEIGHTS),
                "assets": {
                    name.removeprefix(_ASSETS): data for name, data in self._files.items() if name.startswith(_ASSETS)
                },
            }
        from safeload.formats.hdf5.write import encoded
        from safeload.formats.keras.model import model_of

        written = {name: bytes(encoded(group, None)) for name, group in weights.items()}
        return model_of("model.keras", {**self._files, **written})


def _check_name(name: str) -> None:
    if name.startswith("/") or "\\" in name or name[1:2] == ":" or ".." in name.split("/"):
        raise FormatError("an entry of the Keras model has a name that leads out of it", code="keras.entry-name")


def _is_artifact(data: bytes) -> bool:
    """Whether an asset is more than text: something that a loader would load."""
    from safeload.formats.containers import detect
    from safeload.formats.pickled_bytes import seems_pickled

    return seems_pickled(data) or detect(MemoryBlob(data)) is not None


FORMAT = _Keras()
