"""The same call on a Dask cluster: a scheduler and two worker processes on this machine, through joblib's backend."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import safeload

pytestmark = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed is not installed")


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """What dask_session.py saw."""
    environment = {**os.environ, "PYTHONPATH": str(Path(safeload.__file__).parents[1])}
    command = [sys.executable, str(Path(__file__).with_name("dask_session.py")), str(tmp_path_factory.mktemp("dask"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_scans_and_loads_are_done_by_the_cluster(session):
    """By configuration or by argument; a hostile item is one result, and the workers' events arrive here."""
    seen = session["scans_and_loads"]
    assert seen["not clean"] == [11]
    assert seen["events"] >= 60
    assert seen["elsewhere"]
    assert seen["values"] == [None if n == 11 else n for n in range(30)]
    assert seen["refused as"] == "PolicyError"


def test_keys_stay_here_and_places_cross(session):
    """A key object is refused before anything is sent; each worker opens the place that it is told."""
    seen = session["keys"]
    assert "keys do not cross" in seen["refused"]
    assert seen["skipped"] == [0, 6]
    assert seen["verified"]
    assert seen["values"] == [0, 1, 2, 3, 4, 5]


def test_leaving_early_leaves_the_cluster_usable(session):
    """Whoever stops in the middle goes on with something else."""
    assert session["leaving_early"] == {"first": 0, "then": 30}


def test_an_item_that_kills_its_worker_costs_only_itself(session):
    """The cluster starts the worker again, the run goes on, and nothing of it is tried in the process that asked."""
    assert session["a_killer"] == {"values": [0, 1, 2, 3, None, 5, 6, 7], "code": "batch.process-died"}
