"""Files as torch.save writes them, and wrote them before 1.6 and until 0.1.10, read as NumPy arrays."""

import struct

from torch_files import (
    dict_of,
    glob,
    legacy_file,
    number,
    numbers,
    storage,
    tar_file,
    tar_parts,
    tar_storage,
    tar_tensor,
    tensor,
    text,
    tuple_of,
    zip_file,
)

FORMAT = "torch"
LOAD = {"policy": ["data", "numpy", "torch"], "arrays": "numpy"}
_DATA = struct.pack("<6f", *range(6))


def _zips():
    weight = tensor(storage("0", 6), 0, (2, 3), (3, 1))
    return {
        "state": zip_file(dict_of(w=weight, b=tensor(storage("0", 6), 1, (2,), (2,))), {"0": _DATA}),
        "data": zip_file(dict_of(epoch=number(3), name=text("x"))),
        "big": zip_file(weight, {"0": struct.pack(">6f", *range(6))}, more={"archive/byteorder": b"big"}),
        "dtype": zip_file(dict_of(t=glob("torch.float32"))),
    }


def _legacy():
    place = storage("94", 6, view=b"N")
    part = storage("94", 6, view=tuple_of(text("95"), number(2), number(3)))
    return {
        "legacy": legacy_file(dict_of(w=tensor(place, 0, (2, 3), (3, 1))), {"94": (6, _DATA)}),
        "legacy-view": legacy_file(dict_of(w=tensor(part, 0, (3,), (1,))), {"94": (6, _DATA)}),
        "legacy-data": legacy_file(dict_of(epoch=number(3))),
    }


def _tars():
    storages = [tar_storage(7, "torch.FloatStorage", 6, _DATA)]
    tensors = [tar_tensor(8, 7, 0, (2, 3), (3, 1))]
    views = b"](" + numbers(9, 7, 2, 3) + b"e"
    return {
        "tar": tar_file(tar_parts(dict_of(w=text("8") + b"Q"), storages, tensors)),
        "tar-view": tar_file(tar_parts(dict_of(w=number(9) + b"Q"), storages, tensors, views)),
    }


def samples():
    return {**_zips(), **_legacy(), **_tars()}
