"""What joblib.dump writes: nothing at its start tells it from a pickle."""

import io

import joblib
import numpy as np

FORMAT = "joblib"
HIDDEN = True


def samples():
    file = io.BytesIO()
    joblib.dump({"a": np.arange(3), "b": [1]}, file)
    return {"array": file.getvalue()}
