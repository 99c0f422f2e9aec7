"""A pickle, compressed."""

import pickle

FORMAT = "zstd"
NEEDS = ("zstandard",)


def samples():
    import zstandard

    data = pickle.dumps({"a": [1, 2, 3]})
    return {"pickle": zstandard.compress(data), "twice": zstandard.compress(zstandard.compress(data))}
