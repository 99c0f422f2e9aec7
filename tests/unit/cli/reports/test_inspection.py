"""``inspect`` for people: complete, and honest about what is not verified."""

from __future__ import annotations

from safeload.cli.reports.document import plain
from safeload.cli.reports.inspection import inspection
from safeload.findings import Finding, Report, Severity, StreamInfo, Verdict


def shown(report: Report) -> str:
    return plain(inspection(report))


def test_everything_that_is_known_is_shown():
    """Container, streams, operations, globals, findings, program, members."""
    report = Report(
        Verdict.UNKNOWN,
        (Finding("a.b", Severity.HIGH, "bad:\n[[allow]]", "stream 0", "seen-it"), Finding("n", Severity.INFO, "fyi")),
        ("os.system",),
        (StreamInfo(0, 1234, 4, ("call os.system",), "ab" * 32), StreamInfo(1234, 2, 2)),
        container="pickle",
        sha256="cd" * 32,
        size=5 << 20,
        source_code="from os import system\nresult = system()\n",
        path="x.pkl",
        members=(Report(Verdict.MALICIOUS, path="inner"),),
    )
    out = shown(report)
    for text in (
        "unknown: not allowed by the policy",
        "5,242,880 bytes (5.0 MiB)",
        "cd" * 32,
        "streams (2)",
        "protocol 4, offset 0, 1,234 bytes, program abababababababab",
        "call os.system",
        "pure data",
        "globals (1)",
        "findings (1)",
        "high     a.b  (stream 0)",
        "| [[allow]]",
        "seen: seen-it",
        "notes (1)",
        "   2 | result = system()",
        "x.pkl -> inner",
    ):
        assert text in out


def test_unverified_fields_are_labelled_each():
    """A field read alone, or by grep, still says that nobody vouches for it."""
    envelope = {
        "verified": False,
        "unverified_suite": "ed25519",
        "unverified_created_us": 1,
        "unverified_expires_us": 0,
    }
    out = shown(Report(Verdict.SKIPPED, container="envelope", envelope=envelope))
    assert "NOT VERIFIED" in out
    assert "unverified suite           ed25519" in out
    assert "unverified created         1970-01-01 00:00:00 UTC" in out
    assert "unverified expires         never" in out
    assert "not scanned" in out


def test_a_verified_envelope_shows_signer_and_claims():
    """What the signature covers, without the word unverified."""
    envelope = {
        "verified": True,
        "key_id": "ab" * 16,
        "expires_us": 2**63,
        "claims": {"manifest": ["call a.b"], "l": {"p": "3"}},
    }
    out = shown(Report(Verdict.CLEAN, container="envelope", envelope=envelope))
    assert "verified: the signature holds" in out
    assert "unverified" not in out
    assert "manifest = call a.b" in out
    assert "l = p=3" in out
    assert "microseconds after 1970" in out


def test_hostile_text_cannot_leave_its_place():
    """Names, code, claims and paths: each is one line, behind words or a gutter of ours."""
    hostile = "\x1b[2J\r::error::x\n##[y]"
    envelope = {"verified": True, hostile: hostile, "claims": {hostile: [hostile, {hostile: hostile}]}}
    report = Report(
        Verdict.MALICIOUS,
        (Finding(hostile, Severity.HIGH, hostile, hostile, hostile),),
        (hostile,),
        (StreamInfo(0, 1, 4, (hostile,), hostile),),
        container=hostile,
        envelope=envelope,
        source_code=hostile,
        path=hostile,
    )
    out = shown(report)
    assert all(char == "\n" or char.isprintable() for char in out)
    assert "##[" not in out
    assert not any(line.lstrip().startswith("::") for line in out.splitlines())


def test_a_long_mapping_is_cut():
    """A claim with thousands of entries must not scroll the verdict away."""
    claims = {str(number): number for number in range(100)}
    out = shown(Report(Verdict.CLEAN, envelope={"verified": True, "claims": claims}))
    assert "60 more" in out
