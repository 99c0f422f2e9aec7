"""scikit-learn's trees, whose C code follows children and features without a look at where they lie.

A tree whose child is its parent is never left, and one whose child or feature lies outside is memory of someone else. Rule: every node
but the root is the child of exactly one earlier node, so that a walk ends; a feature is one that the estimator compares its input with.
The trees of one load are looked at together: a forest has hundreds, and a call of numpy for each would take longer than the load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safeload.engine.load.believed import attributes, integer, need, need_array, need_width

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHECKS", "TOGETHER"]


def _check_trees(trees: Sequence[Any]) -> None:
    """Check ``sklearn.tree._tree.Tree`` objects."""
    counts = np.array([tree.node_count for tree in trees])
    columns = np.empty((3, int(counts.sum())), np.int64)
    widths, depths, start = [], [], 0
    for tree, count in zip(trees, counts.tolist(), strict=True):
        need(count > 0, "a tree has no nodes")
        need(tree.max_n_classes > 0 and tree.n_outputs > 0, "a tree has no values")
        widths.append(tree.n_features)
        depths.append(tree.max_depth)
        part = columns[:, start : start + count]  # tree by tree, while its nodes are in the processor's cache
        part[0], part[1], part[2] = tree.children_left, tree.children_right, tree.feature
        start += count
    left, right, feature = columns
    inner = np.flatnonzero(left != -1)
    _check_nodes(counts, left, right, inner, depths)
    asked = feature[inner]
    limits = np.repeat(np.array(widths), counts)[inner]
    need(not ((asked < 0) | (asked >= limits)).any(), "a tree asks for a feature that its input does not have")


def _check_nodes(counts: Any, left: Any, right: Any, inner: Any, depths: Sequence[int] | None) -> None:
    """Raise ``ValueError`` unless the nodes form trees of at most these depths.

    Args:
        counts: how many nodes each tree has.
        left: the left child of each node, counted from its tree's first node, of all trees in a row.
        right: likewise.
        inner: the places of all nodes that are no leaves.
        depths: how deep each tree says it is: ``Tree.decision_path`` writes paths into memory for so many nodes. ``None`` if
            nothing depends on it.
    """
    total = int(counts.sum())
    kind = np.int32 if total < 1 << 30 else np.int64
    first = np.cumsum(counts) - counts
    bases = np.repeat(first.astype(kind), counts)[inner]
    stops = np.repeat((first + counts).astype(kind), counts)[inner]
    inner = inner.astype(kind)
    places = np.full(total, -1, kind)  # of inner nodes among themselves
    places[inner] = np.arange(len(inner), dtype=kind)
    met = np.zeros(total, bool)
    further = []
    for children in (left, right):
        below = children[inner]
        # Compared before the base is added, which could wrap around.
        need(
            not below.size or (below.min() >= 0 and below.max() < total), "a child of a tree lies outside of its nodes"
        )
        below = below.astype(kind) + bases
        need(not ((below <= inner) | (below >= stops)).any(), "a child of a tree is not behind its parent")
        met[below] = True
        further.append(places[below])
    found = int(np.count_nonzero(met))
    need(2 * len(inner) == total - len(counts) == found, "a node of a tree has two parents, or none")
    if depths is not None:
        _check_depths(np.minimum(depths, counts), places[first], bases, first, further)


def _check_depths(limits: Any, roots: Any, bases: Any, first: Any, further: Sequence[Any]) -> None:
    """Go down level by level, from inner nodes to the inner nodes below them; leaves are one level deeper."""
    level, lowest = 0, int(limits.min())
    nodes = roots[roots >= 0]
    while nodes.size:
        level += 1
        if level > lowest:
            trees = np.searchsorted(first, bases[nodes])
            need((limits[trees] >= level).all(), "a tree is deeper than it says")
        below = np.concatenate([side[nodes] for side in further])
        nodes = below[below >= 0]


def _check_tree_estimator(estimator: Any) -> None:
    known = attributes(estimator)
    if "tree_" in known:
        need_width(estimator, _tree_of(estimator).n_features, "its tree")


def _tree_of(estimator: Any) -> Any:
    from sklearn.tree._tree import Tree

    tree = attributes(estimator).get("tree_")
    need(type(tree) is Tree, "the tree of an estimator is something else")
    return tree


def _check_boosting(estimator: Any) -> None:
    """``predict_stages`` writes to a column for each column of ``estimators_``, and looks at the first tree's features only."""
    known = attributes(estimator)
    if "estimators_" not in known:
        return
    stages = need_array(known["estimators_"], "the stages of a boosting", 2, "O")
    need(stages.size, "a boosting has no stages")
    need_width(estimator, _tree_of(stages[0, 0]).n_features, "its first tree")
    wanted = known["n_features_in_"]
    for stage in stages.ravel().tolist():
        tree = _tree_of(stage)
        need(tree.n_features == wanted, "a tree of a boosting is for another number of features")
        need(tree.n_outputs == 1 and tree.max_n_classes == 1, "a tree of a boosting has more than one value")
    columns = stages.shape[1]
    if "n_trees_per_iteration_" in known:
        need(
            integer(known["n_trees_per_iteration_"], "a number of trees") == columns,
            "a stage has other trees than it says",
        )
    _check_initial(known.get("init_"), columns)


