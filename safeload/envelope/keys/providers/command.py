"""Keys from the output of a program, such as a secret manager's client.

Rules: an argument list, never a shell; a time limit and a bound on the output, after which the program is ended;
nothing that the program prints, on either channel, is quoted.
"""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

from safeload.envelope.keys.lines import parse_lines
from safeload.errors import KeyProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.envelope.keys.entry import KeyEntry

__all__ = ["SCHEME", "fetch", "read_entries"]

SCHEME = "command"
_MAX_BYTES = 1 << 20


def fetch(locator: str) -> list[KeyEntry]:
    """The keys that the program prints; ``locator`` is its argument list as a JSON array of strings."""
    try:
        argv = json.loads(locator)
    except ValueError:
        argv = None
    if not isinstance(argv, list):
        raise KeyProviderError(
            'give the command as a JSON array: command:["pass","show","safeload"]', code="keys.syntax"
        )
    return read_entries(argv)


def read_entries(argv: Sequence[str], *, timeout: float = 10.0) -> list[KeyEntry]:
    """Run ``argv`` and parse what it prints.

    Raises:
        TypeError: ``argv`` is a string or not a list of strings.
        KeyProviderError: the program is missing, fails, hangs or prints too much.
    """
    if isinstance(argv, str | bytes) or not argv or not all(isinstance(word, str) for word in argv):
        raise TypeError('the command is a list of strings such as ["pass", "show", "safeload"]; no shell is involved')
    try:
        process = subprocess.Popen(  # noqa: S603 - the configuration's own command, without a shell
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise KeyProviderError(
            f"the key command {argv[0]!r} cannot be run: {reason}", code="keys.command-missing"
        ) from None
    output = _bounded_output(process, timeout, argv[0])
    if process.returncode != 0:
        raise KeyProviderError(
            f"the key command {argv[0]!r} ended with status {process.returncode}; run it by hand to see why",
            code="keys.command-failed",
        )
    try:
        text = output.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyProviderError(f"the key command {argv[0]!r} printed no UTF-8 text", code="keys.syntax") from None
    return parse_lines(text, source=f"the output of {argv[0]!r}")


def _bounded_output(process: subprocess.Popen[bytes], timeout: float, name: str) -> bytes:
    """Up to the bound of what ``process`` prints; it is killed when it takes too long or prints too much.

    A thread reads, because a read from a pipe has no time limit that works on every platform. The thread ends with
    the pipe; if a grandchild keeps the pipe open, it stays behind as a daemon and the caller goes on.
    """
    chunks: list[bytes] = []
    assert process.stdout is not None  # noqa: S101 - opened with PIPE
    stream = process.stdout

    def read() -> None:
        with stream:
            chunks.append(stream.read(_MAX_BYTES + 1))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout)
    too_much = bool(chunks) and len(chunks[0]) > _MAX_BYTES
    finished = not reader.is_alive() and not too_much
    if finished:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            finished = False
    if not finished:
        process.kill()
        process.wait()
        reader.join(1.0)
        problem = f"printed more than {_MAX_BYTES} bytes" if too_much else f"did not finish within {timeout:g} seconds"
        raise KeyProviderError(f"the key command {name!r} {problem}; it was ended", code="keys.command-limit")
    return chunks[0] if chunks else b""
