"""``Loader(sandbox=...)``: what the policy knows is loaded here, what it does not know in the jail, what is harmful nowhere."""

from __future__ import annotations

import io
import math
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from sandbox_parts import Runs, needs_level

import safeload
from safeload.audit.testing import capture
from safeload.errors import FormatError, LoadError, PolicyError, SandboxError, SchemaError
from safeload.sandbox import fallback

pytestmark = needs_level("full")


class Strange:
    def __reduce__(self):
        return math.floor, (3.7,)


@pytest.fixture(scope="module")
def unknown():
    """A pickle that calls what nobody's policy knows and what does no harm; its object is plain data."""
    return pickle.dumps({"number": Strange(), "rows": np.arange(3)})


def test_never_is_the_default(unknown) -> None:
    """A loader starts no processes unless it was told to."""
    assert safeload.Loader().sandbox == "never"
    with pytest.raises(PolicyError):
        safeload.Loader().loads(unknown)


def test_unknown_goes_through_the_jail_and_the_rest_does_not(unknown, tmp_path, monkeypatch) -> None:
    """From bytes, paths and files; the clean one never meets a process."""
    loader = safeload.Loader(sandbox="unknown")
    (tmp_path / "a").write_bytes(unknown)
    with (tmp_path / "a").open("rb") as file:
        for found in (
            loader.loads(unknown),
            loader.load(tmp_path / "a"),
            loader.load(file),
            loader.load(io.BytesIO(unknown)),
        ):
            assert found["number"] == 3
            assert found["rows"].tolist() == [0, 1, 2]
    monkeypatch.setattr(fallback, "_in_sandbox", None)
    assert loader.loads(pickle.dumps(OrderedDict(a=1))) == OrderedDict(a=1)
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps(2))
    assert [loader.load(file), loader.load(file)] == [1, 2]


def test_always_is_always(tmp_path, monkeypatch) -> None:
    """Also what the policy allows: no byte of it is parsed by a C reader here but by the judgement."""
    loader = safeload.Loader(sandbox="always")
    monkeypatch.setattr(fallback, "load_bytes", None)
    monkeypatch.setattr(fallback, "load_file", None)
    (tmp_path / "a").write_bytes(pickle.dumps({"a": np.arange(3)}))
    assert loader.load(tmp_path / "a")["a"].tolist() == [0, 1, 2]
    assert loader.loads(pickle.dumps([1])) == [1]
    for options in ({"member": "a"}, {"mmap": True}, {"buffers": []}):
        with pytest.raises(ValueError, match="sandbox"):
            loader.loads(pickle.dumps([1]), **options)


def test_harm_and_damage_are_refused_as_ever(unknown) -> None:
    """The jail is for the unknown."""
    for mode in ("unknown", "always"):
        loader = safeload.Loader(sandbox=mode)
        with pytest.raises(PolicyError):
            loader.loads(pickle.dumps(Runs(os.system, "true")))
        with pytest.raises(FormatError):
            loader.loads(pickle.dumps([1, 2])[:-3])
    with pytest.raises(LoadError, match="no plain data"):
        safeload.Loader(sandbox="unknown").loads(pytest.importorskip("cloudpickle").dumps(lambda: 1))


def test_what_came_out_is_still_validated(unknown) -> None:
    """A schema holds wherever the object was made."""
    loader = safeload.Loader(sandbox="unknown")
    with pytest.raises(SchemaError):
        loader.loads(unknown, schema={"type": "array"})


def test_signed_artifacts_need_their_signature_first(unknown) -> None:
    """With keys, what is not signed goes nowhere; what is signed and unknown goes to the jail."""
    key = safeload.Key.generate("hs256-gcm")
    loader = safeload.Loader(keys=[key], sandbox="unknown")
    with pytest.raises(safeload.MissingKeyError):
        loader.loads(unknown)
    data = safeload.dumps({"a": np.arange(4)}, key=key)
    assert loader.loads(data)["a"].tolist() == [0, 1, 2, 3]
    always = safeload.Loader(keys=[key], sandbox="always")
    assert always.loads(data)["a"].tolist() == [0, 1, 2, 3]
    with pytest.raises(safeload.EnvelopeError):
        always.loads(data[:-1] + bytes([data[-1] ^ 1]))


def test_the_trail_says_where_it_ran(unknown) -> None:
    """An event of a load in the jail names its level; others name none."""
    for data, level in ((unknown, "full"), (pickle.dumps([1]), None)):
        with capture() as events:
            safeload.Loader(sandbox="unknown", audit=events).loads(data)
        (event,) = [
            event
            for event in events
            if event["event"] == "safeload.load" and event["phase"] == "result" and "parent" not in event
        ]
        assert event.get("sandbox") == level
        assert event["outcome"] == "ok"


def test_without_a_sandbox_there_is_no_load(unknown, monkeypatch) -> None:
    """Nothing falls back to this process."""

    def missing(*_):
        raise safeload.SandboxUnavailableError("none here")

    monkeypatch.setattr(fallback, "ready_zygote", missing)
    for mode, data in (("unknown", unknown), ("always", pickle.dumps([1]))):
        with pytest.raises(SandboxError, match="none here"):
            safeload.Loader(sandbox=mode).loads(data)


def test_the_choice_stays_with_the_loader() -> None:
    """Copies, changed loaders, pickled loaders; and only known words."""
    loader = safeload.Loader(sandbox="always")
    assert loader.changed(limits=safeload.Limits(max_depth=3)).sandbox == "always"
    assert pickle.loads(pickle.dumps(loader)).sandbox == "always"
    with pytest.raises(ValueError, match="sandbox must be one of"):
        safeload.Loader(sandbox="sometimes")
