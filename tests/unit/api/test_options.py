"""Every way in takes the same arguments, shows them, and refuses others."""

from __future__ import annotations

import inspect
import io
import pickle
from typing import Any

import pytest

import safeload
from safeload import Loader


def keywords(function: Any) -> dict[str, Any]:
    """The keyword arguments that a function shows, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def test_bytes_and_files_are_read_with_the_same_arguments() -> None:
    """A check that one of the two ways in does not take would be missing there."""
    assert keywords(Loader.load) == keywords(Loader.loads)
    assert keywords(Loader.dump) == keywords(Loader.dumps)
    assert keywords(Loader.load)["encoding"] == inspect.signature(pickle.loads).parameters["encoding"].default


@pytest.mark.parametrize(
    "name",
    ["load", "loads", "dump", "dumps", "scan", "open_fernet", "load_many", "scan_many", "verify_many", "rekey_many", "dump_many"],
)  # fmt: skip
def test_functions_show_what_their_methods_take(name: str) -> None:
    """``help()`` and editors read the signature; ``**options`` would tell them nothing."""
    function = getattr(safeload, name)
    assert keywords(function) == keywords(getattr(Loader, name))
    assert keywords(function)
    assert not any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in inspect.signature(function).parameters.values()
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda loader, **options: loader.loads(pickle.dumps(1), **options),
        lambda loader, **options: loader.load(io.BytesIO(pickle.dumps(1)), **options),
        lambda loader, **options: loader.scan(pickle.dumps(1), **options),
        lambda loader, **options: loader.dumps(1, **options),
        lambda loader, **options: loader.load_many([], **options),
    ],
)
def test_an_argument_that_there_is_not_is_an_error(call: Any) -> None:
    """A misspelt ``policy`` that was ignored would load under another policy."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'polcy'"):
        call(Loader(), polcy="data")


def test_a_scan_takes_nothing_that_only_a_load_could_heed() -> None:
    """A schema that a scan took and did not ask for would make its report say too much."""
    with pytest.raises(TypeError, match="schema"):
        Loader().scan(pickle.dumps(1), schema={})


def test_a_changed_loader_keeps_the_rest() -> None:
    """A loader that lost its keys on the way would load what nobody has signed."""
    loader = Loader(keys=safeload.Key.generate(), policy="data", signers={})
    changed = loader.changed(limits=safeload.Limits(max_depth=2), policy=None)
    assert (changed.keys, changed.policy, changed.signers) == (loader.keys, loader.policy, {})
    assert changed.limits.max_depth == 2
    assert loader.changed() is loader
