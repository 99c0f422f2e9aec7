"""The rows of the table: what is measured against what, and the bound that must hold.

Each row is a function that prepares its input, measures, and returns a :class:`Figure`. Inputs are made from fixed
seeds and never read from the network. A bound is part of the project's promise: changing one is a decision, not a fix.
"""

from __future__ import annotations

import ctypes
import io
import pickle
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROWS", "Effort", "Figure", "Row", "compare", "faster", "ratio", "speed_up"]

MIB = 1 << 20


@dataclass(frozen=True)
class Effort:
    """How thorough a run is: ``rounds`` of everything, ``scale`` of the large inputs."""

    rounds: int
    scale: float


@dataclass(frozen=True)
class Figure:
    """What one row measured.

    ``value`` is what the bound is about: a ratio, milliseconds or MiB. ``baseline`` and ``ours`` are for people.
    """

    value: float
    baseline: str
    ours: str


@dataclass(frozen=True)
class Row:
    """One line of the table; ``at_most`` tells an upper bound from a lower one, ``None`` promises nothing."""

    title: str
    measure: Callable[[Effort], Figure]
    bound: float | None
    unit: str = "x"
    at_most: bool = True

    @property
    def promise(self) -> str:
        """The bound as the table shows it."""
        return "none" if self.bound is None else f"{'<=' if self.at_most else '>='} {self.bound:g}{self.unit}"

    def holds(self, figure: Figure) -> bool:
        """Whether ``figure`` keeps the bound."""
        if self.bound is None:
            return True
        return figure.value <= self.bound if self.at_most else figure.value >= self.bound


# The inputs.


def records(count: int) -> list[dict[str, Any]]:
    """``count`` dicts as an export of a database has them, 50 bytes each."""
    return [{"id": i, "name": f"a customer, number {i}", "active": i % 3 == 0, "score": i / 7} for i in range(count)]


def session(number: int = 4711) -> dict[str, Any]:
    """A session or cache entry whose pickle has 1 KB."""
    return {
        "user": number,
        "name": "Ada Lovelace",
        "roles": ["admin", "editor"],
        "csrf": "0123456789abcdef" * 4,
        "cart": [{"sku": f"A-{i:04}", "count": i, "price": i * 1.25} for i in range(18)],
        "settings": {f"option {i}": bool(i % 2) for i in range(12)},
        "last_seen": 1_700_000_000.25,
    }


def forest(samples: int = 2_000) -> Any:
    """A random forest of 200 trees, fitted on samples of 20 features."""
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    features, labels = make_classification(samples, 20, flip_y=0.1, random_state=0)
    return RandomForestClassifier(200, random_state=0, n_jobs=2).fit(features, labels)


def array(effort: Effort) -> Any:
    """100 MB of float64."""
    import numpy as np

    return np.random.default_rng(0).random(int(12_500_000 * effort.scale))


# The rows.


def dicts(effort: Effort, *, again: bool = False) -> Figure:
    """Pure data: no code in the stream, analysis and policy on."""
    import safeload

    data = pickle.dumps(records(int(200_000 * effort.scale)))
    return ratio(compare(lambda: pickle.loads(data), lambda: safeload.loads(data), effort.rounds, again=again))


def random_forest(effort: Effort, samples: int = 2_000, *, again: bool = False) -> Figure:
    """A model: many arrays, some hundred calls."""
    import safeload

    data = pickle.dumps(forest(samples))
    loader = safeload.Loader(policy=["data", "numpy", "sklearn"])
    return ratio(compare(lambda: pickle.loads(data), lambda: loader.loads(data), effort.rounds * 2, again=again))


def array_file(effort: Effort) -> Figure:
    """An array from an unsigned file."""
    import safeload

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "array.pkl")
        path.write_bytes(pickle.dumps(array(effort), protocol=5))
        return ratio(compare(lambda: _pickle_load(path), lambda: safeload.load(path), effort.rounds))


def array_envelope(effort: Effort) -> Figure:
    """The same array, signed: every byte is authenticated before one is parsed."""
    import safeload

    key = safeload.Key.generate("hs256")
    loader = safeload.Loader(keys=key)
    with tempfile.TemporaryDirectory() as folder:
        plain, signed = Path(folder, "array.pkl"), Path(folder, "array.sle")
        made = array(effort)
        plain.write_bytes(pickle.dumps(made, protocol=5))
        safeload.dump(made, signed, key=key)
        del made
        return ratio(compare(lambda: _pickle_load(plain), lambda: loader.load(signed), effort.rounds))


