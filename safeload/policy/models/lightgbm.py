"""Is the text of a model one that LightGBM's reader can be given?

The reader parses the trees in several threads, at offsets that the text gives, and an error in two of them at once ends the process
(``terminate called``, tried with 4.7: half of all files with one changed line do that). Division by a count of the text and
trees at offsets outside of it are others. Rule: only the text that LightGBM writes is accepted, with as many numbers in every line as
its leaves need, and every index inside its array.
"""

from __future__ import annotations

import re
from collections import deque

__all__ = ["check_model"]

_INTS = b"0123456789 -"
_FLOATS = b"0123456789 .-+einaf"  # with these characters, what float() reads is what LightGBM's Atof reads
_NUMBER = re.compile(rb"\d{1,10}")
_OBJECTIVE = re.compile(rb"[a-z_0-9]+(?: [a-z_0-9]+(?::[-+0-9.,e]+)?)*")
_TREE = re.compile(rb"Tree=(\d{1,9})\n")

_HEADER = {
    b"version", b"num_class", b"num_tree_per_iteration", b"label_index", b"max_feature_idx", b"objective",
    b"feature_names", b"monotone_constraints", b"feature_infos", b"tree_sizes",
}  # fmt: skip
_MAX_CLASSES = 1 << 16
# What a tree holds for each leaf and for each split: integers or numbers.
_LEAVES = {b"leaf_value": _FLOATS, b"leaf_weight": _FLOATS, b"leaf_count": _INTS}
_SPLITS = {
    b"split_feature": _INTS, b"split_gain": _FLOATS, b"threshold": _FLOATS, b"decision_type": _INTS,
    b"left_child": _INTS, b"right_child": _INTS, b"internal_value": _FLOATS, b"internal_weight": _FLOATS,
    b"internal_count": _FLOATS,
}  # fmt: skip
_NEEDED = (b"split_feature", b"threshold", b"left_child", b"right_child")
_OTHER = {b"num_leaves", b"num_cat", b"cat_boundaries", b"cat_threshold", b"is_linear", b"shrinkage"}
_LINEAR = {b"leaf_const", b"num_features", b"leaf_features", b"leaf_coeff"}


class _RefusedError(ValueError):
    """The reason is a sentence."""


def check_model(text: str) -> str | None:
    """Why LightGBM must not be given ``text``, or ``None``."""
    try:
        _check(text.encode("utf-8"))
    except _RefusedError as error:
        return f"the text of the model is malformed: {error}"
    except ValueError:
        return "the text of the model is malformed: a number or a line is not as LightGBM writes it"
    return None


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _RefusedError(reason)


def _check(data: bytes) -> None:
    _require(b"\0" not in data and b"\r" not in data, "it holds control characters")
    header, blank, _ = data.partition(b"\n\n")
    _require(bool(blank) and header.startswith(b"tree\n"), "it does not begin with its header")
    fields = _fields(header.split(b"\n")[1:])
    _require(fields.keys() <= _HEADER | {b"average_output", b"linear_tree"}, "its header has an unknown line")
    _require(b"tree_sizes" in fields, "it has no sizes of its trees (LightGBM before 2.1)")
    features = _header(fields)
    place = len(header) + 2
    sizes = fields[b"tree_sizes"].split() if fields[b"tree_sizes"] else []
    _require(all(_NUMBER.fullmatch(size) for size in sizes), "a size is not a number")
    for number, size in enumerate(map(int, sizes)):
        _require(0 < size <= len(data) - place, "a tree lies outside of the text")
        _tree(data[place : place + size], number, features)
        place += size
    per_iteration = int(fields[b"num_tree_per_iteration"])
    _require(len(sizes) % per_iteration == 0, "the number of trees does not fit")
    _require(data.startswith(b"end of trees\n", place), "something stands between the trees and their end")


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in lines:
        key, _, value = line.partition(b"=")
        _require(key not in found, "a line is repeated")
        found[key] = value
    return found


def _count(fields: dict[bytes, bytes], key: bytes, low: int, high: int) -> int:
    text = fields.get(key, b"")
    _require(_NUMBER.fullmatch(text) is not None and low <= int(text) <= high, f"{key.decode()} is out of range")
    return int(text)


