"""scikit-learn's neighbours and centres: indices into their data that C code uses as they are.

A k-d tree or ball tree says for each of its nodes which of its points lie in it, a classifier counts votes at the place that a label is, and
centres are compared with rows of the input. Rule: places lie inside, and all arrays of one object agree in their widths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from safeload.engine.load.believed import attributes, integer, need, need_array, need_inside, need_width

__all__ = ["CHECKS"]


def _check_binary_tree(tree: Any) -> None:
    """A ``KDTree`` or ``BallTree``; without a state, its memory was never set."""
    data, places, nodes, bounds, leaf_size, _levels, count, *_, metric, weights = tree.__getstate__()
    samples, width = need_array(data, "the points of a tree", 2).shape
    need(samples and width and leaf_size > 0, "a tree has no points")
    need(len(need_array(places, "the places of points", 1, "i")) == samples, "a tree has not one place for each point")
    need_inside(places, samples, "a place in a tree")
    need(need_array(nodes, "the nodes of a tree", 1, "V").shape[0] == count > 0, "a tree has other nodes than it says")
    starts, ends = nodes["idx_start"], nodes["idx_end"]
    need_inside(starts, samples + 1, "the start of a node")
    need_inside(ends, samples + 1, "the end of a node")
    need((starts <= ends).all(), "a node of a tree ends before it starts")
    # Node i has the children 2i + 1 and 2i + 2.
    need((nodes["is_leaf"][max((count - 1) // 2, 0) :] != 0).all(), "the children of a node lie outside of its tree")
    kind = type(tree).__name__
    sides = 2 if kind.startswith("KDTree") else 1
    need(
        need_array(bounds, "the bounds of nodes", 3).shape == (sides, count, width),
        "a tree has not bounds for each node",
    )
    if weights is not None:
        need(
            len(need_array(weights, "the weights of points", 1)) == samples, "a tree has not one weight for each point"
        )
    _check_metric(metric, width)


def _check_metric(metric: Any, width: int) -> None:
    """A distance between rows of ``width`` numbers, whose own numbers have to be as many."""
    name = type(metric).__name__
    _power, vector, matrix = metric.__getstate__()[:3]
    if name.startswith("SEuclidean"):
        need(len(vector) == width, "the variances of a distance are not one for each feature")
    elif name.startswith(("Minkowski", "WMinkowski")):
        need(
            len(vector) in (0, width) or (name.startswith("Minkowski") and _is_unset(vector)),
            "a distance has other weights",
        )
    elif name.startswith("Mahalanobis"):
        need(matrix.shape == (width, width), "the matrix of a distance is not one for these features")
        metric.__setstate__(metric.__getstate__())  # makes the buffer, which an object without a state does not have
    elif name.startswith("Haversine"):
        need(width == 2, "a distance on a sphere is one between pairs")
    elif name.startswith("PyFunc"):
        raise ValueError("a distance calls a function")


def _is_unset(vector: Any) -> bool:
    return len(vector) == 1 and not vector[0]


def _check_neighbours(estimator: Any) -> None:
    """An estimator with the points that it was fitted with, and votes of their labels."""
    known = attributes(estimator)
    points = known.get("_fit_X")
    if points is None:
        return
    shape = points.shape
    need(len(shape) == 2, "the points are not rows")
    if known.get("effective_metric_") == "precomputed":
        need_width(estimator, shape[0], "the matrix of distances")
    else:
        need_width(estimator, shape[1], "the array of points")
    count = known.get("n_samples_fit_")  # the columns of a graph
    need(count is None or integer(count, "the number of points") == shape[0], "there are other points than it says")
    labels, classes = known.get("_y"), known.get("classes_")
    if type(labels) is np.ndarray and type(classes) is np.ndarray and "Classifier" in type(estimator).__name__:
        if labels.ndim == 1:
            need_inside(need_array(labels, "the labels", 1, "iu"), len(classes), "a label")
        need(labels.shape[0] == shape[0], "there is not one label for each point")


def _check_centres(estimator: Any) -> None:
    """k-means compares rows of the input with rows of centres."""
    known = attributes(estimator)
    if "cluster_centers_" not in known:
        return
    centres = need_array(known["cluster_centers_"], "the centres", 2)
    need(centres.size, "there are no centres")
    need_width(estimator, centres.shape[1], "the array of centres")
    if "_bisecting_tree" in known:
        _check_bisecting(known, centres.shape[1])


def _check_bisecting(known: dict[str, Any], width: int) -> None:
    root = attributes(known["_bisecting_tree"])  # its own centre is compared with nothing
    pending = [root.get("left"), root.get("right")]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if node is None:
            continue
        need(id(node) not in seen, "a cluster is part of itself")
        seen.add(id(node))
        own = attributes(node)
        need(need_array(own["center"], "a centre", 1).shape == (width,), "a centre has another number of features")
        pending += [own.get("left"), own.get("right")]
    if "_X_mean" in known:
        need(need_array(known["_X_mean"], "the mean", 1).shape == (width,), "the mean has another number of features")


def _check_subclusters(estimator: Any) -> None:
    """BIRCH gives C code the norms of its centres, one for each."""
    known = attributes(estimator)
    if "subcluster_centers_" not in known:
        return
    centres = need_array(known["subcluster_centers_"], "the centres", 2)
    need_width(estimator, centres.shape[1], "the array of centres")
    norms = known.get("_subcluster_norms")
    need(
        norms is None or need_array(norms, "the norms", 1).shape[0] == centres.shape[0],
        "there is not one norm for each",
    )


def _check_linkage(estimator: Any) -> None:
    """HDBSCAN joins clusters by their numbers when it is asked for the clusters at a distance."""
    tree = attributes(estimator).get("_single_linkage_tree_")
    if tree is None:
        return
    merges = need_array(tree, "the merges", 1, "V")
    known = np.arange(len(merges)) + len(merges) + 1  # points, and the clusters made before
    for side in ("left_node", "right_node"):
        need(((merges[side] >= 0) & (merges[side] < known)).all(), "a merge joins a cluster that there is not")
    need(integer(len(merges), "merges") > 0, "there are no merges")


CHECKS = {
    **dict.fromkeys(
        (
            f"sklearn.neighbors.{module}:{name}"
            for module in ("_kd_tree", "_ball_tree", "kd_tree", "ball_tree")
            for name in ("KDTree", "BallTree", "KDTree32", "BallTree32", "KDTree64", "BallTree64")
        ),
        _check_binary_tree,
    ),
    "sklearn.neighbors._base:NeighborsBase": _check_neighbours,
    "sklearn.cluster._kmeans:_BaseKMeans": _check_centres,
    "sklearn.cluster._kmeans:KMeans": _check_centres,
    "sklearn.cluster._birch:Birch": _check_subclusters,
    "sklearn.cluster._hdbscan.hdbscan:HDBSCAN": _check_linkage,
}
