"""Argument rules for scipy, scikit-learn and pandas: what their constructors and ``__setstate__`` do with a lie.

Three ways in were found by reading the sources, and each is closed here. A ``__setstate__`` that calls
``self.method()`` after it has updated the instance's dict calls whatever the state put there (scikit-learn's isotonic
regression). One that executes text of the state (scipy's distributions). C code that copies arrays without asking for
their size or owner (scikit-learn's trees). Rule: a class whose ``__setstate__`` does more than update the dict gets a
rule of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safeload.policy.rules.arrays import count_of
from safeload.policy.rules.producers import SCALARS, is_array, is_made_by, is_plain_array
from safeload.policy.rules.registry import argument_rule, has_names
from safeload.policy.states import check_answers
from safeload.program import SMALL, Pairs, StandinType, global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []


# Classes whose __getattr__ looks up items.
_ANSWERING = (".Bunch", ".OptimizeResult")


@argument_rule("setitem")
def _setitem(use: Use, _context: Context) -> str | None:
    """``obj[key] = value`` and no ``append``: a class that answers attributes from its items would call an item."""
    if use.args and use.args[0] != "setitem":
        return "items are appended to a mapping"
    # What a trace does not tell of the keys the load looks at (safeload.engine.load.answers).
    return check_answers(use.args[1]) if len(use.args) > 1 and use.name.endswith(_ANSWERING) else None


@argument_rule("dict-base")
def _dict_base(use: Use, _context: Context) -> str | None:
    """A subclass of dict: no arguments, or ``_reconstructor(cls, dict, {...})``."""
    args = use.args
    if not args:
        return None
    if len(args) == 2 and global_name(args[0]) == "builtins.dict":
        if use.name.endswith(_ANSWERING):
            return check_answers(args[1])
        return None if type(args[1]) in (dict, Pairs) else "its base is not a dict"
    return "it takes no arguments in a pickle"


# ---------------------------------------------------------------- scipy

_RV_KEYS = frozenset(
    {
        "__doc__",
        "_ctor_param",
        "_parse_arg_template",
        "_random_state",
        "_stats_has_moments",
        "a",
        "b",
        "badvalue",
        "inc",
        "moment_tol",
        "moment_type",
        "name",
        "numargs",
        "shapes",
        "xtol",
        "vecentropy",
        "pk",
        "qvals",
        "xk",
        "extradoc",
        "_histogram",
        "_hpdf",
        "_hcdf",
        "_hbins",
        "_hbin_widths",
        "_density",
        "generic_moment",
    }
)

_RV_TEMPLATE = """
def _parse_args(self, {shapes} {given}):
    return ({shapes}), {taken}

def _parse_args_rvs(self, {shapes} {given}, size=None):
    return self._argcheck_rvs({shapes} {taken}, size=size)

def _parse_args_stats(self, {shapes} {given}, moments='mv'):
    return ({shapes}), {taken}, moments
"""
_LONGEST_TEMPLATE = 10_000
_RV_SHAPES = re.compile(
    r"\ndef _parse_args\(self, ((?:[A-Za-z_][A-Za-z0-9_]*, ?)*) (loc=0, scale=1|loc=0)\):", re.ASCII
)


@argument_rule("rv-state")
def _rv_state(use: Use, context: Context) -> str | None:
    """A distribution of scipy.stats executes ``_parse_arg_template`` of its state: only the text that scipy makes."""
    state = use.args[0]
    if type(state) is not dict or not state.keys() <= _RV_KEYS:
        return "the state has attributes that a distribution does not have"
    template = state.get("_parse_arg_template")
    if context.too_many():
        return "there are too many distributions"
    match = _RV_SHAPES.match(template) if type(template) is str and len(template) <= _LONGEST_TEMPLATE else None
    if match is None:
        return "the text that the distribution would execute is not scipy's"
    taken = "loc, scale" if match[2] == "loc=0, scale=1" else "loc, 1"
    if template != _RV_TEMPLATE.format(shapes=match[1], given=match[2], taken=taken):
        return "the text that the distribution would execute is not scipy's"
    if context.budget.compiles_too_much(templates=len(template)):
        return "the distributions have long texts, and compiling them would take seconds"
    if type(state.get("numargs")) is not int or any(isinstance(value, StandinType) for value in state.values()):
        return "an attribute of the distribution is a global"
    return None


@argument_rule("vectorize-state")
def _vectorize(use: Use, _context: Context) -> str | None:
    """``numpy.vectorize`` of a distribution's own method; any other function would be one to call."""
    state = use.args[0]
    if type(state) is dict and producer(state.get("pyfunc")) == "builtins.getattr":
        return "an attribute is a global" if any(isinstance(value, StandinType) for value in state.values()) else None
    return "only the entropy of a distribution is vectorized"


