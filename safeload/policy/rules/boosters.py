"""Argument rules for XGBoost, LightGBM and CatBoost: models that their C++ code parses while they are unpickled.

A booster's state is a serialized model, and ``__setstate__`` hands it to a parser that was written for the library's own files. Two of
the three end the process for a broken one, so the serialized model is judged here before they see it
(:mod:`safeload.policy.models.xgboost`, :mod:`safeload.policy.models.lightgbm`). Other attributes are those that the libraries write:
``__del__`` of a LightGBM booster calls ``self.free_network()`` and frees ``self._handle``, and ``__setstate__`` of old XGBoost
calls ``self.set_param()``, which a state could have replaced. Rule: a state names no method and no address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.registry import argument_rule
from safeload.program import Kind, StandinType, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []

_XGBOOST_KEYS = frozenset(
    "handle booster feature_names feature_types best_iteration best_score best_ntree_limit".split()
)
_LIGHTGBM_KEYS = frozenset(
    """handle _handle network _network best_iteration best_score pandas_categorical params train_set_version name_valid_sets
    _train_data_name""".split()
) | frozenset(
    f"_Booster__{name}"
    for name in """attr higher_better_inner_eval init_predictor inner_predict_buffer is_predicted_cur_iter name_inner_eval
    need_reload_eval_info num_class num_dataset num_inner_eval set_objective_to_none train_data_name""".split()
)


def _is_new(model: object, context: Context) -> bool:
    """Whether this object of the stream is parsed for the first time: a small file must not become many large models.

    Of a bytearray that a stream uses again the rules see another copy each time, so equal ones are charged what they become.
    """
    if type(model) is bytearray:
        return not context.copies_too_much(("model", bytes(model)), _PER_BYTE * len(model))
    if id(model) in context.models:
        return False
    context.models.add(id(model))
    return True


# What a model takes in memory for each byte that is written of it.
_PER_BYTE = 16


def _bytes_of(value: Any, context: Context) -> bytes | None:
    """The bytes that a stream writes as a bytearray in any protocol, ``None`` for anything else."""
    if type(value) in (bytes, bytearray, memoryview):
        return context.literal(value) if _is_new(value, context) else None
    name = producer(value)
    if name not in ("builtins.bytearray", "_codecs.encode"):
        return None
    uses = context.content_of(value)
    if len(uses) != 1 or uses[0].kind is not Kind.CALL or not uses[0].args:
        return None  # changed after it was made
    first, rest = uses[0].args[0], uses[0].args[1:]
    if type(first) is str and len(rest) == 1 and rest[0] in ("latin1", "latin-1"):
        try:
            return first.encode("latin-1") if _is_new(first, context) else None
        except UnicodeEncodeError:
            return None
    return _bytes_of(first, context) if name == "builtins.bytearray" and not rest else None


def _attributes(state: Any, known: frozenset[str], what: str) -> str | None:
    """Attributes of the state that are not those of the library."""
    if type(state) is not dict or not state.keys() <= known:
        return f"the state has attributes that {what} does not have"
    if any(isinstance(value, StandinType) for value in state.values()):
        return "an attribute is a global"
    return None


@argument_rule("xgboost-state")
def _xgboost(use: Use, context: Context) -> str | None:
    """``{"handle": bytearray, ...}``: the buffer is complete, and its indices are inside of it."""
    from safeload.policy.models.xgboost import check_booster

    state = use.args[0]
    reason = _attributes(state, _XGBOOST_KEYS, "a booster")
    if reason is not None:
        return reason
    if "handle" not in state:
        return "the state has no booster"
    if state["handle"] is None:
        return None
    data = _bytes_of(state["handle"], context)
    return "the booster is not a bytearray of its own" if data is None else check_booster(data)


@argument_rule("lightgbm-state")
def _lightgbm(use: Use, context: Context) -> str | None:
    """``{"_handle": text, ...}``: the text is a complete model; the booster is in no network."""
    from safeload.policy.models.lightgbm import check_model

    state = use.args[0]
    reason = _attributes(state, _LIGHTGBM_KEYS, "a booster")
    if reason is not None:
        return reason
    if state.get("network", False) is not False or state.get("_network", False) is not False:
        return "the booster claims to be in a network, which freeing it would end"
    models = [state[key] for key in ("handle", "_handle") if state.get(key) is not None]
    if any(type(model) is not str for model in models) or len(models) > 1:
        return "the model is not text"
    if models and not _is_new(models[0], context):
        return "two boosters share the text of one model"
    return check_model(models[0]) if models else None


@argument_rule("catboost-state")
def _catboost(use: Use, context: Context) -> str | None:
    """Parameters and ``__model``: a file whose numbers are places inside of its lists."""
    from safeload.policy.models.catboost import check_model

    state = use.args[0]
    if type(state) is not dict or any(type(key) is not str for key in state):
        return "the state is not a dict of parameters"
    for key in ("_test_eval", "_test_evals"):
        if type(state.get(key)) not in (list, dict, type(None)):
            return "the evaluations are not lists"
    if "__model" not in state:
        return None
    data = _bytes_of(state["__model"], context)
    return "the model is not bytes in CatBoost's binary format" if data is None else check_model(data)
