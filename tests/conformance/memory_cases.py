"""Fitted objects with one thing in them changed that compiled code of a library takes as it is, and what people do with such objects.

A table for :mod:`tests.conformance.test_memory`: a name, a function that makes the object, and the use. Plain pickle loads all of them,
and many of the uses then end the process or read memory of something else.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

if TYPE_CHECKING:
    from collections.abc import Callable

Case = tuple["Callable[[], bytes]", str]

X = np.random.default_rng(0).normal(size=(60, 4))
BINARY = (X[:, 0] > 0).astype(int)
THREE = np.arange(60) % 3
CASES: dict[str, Case] = {}
FAR = 2**40


def case(name: str, make: Callable[[], Any], use: str) -> None:
    """Put an object into the table that pickle writes as it is."""
    CASES[name] = (lambda: pickle.dumps(make()), use)


def changed(make: Callable[[], Any], **attributes: Any) -> Callable[[], Any]:
    """An object whose attributes are others: a function gets what is there."""

    def made() -> Any:
        found = make()
        for name, value in attributes.items():
            setattr(found, name, value(getattr(found, name)) if callable(value) else value)
        return found

    return made


def with_state(owner: Any, part: Any, state: Any) -> bytes:
    """The pickle of ``owner`` in which ``part``, an object of an extension class, has another state."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if value is part:
                kind, arguments = value.__reduce__()[:2]
                return (kind, arguments) if state is None else (kind, arguments, state)
            return NotImplemented

    buffer = io.BytesIO()
    Pickler(buffer).dump(owner)
    return buffer.getvalue()


# ---------------------------------------------------------------- trees


def tree(
    name: str, change: Callable[[dict[str, Any]], Any], use: str = "o.predict(X)", kind: Any = DecisionTreeClassifier
) -> None:
    def made() -> bytes:
        model = kind(random_state=0).fit(X, THREE)
        state = model.tree_.__getstate__()
        state["nodes"] = np.array(state["nodes"])
        again = change(state)
        return with_state(model, model.tree_, state if again is None else again[0])

    CASES[name] = (made, use)