def small_envelope(effort: Effort) -> Figure:
    """A thousand different cache entries: what most calls of a web service are."""
    import itsdangerous

    import safeload

    key = safeload.Key.generate("hs256")
    loads = safeload.Loader(keys=key).loads
    signer = itsdangerous.Signer("a secret key of a web service")
    entries = [session(number) for number in range(1_000)]
    signed = [signer.sign(pickle.dumps(entry)) for entry in entries]
    sealed = [safeload.dumps(entry, key=key) for entry in entries]
    times = compare(
        lambda: [pickle.loads(signer.unsign(data)) for data in signed],
        lambda: [loads(data) for data in sealed],
        effort.rounds * 4,
    )
    return ratio(times, len(entries))


def fickling_records(effort: Effort) -> Figure:
    """Fickling's own safe load. 20,000 dicts, because it needs seconds for them; arrays and models it refuses."""
    import fickling

    import safeload

    data = pickle.dumps(records(int(20_000 * effort.scale)))
    return speed_up(compare(lambda: fickling.load(io.BytesIO(data)), lambda: safeload.load(io.BytesIO(data)), 3))


def fickling_session(effort: Effort) -> Figure:
    """Fickling on cache entries."""
    import fickling

    import safeload

    entries = [pickle.dumps(session(number)) for number in range(50)]
    times = compare(
        lambda: [fickling.load(io.BytesIO(data)) for data in entries],
        lambda: [safeload.load(io.BytesIO(data)) for data in entries],
        effort.rounds,
    )
    return speed_up(times, len(entries))


def picklescan_records(effort: Effort) -> Figure:
    """Picklescan scans; safeload scans and loads in the time measured here."""
    import safeload

    data = pickle.dumps(records(int(200_000 * effort.scale)))
    return speed_up(compare(lambda: _picklescan(data), lambda: safeload.loads(data), 3))


def picklescan_forest(effort: Effort) -> Figure:
    """Picklescan on a model, scan against scan."""
    import safeload

    data = pickle.dumps(forest())
    loader = safeload.Loader(policy=["data", "numpy", "sklearn"])
    return speed_up(compare(lambda: _picklescan(data), lambda: loader.scan(data), effort.rounds * 2))


def picklescan_array(effort: Effort) -> Figure:
    """Picklescan on an array in a file. It skips the bytes as safeload does; reading them is the time of both."""
    from picklescan.scanner import scan_file_path

    import safeload

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "array.pkl")
        path.write_bytes(pickle.dumps(array(effort), protocol=5))
        return speed_up(compare(lambda: _accepted(scan_file_path(str(path))), lambda: safeload.load(path), 3))


def import_time(effort: Effort) -> Figure:
    """What ``import safeload`` adds to the start of a program."""
    added = measure.start_up("import safeload", rounds=effort.rounds * 3) * 1_000
    return Figure(added, "python -c pass", f"+ {added:.1f} ms")


def gcm_memory(effort: Effort, *, write: bool) -> Figure:
    """Memory that encrypting to, or decrypting from, a file needs over the object itself."""
    import numpy as np

    import safeload

    key = safeload.Key.generate("hs256-gcm")
    size = int(1024 * effort.scale) * MIB
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.sle")
        warm = np.zeros(4 * MIB, dtype=np.uint8)
        safeload.dump(warm, path, key=key)
        safeload.load(path, keys=key)
        if write:
            made = np.ones(size, dtype=np.uint8)
            before = measure.peak_memory()
            safeload.dump(made, path, key=key)
            over = measure.peak_memory() - before
        else:
            _dump_elsewhere(path, key, size)
            before = measure.peak_memory()
            loaded = safeload.load(path, keys=key)
            over = measure.peak_memory() - before - loaded.nbytes
    return Figure(max(over, 0) / MIB, f"{size // MIB} MiB object", f"+ {max(over, 0) / MIB:.1f} MiB")


def gcm_throughput(effort: Effort, *, write: bool) -> Figure:
    """Object to file and back, per second, against the same with Fernet (whose memory allows a tenth of the size)."""
    import numpy as np
    from cryptography.fernet import Fernet

    import safeload

    key = safeload.Key.generate("hs256-gcm")
    fernet = Fernet(Fernet.generate_key())
    sizes = int(128 * effort.scale) * MIB, int(1024 * effort.scale) * MIB
    with tempfile.TemporaryDirectory() as folder:
        token, sealed = Path(folder, "token"), Path(folder, "large.sle")
        small, large = bytes(sizes[0]), np.ones(sizes[1], dtype=np.uint8)
        token.write_bytes(fernet.encrypt(small))
        safeload.dump(large, sealed, key=key)
        if write:
            calls = lambda: token.write_bytes(fernet.encrypt(small)), lambda: safeload.dump(large, sealed, key=key)
        else:
            del large
            calls = lambda: fernet.decrypt(token.read_bytes()), lambda: safeload.load(sealed, keys=key)
        seconds = measure.compare(*calls, rounds=3)
    rates = [size / took / 1e9 for size, took in zip(sizes, seconds, strict=True)]
    return Figure(rates[1] / rates[0], f"{rates[0]:.2f} GB/s", f"{rates[1]:.2f} GB/s")


