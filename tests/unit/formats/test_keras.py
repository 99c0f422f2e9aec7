"""Keras models: the configuration is judged as data, weights load without Keras, and Keras gets only what was judged."""

from __future__ import annotations

import base64
import io
import json
import marshal
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest

import safeload
from safeload.findings import Verdict
from safeload.formats.keras.config import allowed_names, judge_config

h5py = pytest.importorskip("h5py")

DENSE = {
    "module": "keras.layers", "class_name": "Dense", "registered_name": None, "build_config": {"input_shape": [None, 3]},
    "config": {
        "name": "dense", "units": 2, "activation": "linear", "dtype": "float32",
        "kernel_initializer": {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None},
    },
}  # fmt: skip
INPUT = {
    "module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
    "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "input"},
}  # fmt: skip
KERNEL = np.arange(6, dtype="f4").reshape(3, 2)


def sequential(*layers):
    """A configuration with these layers."""
    return {
        "module": "keras", "class_name": "Sequential", "registered_name": None,
        "config": {"name": "model", "layers": [INPUT, *layers]}, "build_config": {"input_shape": [None, 3]},
    }  # fmt: skip


def weights():
    """The bytes of ``model.weights.h5`` for one dense layer."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
        file["layers/dense/vars/1"] = np.ones(2, "f4")
    return buffer.getvalue()


def archive(config, **more):
    """The bytes of a ``.keras`` file; ``more`` are further entries, with ``/`` spelled ``__``."""
    buffer = io.BytesIO()
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("metadata.json", '{"keras_version": "3.8.0", "date_saved": "2026-01-01"}')
        file.writestr("config.json", text)
        file.writestr("model.weights.h5", weights())
        for name, data in more.items():
            file.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def legacy(config, **attrs):
    """The bytes of a model in HDF5."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        for name, value in attrs.items():
            file.attrs[name] = value
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([b"input", b"dense"])
        group.create_group("input").attrs["weight_names"] = np.array([], "S1")
        group.create_group("dense").attrs["weight_names"] = np.array([b"dense/kernel:0", b"dense/bias:0"])
        group["dense/dense/kernel:0"] = KERNEL
        group["dense/dense/bias:0"] = np.ones(2, "f4")
    return buffer.getvalue()


def findings(artifact):
    """Rule ids of a scan, and its verdict."""
    report = safeload.scan(artifact)
    every = [*report.findings, *(finding for member in report.members for finding in member.findings)]
    return {finding.rule_id for finding in every if finding.verdict is not Verdict.CLEAN}, report.verdict


class TestData:
    def test_archive_as_arrays(self):
        """Configuration, metadata, weights and assets load without Keras."""
        loaded = safeload.loads(archive(sequential(DENSE), assets__vocabulary="a\nb\n"), arrays="numpy")
        assert loaded["config"]["class_name"] == "Sequential"
        assert loaded["metadata"]["keras_version"] == "3.8.0"
        np.testing.assert_array_equal(loaded["weights"]["layers"]["dense"]["vars"]["0"], KERNEL)
        assert loaded["assets"] == {"vocabulary": b"a\nb\n"}

    def test_legacy_as_arrays(self):
        """A model in HDF5 is a nested dict of arrays."""
        loaded = safeload.loads(legacy(sequential(DENSE)), arrays="numpy")
        np.testing.assert_array_equal(loaded["model_weights"]["dense"]["dense"]["kernel:0"], KERNEL)
        assert list(loaded["model_weights"].attrs["layer_names"]) == [b"input", b"dense"]

    def test_clean_models_are_clean(self):
        """Models of built-ins are clean, in both formats, and reports name the format."""
        report = safeload.scan(archive(sequential(DENSE)))
        assert (report.verdict, report.container, [member.container for member in report.members]) == (
            Verdict.CLEAN, "keras", ["hdf5"],
        )  # fmt: skip
        report = safeload.scan(legacy(sequential(DENSE)))
        assert (report.verdict, report.container) == (Verdict.CLEAN, "keras-h5")

    def test_weights_alone_need_no_judgement_of_the_configuration(self):
        """A member of a model in HDF5 is data: its arrays load whatever the configuration names."""
        hostile = legacy(sequential({"class_name": "Lambda", "config": {"function": ["x", None, None]}}))
        loaded = safeload.loads(hostile, member="model_weights/dense/dense/kernel:0")
        np.testing.assert_array_equal(loaded, KERNEL)

    def test_without_keras(self, monkeypatch):
        """Without Keras the message names the extra and the other way."""
        monkeypatch.setitem(sys.modules, "keras", None)
        for artifact in (archive(sequential(DENSE)), legacy(sequential(DENSE))):
            with pytest.raises(safeload.SafeloadError, match=r"safeload\[keras\].*arrays='numpy'"):
                safeload.loads(artifact)


