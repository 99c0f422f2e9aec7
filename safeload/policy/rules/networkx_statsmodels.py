"""Argument rules for statsmodels and networkx: objects whose ``__setstate__`` looks at what is in the state.

statsmodels evaluates the formula of a model as Python code while it unpickles the data of one that was made with a formula; its
result wrappers look every attribute that they do not have up elsewhere, and call ``wrap_output`` of a data object for those that
``_wrap_attrs`` names. networkx's views of edges take attributes of the graph in their state. Rule: what is looked up on an object of
the state has been made by the library itself, and nothing in a state replaces a method that ``__setstate__`` calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.rules.registry import argument_rule
from safeload.program import Pairs, StandinType, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []


@argument_rule("model-data-state")
def _model_data(use: Use, _context: Context) -> str | None:
    """Arrays and names; ``restore_design_info`` or ``restore_model_spec`` makes ``__setstate__`` evaluate the formula."""
    state = use.args[0]
    if type(state) is not dict or any(type(key) is not str for key in state):
        return "the state is not a dict of attributes"
    return _FORMULA if any(key.startswith("restore_") for key in state) else _holds_formula(state)


_FORMULA = (
    "the model was made with a formula, which statsmodels evaluates as Python code when it unpickles, copies or predicts; fit the "
    "model with arrays instead, or sign the file and grant its signer code"
)
# Parts of the names of attributes that hold a formula, or what the library evaluates in its place: model_spec, design_info,
# scale_model_spec, vc_formula, model_spec_linear ...
_EVALUATED = ("formula", "model_spec", "design_info")


def _holds_formula(state: dict[Any, Any]) -> str | None:
    """Any text there would be evaluated: ``ModelData.__getstate__`` asks for the evaluation where there is a ``model_spec``."""
    for key, value in state.items():
        if type(key) is not str:
            return "an attribute has a name that is not text"
        if value is not None and any(part in key for part in _EVALUATED):
            return _FORMULA
    return None


@argument_rule("statsmodels-state")
def _statsmodels(use: Use, _context: Context) -> str | None:
    """Attributes by name, none of which holds a formula."""
    state = use.args[0] if use.args else None
    if state is None:
        return None
    return _holds_formula(state) if type(state) is dict else "the state is not a dict of attributes"


@argument_rule("results-wrapper-state")
def _results_wrapper(use: Use, _context: Context) -> str | None:
    """``{"_results": results of statsmodels, "__doc__": text}`` and further public attributes."""
    state = use.args[0]
    if type(state) is not dict or any(type(key) is not str for key in state):
        return "the state is not a dict of attributes"
    if not (producer(state.get("_results")) or "").startswith("statsmodels."):
        return "it wraps something else than results of statsmodels"
    if any(key.startswith("_") and key not in ("_results", "__doc__") for key in state):
        return "a private attribute would replace how the wrapper looks attributes up"
    if (reason := _holds_formula(state)) is not None:
        return reason
    return "an attribute is a global" if any(isinstance(value, StandinType) for value in state.values()) else None


@argument_rule("count-model-state")
def _count_model(use: Use, _context: Context) -> str | None:
    """``__setstate__`` calls ``self._initialize()`` after it has updated the dict."""
    state = use.args[0]
    if type(state) is dict and "_initialize" not in state:
        return _holds_formula(state)
    return "an attribute would replace a method that __setstate__ calls"


@argument_rule("reset-cache-state")
def _reset_cache(use: Use, _context: Context) -> str | None:
    """``{"_resetdict": {}}``: its ``get`` is called whenever an item is set."""
    state = use.args[0]
    if type(state) is dict and state.keys() == {"_resetdict"} and type(state["_resetdict"]) is dict:
        return None
    return "the state of the cache is not one dict"


@argument_rule("edge-view-state")
def _edge_view(use: Use, _context: Context) -> str | None:
    """``{"_graph": graph, "_adjdict": dict}``; networkx 2 takes the dict from the graph, by properties of its class."""
    state = use.args[0]
    if type(state) is not dict or "_graph" not in state or not state.keys() <= {"_graph", "_adjdict"}:
        return "the state is not that of a view"
    if not (producer(state["_graph"]) or "").startswith("networkx.classes."):
        return "it is a view of something else than a graph"
    adjacency = state.get("_adjdict", {})
    if type(adjacency) in (dict, Pairs) or producer(adjacency) == "collections.OrderedDict":
        return None
    return "the edges are not in a dict"