def _dump_elsewhere(path: Path, key: Any, size: int) -> None:
    """Write the file in another process: this one's peak must not know the object yet."""
    import subprocess
    import sys

    code = (
        "import sys, numpy, safeload\n"
        "key = safeload.Key.parse(sys.stdin.readline().strip())\n"
        "safeload.dump(numpy.ones(int(sys.argv[2]), dtype=numpy.uint8), sys.argv[1], key=key)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(size)], input=key.export(), text=True, check=True)


def _pickle_load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _picklescan(data: bytes) -> None:
    from picklescan.scanner import scan_pickle_bytes

    _accepted(scan_pickle_bytes(io.BytesIO(data), "benchmark"))


def _accepted(result: Any) -> None:
    if result.infected_files or result.scan_err:
        raise ValueError("picklescan does not accept this file, so there is nothing to compare")


def compare(
    baseline: Callable[[], Any], ours: Callable[[], Any], rounds: int, *, again: bool = False, fresh: bool = False
) -> tuple[float, float]:
    """Both times; unless ``again``, every load is the first one of these bytes in the process.

    ``fresh``: memory that was freed goes back to the system before each turn, where the C library can do that. Whether a round gets the
    memory of the one before it, without having to touch new pages, is otherwise a matter of luck, and worth a factor of three.
    """
    from safeload.pipeline import stream as pipeline
    from safeload.pipeline.joblib import walk as arraystreams

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if fresh and sys.platform == "linux" else None

    def forget() -> None:
        if trim is not None:
            trim(0)
        if not again:
            pipeline.judgements.clear()
            arraystreams.judgements.clear()

    return measure.compare(baseline, ours, rounds=rounds, before=forget)


def ratio(times: tuple[float, float], calls: int = 1) -> Figure:
    return Figure(times[1] / times[0], _seconds(times[0] / calls), _seconds(times[1] / calls))


def speed_up(times: tuple[float, float], calls: int = 1) -> Figure:
    return Figure(times[0] / times[1], _seconds(times[0] / calls), _seconds(times[1] / calls))


def _seconds(value: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def faster(title: str, row: Callable[[Effort], Figure], bound: float | None) -> Row:
    return Row(title, row, bound, "x faster", at_most=False)


def _memory(title: str, *, write: bool) -> Row:
    return Row(title, lambda effort: gcm_memory(effort, write=write), 64, " MiB")


ROWS: dict[str, Row] = {
    "dicts": Row("loads: 200,000 dicts, against pickle.loads", dicts, 1.6),
    "dicts-again": Row("    the same bytes again", lambda e: dicts(e, again=True), None),
    "forest": Row("loads: random forest of 200 trees, against pickle.loads", random_forest, 2.0),
    "forest-again": Row("    the same model again", lambda e: random_forest(e, again=True), None),
    "forest-large": Row("    another, fitted on 20,000 samples", lambda e: random_forest(e, 20_000), 2.0),
    "array-file": Row("load: 100 MB array from a file, against pickle.load", array_file, 1.1),
    "array-envelope": Row("load: 100 MB array, hs256, against unsigned pickle.load", array_envelope, 1.4),
    "small-envelope": Row("loads: 1 KB dict, hs256, against itsdangerous + pickle", small_envelope, 3.0),
    "fickling-records": faster("load: 20,000 dicts, against fickling.load", fickling_records, 50),
    "fickling-session": faster("load: 1 KB dict, against fickling.load", fickling_session, 50),
    "picklescan-records": faster("loads: 200,000 dicts, against a picklescan", picklescan_records, 5),
    "picklescan-forest": faster("scan: random forest, against a picklescan", picklescan_forest, 5),
    "picklescan-array": faster("load: 100 MB array, against a picklescan", picklescan_array, None),
    "gcm-write-memory": _memory("dump: 1 GiB, hs256-gcm, memory over the object", write=True),
    "gcm-read-memory": _memory("load: 1 GiB, hs256-gcm, memory over the object", write=False),
    "gcm-write": faster("dump: 1 GiB, hs256-gcm, against Fernet", lambda e: gcm_throughput(e, write=True), 5),
    "gcm-read": faster("load: 1 GiB, hs256-gcm, against Fernet", lambda e: gcm_throughput(e, write=False), 5),
    "import": Row("import safeload, over a bare interpreter", import_time, 40, " ms"),
}