CODE = base64.b64encode(marshal.dumps(compile("import os; os.system('true')", "x", "exec"))).decode()


class TestConfiguration:
    @pytest.mark.parametrize("layer", [
        {"class_name": "Lambda", "config": {"function": [CODE, None, None], "function_type": "lambda"}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"value": [CODE]}}}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"output_shape": ["x", None], "function": "relu"}},
        {"class_name": "Dense", "config": {"name": "d", "units": CODE}},
        {"class_name": "Dense", "config": {"activation": {"class_name": "__lambda__", "config": {"value": "x"}}}},
        {"class_name": "Dense", "config": {CODE: 1}},
    ])  # fmt: skip
    def test_code_is_malicious(self, layer):
        """Python code is evidence of harm, wherever it stands and whatever it is called."""
        for artifact in (archive(sequential(layer)), legacy(sequential(layer))):
            rules, verdict = findings(artifact)
            assert verdict is Verdict.MALICIOUS
            assert "keras.code" in rules
            with pytest.raises(safeload.PolicyError):
                safeload.loads(artifact, arrays="numpy")

    @pytest.mark.parametrize("layer", [
        {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "x"}},
        {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"module": "x"}},
        {"class_name": "JaxLayer", "module": "keras.layers", "config": {}},
        {"class_name": "Lambda", "config": {"function": "relu", "function_type": "function"}},
        {"class_name": "Dense", "module": "my.layers", "config": {}},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "other>Dense", "config": {}},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "Evil", "config": {}},
        {"class_name": "Dense", "module": "keras", "registered_name": "a>b>Dense", "config": {}},
        {"class_name": "Dense", "module": "keras.layers;os", "config": {}},
        {"class_name": "keras.layers.Dense", "config": {}},
        {"class_name": "function", "module": "keras.utils", "config": "get_file", "registered_name": "function"},
        {"class_name": "function", "module": "keras.activations", "config": "relu", "registered_name": "my>relu"},
        {"class_name": "function", "module": "keras.layers", "config": "Dense"},
        {"class_name": "relu", "module": "keras.activations", "config": {}},
        {"class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
        {"class_name": "Map", "module": "keras.src.ops.core", "config": {}},
        {"class_name": "__typespec__", "module": "my", "spec_name": "spec", "config": []},
        {"class_name": "Functional", "module": "evil.functional", "config": {}},
    ])  # fmt: skip
    def test_objects_that_are_no_built_ins(self, layer):
        """What is not on the list of built-ins is unknown, by every spelling."""
        for artifact in (archive(sequential(layer)), legacy(sequential(layer))):
            rules, verdict = findings(artifact)
            assert verdict is Verdict.UNKNOWN
            assert "keras.object" in rules
            with pytest.raises(safeload.PolicyError):
                safeload.loads(artifact)

    @pytest.mark.parametrize(("key", "value", "rule"), [
        ("vocabulary", "/etc/passwd", "keras.file"), ("vocabulary", "words.txt", "keras.file"),
        ("idf_weights", "x", "keras.file"), ("name", "https://example.org/x", "keras.address"),
        ("vocabulary", "file:/etc/passwd", "keras.address"), ("x", "gs://bucket/words", "keras.address"),
        ("x", base64.b64encode(pickle.dumps(os.system) + bytes(40)).decode(), "keras.pickled"),
    ])  # fmt: skip
    def test_texts(self, key, value, rule):
        """Files, addresses and pickles in the configuration are findings."""
        layer = {"class_name": "StringLookup", "module": "keras.layers", "config": {key: value}}
        rules, verdict = findings(archive(sequential(layer)))
        assert (rules, verdict) == ({rule}, Verdict.UNKNOWN)

    def test_where_objects_hide(self):
        """Every place of the configuration is looked at: compile settings, keys, lists, and what Keras makes data of."""
        evil = {"class_name": "system", "module": "os", "config": {}}
        for place in (
            {"compile_config": {"loss": evil}}, {"config": [[[evil]]]}, {"class_name": "__tuple__", "items": [evil]},
            {"class_name": "__slice__", "config": {"start": evil}}, {"a": {"config": {"name": {}, "b": evil}}},
        ):  # fmt: skip
            assert [found.rule_id for found in judge_config(place, "c", lambda name: False)] == ["keras.object"]

    def test_training_settings_of_a_legacy_model(self):
        """The second configuration of a model in HDF5 is judged too."""
        artifact = legacy(
            sequential(DENSE),
            training_config=json.dumps({"loss": {"class_name": "system", "module": "os", "config": {}}}),
        )
        assert findings(artifact) == ({"keras.object"}, Verdict.MALICIOUS)

    @pytest.mark.parametrize("layer", [
        {"class_name": "function", "module": "builtins", "config": "eval"},
        {"class_name": "__typespec__", "module": "os", "spec_name": "system", "config": []},
    ])  # fmt: skip
    def test_objects_that_run_code(self, layer):
        """A name that no data needs is evidence of harm."""
        for artifact in (archive(sequential(layer)), legacy(sequential(layer))):
            assert findings(artifact) == ({"keras.object"}, Verdict.MALICIOUS)
            with pytest.raises(safeload.PolicyError):
                safeload.loads(artifact)

    def test_the_policy_can_name_a_class(self):
        """A class of one's own is allowed by its module and name, and by the name it is registered as."""
        layer = {"class_name": "Mine", "module": "my.layers", "registered_name": "pack>Mine", "config": {}}
        artifact = archive(sequential(layer))
        policy = safeload.Policy.packs("data").allow("my.layers.Mine")
        assert safeload.scan(artifact, policy=policy).verdict is Verdict.UNKNOWN
        assert safeload.scan(artifact, policy=policy.allow("pack.Mine")).verdict is Verdict.CLEAN

    def test_the_policy_cannot_allow_lambda(self):
        """The named ways to code stay findings."""
        layer = {"class_name": "Lambda", "module": "keras.layers", "config": {"function": "relu"}}
        policy = safeload.Policy.packs("data").allow("keras.layers.Lambda")
        assert safeload.scan(archive(sequential(layer)), policy=policy).verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize("text", [
        '{"class_name": "Dense", "class_name": "Lambda"}', "[" * 100_000 + "]" * 100_000, "{", "\xff", '{"a": 1}x', "",
    ])  # fmt: skip
    def test_json_that_is_not_one(self, text):
        """A configuration that two readers would read differently is refused."""
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(archive(text), arrays="numpy")

    @pytest.mark.parametrize(
        "value", [{"class_name": 5}, {"class_name": "Dense", "module": []}, {"class_name": "function", "config": {}}]
    )
    def test_names_that_are_no_text(self, value):
        """A name of another type is malformed, not an internal error."""
        assert findings(archive(value))[1] is Verdict.MALFORMED

    def test_deep_and_large_configurations(self):
        """Nesting is bounded."""
        deep: dict = {}
        for _ in range(600):
            deep = {"a": deep}
        with pytest.raises(safeload.LimitExceededError):
            safeload.loads(archive(deep), arrays="numpy")

    def test_the_list_leaves_out_what_it_says(self):
        """No way to code or files is on the list of built-ins."""
        classes, functions = allowed_names()
        assert not classes & {
            "Lambda",
            "TFSMLayer",
            "TorchModuleWrapper",
            "JaxLayer",
            "FlaxLayer",
            "FeatureSpace",
            "TFOpLambda",
        }
        assert not functions & {
            "get_file",
            "load_model",
            "deserialize",
            "get",
            "enable_unsafe_deserialization",
            "map",
            "eval",
        }
        assert "Dense" in classes
        assert "relu" in functions


