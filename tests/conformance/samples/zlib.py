"""A pickle, compressed."""

import pickle

FORMAT = "zlib"


def samples():
    import zlib

    data = pickle.dumps({"a": [1, 2, 3]})
    return {"pickle": zlib.compress(data), "twice": zlib.compress(zlib.compress(data))}