@argument_rule("rotation-state")
def _rotation(use: Use, context: Context) -> str | None:
    """``(array, flag)``: four numbers for each rotation, which C code reads without a look at how many there are."""
    state = use.args[0]
    if type(state) is not tuple or len(state) != 2 or type(state[1]) not in (bool, int):
        return "the state is not an array of quaternions and a flag"
    shape, kind = context.forms.get(id(state[0]), ((), ""))
    return (
        None
        if is_plain_array(state[0], context) and kind == "f" and shape[-1:] == (4,)
        else "its quaternions are not four numbers each"
    )


@argument_rule("spline-state")
def _spline(use: Use, context: Context) -> str | None:
    """``(_BSpline, array)``: the spline itself, and an array whose library is asked for."""
    state = use.args[0]
    if type(state) is tuple and len(state) == 2 and is_array(state[1], context):
        return None if producer(state[0]) == "scipy.interpolate._bsplines._BSpline" else "it wraps another object"
    return "the state is not a spline and an array"


# ---------------------------------------------------------------- scikit-learn


@argument_rule("estimator-state")
def _estimator(use: Use, _context: Context) -> str | None:
    """``BaseEstimator.__setstate__`` compares ``_sklearn_version``, may warn with it, and updates the dict."""
    state = use.args[0]
    if type(state) is not dict:
        return "the state is not a dict of attributes"
    return None if type(state.get("_sklearn_version", "")) is str else "the version is not a string"


@argument_rule("public-state")
def _public(use: Use, context: Context) -> str | None:
    """The same for a class whose ``__setstate__`` then calls ``self._build_f``: no private attribute."""
    reason = _estimator(use, context)
    if reason is None and any(
        type(key) is not str or (key.startswith("_") and not key.startswith("_sklearn_")) for key in use.args[0]
    ):
        return "a private attribute would replace a method that __setstate__ calls"
    if reason is not None:
        return reason
    for key in ("X_thresholds_", "y_thresholds_"):
        values = use.args[0].get(key)
        if key in use.args[0] and not is_plain_array(values, context):
            return "the thresholds are not arrays"
        if key in use.args[0] and context.copies_too_much((key, id(values)), 8 * (count_of(values, context) or 0)):
            return "many regressions copy the same thresholds"
    return None


@argument_rule("nodes-state")
def _nodes(use: Use, context: Context) -> str | None:
    """``__setstate__`` uses ``nodes`` as an array, of which it may make another one: it has to be one."""
    state = use.args[0]
    nodes = state.get("nodes") if type(state) is dict else None
    if not is_plain_array(nodes, context):
        return "its nodes are not an array"
    if context.copies_too_much(("nodes", id(nodes)), 64 * (count_of(nodes, context) or 0)):
        return "many trees copy the same nodes"
    return None


@argument_rule("tree")
def _tree(use: Use, context: Context) -> str | None:
    """``Tree(n_features, n_classes, n_outputs)`` allocates ``n_outputs`` numbers: as many as ``n_classes`` has."""
    args = use.args
    if len(args) != 3 or type(args[0]) is not int or type(args[2]) is not int:
        return "its arguments are not a number, an array and a number"
    if not is_plain_array(args[1], context):
        return "its arguments are not a number, an array and a number"
    if not 0 <= args[0] < 1 << 31 or not 0 < args[2] < 1 << 24 or count_of(args[1], context) != args[2]:
        return "the number of outputs is not that of the array of classes"
    return None


