"""Load and use each case of the table in a process of its own, forked from this one, and print what came of it as JSON.

Run as a program, so that the libraries are imported once and no thread of a test runner is forked.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

import safeload
from tests.conformance.more_memory_cases import CASES, X

POLICY = safeload.Policy.packs("sklearn", "scipy")


def outcome(data: bytes, use: str) -> str:
    """``refused: ...``, ``raised: ...`` (by the use), ``used``, or ``died: signal``."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(30)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(write, attempt(data, use).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return said or f"died: {os.waitstatus_to_exitcode(status)}"


def attempt(data: bytes, use: str) -> str:
    """What a load and the use of what it gave come to, in this process."""
    try:
        loaded: Any = safeload.loads(data, policy=POLICY)
    except safeload.SafeloadError as error:
        return f"refused: {error}"
    try:
        eval(use, {"o": loaded, "np": np, "sp": sp, "X": X})
    except Exception as error:
        return f"raised: {type(error).__name__}: {error}"
    return "used"


def main() -> None:
    """All cases, or those that are named."""
    warnings.simplefilter("ignore")
    found = {}
    for name in sys.argv[1:] or CASES:
        make, use = CASES[name]
        found[name] = outcome(make(), use)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
