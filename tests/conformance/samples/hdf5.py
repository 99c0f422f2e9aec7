"""Files as h5py writes them, in both generations of the file format."""

import io

import numpy as np

FORMAT = "hdf5"
NEEDS = ("h5py",)


def _file(fill, **options):
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def _plain(file):
    file["a/x"] = np.arange(3)
    file.attrs["title"] = "text"


def _packed(file):
    file.create_dataset("x", data=np.arange(20), chunks=(8,), compression="gzip", shuffle=True)
    file["t"] = ["a", "bb"]


def samples():
    return {"plain": _file(_plain), "packed": _file(_packed), "latest": _file(_plain, libver="latest")}
