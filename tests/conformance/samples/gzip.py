"""A pickle, compressed."""

import pickle

FORMAT = "gzip"


def samples():
    import gzip

    data = pickle.dumps({"a": [1, 2, 3]})
    return {"pickle": gzip.compress(data, mtime=0), "twice": gzip.compress(gzip.compress(data, mtime=0), mtime=0)}
