"""Celery and kombu: a real worker, a real broker, and messages that were not sent by us."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import textwrap
import uuid

import pytest
from integration_values import BENIGN

import safeload

kombu = pytest.importorskip("kombu")


@pytest.fixture
def serializer():
    from kombu import serialization

    from safeload.integrations import kombu as ours

    ours.register()
    yield ours
    serialization.unregister("safeload")
    ours.register()


def test_values_go_and_come_and_hostile_ones_are_decode_errors(serializer, hostile):
    """A message is judged before anything of it is loaded, and kombu's own error says that it was not."""
    from kombu import serialization

    content_type, encoding, data = serialization.dumps(BENIGN, "safeload")
    assert (content_type, encoding) == ("application/x-safeload", "binary")
    assert serialization.loads(data, content_type, encoding, accept={"application/x-safeload"}) == BENIGN
    with pytest.raises(kombu.exceptions.DecodeError, match="refused"):
        serialization.loads(hostile, content_type, encoding, accept={"application/x-safeload"})


def test_the_entry_point_registers_what_the_module_offers():
    """The tuple is read by kombu when it is imported; this is what it then calls ``register`` with."""
    from importlib.metadata import EntryPoint

    from safeload.integrations.kombu import CONTENT_TYPE

    point = EntryPoint("safeload", "safeload.integrations.kombu:serializer", "kombu.serializers")
    dumps, loads, content_type, encoding = point.load()
    assert (content_type, encoding) == (CONTENT_TYPE, "binary")
    assert loads(dumps(BENIGN)) == BENIGN


def test_a_signed_queue_takes_signed_messages_only(serializer, signing, hostile):
    """With keys, who can write to the broker and has no key cannot send anything; nor can a value that was signed for a cache."""
    from kombu import serialization

    serializer.register(signing, name="safeload-signed")
    content_type, encoding, data = serialization.dumps(BENIGN, "safeload-signed")
    accept = {content_type}
    assert serialization.loads(data, content_type, encoding, accept=accept) == BENIGN
    elsewhere = signing.dumps(BENIGN, key=signing.keys.primary, context=("diskcache", b"k"))
    for forged in (hostile, safeload.Loader().dumps(BENIGN), elsewhere):
        with pytest.raises(kombu.exceptions.DecodeError):
            serialization.loads(forged, content_type, encoding, accept=accept)


WORKER = """
    import os
    from celery import Celery
    import safeload
    import safeload.integrations.kombu

    app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
    safeload.integrations.kombu.register()
    app.conf.update(task_serializer="safeload", result_serializer="safeload", accept_content=["safeload"],
                    task_default_queue=os.environ["QUEUE"], worker_hijack_root_logger=False)
    if os.environ.get("SAFELOAD_KEYS"):
        safeload.configure(keys=safeload.KeyRing.from_env())

    @app.task
    def total(numbers, *, times=1):
        return {"total": sum(numbers) * times, "kinds": {type(n).__name__ for n in numbers}}
"""


@pytest.mark.parametrize("signed", [False, True])
def test_a_real_worker(signed, tmp_path, redis_url, hostile):
    """A task is called through a real broker, its result comes back, and a hostile message is refused by the worker."""
    pytest.importorskip("celery")
    (tmp_path / "tasks.py").write_text(textwrap.dedent(WORKER))
    key = safeload.Key.generate("hs256")
    text = key.export()
    queue = f"queue-{uuid.uuid4().hex}"
    environment = {
        **os.environ, "BROKER": f"{redis_url}/1", "BACKEND": f"{redis_url}/2", "QUEUE": queue, "PYTHONPATH": str(tmp_path),
        "SAFELOAD_KEYS": text if signed else "", "C_FORCE_ROOT": "1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-c", "1", "--loglevel", "WARNING",
         "--without-gossip", "--without-mingle", "--without-heartbeat"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    client = """
        import sys, tasks
        print(tasks.total.delay([1, 2.5], times=2).get(timeout=60))
    """
    try:
        _send_hostile(redis_url, queue, hostile)
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(client)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-2000:]
        assert "'total': 7.0" in run.stdout
        assert worker.poll() is None
    finally:
        worker.terminate()
        log, _ = worker.communicate(timeout=30)
    assert "refused" in log or "not signed" in log, log[-2000:]


def _send_hostile(url, queue, payload):
    """What somebody who can write to the broker would put there: a task message with our content type."""
    import redis

    message = {
        "body": base64.b64encode(payload).decode(),
        "content-encoding": "binary",
        "content-type": "application/x-safeload",
        "headers": {"lang": "py", "task": "tasks.total", "id": str(uuid.uuid4()), "argsrepr": "", "kwargsrepr": ""},
        "properties": {
            "correlation_id": str(uuid.uuid4()), "delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": "base64", "delivery_tag": str(uuid.uuid4()), "priority": 0,
        },
    }  # fmt: skip
    with redis.Redis.from_url(f"{url}/1") as client:
        client.lpush(queue, json.dumps(message))
