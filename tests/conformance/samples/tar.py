"""Archives with one file, which is loaded."""

import io
import pickle
import tarfile

FORMAT = "tar"


def _archive(kind):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        data = pickle.dumps({"a": 1})
        info = tarfile.TarInfo("d/" * 60 + "a.pkl")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def samples():
    return {
        "ustar": _archive(tarfile.USTAR_FORMAT),
        "gnu": _archive(tarfile.GNU_FORMAT),
        "pax": _archive(tarfile.PAX_FORMAT),
    }
