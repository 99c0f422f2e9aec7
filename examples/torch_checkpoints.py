"""PyTorch checkpoints: as tensors under a policy, or as NumPy arrays without importing PyTorch. Needs PyTorch to write one.

Run it from anywhere: python examples/torch_checkpoints.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

import safeload


class Hostile:
    """What an attacker would put beside the weights."""

    def __reduce__(self):
        return os.mkdir, ("fired",)


def main() -> None:
    """Show the three things."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        torch.save(torch.nn.Linear(2, 1).state_dict(), "model.pt")

        loader = safeload.Loader(policy=["data", "numpy", "torch"])
        print("tensors", {name: tuple(tensor.shape) for name, tensor in loader.load("model.pt").items()})
        print("arrays ", {name: array.dtype.name for name, array in loader.load("model.pt", arrays="numpy").items()})

        torch.save({"weights": torch.ones(2), "extra": Hostile()}, "hostile.pt")
        try:
            loader.load("hostile.pt")
        except safeload.PolicyError as error:
            print("refused", error.report.verdict, "ran:", Path("fired").exists())
        os.chdir("/")


if __name__ == "__main__":
    main()
