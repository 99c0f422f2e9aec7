"""A model of one dense layer."""

import io
import json
import zipfile

import numpy as np

FORMAT = "keras"
NEEDS = ("h5py",)
LOAD = {"arrays": "numpy"}


def samples():
    import h5py

    weights, target = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w", libver="latest") as file:
        file["layers/dense/vars/0"] = np.zeros((2, 1), "f4")
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None}
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": None}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.8.0"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return {"model": target.getvalue()}
