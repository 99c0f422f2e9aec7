"""Is a serialized booster one that XGBoost's reader can be given?

The reader follows indices of the document without comparing them to anything: the parent of a node, the place of a node's
categories, the group of a tree. Rule: every index that is followed while a model loads lies inside its array, and no number
becomes a size before the data is there; :mod:`safeload.policy.models.ubjson` has seen that the document is complete. What only a prediction
follows is looked at where that is cheap.
"""

from __future__ import annotations

import itertools
from array import array
from typing import Any

from safeload.policy.models.ubjson import parse

__all__ = ["check_booster"]

_NODE_ARRAYS = (
    "left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left", "loss_changes",
    "sum_hessian", "base_weights",
)  # fmt: skip
_NO_NODE = 0x7FFFFFFF  # the parent of the root, and the feature of a node that was pruned
_MAX_GROUPS = 1 << 20
_MAX_CATEGORY = 1 << 24  # XGBoost's own limit: a float cannot count further
_CATEGORY_BYTES = 64 << 20


class _RefusedError(ValueError):
    """The reason is a sentence."""


def check_booster(data: bytes) -> str | None:
    """Why XGBoost must not be given ``data``, or ``None``."""
    try:
        document = parse(data)
        _require(type(document) is dict and document.keys() == {"Config", "Model"}, "it has no model and configuration")
        _plain(document["Config"])
        learner = _table(document["Model"], "learner")
        groups, features = _learner(learner)
        _booster(_table(learner, "gradient_booster"), groups, features)
    except _RefusedError as error:
        return f"the serialized booster is malformed: {error}"
    except (ValueError, OverflowError, TypeError, KeyError, IndexError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "a value is missing or of another type"
        return f"the serialized booster is malformed: {reason}"
    return None


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _RefusedError(reason)


def _table(value: Any, key: str) -> dict[str, Any]:
    _require(type(value) is dict and type(value.get(key)) is dict, f"it has no {key}")
    found: dict[str, Any] = value[key]
    return found


def _plain(value: Any) -> None:
    """The configuration: texts, numbers, lists and tables."""
    if type(value) is dict:
        for item in value.values():
            _plain(item)
    elif type(value) is list:
        for item in value:
            _plain(item)
    else:
        _require(type(value) in (str, bool, int, float), "the configuration holds something else than text")


def _count(table: dict[str, Any], key: str, limit: int, default: str | None = None) -> int:
    """A parameter; XGBoost writes them as text."""
    text = table.get(key, default)
    _require(type(text) is str and text.isascii() and text.isdigit() and len(text) < 12, f"{key} is not a number")
    number = int(str(text))
    _require(number <= limit, f"{key} is too large")
    return number


def _ints(value: Any, size: int | None, low: int, high: int, what: str) -> Any:
    """A list or array of integers from ``low`` to ``high``."""
    if type(value) is list:
        _require(all(type(item) is int for item in value), f"{what} are not integers")
    else:
        _require(type(value) is array and value.typecode in "bBhiq", f"{what} are not integers")
    _require(size is None or len(value) == size, f"there are not as many {what} as there should be")
    _require(not len(value) or (low <= min(value) and max(value) <= high), f"{what} are out of range")
    return value


def _numbers(value: Any, size: int, what: str) -> None:
    if type(value) is list:
        flags = what == "default_left" and all(type(item) is bool for item in value)  # as XGBoost 1.0 to 1.5 wrote them
        _require(flags or all(type(item) in (int, float) for item in value), f"{what} are not numbers")
    else:
        _require(type(value) is array, f"{what} are not numbers")
    _require(len(value) == size, f"there are not as many {what} as there should be")


def _learner(learner: dict[str, Any]) -> tuple[int, int]:
    """The number of output groups and of features."""
    parameters = _table(learner, "learner_model_param")
    classes = _count(parameters, "num_class", _MAX_GROUPS)
    targets = _count(parameters, "num_target", _MAX_GROUPS, "1")
    features = _count(parameters, "num_feature", 0x7FFFFFFE)
    _plain(_table(learner, "objective"))
    attributes = learner.get("attributes", {})
    _require(
        type(attributes) is dict and all(type(item) is str for item in attributes.values()), "an attribute is not text"
    )
    for key in ("feature_names", "feature_types"):
        names = learner.get(key, [])
        _require(type(names) is list and all(type(item) is str for item in names), f"{key} are not text")
    return max(classes, targets, 1), features


def _booster(booster: dict[str, Any], groups: int, features: int) -> None:
    name = booster.get("name")
    if name == "gblinear":
        weights = _table(booster, "model").get("weights")
        _numbers(weights, (features + 1) * groups, "weights")
        return
    if name == "dart":
        trees = _forest(_table(_table(booster, "gbtree"), "model"), groups, features)
        _numbers(booster.get("weight_drop"), trees, "weights of trees")
        return
    _require(name == "gbtree", "it is neither gbtree, dart nor gblinear")
    _forest(_table(booster, "model"), groups, features)


def _forest(model: dict[str, Any], groups: int, features: int) -> int:
    trees = model.get("trees")
    _require(type(trees) is list, "it has no trees")
    assert type(trees) is list  # noqa: S101 - required above
    count = _count(_table(model, "gbtree_model_param"), "num_trees", len(trees))
    _require(count == len(trees), "there are not as many trees as there should be")
    _ints(model.get("tree_info"), count, 0, groups - 1, "groups of trees")
    bounds = _ints(model.get("iteration_indptr", []), None, 0, count, "iterations")
    if len(bounds):
        _require(list(bounds) == sorted(bounds) and bounds[-1] == count, "iterations are out of range")
    seen = bytearray(count)
    storage = 0
    for tree in trees:
        _require(type(tree) is dict and type(tree.get("id")) is int and 0 <= tree["id"] < count, "a tree has no number")
        _require(not seen[tree["id"]], "two trees have one number")
        seen[tree["id"]] = 1
        storage += _tree(tree, features)
        _require(storage <= _CATEGORY_BYTES, "its categories would take too much memory")
    if "cats" in model:
        _containers(_table(model, "cats"))
    return count


def _tree(tree: dict[str, Any], features: int) -> int:
    """Check one tree; the bytes that its categories take as bits."""
    parameters = _table(tree, "tree_param")
    nodes = len(tree["left_children"])
    _require(nodes > 0 and _count(parameters, "num_nodes", nodes) == nodes, "a tree has not as many nodes as it says")
    _require(_count(parameters, "size_leaf_vector", 1, "0") <= 1, "trees with vectors for leaves are not read")
    for key in _NODE_ARRAYS[4:]:
        _numbers(tree[key], nodes, key)
    for key in ("left_children", "right_children"):
        _ints(tree[key], nodes, -1, nodes - 1, key)
    _ints(tree["parents"][1:], nodes - 1, 0, nodes - 1, "parents")
    _require(tree["parents"][0] in (_NO_NODE, -1), "the root of a tree has a parent")
    pruned = _count(parameters, "num_deleted", nodes) > 0
    _ints(tree["split_indices"], nodes, 0, _NO_NODE if pruned else max(features, 1) - 1, "features")
    if "split_type" not in tree:
        return 0
    _ints(tree["split_type"], nodes, 0, 1, "kinds of splits")
    return _categories(tree, nodes)


def _categories(tree: dict[str, Any], nodes: int) -> int:
    values = _ints(tree["categories"], None, 0, _MAX_CATEGORY - 1, "categories")
    holders = _ints(tree["categories_nodes"], None, 0, nodes - 1, "nodes with categories")
    count = len(holders)
    starts = _ints(tree["categories_segments"], count, 0, len(values), "categories of a node")
    sizes = _ints(tree["categories_sizes"], count, 1, len(values), "categories of a node")
    _require(all(one < other for one, other in itertools.pairwise(holders)), "nodes are out of order")
    _require(sum(sizes) <= len(values), "nodes share categories")
    storage = 0
    for start, size in zip(starts, sizes, strict=True):
        _require(start + size <= len(values), "categories of a node are out of range")
        storage += max(values[start : start + size]) // 8 + 8
    return storage


def _containers(cats: dict[str, Any]) -> None:
    """The categories of the columns of a data frame (XGBoost 3.1 and later)."""
    columns = cats["enc"]
    _require(type(columns) is list, "categories of columns are malformed")
    bounds = _ints(cats["feature_segments"], None, 0, 0x7FFFFFFE, "categories of columns")
    order = cats["sorted_idx"]
    total = 0
    expected = [0]
    for column in columns:
        _require(type(column) is dict and column.keys() <= {"offsets", "values", "type"}, "a column is malformed")
        values = column["values"]
        _require(type(values) is array, "a column is malformed")
        if "offsets" in column:
            _require(values.typecode in "bB", "a column is malformed")
            places = _ints(column["offsets"], None, 0, len(values), "places of categories")
            _require(list(places) == sorted(places), "places of categories are out of order")
            _require(not len(places) or (places[0] == 0 and places[-1] == len(values)), "categories are cut")
            total += max(len(places) - 1, 0)
        else:
            total += len(values)
        expected.append(total)
    if not len(bounds):
        _require(total == 0 and not len(order), "categories of columns are malformed")
        return
    _require(list(bounds) == expected, "categories of columns are not as many as they should be")
    _ints(order, total, 0, max(total, 1), "sorted categories")
