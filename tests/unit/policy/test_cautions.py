"""Packs that say what a use of loaded objects can still do, and reports that repeat it."""

from __future__ import annotations

import pickle

import pytest

import safeload
from safeload.findings import Report, Verdict
from safeload.policy import Policy
from safeload.policy.cautions import with_cautions
from safeload.policy.packs import _caution, load_pack, pack_names

NODE = "docutils.nodes.document"


def rule_ids(report: Report) -> list[str]:
    return [finding.rule_id for finding in report.findings]


def test_a_clean_report_carries_the_note():
    """The pack's own words, as information: the verdict stays clean."""
    report = with_cautions(Report(Verdict.CLEAN, globals=(NODE,)), Policy.packs("docutils"))
    (note,) = report.findings
    assert (note.rule_id, str(note.severity), note.verdict, note.evidence) == (
        "policy.caution",
        "info",
        Verdict.CLEAN,
        "docutils",
    )
    assert note.message == load_pack("docutils").caution
    assert report.verdict is Verdict.CLEAN


def test_only_for_names_of_the_pack():
    """Other names, another policy, and refusals get none."""
    policy = Policy.packs("docutils", "torch")
    assert not with_cautions(Report(Verdict.CLEAN, globals=("collections.OrderedDict",)), policy).findings
    assert not with_cautions(Report(Verdict.CLEAN, globals=(NODE,)), Policy.packs("sklearn")).findings
    assert not with_cautions(Report(Verdict.UNKNOWN, globals=(NODE,)), policy).findings
    assert not with_cautions(Report(Verdict.CLEAN, globals=("torch._utils._rebuild_tensor_v2",)), policy).findings
    assert with_cautions(Report(Verdict.CLEAN, globals=("torch.nn.modules.linear.Linear",)), policy).findings


def test_members_get_theirs():
    """A report of a container says it where the name is."""
    member = Report(Verdict.CLEAN, globals=(NODE,))
    report = with_cautions(Report(Verdict.CLEAN, members=(member,)), Policy.packs("docutils"))
    assert rule_ids(report) == []
    assert rule_ids(report.members[0]) == ["policy.caution"]


def test_a_scan_says_so():
    """By the way that people take."""
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.XGBRegressor(n_estimators=1).fit([[0.0], [1.0]], [0.0, 1.0])
    report = safeload.scan(pickle.dumps(booster), policy=["xgboost"])
    assert report.verdict == "clean"
    assert "policy.caution" in rule_ids(report)


@pytest.mark.parametrize(
    "head", [{"cuation": "x"}, {"caution": 5}, {"caution": "a\nb"}, {"caution": "x" * 301}, {"caution_for": ["torch."]}]
)
def test_a_misspelled_head_is_an_error(head):
    """A warning under another name would be one that nobody sees."""
    with pytest.raises(ValueError, match="malformed head"):
        _caution("some", head)


def test_every_head_is_well_formed():
    """Cautions are sentences, and are about names of their pack."""
    cautious = [load_pack(name) for name in pack_names() if load_pack(name).caution]
    assert {pack.name for pack in cautious} >= {"xgboost", "lightgbm", "catboost", "docutils", "torch"}
    for pack in cautious:
        assert pack.caution.endswith(".")
        for start in pack.caution_for:
            assert any(rule.startswith(start) for rule in pack.rules)
