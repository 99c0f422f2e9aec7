"""The loader beyond load and dump: Fernet tokens, signers from a configuration, known judgements."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

import safeload
import safeload.api.defaults
from safeload.pipeline.stream import judgements

if TYPE_CHECKING:
    from pathlib import Path


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def test_fernet_tokens_are_judged() -> None:
    """A token's key says who wrote it, not what it may contain; with keys configured a token still opens by its own."""
    key = Fernet.generate_key()
    token = Fernet(key).encrypt(pickle.dumps({"a": [1, 2]}))
    assert safeload.open_fernet(token, key) == {"a": [1, 2]}
    assert safeload.Loader(keys=safeload.Key.generate("hs256")).open_fernet(token, key) == {"a": [1, 2]}
    assert safeload.open_fernet(token, key, codec="raw") == pickle.dumps({"a": [1, 2]})
    with pytest.raises(safeload.PolicyError):
        safeload.open_fernet(Fernet(key).encrypt(pickle.dumps(Hostile())), key)
    with pytest.raises(safeload.DecryptionError):
        safeload.open_fernet(token, Fernet.generate_key())
    with pytest.raises(ValueError, match="codec"):
        safeload.open_fernet(token, key, codec="json")


def test_known_judgements_depend_on_everything() -> None:
    """A clean judgement is known for the same bytes under the same policy only, and a refusal is never known."""
    judgements.clear()
    data = pickle.dumps(complex(1, 2))
    allowed = safeload.Loader(policy="data")
    refusing = safeload.Loader(policy=safeload.Policy())
    for _ in range(2):
        assert allowed.loads(data) == 1 + 2j
        with pytest.raises(safeload.PolicyError):
            refusing.loads(data)
        with pytest.raises(safeload.PolicyError):
            allowed.loads(pickle.dumps(Hostile()))
        with pytest.raises(safeload.LimitExceededError):
            allowed.loads(data, limits=safeload.Limits(max_globals=1, max_operations=1))


def test_signers_of_a_configuration(tmp_path: Any) -> None:
    """A configured signer gets its own policy; the others get the default one."""
    trusted, other = safeload.Key.generate("hs256"), safeload.Key.generate("hs256")
    path = tmp_path / "safeload.toml"
    path.write_text(f'packs = []\n[signers."{trusted.key_id_hex}"]\npacks = ["data"]\n')
    before = safeload.api.defaults.current()
    try:
        safeload.configure_from_file(path, keys=[trusted, other])
        assert safeload.loads(safeload.dumps(1 + 2j, key=trusted)) == 1 + 2j
        with pytest.raises(safeload.PolicyError):
            safeload.loads(safeload.dumps(1 + 2j, key=other))
    finally:
        safeload.api.defaults._install(before)


@pytest.mark.parametrize(
    "name", ["s3://bucket/x.pkl", "http://169.254.169.254/x", "file:///etc/hostname", "memory://x"]
)
def test_a_loader_without_urls(name: str, tmp_path: Path) -> None:
    """Names that come from a client: no spelling of a URL is opened, read or written; paths are, by every method."""
    loader = safeload.Loader(urls=False)
    path = tmp_path / "x.pkl"
    loader.dump([1], path)
    for one in (loader, loader.changed(policy="data"), pickle.loads(pickle.dumps(loader))):
        assert one.load(path) == one.load(str(path)) == [1]
        assert one.scan(path).verdict == "clean"
        calls: list[Any] = [one.load, one.scan, lambda target, one=one: one.dump([1], target)]
        for call in calls:
            for place in (name, name.encode()) if call != one.scan else (name,):
                with pytest.raises(safeload.FormatError) as caught:
                    call(place)
                assert caught.value.code == "format.url"
    for batch in (loader.load_many([name, path]), loader.scan_many([name, path]), loader.dump_many([([1], name)])):
        first = min(batch, key=lambda result: result.index)
        assert getattr(first.error, "code", "") == "format.url"