def nodes(**fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        inner = state["nodes"]["left_child"] >= 0
        for name, value in fields.items():
            state["nodes"][name][inner] = value

    return change


def one_node(name: str, value: int, place: int = 0) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        state["nodes"][name][place] = value

    return change


tree("tree: children far away", nodes(left_child=FAR, right_child=FAR))
tree("tree: a feature far away", nodes(feature=FAR))
tree("tree: a negative feature", nodes(feature=-(2**33)))
tree("tree: a child before the first", nodes(left_child=-7))
tree("tree: the root is its own child", nodes(left_child=0, right_child=0))
tree("tree: one child of two parents", one_node("right_child", 1))
tree("tree: a leaf more than nodes", lambda state: state.update(node_count=1))
tree("tree: shallower than it is", lambda state: state.update(max_depth=0), "o.decision_path(np.tile(X, (99, 1)))")
tree("tree: a negative depth", lambda state: state.update(max_depth=-1), "o.decision_path(X)")
tree("tree: no state", lambda _: (None,))
tree("tree: a child wraps around", nodes(left_child=2**63 - 1, right_child=2**63 - 1))
tree("regression tree: a feature of none", nodes(feature=4), kind=DecisionTreeRegressor)


def forest(width: int) -> Any:
    model = RandomForestClassifier(n_estimators=2, random_state=0).fit(X, BINARY)
    for each in (model, *model.estimators_):
        each.n_features_in_ = width
    return model


def without_width(model: Any) -> Any:
    for each in (model, *model.estimators_):
        del each.n_features_in_
    return model


case("forest: trees for more features", lambda: forest(1), "o.predict(X[:, :1].copy())")
case(
    "forest: trees that do not know their features",
    lambda: without_width(RandomForestClassifier(n_estimators=2, random_state=0).fit(X, BINARY)),
    "o.predict(X[:, :1].copy())",
)
case(
    "isolation forest: short paths",
    changed(lambda: IsolationForest(n_estimators=3, random_state=0).fit(X), _decision_path_lengths=[np.zeros(1)] * 3),
    "o.predict(X)",
)
case(
    "isolation forest: short averages",
    changed(lambda: IsolationForest(n_estimators=3).fit(X), _average_path_length_per_tree=[np.zeros(1)] * 3),
    "o.predict(X)",
)


def boosting(target: Any = BINARY, kind: Any = GradientBoostingClassifier, **settings: Any) -> Any:
    return kind(n_estimators=2, random_state=0, **settings).fit(X, target)


def wide_boosting() -> Any:
    model = boosting()
    model.estimators_ = np.tile(model.estimators_, (1, 5_000))
    return model


def narrow_first(model: Any) -> Any:
    """All trees but the first are for more features."""
    other = boosting()
    model = GradientBoostingClassifier(n_estimators=2).fit(X[:, :1], BINARY)
    model.estimators_[1, 0] = other.estimators_[1, 0]
    return model


def many_classes() -> Any:
    model = boosting(THREE)
    model.init_.n_classes_, model.init_.class_prior_, model.init_.classes_ = 1, np.ones(1), np.zeros(1, int)
    return model


case("boosting: fewer features", changed(boosting, n_features_in_=1), "o.predict(X[:, :1])")
case("boosting: more trees than columns", wide_boosting, "o.predict(X)")
case("boosting: later trees for more features", lambda: narrow_first(None), "o.predict(X[:, :1].copy())")
case("boosting: starts with fewer classes", many_classes, "o.predict_proba(X)")


def empty_start() -> Any:
    model = boosting(X[:, 0], GradientBoostingRegressor, init=LinearRegression())
    model.init_.coef_, model.init_.intercept_ = np.zeros((0, 4)), np.zeros(0)
    return model


case("boosting: starts with no column", empty_start, "o.predict(X)")


def histogram(name: str, change: Callable[[Any, Any], None], use: str = "o.predict(X)", **settings: Any) -> None:
    def made() -> Any:
        model = HistGradientBoostingClassifier(max_iter=3, **settings).fit(abs(X).round(), BINARY)
        for stage in model._predictors:
            for each in stage:
                each.nodes = each.nodes.copy()
                change(each, each.nodes["is_leaf"] == 0)
        return model

    case(name, made, use)


def put(field: str, value: Any) -> Callable[[Any, Any], None]:
    def change(each: Any, inner: Any) -> None:
        each.nodes[field][inner] = value

    return change


def categories(each: Any, inner: Any) -> None:
    each.nodes["is_categorical"][inner], each.nodes["bitset_idx"][inner] = 1, 2**31 - 1


def unknown_categories(each: Any, inner: Any) -> None:
    each.nodes["is_categorical"][inner], each.nodes["bitset_idx"][inner] = 1, 0
    each.raw_left_cat_bitsets = each.binned_left_cat_bitsets = np.zeros((9, 8), np.uint32)


def short_bits(each: Any, _inner: Any) -> None:
    each.raw_left_cat_bitsets = np.zeros((len(each.raw_left_cat_bitsets), 1), np.uint32)


def no_nodes(each: Any, _inner: Any) -> None:
    each.nodes = each.nodes[:0]


histogram("histograms: a feature far away", put("feature_idx", 2**30))
histogram("histograms: a negative feature", put("feature_idx", -(2**30)))
histogram("histograms: a child far away", put("left", 2**31 - 1), "o.predict(np.zeros((60, 4)) - 9)")
histogram("histograms: the root is its own child", put("left", 0), "o.predict(np.zeros((60, 4)) - 9)")
histogram("histograms: categories far away", categories, "o.predict(abs(X))")
histogram("histograms: categories of a feature without", unknown_categories, "o.predict(abs(X) * 50)")
histogram("histograms: short sets", short_bits, "o.predict(abs(X) * 50)", categorical_features=[0, 1])
histogram("histograms: no nodes", no_nodes)


def narrow_preprocessor() -> Any:
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(abs(X).round(), BINARY)
    name, transformer, columns = model._preprocessor.transformers_[1]
    model._preprocessor.transformers_[1] = (name, transformer, columns & False)
    model._preprocessor._transformer_to_input_indices[name] = []
    return model


case(
    "histograms: a million columns",
    changed(lambda: HistGradientBoostingClassifier(max_iter=3).fit(X, BINARY), n_trees_per_iteration_=2**24),
    "o.predict(np.tile(X, (99, 1)))",
)
case("histograms: a preprocessor drops columns", narrow_preprocessor, "o.predict(abs(X).round())")

# ---------------------------------------------------------------- neighbours and clusters


def neighbours(name: str, change: Callable[[list[Any]], Any], use: str = "o.kneighbors(X)", **settings: Any) -> None:
    for algorithm in ("ball_tree",) if "metric" in settings else ("kd_tree", "ball_tree"):

        def made(algorithm: str = algorithm) -> bytes:
            model = KNeighborsClassifier(algorithm=algorithm, **settings).fit(X, BINARY)
            state = [part.copy() if isinstance(part, np.ndarray) else part for part in model._tree.__getstate__()]
            again = change(state)
            return with_state(model, model._tree, tuple(state) if again is None else again[0])

        CASES[f"{algorithm}: {name}"] = (made, use)


def in_part(index: int, value: Any, field: str | None = None) -> Callable[[list[Any]], None]:
    def change(state: list[Any]) -> None:
        if field is None:
            state[index][:] = value
        else:
            state[index][field] = value

    return change


neighbours("places far away", in_part(1, FAR))
neighbours("negative places", in_part(1, -FAR))
neighbours("nodes end far away", in_part(2, FAR, "idx_end"))
neighbours("nodes start before the first", in_part(2, -FAR, "idx_start"))
neighbours("no leaves", in_part(2, 0, "is_leaf"), leaf_size=5)
neighbours("short bounds", lambda state: state.__setitem__(3, state[3][:, :1, :1].copy()))
neighbours("one point", lambda state: state.__setitem__(0, state[0][:1].copy()))
neighbours("more nodes than there are", lambda state: state.__setitem__(6, 1 << 20))
neighbours("no state", lambda _: (None,))
neighbours(
    "variances of one feature",
    lambda state: state.__setitem__(11, type(state[11])(V=np.ones(1))),
    metric="seuclidean",
    metric_params={"V": np.ones(4)},
)
