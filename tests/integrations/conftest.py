"""What the tests of integrations share: a Redis of their own, keys, and an object that would make a folder."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import socket
import subprocess
import time

import pytest
from integration_values import Hostile

import safeload


@pytest.fixture
def hostile(tmp_path):
    """A pickle that makes a folder; the test fails if the folder is there at its end."""
    marker = tmp_path / "the payload ran"
    yield pickle.dumps(Hostile(marker))
    assert not marker.exists()


@pytest.fixture
def ring():
    return safeload.KeyRing([safeload.Key.generate("hs256")])


@pytest.fixture
def signing(ring):
    """A loader with a key."""
    return safeload.Loader(keys=ring)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """A Redis server on a free port of loopback, started for this run and stopped after it."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    redis = pytest.importorskip("redis")
    folder = tmp_path_factory.mktemp("redis")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}"
    client = redis.Redis.from_url(f"{url}/0")
    try:
        for _ in range(100):
            with contextlib.suppress(redis.exceptions.ConnectionError):
                if client.ping():
                    break
            time.sleep(0.1)
        else:
            pytest.skip("redis-server did not start")
        client.close()
        yield url
    finally:
        process.terminate()
        process.wait(10)
