"""Files as torch.save wrote them before 1.6, read as NumPy arrays."""

import struct

from torch_files import dict_of, legacy_file, number, storage, tensor, text, tuple_of

FORMAT = "torch-legacy"
LOAD = {"policy": ["data", "numpy", "torch"], "arrays": "numpy"}
_DATA = struct.pack("<6f", *range(6))


def samples():
    place = storage("94", 6, view=b"N")
    part = storage("94", 6, view=tuple_of(text("95"), number(2), number(3)))
    return {
        "state": legacy_file(dict_of(w=tensor(place, 0, (2, 3), (3, 1))), {"94": (6, _DATA)}),
        "view": legacy_file(dict_of(w=tensor(part, 0, (3,), (1,))), {"94": (6, _DATA)}),
        "data": legacy_file(dict_of(epoch=number(3))),
    }
