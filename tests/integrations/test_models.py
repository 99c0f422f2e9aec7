"""MLflow and skops: models in a store that somebody else can write to."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

import safeload

POLICY = ["data", "numpy", "scipy", "sklearn"]


@pytest.fixture(scope="module")
def fitted():
    """A fitted model and its data."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    inputs, labels = load_iris(return_X_y=True)
    return RandomForestClassifier(5, random_state=0).fit(inputs, labels), inputs


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("quiet")
class TestMlflow:
    """A model is one signed file; nothing else of its folder is believed."""

    def test_a_signed_model(self, fitted, tmp_path, ring, hostile):
        pytest.importorskip("mlflow.pyfunc")
        from safeload.integrations.mlflow import load_model, save_model

        model, inputs = fitted
        loader = safeload.Loader(policy=POLICY, keys=ring)
        save_model(model, str(tmp_path / "model"), loader=loader, name="iris")
        save_model(model, str(tmp_path / "other"), loader=loader, name="other")
        loaded = load_model(str(tmp_path / "model"), loader=loader, name="iris")
        assert (loaded.predict(inputs) == model.predict(inputs)).all()
        (tmp_path / "model" / "MLmodel").write_text("flavors: {python_function: {loader_module: os}}")
        load_model(str(tmp_path / "model"), loader=loader, name="iris")
        file = tmp_path / "model" / "data" / "model.safeload"
        for forged in (hostile, (tmp_path / "other" / "data" / "model.safeload").read_bytes()):
            file.write_bytes(forged)
            with pytest.raises(safeload.EnvelopeError):
                load_model(str(tmp_path / "model"), loader=loader, name="iris")

    def test_pyfunc_reads_it_under_the_default_loader(self, fitted, tmp_path, hostile):
        """``mlflow.pyfunc.load_model`` in a process of its own, since the default loader is the process's."""
        pytest.importorskip("mlflow.pyfunc")
        from safeload.integrations.mlflow import save_model

        model, _ = fitted
        save_model(model, str(tmp_path / "model"), loader=safeload.Loader(policy=POLICY))
        program = (
            "import sys, safeload, mlflow.pyfunc\n"
            f"safeload.configure(policy={POLICY!r})\n"
            "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
            "print(len(model.predict([[5.1, 3.5, 1.4, 0.2]])))\n"
        )
        run = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "model")]
        good = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
        assert good.stdout.strip() == "1", good.stderr[-2000:]
        (tmp_path / "model" / "data" / "model.safeload").write_bytes(hostile)
        bad = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
        assert "PolicyError" in bad.stderr


@pytest.mark.usefixtures("quiet")
class TestSkops:
    """A .skops file is judged by the policy that a pickle is judged by."""

    @pytest.fixture(autouse=True)
    def _skops(self):
        pytest.importorskip("skops.io")

    def test_a_model(self, fitted, tmp_path):
        import skops.io

        from safeload.integrations.skops import load, loads

        model, inputs = fitted
        skops.io.dump(model, tmp_path / "model.skops")
        loader = safeload.Loader(policy=POLICY)
        assert (load(tmp_path / "model.skops", loader=loader).predict(inputs) == model.predict(inputs)).all()
        with pytest.raises(safeload.PolicyError, match="sklearn"):
            loads((tmp_path / "model.skops").read_bytes(), loader=safeload.Loader())

    @pytest.mark.parametrize("kind", ["name", "function", "method", "operator", "twice", "protocol", "bomb", "rubbish"])
    def test_hostile_files(self, kind, fitted, tmp_path):
        """A name, a function or a node that the policy does not allow is refused before skops sees the file."""
        import skops.io

        from safeload.integrations.skops import loads

        data = skops.io.dumps([1, {"a": 2}])
        node = {"__class__": "mkdir", "__module__": "os", "__loader__": "TypeNode", "__id__": 99}
        if kind == "function":
            node = {"__class__": "function", "__module__": "builtins", "__loader__": "FunctionNode",
                    "content": {"module_path": "os", "function": "system"}, "__id__": 99}  # fmt: skip
        elif kind == "method":
            node = {
                "__class__": "method",
                "__module__": "builtins",
                "__loader__": "MethodNode",
                "content": {},
                "__id__": 99,
            }
        elif kind == "operator":
            node = {"__class__": "attrgetter", "__module__": "operator", "__loader__": "OperatorFuncNode", "__id__": 99}
        changed = rewritten(data, lambda schema: schema["content"].append(node), twice=kind == "twice")
        if kind == "protocol":
            changed = rewritten(data, lambda schema: schema.update(protocol=0))
        elif kind == "bomb":
            changed = rewritten(data, lambda schema: None, extra=b"0" * (1 << 22))
        elif kind == "rubbish":
            changed = b"PK rubbish"
        limits = safeload.Limits(max_unpacked_bytes=1 << 20) if kind == "bomb" else None
        with pytest.raises(safeload.SafeloadError):
            loads(changed, loader=safeload.Loader(policy=POLICY, limits=limits))

    def test_a_signature_beside_it(self, fitted, tmp_path, ring):
        import skops.io

        from safeload.envelope import seal_detached
        from safeload.integrations.skops import load, loads

        model, inputs = fitted
        path = tmp_path / "model.skops"
        skops.io.dump(model, path)
        loader = safeload.Loader(policy=POLICY, keys=ring)
        with pytest.raises(safeload.MissingKeyError):
            load(path, loader=loader)
        Path(f"{path}.slsig").write_bytes(seal_detached(path.read_bytes(), ring.primary))
        assert (load(path, loader=loader).predict(inputs) == model.predict(inputs)).all()
        changed = bytearray(path.read_bytes())
        changed[-1] ^= 1
        path.write_bytes(changed)
        with pytest.raises(safeload.VerificationError):
            load(path, loader=loader)
        with pytest.raises(safeload.MissingKeyError):
            loads(path.read_bytes(), loader=loader)


def rewritten(data, change, *, twice=False, extra=b""):
    """The archive with another schema."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                change(schema)
                content = json.dumps(schema).encode()
                if twice:
                    new.writestr(name, old.read(name))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                new.writestr(name, content)
        if extra:
            new.writestr("extra", extra)
    return out.getvalue()


def test_no_library_is_imported_by_safeload():
    """An integration is paid for by who uses it."""
    program = "import sys, safeload, safeload.integrations, safeload.integrations.values; print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not any(
        f"'{name}'" in modules for name in ("kombu", "django", "joblib", "diskcache", "cachelib", "mlflow", "skops")
    )
