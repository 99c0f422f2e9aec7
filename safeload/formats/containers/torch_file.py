"""PyTorch files of all times: zip archives since 1.6, a series of pickles before, a tar archive until 0.1.10.

What each looks like, and what is demanded of it, is said in :mod:`safeload.formats.torch_zip`, ``torch_legacy`` and ``torch_tar``.
Tensors are loaded on the CPU, wherever they were saved.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError
from safeload.formats.base import NO, SPECIFIC
from safeload.formats.detect import HEAD, has_tar_magic, is_torch_legacy, is_zip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, Split, SplitRequest
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]


class _Torch:
    name = "torch"

    def recognise(self, blob: Blob) -> int:
        """The magic number of old files, or the files in an archive."""
        known = is_torch_legacy(blob.head(HEAD)) or _is_zip(blob) or _is_tar(blob)
        return SPECIFIC if known else NO

    def split(self, blob: Blob, request: SplitRequest) -> Split:
        """Its pickles and storages."""
        if request.part.member is not None or request.part.index is not None:
            raise FormatError(
                "member= and index= read a part of a file, and a PyTorch file is loaded whole; with mmap=True it takes memory "
                "only for what is used",
                code="format.member",
            )
        if is_torch_legacy(blob.head(HEAD)):
            from safeload.formats.torch_legacy import LegacySplit

            return LegacySplit(blob, request)
        if _is_tar(blob):
            from safeload.formats.torch_tar import split_tar

            return split_tar(blob, request)
        from safeload.formats.torch_zip import split_zip

        return split_zip(blob, request)


def _is_zip(blob: Blob) -> bool:
    if not is_zip(blob):
        return False
    from safeload.formats.torch_zip import is_torch_zip

    return is_torch_zip(blob)


def _is_tar(blob: Blob) -> bool:
    if not has_tar_magic(blob):
        return False
    from safeload.formats.torch_tarfile import is_torch_tar

    return is_torch_tar(blob)


class _Codec:
    """Tensors, and objects that hold them."""

    name = reads = "torch"
    number = 10
    code = False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        """What ``torch.save`` writes."""
        from safeload.formats.torch_storages import torch_module

        buffer = io.BytesIO()
        torch_module().save(obj, buffer, pickle_protocol=2 if request.protocol is None else request.protocol)
        return (buffer.getvalue(),)


FORMAT = _Torch()
CODECS = (_Codec(),)
