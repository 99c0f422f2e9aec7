"""Load serialized artifacts safely: verify, judge, then load."""

from __future__ import annotations

__version__ = "0.1.0"
