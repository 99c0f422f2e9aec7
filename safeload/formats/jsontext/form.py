"""The marker form: its names, how a node of it is made and taken apart, and how a mistake in it is reported.

Rule: a message names the place and what belongs there, never a value.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.formats.jsontext.reader import Reader

__all__ = ["MARKER", "SURROGATE", "Kind", "MisfitError", "base64_of", "bytes_of", "expect", "mark", "pointer"]

MARKER: Final = "$safeload"
# A string that holds one of these has no UTF-8.
SURROGATE: Final = re.compile("[\ud800-\udfff]")


class MisfitError(Exception):
    """A value that does not fit; ``path`` grows from the inside out while the error rises.

    ``error`` is the class of error that a caller of the writer gets.
    """

    def __init__(self, message: str, error: type[Exception] = TypeError) -> None:
        super().__init__(message)
        self.path: list[str | int] = []
        self.error = error


class Kind(NamedTuple):
    """How one kind of marker is read.

    Attributes:
        read: makes the value from the node.
        members: names that a node has besides ``$safeload`` and ``v``.
        optional: names that it may have.
    """

    read: Callable[[dict[str, Any], Reader], Any]
    members: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


def mark(kind: str, content: Any, **members: Any) -> dict[str, Any]:
    """A marker node."""
    return {MARKER: kind, **members, "v": content}


def expect(value: Any, kind: type, what: str) -> Any:
    """``value``, which must be of exactly this type."""
    if type(value) is not kind:
        raise MisfitError(f"{what} is expected here")
    return value


def base64_of(data: bytes | memoryview) -> str:
    """Base64 text."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def bytes_of(text: Any) -> bytes:
    """The bytes of a base64 text that is the only one for them."""
    expect(text, str, "a base64 string")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, and what is not ASCII
        raise MisfitError("this is no well-formed base64") from None
    # Only the last group has bits that could differ.
    tail = len(data) % 3 or 3
    if len(text) != -(-len(data) // 3) * 4 or (data and not text.endswith(base64_of(data[-tail:]))):
        raise MisfitError("this base64 has stray bits or padding")
    return data


def pointer(path: list[str | int]) -> str:
    """The JSON pointer of ``path``, which is given from the inside out; names shortened and printable."""
    shown = []
    for token in reversed(path[-12:]):
        text = str(token)[:60].encode("unicode_escape").decode("ascii")
        shown.append(text.replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{text}" for text in shown) + ("/..." if len(path) > 12 else "") or "(root)"
