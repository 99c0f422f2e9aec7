"""How plain data lies in the memory that a jailed process and its user share.

::

    magic "SLD1" | version | where the tree stands | its length | end          32 bytes
    (empty up to 4,096)
    raw bytes of arrays and byte strings, each at a multiple of 64
    the tree: JSON text in UTF-8

In the tree a list, a text, ``true``, ``null`` and ordinary numbers stand for themselves, an object for a dict whose keys are
texts. Everything else is an object with one key that begins with ``$``. Rule: the reader trusts nothing of it; it bounds what
the tree may cost before it parses it, and takes no byte of the raw part twice, so that a small file cannot become a large object.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

__all__ = ["ALIGN", "BODY_AT", "DEPTH", "HEAD", "MAGIC", "VERSION", "Described", "DescriptorMemory", "MalformedError", "Memory",
           "NotPlainError", "Room", "TooLargeError"]  # fmt: skip

MAGIC = b"SLD1"
VERSION = 1
HEAD = struct.Struct("<4sIQQQ")
BODY_AT = 4096
ALIGN = 64
DEPTH = 100  # containers in containers; the encoder and the decoder are recursive, five frames a level


class MalformedError(ValueError):
    """The memory does not hold what the layout says."""


class NotPlainError(TypeError):
    """An object is no plain data; the message is the name of its type."""


class TooLargeError(OverflowError):
    """The data needs more room than there is."""


class Room(NamedTuple):
    """What the decoder may spend: bytes of memory to read from, bytes of tree, values in it."""

    size: int
    tree: int = 1 << 28
    values: int = 20_000_000


@dataclass(frozen=True)
class Described:
    """Stands for an object that is no plain data: the name of its type, and what could be said of it.

    Both were said by the jailed process: an artifact can make it say anything.
    """

    type_name: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Memory(Protocol):
    """Bytes at rest that can be read at any place."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes.

        Raises:
            MalformedError: there are fewer.
        """
        ...

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target``; raises like :meth:`read`."""
        ...


class DescriptorMemory:
    """A memory file, read by copying: what was read once cannot change any more."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`Memory`."""
        data = os.pread(self.descriptor, length, offset)
        if len(data) != length:
            whole = bytearray(length)
            self.read_into(offset, memoryview(whole))
            return bytes(whole)
        return data

    def read_into(self, offset: int, target: memoryview) -> None:
        """See :class:`Memory`."""
        done = 0
        while done < len(target):
            count = os.preadv(self.descriptor, [target[done:]], offset + done)
            if not count:
                raise MalformedError("the memory is shorter than its tree says")
            done += count
