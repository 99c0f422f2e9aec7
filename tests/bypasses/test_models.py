"""Models of other libraries with states that their authors never wrote. No library is needed: nothing gets that far."""

from __future__ import annotations

import json
import struct
from array import array
from typing import Any

import pytest
from pickle_parts import STOP, Raw, call, glob, literal, proto

import safeload


def made(name: str, state: Any) -> bytes:
    """An instance of the class ``name`` with a state."""
    module, _, attribute = name.rpartition(".")
    return glob(module, attribute) + b")\x81" + table(state) + b"b"


def table(state: Any) -> bytes:
    """The opcodes of a dict whose values may be opcodes."""
    if type(state) is not dict:
        return literal(state)
    return b"}(" + b"".join(literal(key) + literal(value) for key, value in state.items()) + b"u"


def reason(data: bytes, pack: str) -> str:
    """Why the pack does not let it pass."""
    with pytest.raises(safeload.PolicyError) as caught:
        safeload.loads(data, policy=["data", "numpy", pack])
    assert caught.value.code == "policy.argument"
    report = safeload.scan(data, policy=["data", "numpy", pack])
    assert report.verdict != "clean"
    return "\n".join(finding.message for finding in report.findings)


SYSTEM = Raw(glob("collections", "OrderedDict"))  # any global: what matters is that it is one
STRANGE = Raw(made("collections.OrderedDict", {}))
STATES = [
    ("statsmodels", "statsmodels.base.data.ModelData", [1], "not a dict"),
    ("statsmodels", "statsmodels.base.data.ModelData", {1: 2}, "not text"),
    ("statsmodels", "statsmodels.base.data.ModelData", {"restore_design_info": True, "formula": "y ~ x"}, "formula"),
    ("statsmodels", "statsmodels.base.data.ModelData", {"restore_model_spec": 1}, "formula"),
    ("statsmodels", "statsmodels.regression.linear_model.RegressionResultsWrapper", 5, "not a dict"),
    ("statsmodels", "statsmodels.regression.linear_model.RegressionResultsWrapper", {"_results": 5}, "something else"),
    ("statsmodels", "statsmodels.regression.linear_model.RegressionResultsWrapper", {"_results": STRANGE}, "something else"),
    ("statsmodels", "statsmodels.discrete.discrete_model.NegativeBinomial", {"_initialize": 5}, "__setstate__ calls"),
    ("networkx", "networkx.classes.reportviews.EdgeView", {}, "not that of a view"),
    ("networkx", "networkx.classes.reportviews.EdgeView", {"_graph": 5, "x": 6}, "not that of a view"),
    ("networkx", "networkx.classes.reportviews.EdgeView", {"_graph": 5}, "something else than a graph"),
    ("xgboost", "xgboost.core.Booster", 5, "attributes"),
    ("xgboost", "xgboost.core.Booster", {"handle": None, "set_param": 5}, "attributes"),
    ("xgboost", "xgboost.core.Booster", {"handle": None, "best_score": SYSTEM}, "global"),
    ("xgboost", "xgboost.core.Booster", {"best_score": 5}, "no booster"),
    ("xgboost", "xgboost.core.Booster", {"handle": 5}, "not a bytearray"),
    ("lightgbm", "lightgbm.basic.Booster", {"free_network": 5}, "attributes"),
    ("lightgbm", "lightgbm.basic.Booster", {"_handle": SYSTEM}, "global"),
    ("lightgbm", "lightgbm.basic.Booster", {"network": True}, "network"),
    ("lightgbm", "lightgbm.basic.Booster", {"handle": 140_000_000}, "not text"),
    ("lightgbm", "lightgbm.basic.Booster", {"handle": "a", "_handle": "b"}, "not text"),
    ("lightgbm", "lightgbm.basic.Booster", {"handle": "tree\n"}, ""),
    ("catboost", "catboost.core.CatBoost", 5, "parameters"),
    ("catboost", "catboost.core.CatBoost", {1: 5}, "not text"),
    ("catboost", "catboost.core.CatBoost", {"_test_evals": 5}, "evaluations"),
    ("catboost", "catboost.core.CatBoost", {"__model": b"CBM2" + bytes(40)}, "binary format"),
    ("catboost", "catboost.core.CatBoost", {"__model": "CBM1"}, "binary format"),
    ("catboost", "catboost.core.CatBoost", {"__model": b"CBM1\xff\xff\x00\x00" + bytes(40)}, "too early"),
]  # fmt: skip


