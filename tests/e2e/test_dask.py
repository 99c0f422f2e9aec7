"""The same call on a Dask cluster: a scheduler and two worker processes on this machine, through joblib's backend."""

from __future__ import annotations

import os
import pickle

import joblib
import pytest

import safeload
from safeload import Key

distributed = pytest.importorskip("distributed")


class Hostile:
    """Runs a command if it is loaded."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture(scope="module")
def cluster():
    """A client of two workers; without a dashboard, on the loopback interface only."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture
def files(tmp_path):
    """Thirty artifacts: the numbers from 0."""
    paths = [tmp_path / f"{number}.pkl" for number in range(30)]
    for number, path in enumerate(paths):
        path.write_bytes(pickle.dumps(number))
    return paths


def test_scans_and_loads_are_done_by_the_cluster(cluster, files):
    """By configuration or by argument; a hostile item is one result, and the workers' events arrive here."""
    files[11].write_bytes(pickle.dumps(Hostile()))
    workers = {info["pid"] for info in cluster.run(lambda: {"pid": os.getpid()}).values()}
    events = []
    with joblib.parallel_config(backend="dask"):
        reports = list(safeload.scan_many(files, audit=events.append))
    assert [result.index for result in reports if not result.ok] == [11]
    assert {event["pid"] for event in events} <= workers
    assert os.getpid() not in workers
    loaded = list(safeload.load_many(files, backend="dask", ordered=False))
    assert sorted(result.value for result in loaded if result.ok) == [n for n in range(30) if n != 11]
    assert isinstance(loaded[[result.index for result in loaded].index(11)].error, safeload.PolicyError)


def test_keys_stay_here_and_places_cross(cluster, tmp_path):
    """A key object is refused before anything is sent; each worker opens the place that it is told."""
    key = Key.generate()
    (tmp_path / "keys").write_text(f"{key}\n")
    (tmp_path / "keys").chmod(0o600)
    place = f"file:{tmp_path / 'keys'}"
    items = [(number, tmp_path / f"{number}.sle") for number in range(6)]
    with pytest.raises(ValueError, match="keys do not cross"):
        safeload.dump_many(items, key=key, backend="dask")
    assert safeload.dump_many(items, key=place, backend="dask", resume=tmp_path / "journal").run().ok
    assert safeload.dump_many(items, key=place, backend="dask", resume=tmp_path / "journal").run().skipped == 6
    assert safeload.verify_many([path for _, path in items], keys=key).run().ok
    assert [result.value for result in safeload.load_many([path for _, path in items], keys=place, backend="dask")] == [
        0, 1, 2, 3, 4, 5,
    ]  # fmt: skip


def test_leaving_early_leaves_the_cluster_usable(cluster, files):
    """Whoever stops in the middle goes on with something else."""
    with safeload.load_many(files, backend="dask") as batch:
        assert next(batch).value == 0
    assert safeload.load_many(files, backend="dask").run().ok


class Exits:
    """Ends the process that loads it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_an_item_that_kills_its_worker_costs_only_itself(cluster, files):
    """The cluster starts the worker again, the run goes on, and nothing of it is tried in this process."""
    files[4].write_bytes(pickle.dumps(Exits()))
    policy = safeload.Policy().allow(f"{os._exit.__module__}._exit", call=True)
    results = list(safeload.load_many(files[:8], policy=policy, backend="dask"))
    assert [result.value for result in results] == [0, 1, 2, 3, None, 5, 6, 7]
    assert results[4].error.code == "batch.process-died"