def _check_initial(initial: Any, columns: int) -> None:
    """The first predictions are the array that is written to, so that they need a column for each tree of a stage."""
    if initial is None or type(initial) is str:  # a matrix of zeros, as wide as there are trees
        return
    known = attributes(initial)
    module, name = type(initial).__module__, type(initial).__name__
    if module == "sklearn.dummy" and name == "DummyClassifier":
        classes = integer(known.get("n_classes_"), "the number of classes")
        priors = need_array(known.get("class_prior_"), "the priors", 1)
        need(len(priors) == classes >= columns and known.get("n_outputs_") == 1, "a boosting starts with other classes")
    elif module == "sklearn.dummy":
        need(columns == 1 and known.get("n_outputs_") == 1, "a boosting starts with another number of values")
    elif module.startswith("sklearn.ensemble._gb_losses") or module == "sklearn.ensemble.gradient_boosting":
        need(columns == 1 or "priors" in known, "a boosting starts with another number of values")
    else:
        values, constants = known.get("coef_"), known.get("intercept_")
        shape = values.shape if type(values) is np.ndarray else ()
        if module == "sklearn.linear_model._logistic" and shape:
            fits = shape[:-1] == (columns,) and type(constants) is np.ndarray and constants.shape == (columns,)
        else:
            fits = columns == 1 and (len(shape) == 1 or known.get("n_outputs_") == 1)
        need(fits, "a boosting starts with an estimator whose predictions may be too narrow to add trees to")


def _check_histogram_trees(trees: Sequence[Any]) -> None:
    """Check ``TreePredictor`` objects of the histogram boosting."""
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    parts: list[Any] = []
    sets = []
    for tree in trees:
        known = attributes(tree)
        own: Any = known.get("nodes")
        need(type(own) is np.ndarray and own.ndim == 1 and own.size, "a tree has no nodes")
        need(own.dtype == PREDICTOR_RECORD_DTYPE, "the nodes of a tree are other ones")
        parts.append(own)
        bits: list[Any] = [known.get(name) for name in ("binned_left_cat_bitsets", "raw_left_cat_bitsets")]
        for each in bits:
            of_kind = type(each) is np.ndarray and each.dtype == np.uint32 and each.ndim == 2
            need(of_kind and each.shape[1] == 8, "a set of categories has not 256 bits")
        sets.append(min(map(len, bits)))
    counts = np.array([len(own) for own in parts])
    leaf = _field(parts, "is_leaf") != 0
    _check_nodes(counts, _field(parts, "left"), _field(parts, "right"), np.flatnonzero(~leaf), None)
    categorical = (_field(parts, "is_categorical") != 0) & ~leaf
    outside = _field(parts, "bitset_idx") >= np.repeat(np.array(sets), counts)
    need(not (categorical & outside).any(), "a node asks for a set of categories that its tree does not have")