@pytest.mark.parametrize(("pack", "name", "state", "expected"), STATES)
def test_states(pack: str, name: str, state: Any, expected: str) -> None:
    """``__setstate__`` and the C++ parsers behind it never see a state that the library does not write."""
    assert expected in reason(proto(2) + made(name, state) + STOP, pack)


def booster(data: bytes) -> bytes:
    """A booster of XGBoost with a serialized model, in protocol 5."""
    handle = Raw(b"\x96" + struct.pack("<Q", len(data)) + data)
    return proto(5) + made("xgboost.core.Booster", {"handle": handle}) + STOP


def text(value: bytes) -> bytes:
    """A key of UBJSON, or with ``S`` before it a text."""
    return b"L" + struct.pack(">q", len(value)) + value


DOCUMENTS = {
    "empty": b"",
    "old binary format": b"binf" + bytes(100),
    "nothing in it": b"{}",
    "cut": b"{L",
    "long key": b"{L" + struct.pack(">q", 1 << 40) + b"a",
    "negative length": b"{L" + struct.pack(">q", -1) + b"}",
    "length of another type": b"{" + text(b"Model") + b"Si\x05hello}",
    "unknown type": b"{" + text(b"Model") + b"Q}",
    "repeated key": b"{" + text(b"Model") + b"T" + text(b"Model") + b"F}",
    "no end": b"{" + text(b"Model") + b"T",
    "something behind": b"{" + text(b"Model") + b"N}{}",
    "too many items": b"{" + text(b"Model") + b"[#L" + struct.pack(">q", 1 << 40) + b"T}",
    "cut numbers": b"{" + text(b"Model") + b"[$d#L" + struct.pack(">q", 1 << 40) + bytes(8) + b"}",
    "numbers of unknown type": b"{" + text(b"Model") + b"[$Q#L" + bytes(8) + b"}",
    "numbers without a count": b"{" + text(b"Model") + b"[$d]}",
    "open list": b"{" + text(b"Model") + b"[TTi\x05",
    "deep": b"{" + text(b"Model") + b"[" * 100_000,
    "deep tables": (b"{" + text(b"a")) * 100_000,
    "other keys": b"{" + text(b"Model") + b"[i\x01d" + bytes(4) + b"]}",
    "JSON, deep": b'{"Model": ' + b"[" * 100_000,
    "JSON, repeated key": b'{"Model": 1, "Model": 2}',
    "JSON, no model": b'{"Config": {}}',
    "JSON, of other types": b'{"Config": {}, "Model": {"learner": []}}',
    "JSON, configuration": b'{"Config": {"a": [null]}, "Model": {"learner": {}}}',
    "JSON, not UTF-8": b'{"\xff": 1}',
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_boosters_of_xgboost(name: str) -> None:
    """Its reader trusts the buffer (a cut one ends the process), so nothing but a whole document gets there."""
    message = reason(booster(DOCUMENTS[name]), "xgboost")
    assert "malformed" in message


def model(**changes: Any) -> bytes:
    """The smallest model with one tree of one leaf, as JSON, with other parts in their places."""
    tree = {
        "id": 0, "tree_param": {"num_nodes": "1", "num_deleted": "0", "size_leaf_vector": "1"},
        "left_children": [-1], "right_children": [-1], "parents": [2147483647], "split_indices": [0],
        "split_conditions": [0.5], "base_weights": [0.5], "default_left": [0], "loss_changes": [0.0], "sum_hessian": [1.0],
        "split_type": [0], "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
    }  # fmt: skip
    tree |= {key: value for key, value in changes.items() if key in tree}
    forest = {"gbtree_model_param": {"num_trees": "1"}, "tree_info": [0], "trees": [tree]}
    forest |= {key: value for key, value in changes.items() if key in forest}
    learner = {
        "learner_model_param": {"num_class": "0", "num_feature": "3"},
        "objective": {"name": "reg:squarederror"},
        "gradient_booster": {"name": "gbtree", "model": forest},
    }
    learner |= {
        key: value for key, value in changes.items() if key in ("attributes", "feature_names", "gradient_booster")
    }
    return json.dumps({"Config": {}, "Model": {"learner": learner}}).encode()


def test_a_model_of_xgboost_passes() -> None:
    """The test below is about what differs from this one."""
    assert safeload.scan(booster(model()), policy=["data", "xgboost"]).verdict == "clean"


def test_flags_of_old_versions_pass() -> None:
    """XGBoost 1.0 to 1.5 wrote the directions as truth values; only those, and all of them."""
    old = safeload.scan(booster(model(default_left=[True])), policy=["data", "xgboost"])
    assert old.verdict == "clean"
    assert "malformed" in reason(booster(model(base_weights=[True])), "xgboost")


MODELS = [
    {"left_children": [5]},
    {"left_children": ["0"]},
    {"right_children": [-2]},
    {"left_children": []},
    {"parents": [0]},
    {"split_indices": [3]},
    {"split_conditions": []},
    {"split_conditions": [None]},
    {"default_left": [True, 1]},
    {"default_left": []},
    {"split_type": [2]},
    {"id": 1},
    {"id": "0"},
    {"tree_param": {"num_nodes": "2"}},
    {"tree_param": {"num_nodes": "9" * 30}},
    {"tree_param": {"num_nodes": "1", "size_leaf_vector": "9"}},
    {"trees": []},
    {"trees": {}},
    {"tree_info": [1]},
    {"tree_info": []},
    {"iteration_indptr": [1, 0]},
    {"attributes": {"a": 1}},
    {"feature_names": [1]},
    {"gradient_booster": {"name": "other"}},
    {"gradient_booster": {"name": "gblinear", "model": {"weights": []}}},
    {"gradient_booster": {"name": "dart", "gbtree": {"model": {}}}},
    {"gradient_booster": 5},
]


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_models_of_xgboost(changes: dict[str, Any]) -> None:
    """Indices and counts that do not fit together are read and written beyond the arrays of a tree."""
    if "iteration_indptr" in changes:
        data = model().replace(b'"tree_info"', b'"iteration_indptr": [1, 0], "tree_info"')
    else:
        data = model(**changes)
    assert "malformed" in reason(booster(data), "xgboost")


def test_one_buffer_in_many_boosters() -> None:
    """A small file must not become a thousand large models."""
    data = model()
    shared = Raw(b"\x96" + struct.pack("<Q", len(data)) + data + b"\x94")
    again = Raw(b"h\x00")
    stream = proto(5) + b"](" + b"".join(
        made("xgboost.core.Booster", {"handle": handle}) for handle in (shared, again)) + b"e" + STOP  # fmt: skip
    assert "bytearray of its own" in reason(stream, "xgboost")


@pytest.mark.parametrize("way", ["encode", "bytearray of encode"])
def test_old_spellings_of_buffers(way: str) -> None:
    """What protocols 2 to 4 write for a bytearray is judged by its bytes too; other encodings are not understood."""
    for data, encoding, expected in (
        (model(), "latin1", ""),
        (b"{", "latin1", "malformed"),
        (model(), "utf-16", "bytearray of its own"),
        ("{Ā".encode(), "latin1", "bytearray of its own"),
    ):
        text = data.decode("utf-8")
        handle = call(glob("_codecs", "encode"), text, encoding)
        if way != "encode":
            handle = call(glob("builtins", "bytearray"), Raw(handle))
        stream = proto(3) + made("xgboost.core.Booster", {"handle": Raw(handle)}) + STOP
        if data == model() and encoding == "latin1":
            assert safeload.scan(stream, policy=["data", "xgboost"]).verdict == "clean"
        else:
            assert expected in reason(stream, "xgboost")


def test_wrapped_results_with_private_attributes() -> None:
    """They decide where the wrapper looks for everything else."""
    results = Raw(made("statsmodels.regression.linear_model.RegressionResults", {"params": 5}))
    name = "statsmodels.regression.linear_model.RegressionResultsWrapper"
    for more, expected in (({"_wrap_attrs": 5}, "private"), ({"a": SYSTEM}, "global")):
        assert expected in reason(proto(2) + made(name, {"_results": results, **more}) + STOP, "statsmodels")


class Flat:
    """A flatbuffer: tables are dicts by number of field, texts ``str``, vectors of numbers ``array``, vectors of parts lists."""

    def __init__(self, root: dict[int, Any]) -> None:
        self.data = bytearray(4)
        self._places: dict[int, int] = {}
        self._refer(0, root)

    def _refer(self, place: int, part: Any) -> None:
        """Write a part, once, and its distance at ``place``."""
        target = self._places.get(id(part)) or self._write(part)
        struct.pack_into("<I", self.data, place, target - place)

    def _write(self, part: Any) -> int:
        if isinstance(part, dict):
            size = max(part, default=-1) + 1
            self.data += struct.pack(
                f"<HH{size}H", 4 + 2 * size, 4 + 4 * size, *(4 + 4 * i if i in part else 0 for i in range(size))
            )
            start = self._places[id(part)] = len(self.data)
            self.data += struct.pack("<i", 4 + 2 * size) + bytes(4 * size)
            for index, value in part.items():
                if type(value) is int:
                    struct.pack_into("<i", self.data, start + 4 + 4 * index, value)
                else:
                    self._refer(start + 4 + 4 * index, value)
            return start
        start = self._places[id(part)] = len(self.data)
        self.data += struct.pack("<I", len(part))
        if isinstance(part, list):
            self.data += bytes(4 * len(part))
            for index, item in enumerate(part):
                self._refer(start + 4 + 4 * index, item)
        else:
            self.data += part.encode() if isinstance(part, str) else part.tobytes()
        return start


def catboost_file(**changes: Any) -> bytes:
    """A model of CatBoost with one tree of one split, and two leaves."""
    fields = {
        "dimension": 1,
        "splits": [0],
        "sizes": [1],
        "starts": [0],
        "values": [0.0, 1.0],
        "floats": [{3: array("f", [0.5])}],
    }
    fields |= changes
    trees: dict[int, Any] = {0: fields["dimension"], 5: fields["floats"], 8: array("d", fields["values"])}
    trees |= {index: array("i", fields[name]) for index, name in ((1, "splits"), (2, "sizes"), (3, "starts"))}
    trees |= {index: array("I", fields[name]) for index, name in ((10, "steps"), (11, "nodes")) if name in fields}
    data = bytes(Flat({0: "FlabuffersModel_v1", 1: trees}).data)
    return b"CBM1" + struct.pack("<I", len(data)) + data


BORDERS = {3: array("f", [0.5] * 1_000)}
CATBOOST = {
    "a split behind the borders": ({"splits": [10**6]}, "split does not exist"),
    "a negative split": ({"splits": [-1]}, "split does not exist"),
    "a tree behind the splits": ({"starts": [10**6]}, "outside of the splits"),
    "a tree before the splits": ({"starts": [-1]}, "outside of the splits"),
    "a negative size": ({"sizes": [-1]}, "outside of the splits"),
    "a deep tree": ({"splits": [0] * 40, "sizes": [40]}, "too deep"),
    "a tree without a beginning": ({"starts": []}, "beginning"),
    "too few leaves": ({"values": [0.0]}, "more leaves"),
    "no dimension": ({"dimension": 0}, "dimension"),
    "a negative dimension": ({"dimension": -1}, "dimension"),
    "a node that leads outside": ({"steps": [0x10001], "nodes": [0]}, "out of the trees"),
    "a leaf outside": ({"steps": [0], "nodes": [10**6]}, "no value"),
    "a node too few": ({"steps": [0], "nodes": []}, "as many nodes"),
    "shared borders": ({"floats": [BORDERS] * 10_000}, "more than once"),  # copied for each
}


@pytest.mark.parametrize("case", CATBOOST)
def test_places_in_catboost_models(case: str) -> None:
    """CatBoost uses splits, nodes and trees as places in lists without a look: a changed number ends the process."""
    from safeload.policy.models.catboost import check_model

    changes, expected = CATBOOST[case]
    data = catboost_file(**changes)
    assert expected in str(check_model(data))
    assert expected in reason(proto(2) + made("catboost.core.CatBoost", {"__model": data}) + STOP, "catboost")


def test_whole_catboost_models() -> None:
    """The same model unchanged is one that CatBoost is given, and no broken file of it stops the check with another error."""
    from safeload.policy.models.catboost import check_model

    data = catboost_file()
    assert check_model(data) is None
    for end in range(len(data)):
        assert check_model(data[:end]) is not None
    for place in range(8, len(data)):
        for value in (0, 1, 127, 255):
            check_model(data[:place] + bytes([value]) + data[place + 1 :])
