"""Files as the safetensors library writes them."""

import numpy as np

import safeload

FORMAT = "safetensors"


def samples():
    half = np.arange(4, dtype=np.dtype("u2", metadata={"torch": "bfloat16"}))
    return {
        "arrays": safeload.dumps({"w": np.arange(6.0).reshape(2, 3), "b": np.array([True])}, codec="safetensors"),
        "half": safeload.dumps({"w": half}, codec="safetensors"),
        "empty": safeload.dumps({}, codec="safetensors"),
    }