def _field(parts: Sequence[Any], name: str) -> Any:
    return np.concatenate([own[name] for own in parts])  # joining whole records takes numpy much longer


def _check_histogram_boosting(estimator: Any) -> None:
    known = attributes(estimator)
    if "_predictors" not in known:
        return
    need("_bin_mapper" in known, "a boosting has no bins")
    mapper = attributes(known["_bin_mapper"])
    categorical = need_array(mapper.get("is_categorical_"), "the categorical features", 1, "bu")
    width = len(categorical)
    if known.get("_preprocessor") is not None:
        _check_preprocessor(known["_preprocessor"], width)
    need_width(estimator, width, "its bin mapper")
    nodes = []
    need(type(known["_predictors"]) is list, "the trees are not in a list")
    columns = known.get("n_trees_per_iteration_")
    for stage in known["_predictors"]:
        need(type(stage) is list, "the trees are not in lists")
        need(columns is None or columns == len(stage), "a stage has other trees than it says")
        for tree in stage:
            need(type(tree).__name__ == "TreePredictor", "a tree is something else")
            nodes.append(attributes(tree)["nodes"])
    if nodes:
        inner = _field(nodes, "is_leaf") == 0
        features = _field(nodes, "feature_idx")
        need(
            not (((features < 0) | (features >= width)) & inner).any(),
            "a tree asks for a feature that its input does not have",
        )
        asked = features[inner & (_field(nodes, "is_categorical") != 0)]
        need(categorical[asked].all(), "a node asks for categories of a feature that has none")


def _check_preprocessor(preprocessor: Any, width: int) -> None:
    """What is made of the input has to have ``width`` columns: one for each category column and the others as they are."""
    known = attributes(preprocessor)
    need(type(preprocessor).__module__ == "sklearn.compose._column_transformer", "the preprocessor is something else")
    need_width(preprocessor, width, "the preprocessor")
    steps: Any = known.get("transformers_")
    need(type(steps) is list and 0 < len(steps) <= 3, "the preprocessor has other steps")
    masks = []
    for step in steps:
        need(type(step) is tuple and len(step) == 3, "the preprocessor has other steps")
        name, transformer, columns = step
        if name == "remainder":
            need(transformer == "drop", "the preprocessor has other steps")
            continue
        kind = f"{type(transformer).__module__}.{type(transformer).__name__}"
        need(kind in _PREPROCESSORS, "the preprocessor has other steps")
        mask = need_array(columns, "the columns of a step", 1, "b")
        if kind.endswith("OrdinalEncoder"):
            need(len(attributes(transformer)["categories_"]) == mask.sum(), "an encoder is for other columns")
        else:
            _check_passing(transformer)
        masks.append(mask)
    need(all(len(mask) == width for mask in masks), "the preprocessor is for other columns")
    need((np.sum(masks, axis=0) == 1).all(), "the preprocessor leaves columns out")


_PREPROCESSORS = frozenset(
    {
        "sklearn.preprocessing._encoders.OrdinalEncoder",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
    }
)


def _check_passing(transformer: Any) -> None:
    """A function transformer that checks its input and returns it."""
    import functools

    function: Any = attributes(transformer).get("func")
    if function is None:
        return
    need(type(function) is functools.partial, "a step of the preprocessor calls a function")
    need(function.func.__module__ == "sklearn.utils.validation", "a step of the preprocessor calls a function")


CHECKS = {
    "sklearn.tree._classes:BaseDecisionTree": _check_tree_estimator,
    "sklearn.tree.tree:BaseDecisionTree": _check_tree_estimator,
    "sklearn.ensemble._gb:BaseGradientBoosting": _check_boosting,
    "sklearn.ensemble.gradient_boosting:BaseGradientBoosting": _check_boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting:BaseHistGradientBoosting": _check_histogram_boosting,
}
TOGETHER = {
    "sklearn.tree._tree:Tree": _check_trees,
    "sklearn.ensemble._hist_gradient_boosting.predictor:TreePredictor": _check_histogram_trees,
}
