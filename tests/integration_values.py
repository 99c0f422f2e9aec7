"""Objects that the tests of integrations store: an honest one, and one that would make a folder."""

from __future__ import annotations

import os
from datetime import date

BENIGN = {"day": date(2026, 12, 1), "numbers": [1, 2.5], "names": ("a", "b")}


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)
