"""A pickle, compressed."""

import pickle

FORMAT = "lz4"
NEEDS = ("lz4.frame",)


def samples():
    import lz4.frame

    data = pickle.dumps({"a": [1, 2, 3]})
    return {"pickle": lz4.frame.compress(data), "twice": lz4.frame.compress(lz4.frame.compress(data))}
