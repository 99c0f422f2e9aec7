"""Many artifacts at once: write, scan, load; one bad item does not stop the rest, and an interrupted run is taken up again.

Run it with ``python examples/batches.py``. The same calls run on a cluster (``backend="dask"``) and on object stores
(``"s3://bucket/0.pkl"``, with ``pip install 'safeload[fsspec]' s3fs``).
"""

import os
import pickle
import tempfile
from pathlib import Path

import safeload


class Hostile:
    """Would run a command if it were loaded."""

    def __reduce__(self):
        """What a pickle of it does."""
        return os.system, ("echo this must not appear",)


def main() -> None:
    """Ten models; one of them is replaced by somebody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.pkl" for number in range(10)]
        print("written:", safeload.dump_many(({"model": n}, path) for n, path in enumerate(paths)).run().done)
        paths[4].write_bytes(pickle.dumps(Hostile()))

        # Results come as an iterator, in order, a bounded number ahead. ``progress=True`` shows a bar on a terminal.
        for result in safeload.scan_many(paths, progress=True):
            if not result.ok:
                print("not clean:", result.source.name, result.report.verdict)

        # A journal remembers what is done: the second run does what was refused, changed, or never came to its turn.
        for attempt in ("first", "second"):
            counts = safeload.load_many(paths, resume=folder / "journal").run()
            print(f"{attempt} run: {counts.done - counts.failed - counts.skipped} loaded, {counts.skipped} skipped, "
                  f"{counts.failed} refused")  # fmt: skip


if __name__ == "__main__":
    main()