def _header(fields: dict[bytes, bytes]) -> int:
    """Check the header; the number of features."""
    classes = _count(fields, b"num_class", 1, _MAX_CLASSES)
    _require(_count(fields, b"num_tree_per_iteration", 1, _MAX_CLASSES) in (1, classes), "the classes do not fit")
    _count(fields, b"label_index", 0, 1 << 30)
    features = _count(fields, b"max_feature_idx", 0, 1 << 30) + 1
    for key in (b"feature_names", b"feature_infos"):
        _require(len(fields.get(key, b"").split(b" ")) == features, f"there are not as many {key.decode()} as features")
    if fields.get(b"monotone_constraints"):
        _integers(fields[b"monotone_constraints"], features, -1, 1)
    objective = fields.get(b"objective")
    if objective is not None:
        _require(_OBJECTIVE.fullmatch(objective) is not None, "its objective is malformed")
        for part in objective.split(b" "):
            name, _, value = part.partition(b":")
            _require(name != b"num_class" or value == fields[b"num_class"], "the objective has other classes")
    return features


def _tree(block: bytes, number: int, features: int) -> None:
    start = _TREE.match(block)
    if start is None or int(start[1]) != number:
        raise _RefusedError("a tree does not begin where it should")
    body = block[start.end() :].rstrip(b"\n")
    _require(block.endswith(b"\n\n") and b"\n\n" not in body, "a tree does not end where it should")
    fields = _fields(body.split(b"\n"))
    _require(len(fields) <= 22, "a tree has too many lines")  # the reader stops there, inside the tree
    _require(fields.keys() <= _LEAVES.keys() | _SPLITS.keys() | _OTHER | _LINEAR, "a tree has an unknown line")
    _require(fields.get(b"is_linear", b"0") == b"0" and not fields.keys() & _LINEAR, "linear trees are not read")
    leaves = _count(fields, b"num_leaves", 1, 1 << 28)
    categorical = _count(fields, b"num_cat", 0, max(leaves - 1, 0))
    _numbers(fields, _LEAVES, leaves, {b"leaf_value"})
    if b"shrinkage" in fields:
        _numbers(fields, {b"shrinkage": _FLOATS}, 1, set())
    if leaves == 1:
        _require(categorical == 0, "a tree of one leaf has categories")
        return
    _require(all(key in fields for key in _NEEDED), "a tree has no splits")
    _numbers(fields, _SPLITS, leaves - 1, set())
    _integers(fields[b"split_feature"], leaves - 1, 0, features - 1)
    for key in (b"left_child", b"right_child"):
        children = _integers(fields[key], leaves - 1, -leaves, leaves - 2)
        _require(all(not 0 <= child <= place for place, child in enumerate(children)), "a tree runs in a circle")
    if categorical:
        _categories(fields, categorical)


def _numbers(fields: dict[bytes, bytes], characters: dict[bytes, bytes], count: int, needed: set[bytes]) -> None:
    """Every line has as many numbers as there are leaves, or splits."""
    for key, allowed in characters.items():
        text = fields.get(key)
        if not text:  # an older version, or a single leaf
            _require(key not in needed and (text is None or count == 1), f"{key.decode()} is missing")
            continue
        parts = _parts(text, allowed)
        _require(len(parts) == count, f"there are not as many numbers in {key.decode()} as there should be")
        if allowed is _FLOATS:
            deque(map(float, parts), 0)


def _parts(text: bytes, allowed: bytes) -> list[bytes]:
    """The numbers of a line, as text; one space between two."""
    parts = text.split(b" ")
    _require(not text.translate(None, allowed) and b"" not in parts, "a list of numbers is malformed")
    return parts


def _integers(text: bytes, count: int, low: int, high: int) -> list[int]:
    numbers = list(map(int, _parts(text, _INTS)))
    _require(len(numbers) == count and low <= min(numbers) and max(numbers) <= high, "an index is out of range")
    return numbers


def _categories(fields: dict[bytes, bytes], categorical: int) -> None:
    words = len(_parts(fields.get(b"cat_threshold", b""), _INTS))
    bounds = _integers(fields.get(b"cat_boundaries", b""), categorical + 1, 0, words)
    _require(bounds == sorted(bounds) and bounds[0] == 0 and bounds[-1] == words, "categories are out of range")
    _require(b"decision_type" in fields, "a tree has categories and no kinds of splits")
    kinds = fields[b"decision_type"].split(b" ")
    for kind, threshold in zip(kinds, fields[b"threshold"].split(b" "), strict=True):
        if int(kind) & 1:
            _require(_NUMBER.fullmatch(threshold) is not None and int(threshold) < categorical, "a category is missing")
