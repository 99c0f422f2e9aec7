"""Every renderer of the registry, and what the formats of a scan promise."""

from __future__ import annotations

import json

import pytest

from safeload.cli.reports.renderers import json_format, renderers, text
from safeload.cli.reports.result import ScanResult
from safeload.findings import Finding, Report, Severity, Verdict

BAD = Finding("policy.not-allowed", Severity.CRITICAL, "the pickle imports os.system", "stream 0", "os.system")
LIMIT = Finding("limit.memo", Severity.HIGH, "too much")
HOSTILE = "a\x1b[31m\n::error::\u202e##[error].pkl"


def scan(*reports: Report, not_entered: tuple[str, ...] = ()) -> ScanResult:
    return ScanResult(reports, "1.2.3", "ab" * 32, not_entered)


EXAMPLE = scan(
    Report(Verdict.CLEAN, container="pickle", path="a.pkl", sha256="00" * 32, size=3),
    Report(Verdict.MALICIOUS, (BAD,), ("os.system",), container="pickle", path=HOSTILE),
    Report(
        Verdict.UNKNOWN,
        container="zip",
        path="c.zip",
        members=(Report(Verdict.MALICIOUS, (BAD,), path="inner\n.pkl"), Report(Verdict.CLEAN, path="ok.pkl")),
    ),
    Report(Verdict.ERROR, (Finding("scan.unreadable", Severity.MEDIUM, "permission denied"),), path="d"),
    not_entered=(".git",),
)


@pytest.mark.parametrize("name", list(renderers()))
def test_every_renderer_is_deterministic_ends_its_last_line_and_tells_hostile_names_apart(name):
    """A new format is one file, and this test is what it has to hold."""
    renderer = renderers()[name]
    assert name == renderer.FORMAT
    assert renderer.SUMMARY
    for result in (EXAMPLE, scan()):
        out = renderer.render(result)
        assert out == renderer.render(result)
        assert out.endswith("\n")
        assert all(char == "\n" or char.isprintable() for char in out)
        assert not any(line.lstrip().startswith("::error::") for line in out.splitlines())
        assert "##[" not in out or name == "json"


def test_text_is_the_first_format():
    """It is the default, and the first in the help."""
    assert next(iter(renderers())) == "text"


def test_json_has_the_documented_keys_and_no_others():
    """Programs outside this repository read these keys."""
    data = json.loads(json_format.render(EXAMPLE))
    assert data["schema_version"] == 1
    assert data["tool"] == {"name": "safeload", "version": "1.2.3", "policy": "ab" * 32}
    assert data["summary"] == {"clean": 1, "skipped": 0, "unknown": 1, "malformed": 0, "error": 1, "malicious": 1}
    keys = {"path", "sha256", "size", "container", "verdict", "findings", "globals", "members"}
    assert all(artifact.keys() == keys for artifact in data["artifacts"])
    assert data["artifacts"][1]["path"] == HOSTILE
    assert data["artifacts"][2]["members"][0].keys() == keys
    assert data["artifacts"][1]["findings"] == [
        {
            "rule_id": "policy.not-allowed",
            "severity": "critical",
            "message": "the pickle imports os.system",
            "location": "stream 0",
            "evidence": "os.system",
        }
    ]


def test_text_names_the_worst_and_counts():
    """The verdict is the first word of an artifact's block, and the summary has the worst first."""
    out = text.render(EXAMPLE)
    assert "malicious    a\\x1b[31m\\n::error::\\u202e#\\x23[error].pkl\n" in out
    assert "critical the pickle imports os.system [policy.not-allowed, stream 0]" in out
    assert "malicious inside: inner\\n.pkl" in out
    assert "not scanned  d\n             permission denied\n" in out
    assert "3 artifacts scanned: 1 malicious, 1 unknown, 1 clean" in out
    assert "1 file not scanned" in out
    assert ".git" in out


def test_nothing_scanned_is_said_and_not_called_fine():
    """To say "no issues found" after looking at nothing is how other scanners mislead."""
    assert text.render(scan()) == "no artifact was scanned: nothing here was judged\n"


def test_quiet_leaves_clean_artifacts_out():
    """In a large tree only the others matter."""
    shown = "".join(line.text for line in text.document(EXAMPLE, quiet=True))
    assert "a.pkl" not in shown
    assert "not scanned" in shown


def test_many_findings_are_cut_and_counted():
    """One hostile artifact must not bury the others."""
    findings = tuple(Finding("x.y", Severity.HIGH, f"message {number}") for number in range(50))
    out = text.render(scan(Report(Verdict.UNKNOWN, findings, path="p")))
    assert out.count("message") == 6
    assert "... and 44 more findings" in out


def test_advice_below_a_message_is_left_to_inspect():
    """The lines to paste into a policy file belong to one artifact that a person looks at."""
    finding = Finding("p", Severity.HIGH, "not allowed. If harmless, add:\n[[allow]]\nname = 1")
    out = text.render(scan(Report(Verdict.UNKNOWN, (finding,), path="p")))
    assert "high     not allowed. [p]" in out
    assert "[[allow]]" not in out


@pytest.mark.parametrize(
    ("report", "scanned"),
    [
        (Report(Verdict.CLEAN), True),
        (Report(Verdict.MALFORMED), True),
        (Report(Verdict.ERROR), False),
        (Report(Verdict.SKIPPED), True),
        (Report(Verdict.SKIPPED, container="git-lfs-pointer"), False),
        (Report(Verdict.SKIPPED, container="envelope"), False),
        (Report(Verdict.UNKNOWN, (LIMIT,)), False),
        (Report(Verdict.UNKNOWN, (LIMIT, BAD)), True),
        (Report(Verdict.UNKNOWN), True),
        (Report(Verdict.MALICIOUS, (LIMIT, BAD)), True),
        (Report(Verdict.CLEAN, members=(Report(Verdict.ERROR),)), False),
    ],
)
def test_not_looked_at_is_never_scanned(report, scanned):
    """Over a limit, not fetched, not understood, no key: each is *not scanned*, unless worse was seen."""
    assert report.was_scanned is scanned


def test_only_files_of_no_format_are_no_artifacts():
    """Those alone may be left out of a listing."""
    empty = Finding("format.empty", Severity.LOW, "empty")
    assert Report(Verdict.SKIPPED).is_no_artifact
    assert Report(Verdict.MALFORMED, (empty,)).is_no_artifact
    assert not Report(Verdict.SKIPPED, container="zip").is_no_artifact
    sidecar = {"unverified_layout": "DETACHED", "unverified_total_size": 128}
    assert Report(Verdict.SKIPPED, container="envelope", envelope=sidecar, size=128).is_no_artifact
    assert not Report(Verdict.SKIPPED, container="envelope", envelope=sidecar, size=129).is_no_artifact
    assert not Report(Verdict.MALFORMED).is_no_artifact
