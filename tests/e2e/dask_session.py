"""What test_dask.py looks at, in a process of its own: importing ``distributed`` changes how all exceptions are pickled.

``python dask_session.py FOLDER`` prints a JSON object with one entry for each scenario.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import distributed
import joblib

import safeload
from safeload import Key


class Calls:
    """Calls a function if it is loaded."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def made(folder):
    """Thirty artifacts: the numbers from 0."""
    folder.mkdir()
    paths = [folder / f"{number}.pkl" for number in range(30)]
    for number, path in enumerate(paths):
        path.write_bytes(pickle.dumps(number))
    return paths


def scans_and_loads(folder, client):
    """A scan by configuration, and a load by argument, with one hostile item."""
    files = made(folder)
    files[11].write_bytes(pickle.dumps(Calls(os.system, "true")))
    workers = set(client.run(os.getpid).values())
    events = []
    with joblib.parallel_config(backend="dask"):
        scans = list(safeload.scan_many(files, audit=events.append))
    loads = sorted(safeload.load_many(files, backend="dask", ordered=False), key=lambda result: result.index)
    return {
        "not clean": [result.index for result in scans if not result.ok],
        "events": len(events),
        "elsewhere": {event["pid"] for event in events} <= workers and os.getpid() not in workers,
        "values": [result.value for result in loads],
        "refused as": type(loads[11].error).__name__,
    }


def keys(folder, client):
    """A key object, and the place of one."""
    folder.mkdir()
    key = Key.generate()
    (folder / "keys").write_text(f"{key.export()}\n")
    (folder / "keys").chmod(0o600)
    place = f"file:{folder / 'keys'}"
    items = [(number, folder / f"{number}.sle") for number in range(6)]
    targets = [path for _, path in items]
    try:
        safeload.dump_many(items, key=key, backend="dask")
    except ValueError as error:
        refused = str(error)
    runs = [
        safeload.dump_many(items, key=place, backend="dask", resume=folder / "journal").run().skipped for _ in range(2)
    ]
    return {
        "refused": refused,
        "skipped": runs,
        "verified": safeload.verify_many(targets, keys=key).run().ok,
        "values": [result.value for result in safeload.load_many(targets, keys=place, backend="dask")],
    }


def leaving_early(folder, client):
    """One result of thirty, and then another run."""
    files = made(folder)
    with safeload.load_many(files, backend="dask") as batch:
        first = next(batch).value
    return {"first": first, "then": safeload.load_many(files, backend="dask").run().done}


def a_killer(folder, client):
    """An item that ends the process that loads it."""
    files = made(folder)[:8]
    files[4].write_bytes(pickle.dumps(Calls(os._exit, 3)))
    policy = safeload.Policy().allow(f"{os._exit.__module__}._exit", call=True)
    results = list(safeload.load_many(files, policy=policy, backend="dask"))
    return {"values": [result.value for result in results], "code": results[4].error.code}


def main(folder):
    """All scenarios on one cluster of two workers; without a dashboard, on the loopback interface only."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=60
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        scenarios = (scans_and_loads, keys, leaving_early, a_killer)
        print(json.dumps({one.__name__: one(folder / one.__name__, client) for one in scenarios}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
