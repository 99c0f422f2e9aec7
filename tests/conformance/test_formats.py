"""What every container format keeps to, whoever wrote it: runs over the registry, with samples from ``samples/``.

A new format adds one file there. Properties: recognised by its bytes, never raises when it is asked; every broken sample is a
SafeloadError or an object; a scan never raises, and whatever loads was clean to it.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import safeload
from safeload.formats.base import FALLBACK, GENERIC, NO, SPECIFIC
from safeload.formats.containers import codecs, detect, formats
from safeload.source.blob import FileBlob, MemoryBlob

# Formats without samples of their own: for what nobody looks into, and what envelopes name and nobody recognises.
WITHOUT = frozenset({"unjudged", "dill", "cloudpickle"})


def _modules() -> dict[str, Any]:
    found = {}
    for path in sorted((Path(__file__).parent / "samples").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"samples_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[module.FORMAT] = module
    return found


MODULES = _modules()
CASES = []
for _name, _module in MODULES.items():
    try:
        for _package in getattr(_module, "NEEDS", ()):
            importlib.import_module(_package)
        CASES += [pytest.param(_module, data, id=f"{_name}-{key}") for key, data in _module.samples().items()]
    except ImportError:
        continue
DATA = [case.values for case in CASES]


def _load(data: bytes, module: Any) -> Any:
    return safeload.loads(data, **getattr(module, "LOAD", {}))


def _scan(source: Any, module: Any) -> safeload.Report:
    return safeload.scan(source, policy=getattr(module, "LOAD", {}).get("policy"))


def _outcome(data: bytes, module: Any) -> None:
    """An object or a SafeloadError; a scan gives a report; what loads is clean."""
    report = _scan(data, module)
    for finding in report.findings:
        assert finding.rule_id != "internal.error", finding
    try:
        _load(data, module)
    except safeload.SafeloadError as error:
        assert error.code != "internal.error"  # noqa: PT017
        assert str(error)  # noqa: PT017
    else:
        assert report.verdict == "clean" or getattr(module, "PART", False), report


def test_every_format_has_samples() -> None:
    """Nobody forgets: the registry and the samples name the same formats."""
    assert formats().keys() - MODULES.keys() <= WITHOUT
    assert MODULES.keys() <= formats().keys()


def test_codecs() -> None:
    """Names and numbers are unique, and each is read again by a format that exists."""
    known = codecs().values()
    assert len({codec.number for codec in known}) == len(known)
    for codec in known:
        assert codec.reads is None or codec.reads in formats()
        assert 0 < codec.number < 0x10000  # from 0x8000 on named in the claims (envelope/SPEC.md)
        assert type(codec.code) is bool


@pytest.mark.parametrize(("module", "data"), CASES)
def test_recognised(module: Any, data: bytes, tmp_path: Path) -> None:
    """By its bytes, in memory and in a file; other formats answer, and none is as sure."""
    expected = None if getattr(module, "HIDDEN", False) else module.FORMAT
    found = detect(MemoryBlob(data))
    assert (found and found.name) == expected
    path = tmp_path / "x"
    path.write_bytes(data)
    with path.open("rb") as file:
        found = detect(FileBlob(file))
        assert (found and found.name) == expected
    for form in formats().values():
        assert form.recognise(MemoryBlob(data)) in (NO, FALLBACK, GENERIC, SPECIFIC)


@pytest.mark.parametrize(("module", "data"), CASES)
def test_loads_everywhere(module: Any, data: bytes, tmp_path: Path) -> None:
    """From memory, a path, a file in memory and a file behind something else: the same object, and a clean report."""
    report = _scan(data, module)
    assert report.verdict == "clean", report
    assert report.container == module.FORMAT
    assert report.size == len(data)
    options = getattr(module, "LOAD", {})
    path = tmp_path / "x"
    path.write_bytes(data)
    assert _scan(path, module).verdict == "clean"
    before = tmp_path / "y"
    before.write_bytes(b"before" + data)
    loaded = [
        safeload.loads(data, **options),
        safeload.load(path, **options),
        safeload.load(io.BytesIO(data), **options),
    ]
    with before.open("rb") as file:
        file.seek(6)
        loaded.append(safeload.load(file, **options))
    assert len({repr(found) for found in loaded}) == 1


@pytest.mark.parametrize(("module", "data"), CASES)
def test_truncated(module: Any, data: bytes) -> None:
    """Wherever it ends (at every byte of a small one)."""
    step = 1 if len(data) <= 1_200 else len(data) // 400
    for size in (*range(0, len(data), step), *range(len(data) - 30, len(data))):
        _outcome(data[:size], module)


@pytest.mark.parametrize(("module", "data"), CASES)
def test_something_behind_and_in_front(module: Any, data: bytes) -> None:
    """What was added is never silently ignored where another program might read it."""
    for other in (b"\0", b"!", b"\x80\x04N.", b"PK\x05\x06" + bytes(18), data):
        for made in (data + other, other + data):
            _outcome(made, module)


@given(st.data())
@settings(max_examples=4 * settings.default.max_examples)
def test_mutated(data: Any) -> None:
    """A few bytes changed, cut out or doubled."""
    module, sample = data.draw(st.sampled_from(DATA))
    made = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(made) - 1)))
        change = data.draw(st.sampled_from(["set", "flip", "cut", "double"]))
        if change == "set":
            made[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
        elif change == "flip" and made:
            made[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "cut":
            del made[at : at + data.draw(st.integers(1, 16))]
        else:
            size = data.draw(st.integers(1, 64))
            made[at:at] = made[at : at + size]
    _outcome(bytes(made), module)


@given(st.sampled_from([sample[:12] for _, sample in DATA]), st.binary(max_size=600))
def test_rubbish_behind_a_magic(magic: bytes, rest: bytes) -> None:
    """Recognised or not: nothing raises when it is asked, and nothing but a SafeloadError comes of a load."""
    for data in (magic + rest, rest):
        for form in formats().values():
            assert form.recognise(MemoryBlob(data)) in (NO, FALLBACK, GENERIC, SPECIFIC)
        _outcome(data, None)
