"""Arrays as numpy.save writes them."""

import io

import numpy as np

FORMAT = "npy"


def _saved(*arrays):
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=True)
    return file.getvalue()


def samples():
    fields = np.dtype([("a", "<i4"), ("b", ">f8", (2,))], align=True)
    return {
        "plain": _saved(np.arange(6.0).reshape(2, 3)),
        "fields": _saved(np.zeros(2, fields)),
        "objects": _saved(np.array([{"a": 1}, None], dtype=object)),
        "two": _saved(np.arange(3), np.arange(4)),
    }
