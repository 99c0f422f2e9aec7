"""Messages between a program, its zygote and the jailed processes: JSON in packets of a Unix socket, with descriptors.

Rule: one message is one packet, so a peer that stops in the middle of one cannot keep the other waiting for the rest.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

__all__ = ["MAX_MESSAGE", "receive", "send"]

MAX_MESSAGE = 1 << 16
_MAX_DESCRIPTORS = 4


def send(channel: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send a message.

    Raises:
        OSError: the peer is gone, or does not take it in time.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if descriptors:
        socket.send_fds(channel, [data], list(descriptors))
    else:
        channel.send(data)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors; ``None`` if the peer is gone.

    Raises:
        OSError: nothing came in time.
        ValueError: it is no message. Its descriptors are closed.
    """
    data, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None, []
    try:
        message = json.loads(data)
        if type(message) is not dict:
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ValueError(f"not a message: {type(error).__name__}") from None
    return message, descriptors
