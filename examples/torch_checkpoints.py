"""PyTorch checkpoints: scan without PyTorch, load tensors under the torch pack, or NumPy arrays without it; safetensors.

Run it from anywhere: python examples/torch_checkpoints.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

import safeload

PACKS = ["data", "numpy", "torch"]


class Hostile:
    """What an attacker would put beside the weights."""

    def __reduce__(self):
        return os.mkdir, ("fired",)


def main() -> None:
    """Show the four things."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        model = torch.nn.Linear(3, 2)
        torch.save({"model": model.state_dict(), "epoch": 3}, "good.pt")
        torch.save({"model": model.state_dict(), "x": Hostile()}, "bad.pt")

        # Scanning imports no PyTorch.
        for name in ("good.pt", "bad.pt"):
            report = safeload.scan(name, policy=PACKS)
            print(name, report.container, report.verdict)

        # Tensors, as torch.load gives them; a large file mapped instead of read.
        checkpoint = safeload.load("good.pt", policy=PACKS, mmap=True)
        print("tensor", tuple(checkpoint["model"]["weight"].shape))
        try:
            safeload.load("bad.pt", policy=PACKS)
        except safeload.PolicyError:
            print("refused, ran:", Path("fired").exists())

        # NumPy arrays, where there is no PyTorch.
        arrays = safeload.load("good.pt", policy=PACKS, arrays="numpy")
        print("array", arrays["model"]["bias"].dtype)

        # safetensors hold arrays only, so they need no pack; one of them is read without the others.
        safeload.dump({"w": model.weight.detach(), "b": model.bias.detach()}, "model.safetensors", codec="safetensors")
        print("member", safeload.load("model.safetensors", member="w").shape)
        os.chdir("/")


if __name__ == "__main__":
    main()
