"""The fuzz targets work, on their corpus and on a second of random mutations."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("safeload_fuzz", Path(__file__).with_name("__main__.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_corpus(target: str) -> None:
    """Every target holds for what it starts from."""
    for data in fuzz.corpus():
        fuzz.TARGETS[target](data)


@pytest.mark.filterwarnings("ignore")  # of numpy, about what a mutated pickle asks for
def test_mutations() -> None:
    """The same number of the same mutations in every run."""
    import random

    chooser, seeds = random.Random(20_240), fuzz.corpus()
    for _ in range(300):
        data = fuzz.mutate(chooser.choice(seeds), seeds, chooser)
        for target in fuzz.TARGETS.values():
            target(data)
