"""Models and arrays in joblib files: load what others wrote, write what joblib reads, map large arrays.

Run it from anywhere: python examples/joblib_models.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import joblib
import numpy as np

import safeload


class Hostile:
    """What an attacker would hide behind an array."""

    def __reduce__(self):
        return os.mkdir, ("fired",)


def main() -> None:
    """Show the four things."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)

        # A file from somebody else: judged like a pickle, arrays straight from the file.
        joblib.dump(
            {"weights": np.arange(6.0).reshape(2, 3), "classes": np.array(["a", "b"], dtype=object)}, "model.joblib"
        )
        print("loaded", safeload.load("model.joblib")["weights"].sum())

        # An array's bytes hide nothing: what follows them is judged before anything is made.
        joblib.dump([np.zeros(3), Hostile()], "hostile.joblib")
        try:
            safeload.load("hostile.joblib")
        except safeload.PolicyError as error:
            print("refused", error.report.verdict, error.report.globals[-1], "ran:", Path("fired").exists())

        # Written for joblib's readers, or signed for ours.
        key = safeload.Key.generate("hs256")
        safeload.dump(np.ones(3), "plain.joblib", codec="joblib", compress=("zlib", 3))
        safeload.dump(np.ones(3), "signed.sle", codec="joblib", key=key)
        print(
            "joblib reads",
            joblib.load("plain.joblib").sum(),
            "safeload reads",
            safeload.load("signed.sle", keys=key).sum(),
        )

        # Larger than memory: mapped, copy on write.
        joblib.dump(np.arange(1_000_000), "large.joblib")
        mapped = safeload.load("large.joblib", mmap=True)
        print("mapped", type(mapped).__name__, mapped[-1])
        del mapped
        os.chdir("/")


if __name__ == "__main__":
    main()
