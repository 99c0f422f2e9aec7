"""A pickle, compressed."""

import pickle

FORMAT = "xz"


def samples():
    import lzma

    data = pickle.dumps({"a": [1, 2, 3]})
    return {"pickle": lzma.compress(data), "twice": lzma.compress(lzma.compress(data))}
