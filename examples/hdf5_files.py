"""HDF5 files and Keras models: whole or in part, with attributes, and nothing from outside the file.

Needs h5py. Run it from anywhere: python examples/hdf5_files.py
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile

import h5py
import numpy as np

import safeload
from safeload.formats.hdf5 import Group


def main() -> None:
    """Show the four things."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)

        # Nested dicts of arrays; a Group also has attributes.
        run = Group(image=np.arange(1_000_000.0).reshape(1000, 1000), label="run 7")
        run.attrs["instrument"] = "B12"
        run.member_attrs["image"] = {"unit": "counts"}
        safeload.dump({"runs": run}, "data.h5", codec="hdf5", compress="gzip")
        loaded = safeload.load("data.h5")["runs"]
        print("attributes", loaded.attrs["instrument"], loaded.member_attrs["image"]["unit"])

        # Two rows of one dataset; the rest is not read.
        print("part", safeload.load("data.h5", member="/runs/image", index=slice(10, 12)).shape)

        # What leads out of the file is a finding, and is not followed.
        with h5py.File("link.h5", "w") as file:
            file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
        print("link", safeload.scan("link.h5").findings[0].rule_id)

        # A Keras model is judged by its configuration; arrays="numpy" would load its weights without Keras.
        layer = {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None], "function_type": "lambda"}}
        with zipfile.ZipFile("model.keras", "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
        try:
            safeload.load("model.keras")
        except safeload.PolicyError as error:
            print("refused", error.report.verdict, error.code)
        os.chdir("/")


if __name__ == "__main__":
    main()
