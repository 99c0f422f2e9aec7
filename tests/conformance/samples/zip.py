"""Archives with one file, which is loaded."""

import io
import pickle
import zipfile

FORMAT = "zip"


def _zipped(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.pkl", pickle.dumps({"a": 1}))
    return file.getvalue()


def samples():
    return {"stored": _zipped(zipfile.ZIP_STORED), "deflated": _zipped(zipfile.ZIP_DEFLATED)}
