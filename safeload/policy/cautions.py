"""What a clean report says about names whose objects a load leaves as they are, and a later use may not.

A load is harmless under every pack. What people do with an object afterwards is not always: a library's C++ code may follow the
trees of a model that nobody checked, a document may name files to read. A pack of such objects says so in its field ``caution``, and a
clean report repeats it. Rule: a note never changes a verdict.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

from safeload.findings import Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.findings import Report
    from safeload.policy.model import Policy

__all__ = ["with_cautions"]


def with_cautions(report: Report, policy: Policy) -> Report:
    """``report`` with a note for each pack of ``policy`` that has a caution about a name in it; members likewise."""
    if report.verdict is not Verdict.CLEAN:
        return report
    members = tuple(with_cautions(member, policy) for member in report.members)
    notes = tuple(_notes(report.globals, policy.pack_names))
    if not notes and members == report.members:
        return report
    return dataclasses.replace(report, findings=(*report.findings, *notes), members=members)


def _notes(names: Iterable[str], packs: tuple[str, ...]) -> Iterable[Finding]:
    seen = frozenset(names)
    for pack, caution, concerned in _cautious(packs) if seen else ():
        if not concerned.isdisjoint(seen):
            yield Finding("policy.caution", Severity.INFO, caution, evidence=pack, verdict=Verdict.CLEAN)


@functools.lru_cache(maxsize=64)
def _cautious(packs: tuple[str, ...]) -> tuple[tuple[str, str, frozenset[str]], ...]:
    """The packs that have a caution, with it and with the names that it is about as reports spell them."""
    from safeload.policy.packs import load_pack

    loaded = [load_pack(pack) for pack in packs]
    return tuple(
        (
            pack.name,
            pack.caution,
            frozenset(name.replace(":", ".") for name in pack.rules if name.startswith(pack.caution_for or ("",))),
        )
        for pack in loaded
        if pack.caution
    )
