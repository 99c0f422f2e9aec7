"""Text of a state that a library evaluates later: in copy, in pickling again, in predict. No load hands out an object with such text."""

from __future__ import annotations

import pickle
import types

import pytest

import safeload

np = pytest.importorskip("numpy")
linear = pytest.importorskip("statsmodels.regression.linear_model")
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = np.arange(12.0).reshape(6, 2) ** 2
TARGET = np.arange(6.0)


def formula(tmp_path) -> str:
    return f"y ~ __import__('pathlib').Path({str(tmp_path / 'marker')!r}).touch()"


def refused(value: object, *packs: str) -> str:
    """Why an object is refused, in a protocol with and one without PROTO."""
    reasons = []
    for protocol in (0, 4):
        with pytest.raises(safeload.SafeloadError) as caught:
            safeload.loads(pickle.dumps(value, protocol), policy=["statsmodels", *packs])
        reasons.append(str(caught.value))
    return reasons[-1]


NAMES = [
    "model_spec",
    "design_info",
    "formula",
    "scale_model_spec",
    "vc_formula",
    "restore_design_info",
    "restore_model_spec",
]


@pytest.mark.parametrize("name", NAMES)
def test_data_hold_no_formula(tmp_path, name):
    """``ModelData.__getstate__`` asks for the evaluation of ``formula`` where there is a ``model_spec``: copy.copy ran it."""
    state = {"formula": formula(tmp_path), "frame": {"y": [1, 2]}, name: formula(tmp_path)}
    stream = b"\x80\x02cstatsmodels.base.data\nModelData\n)\x81" + pickle.dumps(state, 2)[2:-1] + b"b."
    with pytest.raises(safeload.PolicyError, match="formula"):
        safeload.loads(stream, policy=["statsmodels"])
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["model_spec", "model_spec_linear", "formula"])
def test_models_hold_no_formula(tmp_path, name):
    """``predict`` evaluates ``model.model_spec`` before it asks the data for theirs."""
    model = linear.OLS(TARGET, ROWS)
    setattr(model, name, formula(tmp_path))
    assert "formula" in refused(model)


def test_data_of_another_library(tmp_path):
    """A namespace in the place of a model's data has whatever attributes it likes."""
    results = linear.OLS(TARGET, ROWS).fit()
    results.model.data = types.SimpleNamespace(model_spec=formula(tmp_path))
    assert "something else" in refused(results._results)
    results._results.model = types.SimpleNamespace(data=results.model.data, model_spec=formula(tmp_path))
    assert "something else than a model" in refused(results._results)


def test_what_is_made_of_arrays_loads_and_predicts():
    """Models without formulas are as before."""
    results = linear.OLS(TARGET, ROWS).fit()
    again = safeload.loads(pickle.dumps(results), policy=["statsmodels"])
    assert np.allclose(again.predict(ROWS), results.predict(ROWS))
