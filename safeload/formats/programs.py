"""Recognises archives that their usual loader treats as a program: torch.export's, TorchServe's and NeMo's.

Rule: the mark is what the loader itself looks for. Without it, a torch.export archive is JSON and tensors, all of it harmless to
read, and torch.export.load evaluates expressions of that JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeload.findings import Finding, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["program_finding", "unfinished_finding"]

_WHAT = {
    "pt2": "a torch.export archive: torch.export.load evaluates expressions that stand in its JSON",
    "mar": "a TorchServe archive: TorchServe runs the handler that it names",
    "nemo": "a NeMo archive: NeMo instantiates the classes that its model_config.yaml names",
}
_PT2 = frozenset({"archive_format", "serialized_exported_program.json"})


def _mark(name: str) -> str | None:
    # Readers differ in whether letters' case counts, and in what stands before a name.
    parts = [part for part in name.lower().replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return None
    if parts[-1] in _PT2 or ("models" in parts[:-1] and parts[-1].endswith(".json")):
        return "pt2"
    if parts[-2:] == ["mar-inf", "manifest.json"]:
        return "mar"
    return "nemo" if parts[-1] == "model_config.yaml" else None


def program_finding(names: Iterable[str]) -> Finding | None:
    """What is to be said of an archive with files of these ``names``; ``None`` if it is no program by its marks."""
    kind = next((kind for kind in map(_mark, names) if kind is not None), None)
    if kind is None:
        return None
    message = f"{_WHAT[kind]}. safeload does not judge that and does not load it; load single files of it with member="
    return Finding("format.unsupported", Severity.MEDIUM, message, verdict=Verdict.SKIPPED)


def unfinished_finding(names: Sequence[str]) -> Finding | None:
    """What is to be said of an archive that ``torch.save`` has begun and not ended: its marks are there, the pickle is not."""
    root = names[0].partition("/")[0] if names else ""
    own = {name[len(root) + 1 :] for name in names if name.startswith(f"{root}/")}
    if (
        not root
        or {"data.pkl", "constants.pkl"} & own
        or not (".data/serialization_id" in own or {"version", "byteorder"} <= own)
    ):
        return None
    message = "a PyTorch file whose saving did not end: data.pkl is missing. Save it again, or fetch the complete file"
    return Finding("format.truncated", Severity.MEDIUM, message, verdict=Verdict.MALFORMED)