class Boom:
    """What a hostile pickle is made of."""

    def __reduce__(self):
        return os.system, ("true",)


class TestArchive:
    def test_hostile_members(self):
        """A pickle, or a hostile model, among the assets is judged."""
        inner = archive(sequential({"class_name": "Lambda", "config": {"function": [CODE, None, None]}}))
        for name, data in (
            ("assets__x.pkl", pickle.dumps(Boom())),
            ("assets__x", pickle.dumps(Boom(), 0)),
            ("assets__m", inner),
        ):
            artifact = archive(sequential(DENSE), **{name: data})
            assert safeload.scan(artifact).verdict is Verdict.MALICIOUS
            with pytest.raises(safeload.SafeloadError):
                safeload.loads(artifact, arrays="numpy")

    def test_pickles_in_the_weights(self):
        """The weights are an HDF5 file and judged like one."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.attrs["state"] = np.void(pickle.dumps(Boom()))
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as file:
            file.writestr("config.json", json.dumps(sequential(DENSE)))
            file.writestr("metadata.json", "{}")
            file.writestr("model.weights.h5", buffer.getvalue())
        assert safeload.scan(target.getvalue()).verdict is Verdict.MALICIOUS

    def test_entries_that_no_model_has(self):
        """Anything else in the archive is reported."""
        assert "keras.entry" in findings(archive(sequential(DENSE), evil="text"))[0]

    @pytest.mark.parametrize("name", ["assets/../../x", "/assets/x", "assets/..\\x", "C:x"])
    def test_names_that_lead_out(self, name):
        """An entry whose name leads out of the archive is refused (Keras extracts assets)."""
        with pytest.raises(safeload.SafeloadError):
            safeload.loads(archive(sequential(DENSE), **{name: "x"}), arrays="numpy")

    def test_truncated(self):
        """Every truncation is refused."""
        data = archive(sequential(DENSE))
        for size in range(30, len(data) - 1, 211):
            with pytest.raises(safeload.SafeloadError):
                safeload.loads(data[:size], arrays="numpy")

    def test_parts_are_of_hdf5_only(self):
        """member= says where it can be used."""
        with pytest.raises(safeload.SafeloadError, match="arrays='numpy'"):
            safeload.loads(archive(sequential(DENSE)), member="x")


@pytest.mark.skipif(not pytest.importorskip("importlib.util").find_spec("keras"), reason="needs keras")
class TestWithKeras:
    def test_models_load_and_compute(self, tmp_path):
        """Both formats give the model with its weights, from a copy of Keras' own that is gone afterwards."""
        pytest.importorskip("torch")
        (tmp_path / "a.keras").write_bytes(archive(sequential(DENSE)))
        (tmp_path / "a.h5").write_bytes(legacy(sequential(DENSE)))
        program = textwrap.dedent("""
            import sys, os, glob, tempfile
            import safeload, numpy as np
            seen = []
            sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == "open" else None)
            for name in ("a.keras", "a.h5"):
                model = safeload.load(name)
                assert sum(path.endswith(name) for path in seen) == 1, seen
                result = np.asarray(model.predict(np.ones((1, 3), "f4"), verbose=0))
                assert result.tolist() == [[7.0, 10.0]], result
            assert "KERAS_BACKEND" not in os.environ
            assert not glob.glob(os.path.join(tempfile.gettempdir(), "safeload-*"))
        """)
        environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
        environment |= {"KERAS_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-3000:]
