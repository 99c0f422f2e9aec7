"""Checkpoints as torch.save writes them, read as NumPy arrays."""

import struct

from torch_files import dict_of, glob, number, storage, tensor, text, zip_file

FORMAT = "torch"
LOAD = {"policy": ["data", "numpy", "torch"], "arrays": "numpy"}
_DATA = struct.pack("<6f", *range(6))


def samples():
    weight = tensor(storage("0", 6), 0, (2, 3), (3, 1))
    return {
        "state": zip_file(dict_of(w=weight, b=tensor(storage("0", 6), 1, (2,), (2,))), {"0": _DATA}),
        "data": zip_file(dict_of(epoch=number(3), name=text("x"))),
        "big": zip_file(weight, {"0": struct.pack(">6f", *range(6))}, more={"archive/byteorder": b"big"}),
        "dtype": zip_file(dict_of(t=glob("torch.float32"))),
    }
