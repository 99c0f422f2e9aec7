"""statsmodels' models: what they evaluate as Python code is looked for where a rule cannot see it.

``predict`` evaluates ``model.data.model_spec``, whatever object ``data`` is: a namespace of another pack with text under that name would be
run. Rule: results belong to a model of statsmodels, a model's data are what statsmodels makes of arrays, and no object of these holds
a formula.
"""

from __future__ import annotations

import sys
from typing import Any

from safeload.engine.load.believed import attributes, need

__all__ = ["CHECKS"]

_EVALUATED = ("formula", "model_spec", "design_info")


def _need_none(known: dict[str, Any]) -> None:
    for name, value in known.items():
        need(
            value is None or not any(part in name for part in _EVALUATED),
            "a model holds a formula, which is evaluated later",
        )


def _check_results(results: Any) -> None:
    model: Any = sys.modules["statsmodels.base.model"]
    known = attributes(results)
    _need_none(known)
    need(isinstance(known.get("model"), (model.Model, type(None))), "results are those of something else than a model")


def _check_model(model: Any) -> None:
    data: Any = sys.modules["statsmodels.base.data"]
    known = attributes(model)
    _need_none(known)
    need(isinstance(known.get("data"), (data.ModelData, type(None))), "the data of a model are something else")


def _check_data(data: Any) -> None:
    _need_none(attributes(data))


def _check_wrapper(wrapper: Any) -> None:
    known = attributes(wrapper)
    _need_none(known)
    wrapped = known.get("_results")
    need(type(wrapped).__module__.partition(".")[0] == "statsmodels", "a wrapper wraps something else than results")


CHECKS = {
    "statsmodels.base.model:Results": _check_results,
    "statsmodels.base.model:Model": _check_model,
    "statsmodels.base.data:ModelData": _check_data,
    "statsmodels.base.wrapper:ResultsWrapper": _check_wrapper,
}
