"""The rows about containers: joblib, npz, PyTorch, and scans of directories."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
from rows import Effort, Figure, Row, array, compare, faster, forest, ratio, records, speed_up

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMAT_ROWS", "mixed_artifacts"]

PACKS = ["data", "numpy", "sklearn"]


def joblib_file(effort: Effort, make: Callable[[Effort], Any], *, again: bool = False) -> Figure:
    """``safeload.load`` against ``joblib.load`` of the same file."""
    import joblib

    import safeload

    loader = safeload.Loader(policy=PACKS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "artifact.joblib")
        joblib.dump(make(effort), path)
        return ratio(compare(lambda: joblib.load(path), lambda: loader.load(path), effort.rounds, again=again))


def npz(effort: Effort) -> Figure:
    """Twenty arrays of 5 MB, all read, against ``numpy.load``."""
    import numpy as np

    import safeload

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "arrays.npz")
        np.savez(path, **{f"a{i}": array(Effort(1, effort.scale / 20)) for i in range(20)})

        def with_numpy() -> Any:
            with np.load(path) as file:
                return {name: file[name] for name in file.files}

        return ratio(compare(with_numpy, lambda: dict(safeload.load(path)), effort.rounds))


def torch_zip(effort: Effort) -> Figure:
    """A checkpoint of 100 MB in ten tensors, against ``torch.load(weights_only=True)``."""
    import torch

    import safeload

    loader = safeload.Loader(policy=["data", "numpy", "torch"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt")
        size = int(2_500_000 * effort.scale)
        torch.save({f"layer{i}.weight": torch.rand(size) for i in range(10)}, path)
        theirs, ours = (lambda: torch.load(path, weights_only=True)), (lambda: loader.load(path))
        return ratio(compare(theirs, ours, effort.rounds, fresh=True))


def directory(effort: Effort, program: str) -> Figure:
    """A scan of 200 mixed artifacts by whole processes, one job each."""
    scanner = shutil.which(program, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if scanner is None:
        raise LookupError(f"{program} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        mixed_artifacts(Path(folder))
        theirs = [scanner, "-p", folder]
        ours = [sys.executable, "-m", "safeload", "scan", folder, "--jobs", "1", "--policy", "sklearn", "--quiet"]
        return speed_up(measure.compare(lambda: _run(theirs), lambda: _run(ours), rounds=max(2, effort.rounds // 2)))


def _run(command: list[str]) -> None:
    """Both sides start from compiled modules, as they do where they are installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, capture_output=True, check=False, env=environment)


def mixed_artifacts(folder: Path) -> None:
    """200 files of the kinds that people have, most of them small."""
    import joblib
    import numpy as np

    models = [forest(500), records(2_000), {"weights": np.ones(10_000)}]
    for number in range(50):
        model = models[number % 3]
        (folder / f"model{number}.pkl").write_bytes(pickle.dumps(model, protocol=2 + number % 4))
        joblib.dump(model, folder / f"model{number}.joblib", compress=3 * (number % 2))
        np.savez(folder / f"arrays{number}.npz", a=np.arange(1_000), b=np.ones((50, 50)))
        np.save(folder / f"array{number}.npy", np.arange(5_000))


def scan_memory(effort: Effort) -> Figure:
    """Memory of a process that scans a checkpoint of 4 GiB, most of it a hole in the file."""
    import zipfile

    size = int(4096 * effort.scale) << 20
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.pt")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
            archive.writestr("archive/version", "3\n")
            with archive.open(zipfile.ZipInfo("archive/data/0"), "w", force_zip64=True) as member:
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
        code = (
            "import resource, sys, safeload\n"
            "report = safeload.scan(sys.argv[1])\n"
            "assert report.verdict == 'clean', report.findings\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    peak = int(done.stdout) / 1024
    return Figure(peak, f"{size >> 20} MiB file", f"{peak:.0f} MiB")


FORMAT_ROWS: dict[str, Row] = {
    "joblib-forest": Row("load: joblib, random forest, against joblib.load", lambda e: joblib_file(e, lambda _: forest()), 0.8),
    "joblib-forest-again": Row("    the same model again", lambda e: joblib_file(e, lambda _: forest(), again=True), 0.8),
    "joblib-dicts": Row(
        "load: joblib, 100,000 dicts, against joblib.load", lambda e: joblib_file(e, lambda f: records(int(100_000 * f.scale))), 0.3
    ),
    "joblib-array": Row("load: joblib, 100 MB array, against joblib.load", lambda e: joblib_file(e, array), 1.1),
    "npz": Row("load: npz of 20 arrays, 100 MB, against numpy.load", npz, 1.2),
    "torch": Row("load: PyTorch zip, 100 MB, against torch.load", torch_zip, 1.3),
    "scan-picklescan": faster("scan: 200 mixed artifacts, against picklescan", lambda e: directory(e, "picklescan"), 5),
    "scan-modelscan": faster("scan: 200 mixed artifacts, against modelscan", lambda e: directory(e, "modelscan"), 10),
    "scan-memory": Row("scan: PyTorch zip of 4 GiB, memory of the process", scan_memory, 300, " MiB"),
}  # fmt: skip
