"""A check before a merge: scan what a change adds, annotate it, and let only clean artifacts pass.

``python examples/scan_before_merge.py BASE`` scans the files that differ from the commit BASE in the current git
repository; with ``--files PATH...`` it scans the files named. Nothing is loaded. The exit code is 0 if all are clean,
1 if one is not, 3 if one could not be scanned.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import safeload

# The project's policy comes from the base of the change, never from the change: or a change could allow itself.
POLICY_FILE = "safeload.toml"


def changed_files(base: str) -> list[Path]:
    """What the change adds or modifies."""
    command = ["git", "diff", "--name-only", "-z", "--diff-filter=AMR", base]
    listed = subprocess.run(command, check=True, capture_output=True).stdout
    return [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]


def policy_of(base: str, folder: Path) -> list[str]:
    """The policy as it was at ``base``; the shipped packs if there was none."""
    shown = subprocess.run(["git", "show", f"{base}:{POLICY_FILE}"], capture_output=True, check=False)
    if shown.returncode:
        return ["data", "numpy", "sklearn"]
    path = folder / "base-policy.toml"
    path.write_bytes(shown.stdout)
    return [str(path)]


def plain(text: str) -> str:
    """A name or message as ASCII on one line: it comes from the change, and must not give the runner a command."""
    shown = text.encode("unicode_escape").decode().replace("##", "#.#")
    return shown if not shown.lstrip().startswith(":") else shown.replace(":", "%3A", 1)


def annotation(level: str, path: Path, message: str, title: str = "") -> str:
    """A workflow command, escaped as GitHub's runner reads it: a file name may hold line breaks, colons and commas."""

    def value(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    def option(text: str) -> str:
        return value(text).replace(":", "%3A").replace(",", "%2C")

    file = option(os.fsencode(path).decode(errors="replace"))
    return f"::{level} file={file}{f',title={option(plain(title))}' if title else ''}::{value(plain(message))}"


def annotate(path: Path, report: safeload.Report, inside: str = "") -> None:
    """One annotation per finding, beside the file; of what an archive holds, beside the archive."""
    for finding in report.findings:
        if finding.verdict != "clean":
            print(annotation("error", path, inside + finding.message.splitlines()[0], finding.rule_id))
    for member in report.members:
        annotate(path, member, f"{inside}in {member.path or member.container}: ")


def check(paths: list[Path], policy: list[str]) -> int:
    """Scan every file; the exit code."""
    worst = 0
    for path in paths:
        try:
            report = safeload.scan(path, policy=policy)
        except (OSError, safeload.LimitExceededError) as error:
            print(annotation("warning", path, f"not scanned: {error}"))
            worst = max(worst, 3) if worst != 1 else 1
            continue
        if report.container == "unknown":
            continue  # source code, text, an image: no artifact
        print(f"{plain(str(path))}: {report.verdict}")
        if report.verdict != "clean":
            annotate(path, report)
            worst = 1
    return worst


def main() -> int:
    """Parse the command line and scan."""
    parser = argparse.ArgumentParser(description="Scan what a change adds.")
    parser.add_argument("base", nargs="?", default="HEAD", help="the commit that the change is compared with")
    parser.add_argument("--files", nargs="+", type=Path, help="scan these files instead")
    options = parser.parse_args()
    if options.files:
        return check(options.files, ["data", "numpy", "sklearn"])
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return check(changed_files(options.base), policy_of(options.base, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
