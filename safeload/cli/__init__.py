"""The command line: it parses arguments, calls the library, shows what came back. It decides nothing about artifacts.

Exit codes, the same for every command: 0 the answer is yes (clean, verified, written), 1 the answer is no (findings,
not verified), 2 usage or internal error, 3 something was not scanned and nothing worse was found. Rules: importing
a command costs nothing but click; errors are a line or two on standard error that say what to do next; no traceback
without ``--debug``; a file appears whole under its name or not at all; nothing that exists is overwritten without
``--force``.
"""

from __future__ import annotations

from safeload.cli.app import main

__all__ = ["main"]
