"""A jailed process: it waits for one artifact, closes the last lock, rebuilds it, answers, and ends.

Rule: between the fork and ``os._exit`` no exception may leave this module: it would run the zygote's code in the child. No
byte of the artifact is read before the lock is closed.
"""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING, Any

from safeload.sandbox.data.decode import decode
from safeload.sandbox.data.encode import encode
from safeload.sandbox.data.layout import DescriptorMemory, Room
from safeload.sandbox.inside.cell import Walls, enter, last_lock, lock
from safeload.sandbox.inside.rebuild import rebuild
from safeload.sandbox.inside.report import answer, piece, told
from safeload.sandbox.inside.watched import detonated
from safeload.sandbox.inside.wire import receive
from safeload.sandbox.kernel.jail import Bounds

if TYPE_CHECKING:
    import socket

__all__ = ["work"]


def work(channel: socket.socket, parent: int, walls: Walls) -> None:
    """Run to the end of this process; the caller ends it in any case."""
    channel = enter(channel, parent)
    _rehearse()
    job, descriptors = receive(channel)
    if job is None:
        return
    if job.get("watched"):
        detonated(channel, parent, walls, job, *descriptors)
        return
    source, result = descriptors
    try:
        bounds = Bounds(**job["bounds"])
        lock(parent, bounds, walls, modules=job["modules"], serves=job["serves"])
    except BaseException as error:  # noqa: BLE001 - a jail with a missing wall handles nothing
        answer({"failed": "lock", **told(error)})
        return
    try:
        pieces = [piece(source, *place) for place in job["pieces"]]
        os.close(source)
        loaded = rebuild(job["form"], pieces, job["options"])
        del pieces
    except BaseException as error:  # noqa: BLE001 - whatever the artifact raises
        answer({"failed": "load", **told(error)})
        return
    try:
        given = _summary(loaded) if job["serves"] else loaded
        _give(0, given, result, bounds.file_bytes, describe=job["describe"] or job["serves"])
        os.close(result)
        if job["serves"]:
            _serve(channel, loaded, bounds)
    except BaseException as error:  # noqa: BLE001 - what an object raises while it is written
        answer({"failed": "result", **told(error)})


def _rehearse() -> None:
    """Do what every job does, on nothing: a forked process pays for each page that it touches first, and now it waits anyway."""
    for serves in (False, True):
        last_lock(os.getpid(), serves=serves)
    stream = memoryview(pickle.dumps({"a": [1, 2.5, "b"], "c": None}))
    encode(rebuild("pickle", [stream], {}), lambda _, __: None, 1 << 20)
    json.loads(json.dumps({"bounds": {"memory": 1}, "pieces": [[0, 1]]}))


def _serve(channel: socket.socket, served: Any, bounds: Bounds) -> None:
    """Answer requests for the object that lives here."""
    while True:
        request, descriptors = receive(channel)
        if request is None:
            return
        number = request["number"]
        try:
            arguments, result = descriptors
            try:
                value = _asked(served, request, arguments)
                _give(number, value, result, bounds.file_bytes, describe=request["describe"])
            finally:
                os.close(arguments)
                os.close(result)
        except BaseException as error:  # noqa: BLE001 - whatever the object raises
            answer({"number": number, "failed": "call", **told(error)})


def _asked(served: Any, request: dict[str, Any], arguments: int) -> Any:
    if request["action"] == "describe":
        return _summary(served)
    found = served
    for name in request["name"].split(".") if request["name"] else ():
        found = getattr(found, name)
    if request["action"] == "get":
        return found
    size = request["size"]
    given = decode(DescriptorMemory(arguments, size), Room(size))
    return found(*given["arguments"], **given["named"])


def _summary(served: Any) -> dict[str, Any]:
    """What a person or a program wants to know of an object that stays here."""
    kind = type(served)
    state = getattr(served, "__dict__", None)
    attributes = sorted(key for key in state if type(key) is str) if type(state) is dict else []
    methods = sorted(name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name, None)))
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "attributes": attributes[:1000],
        "methods": methods[:1000],
    }


def _give(number: int, value: Any, result: int, limit: int, *, describe: bool) -> None:
    def write(offset: int, data: Any) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(result, view, offset)
            offset, view = offset + count, view[count:]

    size = encode(value, write, limit, describe=describe)
    answer({"number": number, "size": size})
