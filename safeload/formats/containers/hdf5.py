"""HDF5 files: groups as nested dicts, datasets as arrays, whole or in part; without what leads out of the file.

A file that has a Keras model's configuration is one: it is judged as a model, and loaded as one, with ``arrays="numpy"`` as arrays.
Rule: what is not data in this very file (links, external storage, virtual datasets, references, plugins) is a finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LoadError, SafeloadError
from safeload.formats.base import GENERIC, NO
from safeload.formats.detect import is_tar
from safeload.formats.hdf5.library import Library, end_of_file, find_signature
from safeload.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.findings import Finding
    from safeload.formats.base import EncodeOptions, Parts, SplitRequest, Stream
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]

_USER_BLOCK_READ = 1 << 20


class _Hdf5:
    name = "hdf5"

    def recognise(self, blob: Blob) -> int:
        start = find_signature(blob)
        return NO if start is None or (start and _is_member(blob, start)) else GENERIC

    def split(self, blob: Blob, request: SplitRequest) -> _Split:
        _check_user_block(blob)
        split = _Split(blob, request)
        if not request.loading:
            split.close()
        return split


def _is_member(blob: Blob, start: int) -> bool:
    """Whether a file of a tar archive begins there, and whoever opens the archive as HDF5 sees that member and no more.

    The content of the first member often stands at byte 512, where HDF5 files may begin. It is judged as what it is, like any
    member.
    """
    if not is_tar(blob):
        return False
    from safeload.formats.tar_reader import read_tar

    try:
        return any(
            entry.data == start and end_of_file(blob.slice(start, entry.size)) <= entry.size
            for entry in read_tar(blob, DEFAULT_LIMITS)
        )
    except SafeloadError:
        return False


_MODEL, _TRAINING = "model_config", "training_config"


def _check_user_block(blob: Blob) -> None:
    """What stands before the file must be nothing to another program."""
    from safeload.formats.pickled_bytes import seems_pickled

    start = find_signature(blob)
    if start and seems_pickled(blob.read(0, min(start, _USER_BLOCK_READ))):
        raise FormatError(
            "the file is pickle and hdf5 at once: programs would read different things from it, so it is refused",
            code="format.polyglot",
        )


class _Split:
    members = ()

    def __init__(self, blob: Blob, request: SplitRequest) -> None:
        self._request = request
        from safeload.formats.hdf5.tree import Tree
        from safeload.formats.hdf5.values import pickled_values

        self._library = Library(blob)
        try:
            self._tree = Tree(self._library, request)
            part = request.part.index is not None
            if not part:
                self._tree.check_announced()
            elif self._tree.root.kind == "group":
                raise LoadError.wrap(ValueError("index= reads a part of an array: name a dataset with member="))
            self.streams: Sequence[Stream] = pickled_values(
                self._library, self._tree, request.limits, keep=request.loading, index=request.part.index
            )
        except BaseException:
            self.close()
            raise
        self.findings: Sequence[Finding] = self._tree.findings + self._model_findings()

    @property
    def _is_model(self) -> bool:
        """A Keras model of the HDF5 kind; one of its members is nothing but data."""
        return self._request.part.member is None and _MODEL in self._tree.root.attrs

    @property
    def container(self) -> str:
        """What reports call it."""
        return "keras-h5" if self._is_model else "hdf5"

    def _model_findings(self) -> list[Finding]:
        if not self._is_model:
            return []
        from safeload.formats.keras.config import judge_config, read_json

        found = []
        for name in (_MODEL, _TRAINING):
            text = self._tree.root.attrs.get(name)
            if isinstance(text, str | bytes):
                found += judge_config(read_json(text, name), name, self._request.permits)
            elif text is not None or name == _MODEL:
                raise FormatError(f"the {name} of the Keras model is no text")
        return found

    def rebuild(self, parts: Parts) -> Any:  # noqa: ARG002
        from safeload.formats.hdf5.values import built

        try:
            group = built(self._library, self._tree, index=self._request.part.index, mmap=self._request.part.mmap)
        finally:
            self.close()
        if not self._is_model or self._request.part.arrays == "numpy":
            return group
        from safeload.formats.hdf5.write import encoded
        from safeload.formats.keras.model import model_of

        return model_of("model.h5", encoded(group, None))

    def close(self) -> None:
        self._library.close()


class _Codec:
    # Private (0x8000 and up), named in the claims: readers of every version refuse 13, the next number to be assigned.
    name, number, reads, code = "hdf5", 0x8001, "hdf5", False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        from safeload.formats.hdf5.write import encoded

        return (encoded(obj, request.compress),)


FORMAT = _Hdf5()
CODECS = (_Codec(),)
