"""A pickle, compressed in the older format of lzma."""

import lzma
import pickle

FORMAT = "lzma"


def samples():
    return {"pickle": lzma.compress(pickle.dumps({"a": [1, 2, 3]}), lzma.FORMAT_ALONE)}
