"""What README shows is what happens.

Each section (``## …``) is a session in an empty directory of its own. Its blocks run in order: ``python`` blocks
each in a new interpreter, ``console`` blocks command by command in a shell. A ``text`` block right after a ``python``
block is its output. In an output ``...`` stands for any text within a line, and a line ``...`` for any lines.
``toml`` blocks whose first line is ``# <file name>`` are written to that file. The two ``sh`` blocks are what a
person runs from a fresh clone: ``.ci/run`` runs the one, ``test_examples.py`` the program of the other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import safeload

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXECUTED = {"python", "console", "text", "toml"}


class Block(NamedTuple):
    """A fenced block: its language, its text and the line it starts at."""

    language: str
    text: str
    line: int


def sections() -> dict[str, list[Block]]:
    """The blocks of every section that has some."""
    text = README.read_text(encoding="utf-8")
    found: dict[str, list[Block]] = {}
    starts = [(match.start(), match[1]) for match in re.finditer(r"^## (.+)$", text, re.MULTILINE)]
    for match in BLOCK.finditer(text):
        title = next((title for start, title in reversed(starts) if start < match.start()), "Top")
        found.setdefault(title, []).append(Block(match[1], match[2], text.count("\n", 0, match.start()) + 1))
    return found


def environment(folder: Path) -> dict[str, str]:
    """As a person has it: the commands of this installation first, an 80-column terminal without colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAFELOAD", "PYTEST", "COV_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1", "HOME": str(folder), "LC_ALL": "C.UTF-8"}


def pattern_of(expected: str) -> re.Pattern[str]:
    """The pattern that an expected output stands for."""
    parts = []
    for line in expected.splitlines():
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(r"[^\n]*".join(re.escape(piece) for piece in line.rstrip().split("...")) + r"[ ]*\n")
    return re.compile("".join(parts))


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block with what each prints."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (found[-1][0] + line[2:], "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def run_console(block: Block, folder: Path) -> None:
    """Run every command in a shell of its own."""
    for number, (command, expected) in enumerate(commands(block.text)):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if not pattern_of(expected).fullmatch(done.stdout):
            pytest.fail(
                f"README.md, block at line {block.line}, command {number + 1}: {command}"
                f"--- README says\n{expected}--- but it prints\n{done.stdout}",
                pytrace=False,
            )


def run_python(block: Block, folder: Path, expected: str | None) -> None:
    """Run a block as a script, with warnings as errors."""
    script = folder / "block.py"
    script.write_text("\n" * block.line + block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    script.unlink()
    if done.returncode or done.stderr:
        pytest.fail(f"README.md, block at line {block.line} fails:\n{done.stderr}", pytrace=False)
    if expected is not None and not pattern_of(expected).fullmatch(done.stdout):
        pytest.fail(
            f"README.md, block at line {block.line}\n--- README says\n{expected}--- but it prints\n{done.stdout}",
            pytrace=False,
        )


RUN = [title for title, blocks in sections().items() if {block.language for block in blocks} & {"python", "console"}]


@pytest.mark.parametrize("title", RUN)
def test_section(title, tmp_path):
    """The section's blocks do what they say, in the order in which they stand."""
    blocks = sections()[title]
    if title == "Sandbox":
        pytest.importorskip("cloudpickle")
        if safeload.sandbox.attest().level != "full":
            pytest.skip("the kernel gives no sandbox of level 'full'")
    for index, block in enumerate(blocks):
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        if block.language == "python":
            run_python(block, tmp_path, following.text if following and following.language == "text" else None)
        elif block.language == "console":
            run_console(block, tmp_path)
        elif block.language == "toml" and (name := re.match(r"# ([\w.-]+)\n", block.text)):
            (tmp_path / name[1]).write_text(block.text, encoding="utf-8")


def test_every_block_is_of_a_kind_that_is_checked():
    """A block that nothing runs would be believed and go stale."""
    known = EXECUTED | {"sh"}
    loose = [block for blocks in sections().values() for block in blocks if block.language not in known]
    assert loose == []


def test_the_shell_blocks_are_the_two_commands_that_are_run_elsewhere():
    """One command runs the main job, one the tests: both are executed, by ``test_examples.py`` and ``.ci/run``."""
    found = {title: block.text for title, blocks in sections().items() for block in blocks if block.language == "sh"}
    assert set(found) == {"Try it", "Tests"}
    assert "examples/quickstart.py" in found["Try it"]
    assert found["Tests"].endswith(".venv/bin/pytest\n")
    assert len(found["Tests"].splitlines()) == len(found["Try it"].splitlines()) == 1


def test_quickstart_prints_what_readme_shows(tmp_path):
    """The block behind the first command is that command's output."""
    pytest.importorskip("sklearn")
    shown = next(block for block in sections()["Try it"] if block.language == "text")
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert pattern_of(shown.text).fullmatch(done.stdout), done.stdout


def test_links_lead_somewhere():
    """Files that README links to exist, and so do the headings."""
    text = README.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", text) if anchor not in headings] == []


def test_the_figures_are_those_of_the_benchmark():
    """Every row of the benchmark is in README's table, with its bound."""
    code = "import json, rows\nprint(json.dumps([[row.title, row.promise] for row in rows.ROWS.values()]))"
    folder = ROOT / "tests" / "benchmarks"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    table = [" ".join(line.split()) for line in README.read_text(encoding="utf-8").splitlines()]
    for title, promise in json.loads(done.stdout):
        assert [line for line in table if line.startswith(title.strip()) and f" {promise} " in line + " "], title


def test_the_command_line_is_on_the_path():
    """What the console blocks call is the command of this installation."""
    assert shutil.which("safeload", path=environment(Path())["PATH"])
