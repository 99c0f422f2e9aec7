"""The command line as a whole: help, usage errors, terminals, ``policy`` and ``audit``."""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import pickle
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

import safeload

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    "scan",
    "inspect",
    "detonate",
    "keygen",
    "sign",
    "verify",
    "encrypt",
    "decrypt",
    "rekey",
    "policy",
    "audit",
    "sandbox",
]
SUBCOMMANDS = ["policy learn", "policy check", "policy show", "audit verify", "audit show", "sandbox attest"]


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAFELOAD")}
    return {**inherited, "COLUMNS": "80", **more}


@pytest.fixture
def run(run):
    """A command that must succeed unless a test says otherwise."""
    return functools.partial(run, code=0)


def on_terminal(folder: Path, *arguments: str, columns: int = 80, rich: bool = True, **more: str) -> str:
    """What a terminal of that width receives."""
    hide = "" if rich else "sys.modules['rich'] = None; "
    program = f"import sys; {hide}from safeload.cli import main; sys.exit(main(sys.argv[1:]))"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    more = {"TERM": "xterm-256color", **more}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={
            name: value
            for name, value in environment(**more).items()
            if name not in {"NO_COLOR", "COLUMNS"} or name in more
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not block:
            break
        out += block
    os.close(ours)
    process.wait(60)
    return out.decode().replace("\r\n", "\n")


def test_help_lists_every_command_with_its_line(tmp_path, run):
    """The first thing a person reads; nothing in it is cut."""
    out = run(tmp_path, "--help").stdout
    listed = re.findall(r"^  ([a-z]+) +(.+)$", out.partition("Commands:")[2].partition("Start here")[0], re.MULTILINE)
    assert [name for name, _ in listed] == COMMANDS
    assert not any(text.endswith("...") for _, text in listed)
    assert run(tmp_path, "-h").stdout == out
    assert run(tmp_path, "--version").stdout == f"safeload {safeload.__version__}\n"


@pytest.mark.parametrize("command", [*COMMANDS, *SUBCOMMANDS])
def test_every_help_has_examples_and_fits(tmp_path, command, run):
    """Helps are quoted in README and compared: no trailing space, no line beyond the width but examples."""
    out = run(tmp_path, *command.split(), "--help").stdout
    assert all(line == line.rstrip() for line in out.splitlines())
    head, _, examples = out.partition("  Examples:\n")
    assert all(len(line) <= 80 for line in head.splitlines())
    if command not in {"policy", "audit", "sandbox"}:
        assert f"safeload {command}" in examples


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("scam",), "there is no command 'scam'", "did you mean `safeload scan`?"),
        (("frobnicate",), "there is no command 'frobnicate'", "see `safeload --help`"),
        (("scan",), "Missing argument 'PATH...'.", "see `safeload scan --help`"),
        (("scan", "--jobs", "0", "x"), "Invalid value for '--jobs'", "see `safeload scan --help`"),
        (("scan", "--formt", "json", "x"), "No such option", "see `safeload scan --help`"),
        (("scan", "--format", "xml", "x"), "'xml' is not one of", "see `safeload scan --help`"),
        (("policy", "lern", "x"), "No such command 'lern'", "see `safeload policy --help`"),
        (("audit", "verify", "gone"), "cannot read the trail gone", "give the path"),
        (("audit", "show", "."), "not a regular file", "give the path"),
        (("audit", "verify", "x", "--anchor", "1:2"), "--anchor is a number", "copy it from"),
        (("policy", "show", "nump"), "did you mean 'numpy'?", "safeload policy show"),
        (("policy", "learn", "gone"), "gone does not exist", "check the spelling"),
        (("policy", "check", "."), "is a directory", "name the files"),
    ],
)
def test_usage_errors_are_two_lines(tmp_path, arguments, message, hint, run):
    """What is wrong, and what to do next; exit code 2; nothing on standard output."""
    done = run(tmp_path, *arguments, code=2)
    first, second = done.stderr.splitlines()
    assert first.startswith("safeload: error: ")
    assert message in first
    assert second.startswith("  ")
    assert hint in second
    assert done.stdout == ""


