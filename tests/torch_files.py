"""Files as PyTorch writes them, made by hand: what a hostile author would write, and tests without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping

STOP = b"."
PROTO = b"\x80\x02"
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """LONG1: any integer."""
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw


def glob(name: str) -> bytes:
    """GLOBAL."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def tuple_of(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def numbers(*values: int) -> bytes:
    """A tuple of integers."""
    return tuple_of(*map(number, values))


def call(function: bytes, *parts: bytes) -> bytes:
    """REDUCE."""
    return function + tuple_of(*parts) + b"R"


HOOKS = call(glob("collections.OrderedDict"))


def storage(key: str, items: int, kind: str = "torch.FloatStorage", *, view: bytes | None = None) -> bytes:
    """The persistent id of a storage; with ``view`` as files before 1.6 have it."""
    parts = [text("storage"), glob(kind), text(key), text("cpu"), number(items)]
    return tuple_of(*parts, *([view] if view is not None else [])) + b"Q"


def tensor(place: bytes, offset: int, sizes: tuple[int, ...], strides: tuple[int, ...], *rest: bytes) -> bytes:
    """``_rebuild_tensor_v2`` of a storage."""
    rest = rest or (b"\x89", HOOKS)
    return call(
        glob("torch._utils._rebuild_tensor_v2"), place, number(offset), numbers(*sizes), numbers(*strides), *rest
    )


def dict_of(**items: bytes) -> bytes:
    """A dict."""
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def whole(body: bytes) -> bytes:
    """A stream of protocol 2."""
    return PROTO + body + STOP


def zip_file(
    body: bytes, storages: Mapping[str, bytes] | None = None, *, root: str = "archive", more: Mapping[str, bytes] = {}
) -> bytes:
    """A checkpoint since 1.6: ``body`` is the object without PROTO and STOP."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{root}/data.pkl", whole(body))
        for key, data in (storages or {}).items():
            archive.writestr(f"{root}/data/{key}", data)
        for name, data in {f"{root}/version": b"3\n", **more}.items():
            archive.writestr(name, data)
    return file.getvalue()


SYS_INFO = whole(dict_of(protocol_version=number(1001), little_endian=b"\x88"))


def legacy_file(
    body: bytes,
    storages: Mapping[str, tuple[int, bytes]] | None = None,
    *,
    sys_info: bytes = SYS_INFO,
    keys: bytes | None = None,
    protocol: bytes = whole(number(1001)),
) -> bytes:
    """A file before 1.6; ``storages`` are numbers of items and bytes by key."""
    storages = storages or {}
    keys = whole(b"](" + b"".join(text(key) for key in storages) + b"e") if keys is None else keys
    raw = b"".join(struct.pack("<q", items) + data for items, data in storages.values())
    return MAGIC + protocol + sys_info + whole(body) + keys + raw


def tar_file(files: Mapping[str, bytes]) -> bytes:
    """A file of 0.1.10."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_500_000_000.5  # type: ignore[assignment] - as os.stat gives it: becomes a PAX header
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_storage(key: int, kind: str, items: int, data: bytes) -> bytes:
    """One storage of the file ``storages``."""
    return whole(tuple_of(number(key), text("cpu"), glob(kind))) + struct.pack("<q", items) + data


def tar_tensor(key: int, root: int, offset: int, sizes: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """One tensor of the file ``tensors``."""
    head = whole(tuple_of(number(key), number(root), glob("torch.FloatTensor")))
    values = struct.pack(f"<{2 * len(sizes) + 1}q", *sizes, *strides, offset)
    return head + struct.pack("<ii", len(sizes), 0) + values


def tar_parts(body: bytes, storages: list[bytes], tensors: list[bytes], views: bytes = b"]") -> dict[str, bytes]:
    """The four files of a tar archive."""
    return {
        "sys_info": SYS_INFO,
        "pickle": whole(body),
        "tensors": whole(number(len(tensors))) + b"".join(tensors),
        "storages": whole(number(len(storages))) + b"".join(storages) + whole(views),
    }


Builder = Callable[..., bytes]
