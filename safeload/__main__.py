"""``python -m safeload``: the same as the command ``safeload``."""

from __future__ import annotations

import sys

from safeload.cli import main

if __name__ == "__main__":
    sys.exit(main())
