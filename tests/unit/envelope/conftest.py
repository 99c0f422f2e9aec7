"""Keys shared by the envelope's tests, and the layouts each suite has."""

from __future__ import annotations

from typing import Any

import pytest

from safeload.envelope import Layout
from safeload.envelope.keys import Key

LAYOUTS = [
    ("hs256", Layout.INLINE), ("hs256", Layout.INDEXED), ("hs256-fernet", Layout.INLINE), ("hs256-gcm", Layout.STREAM),
    ("ed25519", Layout.INLINE), ("ed25519", Layout.INDEXED), ("ed25519-gcm", Layout.INDEXED),
]  # fmt: skip
KEYS = {suite: Key.generate(suite) for suite, _ in LAYOUTS}


@pytest.fixture(params=LAYOUTS, ids=lambda pair: f"{pair[0]}-{pair[1].name}")
def kind(request: pytest.FixtureRequest) -> Any:
    """A suite's key and a layout of it."""
    suite, layout = request.param
    return KEYS[suite], layout


@pytest.fixture
def keys() -> dict[str, Any]:
    """One key of each suite."""
    return KEYS
