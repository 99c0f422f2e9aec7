"""Files as torch.save wrote them until 0.1.10, read as NumPy arrays."""

import struct

from torch_files import dict_of, number, numbers, tar_file, tar_parts, tar_storage, tar_tensor, text

FORMAT = "torch-tar"
LOAD = {"policy": ["data", "numpy", "torch"], "arrays": "numpy"}
_DATA = struct.pack("<6f", *range(6))


def samples():
    storages = [tar_storage(7, "torch.FloatStorage", 6, _DATA)]
    tensors = [tar_tensor(8, 7, 0, (2, 3), (3, 1))]
    views = b"](" + numbers(9, 7, 2, 3) + b"e"
    return {
        "state": tar_file(tar_parts(dict_of(w=text("8") + b"Q"), storages, tensors)),
        "view": tar_file(tar_parts(dict_of(w=number(9) + b"Q"), storages, tensors, views)),
    }