def test_debug_shows_a_traceback_before_and_after_the_command(tmp_path):
    """For a report of a bug; without it there is none."""
    for arguments in (
        ("--debug", "verify", "x", "--key-env", "NOT_SET"),
        ("verify", "x", "--key-env", "NOT_SET", "--debug"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "safeload", *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert "safeload: error: environment variable NOT_SET" in done.stderr


@pytest.fixture
def unknown(tmp_path):
    (tmp_path / "unknown.pkl").write_bytes(pickle.dumps(argparse.Namespace(x=1)))
    return tmp_path


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["scan", "inspect"])
def test_a_terminal_gets_lines_that_fit(unknown, command, columns):
    """Wrapped at its width, with and without rich, in the same words."""
    pytest.importorskip("rich")
    styled = on_terminal(unknown, command, "unknown.pkl", columns=columns)
    bare = on_terminal(unknown, command, "unknown.pkl", columns=columns, rich=False)
    assert "\x1b[" in styled
    assert "\x1b" not in bare
    assert re.sub(r"\x1b\[[0-9;]*m", "", styled) == bare
    long = [line for line in bare.splitlines() if len(line) > columns]
    assert all(" " not in line.strip() or "sha256" in line for line in long)


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours_gets_none(unknown, setting):
    """https://no-color.org, and terminals that cannot."""
    assert "\x1b" not in on_terminal(unknown, "scan", "unknown.pkl", **setting)


def test_policy_show(tmp_path, run):
    """The packs; then every entry with its reason."""
    out = run(tmp_path, "policy", "show").stdout
    assert re.search(r"^data +\S", out, re.MULTILINE)
    assert re.search(r"^numpy +.*requires data; used by default", out, re.MULTILINE)
    packs = json.loads(run(tmp_path, "policy", "show", "--json").stdout)
    assert {"data", "numpy"} <= {pack["name"] for pack in packs}
    out = run(tmp_path, "policy", "show", "data").stdout
    assert "collections.OrderedDict" in out
    facts = json.loads(run(tmp_path, "policy", "show", "data", "--json").stdout)["data"]
    assert all(entry["reason"] and entry["allows"] for entry in facts["entries"])
    (tmp_path / "safeload.toml").write_text('packs = []\n[[allow]]\nname = "a.b"\n')
    assert "a.b  reference, construct, state" in run(tmp_path, "policy", "show", "safeload.toml").stdout


def test_policy_check_reports_drift_in_both_directions(unknown, run):
    """What a file does beyond the policy, and what the policy allows that no file does."""
    (unknown / "data.pkl").write_bytes(pickle.dumps([1]))
    (unknown / "safeload.toml").write_text('packs = ["data"]\n[[allow]]\nname = "gone.Class"\n')
    done = run(unknown, "policy", "check", "unknown.pkl", "data.pkl", "--policy", "safeload.toml", code=1)
    assert "drift        unknown.pkl" in done.stdout
    assert "argparse.Namespace" in done.stdout
    assert "allowed      data.pkl" in done.stdout
    assert "not used by these files:\n  gone.Class" in done.stdout
    data = json.loads(run(unknown, "policy", "check", "data.pkl", "--policy", "safeload.toml", "--json").stdout)
    assert data["unused"] == ["gone.Class"]
    assert data["files"] == [{"path": "data.pkl", "verdict": "clean", "drift": []}]
    (unknown / "text").write_text("x")
    assert "not scanned  text" in run(unknown, "policy", "check", "text", code=3).stdout


@pytest.mark.skipif(
    safeload.Policy._tracer is None, reason="the pipeline does not offer its tracer to Policy.learn yet"
)
def test_policy_learn_writes_what_the_files_need_and_no_more(unknown, run):
    """What was learned makes them clean, and stays small enough to be read."""
    (unknown / "other.pkl").write_bytes(pickle.dumps(argparse.ArgumentTypeError("x")))
    done = run(unknown, "policy", "learn", "unknown.pkl", "--output", "safeload.toml")
    assert "learned 1 name from 1 file" in done.stderr
    run(unknown, "scan", "unknown.pkl", "--policy", "safeload.toml")
    run(unknown, "policy", "check", "unknown.pkl", "--policy", "safeload.toml")
    run(unknown, "policy", "check", "other.pkl", "--policy", "safeload.toml", code=1)
    assert "exists" in run(unknown, "policy", "learn", "unknown.pkl", "--output", "safeload.toml", code=2).stderr
    assert run(unknown, "policy", "learn", "unknown.pkl").stdout == (unknown / "safeload.toml").read_text()


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


def test_nothing_is_learned_from_what_is_hostile_or_broken(unknown, run):
    """A policy learned from an attack would allow it."""
    (unknown / "evil.pkl").write_bytes(pickle.dumps(Runs()))
    (unknown / "cut.pkl").write_bytes(pickle.dumps([1, 2])[:-1])
    (unknown / "text").write_text("x")
    for name, words in (("evil.pkl", "is malicious"), ("cut.pkl", "is malformed"), ("text", "could not be judged")):
        done = run(unknown, "policy", "learn", "unknown.pkl", name, "--output", "safeload.toml", code=1)
        assert words in done.stderr
        assert not (unknown / "safeload.toml").exists()


def test_audit_verify_and_show(tmp_path, run):
    """Whole, then edited, then cut: the first break is named, and an anchor proves what a chain cannot."""
    loader = safeload.Loader(audit=tmp_path / "trail.jsonl")
    loader.loads(pickle.dumps([1]))
    with pytest.raises(safeload.SafeloadError):
        loader.loads(pickle.dumps(Runs()))
    done = run(tmp_path, "audit", "verify", "trail.jsonl")
    assert done.stdout.startswith("whole   trail.jsonl")
    head = re.search(r"head +(\S+)", done.stdout)[1]
    shown = run(tmp_path, "audit", "show", "trail.jsonl", "--outcome", "refused", "--last", "1").stdout
    assert "refused" in shown
    assert "load" in shown
    text = (tmp_path / "trail.jsonl").read_text()
    (tmp_path / "cut.jsonl").write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert "truncated" in run(tmp_path, "audit", "verify", "cut.jsonl", "--anchor", head, code=1).stdout
    assert json.loads(run(tmp_path, "audit", "verify", "trail.jsonl", "--anchor", head, "--json").stdout)["ok"] is True
    (tmp_path / "trail.jsonl").write_text(text.replace("refused", "allowed", 1))
    done = run(tmp_path, "audit", "verify", "trail.jsonl", code=1)
    assert done.stdout.startswith("broken  trail.jsonl")
    assert "trust nothing" in done.stdout
