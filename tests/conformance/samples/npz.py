"""Archives of arrays as numpy.savez writes them."""

import io

import numpy as np

FORMAT = "npz"


def _saved(save, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def samples():
    return {
        "stored": _saved(np.savez, a=np.arange(3), b=np.eye(2)),
        "compressed": _saved(np.savez_compressed, a=np.arange(50)),
        "objects": _saved(np.savez, a=np.array(["x", 1], dtype=object)),
        "empty": _saved(np.savez),
    }
