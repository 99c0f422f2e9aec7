"""A pickle, compressed."""

import pickle

FORMAT = "bzip2"


def samples():
    import bz2

    data = pickle.dumps({"a": [1, 2, 3]})
    return {"pickle": bz2.compress(data), "twice": bz2.compress(bz2.compress(data))}
