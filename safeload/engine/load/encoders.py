"""scikit-learn's encoders and vectorizers: they make sparse matrices with the columns that their state says.

scipy does not look where the indices of a matrix lie that it is given, and writes there when the matrix is made dense. Rule: a column
that an encoder can name is one of the columns that it says there are. What asks an object for a method by a name of the state is asked
for a method that predicts or transforms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from safeload.engine.load.believed import attributes, integer, need, need_array, need_inside

__all__ = ["CHECKS"]


def _need_places(places: Any, name: str) -> None:
    """A dict from words to columns."""
    need(type(places) is dict, f"{name} is not a dict")
    if not places:
        return
    columns = places.values()
    kinds = set(map(type, columns))
    need(all(kind is int or issubclass(kind, np.integer) for kind in kinds), f"{name} has a column that is no number")
    need(min(columns) >= 0 and max(columns) < len(places), f"{name} has a column that lies outside of its columns")


def _check_vocabulary(vectorizer: Any) -> None:
    vocabulary = attributes(vectorizer).get("vocabulary_")
    if vocabulary is not None:
        _need_places(vocabulary, "the vocabulary")


def _check_labels(binarizer: Any) -> None:
    cached = attributes(binarizer).get("_cached_dict")
    if cached is not None:
        _need_places(cached, "the table of labels")


def _check_one_hot(encoder: Any) -> None:
    """``transform`` adds the code of a category to the place where the columns of its feature begin."""
    known = attributes(encoder)
    if "_n_features_outs" not in known:
        return
    categories, outs = known.get("categories_"), known["_n_features_outs"]
    need(type(categories) is list and type(outs) is list and len(outs) == len(categories), "the columns are not a list")
    groups = known.get("_default_to_infrequent_mappings") if known.get("_infrequent_enabled") else None
    dropped = known.get("_drop_idx_after_grouping")
    for index, own in enumerate(categories):  # type: ignore[arg-type]
        mapping = None if groups is None else groups[index]
        if mapping is None:
            count = len(own)
        else:
            mapping = need_array(mapping, "a grouping", 1, "iu")
            need(len(mapping) == len(own), "a grouping is not one of these categories")
            count = int(mapping.max()) + 1 if len(mapping) else 0
            need_inside(mapping, count, "a group")
        drop = None if dropped is None else dropped[index]
        if drop is not None:
            need(0 <= integer(drop, "a dropped category") < count, "a dropped category is none")
            count -= 1
        need(
            count <= integer(outs[index], "a number of columns") <= len(own),
            "an encoder has fewer columns than categories",
        )


_PREDICTS = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples", "passthrough"}
)


def _need_methods(names: Any) -> None:
    for name in names if type(names) in (list, tuple) else [names]:
        need(
            name is None or (type(name) is str and name in _PREDICTS), "a method that does not predict would be called"
        )


def _check_stacking(estimator: Any) -> None:
    _need_methods(attributes(estimator).get("stack_method_"))


def _check_scorer(scorer: Any) -> None:
    _need_methods(attributes(scorer).get("_response_method"))


CHECKS = {
    "sklearn.feature_extraction.text:CountVectorizer": _check_vocabulary,
    "sklearn.feature_extraction._dict_vectorizer:DictVectorizer": _check_vocabulary,
    "sklearn.feature_extraction.dict_vectorizer:DictVectorizer": _check_vocabulary,
    "sklearn.preprocessing._label:MultiLabelBinarizer": _check_labels,
    "sklearn.preprocessing._encoders:OneHotEncoder": _check_one_hot,
    "sklearn.ensemble._stacking:_BaseStacking": _check_stacking,
    "sklearn.metrics._scorer:_Scorer": _check_scorer,
}