@argument_rule("tree-state")
def _tree_state(use: Use, context: Context) -> str | None:
    """Nodes and values are arrays of the pickle; the C code compares their dtypes and shapes, and copies them."""
    state = use.args[0]
    if type(state) is not dict or not all(is_plain_array(state.get(key), context) for key in ("nodes", "values")):
        return "the tree's nodes and values are not arrays"
    count = count_of(state["nodes"], context)
    if type(state.get("node_count")) is not int or count is None or not 0 <= state["node_count"] <= count:
        return "the tree has more nodes than its array"
    values = count_of(state["values"], context) or 0
    nodes_again = context.copies_too_much(id(state["nodes"]), 64 * count)
    if context.copies_too_much(id(state["values"]), 8 * values) or nodes_again:
        return "many trees copy the same arrays"
    return None if type(state.get("max_depth")) is int else "the tree's depth is not a number"


@argument_rule("new-object")
def _new_object(use: Use, context: Context) -> str | None:
    """``newObj(cls)`` of a Cython module of scikit-learn: ``cls.__new__(cls)`` of a class of the same module."""
    args = use.args
    name = global_name(args[0]) if len(args) == 1 else None
    if name and name.rpartition(".")[0] == use.name.rpartition(".")[0] and context.policy.rule(name):
        return None
    return "its argument is not a class of the same module that the policy allows"


# What functools.partial may fix arguments of: validates and copies an array (OrdinalEncoder of a histogram boosting).
_PARTIALS = frozenset({"sklearn.utils.validation.check_array"})


@argument_rule("partial")
def _partial(use: Use, context: Context) -> str | None:
    """``functools.partial(check_array)``, or of what the policy lets be called; another would be a call prepared by the pickle."""
    args = use.args
    if len(args) == 1 and may_be_partial(global_name(args[0]), context):
        return None
    return _NO_PARTIAL


@argument_rule("partial-state")
def _partial_state(use: Use, context: Context) -> str | None:
    """``(function, args, keywords, dict)``."""
    state = use.args[0]
    if type(state) is not tuple or len(state) != 4 or not may_be_partial(global_name(state[0]), context):
        return _NO_PARTIAL
    if type(state[1]) is not tuple or not has_names(state[2]) or (state[3] is not None and len(state[3])):
        return "the partial's state is malformed"
    if global_name(state[0]) in _PARTIALS:
        return None
    held = (*state[1], *(state[2].values() if type(state[2]) is dict else ()))
    return None if all(type(item) in _FIXED or isinstance(item, StandinType) for item in held) else _NO_DATA


_FIXED = frozenset({int, float, complex, str, bytes, bool, type(None)})
_NO_DATA = "an argument that the partial fixes is neither a number, text nor a global"
_NO_PARTIAL = "its function is not one that the policy lets be called; if it is harmless, allow it with call = true"
# Types that whoever calls the partial may as well call himself.
_CALLED = frozenset(
    f"builtins.{name}"
    for name in ("bool", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple")
) | frozenset(f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque"))


def may_be_partial(name: str | None, context: Context) -> bool:
    """Whether arguments of the global may be fixed: the pickle prepares a call that its user makes."""
    rule = context.policy.rule(name) if name else None
    return name in _PARTIALS or (rule is not None and (name in _CALLED or rule.call is True))


@argument_rule("number")
def _number(use: Use, context: Context) -> str | None:
    """Nothing, or one number: the parameter of a loss."""
    args = use.args
    if len(args) <= 1 and all(type(item) in (int, float) or is_made_by(item, SCALARS, context) for item in args):
        return None
    return "its argument is not a number"


@argument_rule("mapper-state")
def _mapper(use: Use, _context: Context) -> str | None:
    """A DataFrameMapper of sklearn_pandas: ``features`` are pairs or triples; a fourth part would be given to the first one."""
    state = use.args[0]
    features = state.get("features") if type(state) is dict else None
    if type(features) is not list or len(features) > SMALL:
        return f"the state has no list of at most {SMALL} features"
    if any(type(feature) is not tuple or not 2 <= len(feature) <= 3 for feature in features):
        return "a feature is not columns, a transformer and options"
    return _estimator(use, _context)
